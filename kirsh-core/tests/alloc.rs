//! Blocking calls allocate nothing once they are warm, nor do runs of calls that were prepared: not in
//! the calling thread, and not in any other of the process. Those runs choose and validate nothing
//! either.

mod common;
#[path = "alloc/prepared.rs"]
mod prepared;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Group, comm, for_each_driver, said};
use kirsh_core::comm::{Persistent, RawPlan};
use kirsh_core::{Algorithm, Communicator, Options, ReduceOp, Wire};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: passes everything on to the system's allocator, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls in one window.
const CALLS: usize = 1000;
/// Windows. On a busy host a call may stand still for so long that the ranks exchange words about
/// it, which allocates; in one window out of these nothing must be allocated at all.
const WINDOWS: usize = 5;

/// The arrays of all calls, made beforehand.
struct Arrays {
    small: Vec<f32>,
    large: Vec<f32>,
    output: Vec<f32>,
    halves: Vec<half::bf16>,
    /// Calls that were prepared.
    sum: Persistent<Vec<f32>>,
    spread: Persistent<Vec<f32>>,
    collected: Persistent<Vec<f64>>,
    meeting: RawPlan,
}

fn call(comm: &Communicator, arrays: &mut Arrays, number: usize) {
    let by = |algorithm| Options { algorithm: Some(algorithm), ..Options::default() };
    let wire = |algorithm, wire| Options { wire: Some(wire), ..by(algorithm) };
    let done = match number % 14 {
        0 => comm.allreduce(&mut arrays.small, ReduceOp::Max, &Options::default()),
        1 => comm.barrier(&Options::default()),
        2 => comm.broadcast(&mut arrays.small, number as u32 % comm.size(), &Options::default()),
        3 => comm.allreduce(&mut arrays.large, ReduceOp::Max, &by(Algorithm::Ring)),
        4 => comm.allreduce_into(
            &arrays.large,
            &mut arrays.output,
            ReduceOp::Avg,
            &by(Algorithm::RecursiveDoubling),
        ),
        5 => comm.allreduce(&mut arrays.halves, ReduceOp::Avg, &by(Algorithm::Tree)),
        6 => {
            let options = Options { scale: Some(0.25), ..Options::default() };
            comm.allreduce(&mut arrays.small, ReduceOp::PremulSum, &options)
        }
        7 => comm.broadcast(&mut arrays.large, 0, &by(Algorithm::Chain)),
        8 => arrays.sum.run(),
        9 => arrays.spread.run(),
        10 => arrays.collected.run(),
        11 => comm.allreduce(&mut arrays.large, ReduceOp::Max, &wire(Algorithm::Ring, Wire::Int8)),
        12 => comm.allreduce_into(
            &arrays.large,
            &mut arrays.output,
            ReduceOp::Avg,
            &wire(Algorithm::HalvingDoubling, Wire::Bf16),
        ),
        // SAFETY: a barrier has no arrays.
        _ => unsafe { arrays.meeting.run() },
    };
    done.unwrap();
}

#[test]
fn a_rank() {
    let Some((scenario, _)) = common::scenario() else { return };
    let comm = comm();
    if scenario == "prepared" {
        return prepared::a_rank(&comm);
    }
    let options = Options::default();
    let mut arrays = Arrays {
        small: vec![1.0; 10],
        large: vec![2.0; 40_000],
        output: vec![0.0; 40_000],
        halves: vec![half::bf16::ONE; 5000],
        sum: comm.plan_allreduce(vec![3.0; 40_000], ReduceOp::Max, &options).unwrap(),
        spread: comm.plan_broadcast(vec![4.0; 500], 1, &options).unwrap(),
        collected: comm.plan_reduce(vec![5.0; 7], ReduceOp::Min, 0, &options).unwrap(),
        meeting: comm.plan_barrier(&options).unwrap(),
    };
    (0..200).for_each(|number| call(&comm, &mut arrays, number));
    let mut counts = [0; WINDOWS];
    for count in &mut counts {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for number in 0..CALLS {
            call(&comm, &mut arrays, number);
            if scenario == "canary" {
                std::hint::black_box(Box::new(number));
            }
        }
        *count = ALLOCATIONS.load(Ordering::Relaxed) - before;
    }
    said("fewest", counts.iter().min().unwrap());
    said("counts", format_args!("{counts:?}"));
}

fn fewest(scenario: &'static str, world: u32, driver: &str, channels: u32) -> Vec<u64> {
    // Heartbeats are no part of a call.
    let group = Group::new(scenario, world).driver(driver).env("KIRSH_LIVENESS_TIMEOUT", 600);
    let group = group.env("KIRSH_CHANNELS", channels);
    let outcomes = group.succeed();
    outcomes.iter().map(|outcome| outcome.must_have_said("fewest").text.parse().unwrap()).collect()
}

#[test]
fn a_warm_blocking_call_allocates_nothing_in_the_whole_process() {
    for_each_driver(|driver| {
        for world in [2, 3] {
            let fewest = fewest("warm", world, driver, 1);
            assert!(fewest.iter().all(|count| *count == 0), "{driver}, {world} ranks: {fewest:?}");
        }
    });
}

#[test]
fn nor_does_one_that_several_channels_carry_out() {
    for_each_driver(|driver| {
        let fewest = fewest("warm", 2, driver, 3);
        assert!(fewest.iter().all(|count| *count == 0), "{driver}: {fewest:?}");
    });
}

#[test]
fn one_allocation_in_each_call_is_found() {
    for_each_driver(|driver| {
        assert!(fewest("canary", 2, driver, 1).iter().all(|count| *count >= CALLS as u64));
    });
}
