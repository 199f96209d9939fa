//! What runs of prepared calls cost beside the call itself: nothing, of each kind there is.

use std::sync::atomic::Ordering;

use kirsh_core::comm::{RawArray, RawCall, RawCounts, RawPlan};
use kirsh_core::{
    Collective, Communicator, DataType, ErrorKind, Options, ReduceOp, Stats, Timeout,
};

use super::common::{Group, for_each_driver, said};
use super::{ALLOCATIONS, WINDOWS};

/// Elements of each rank's part, of several frames.
const PART: usize = 3000;
/// Runs of each kind.
const RUNS: usize = 1000;

/// A call that was prepared, and its arrays.
struct Kind {
    plan: RawPlan,
    _arrays: [Vec<f32>; 2],
}

/// What went up: choices, plans built, validations, operations.
fn added(comm: &Communicator, before: &Stats) -> [u64; 4] {
    let now = comm.stats();
    [
        now.choices - before.choices,
        now.plans_built - before.plans_built,
        now.validations - before.validations,
        now.operations - before.operations,
    ]
}

fn prepare(comm: &Communicator, collective: Collective, in_place: bool) -> Kind {
    use Collective::*;
    let (rank, world) = (comm.rank() as usize, comm.size() as usize);
    let mut arrays = [(); 2].map(|()| vec![1f32; PART * world]);
    let counts = vec![PART; world];
    let [send, recv] = arrays.each_mut().map(|array| array.as_mut_ptr().cast::<u8>());
    let own_part = |array: *mut u8| array.wrapping_add(rank * PART * size_of::<f32>());
    let (send, recv) = match collective {
        _ if !in_place => (send, recv),
        Allgather | Allgatherv | Gather | Gatherv => (own_part(recv), recv),
        ReduceScatter | ReduceScatterv | Scatter | Scatterv => (send, own_part(send)),
        _ => (recv, recv),
    };
    let counts = match collective {
        Allgatherv | ReduceScatterv => RawCounts::Known(&counts),
        Gatherv | Scatterv => RawCounts::Rooted { own: PART, each: &counts },
        Alltoallv => RawCounts::Pairs { send: &counts, recv: &counts },
        _ => RawCounts::Even,
    };
    let count = if matches!(counts, RawCounts::Even) { PART } else { 0 };
    let call = RawCall::new(collective, DataType::Float32, count).op(ReduceOp::Max).root(1);
    let call = match collective {
        Barrier => RawCall { count: 0, ..call },
        _ => call.counts(counts).send(send).recv(recv),
    };
    // SAFETY: both arrays have a part for each rank, which is as much as any of these calls asks
    // for, and live beside the plan; nobody else touches them.
    let plan = unsafe { comm.plan_raw(&call, &Options::default()) };
    Kind { plan: plan.expect("a call in order"), _arrays: arrays }
}

pub(crate) fn a_rank(comm: &Communicator) {
    for collective in Collective::ALL {
        for in_place in [false, true] {
            let kind = prepare(comm, *collective, in_place);
            // SAFETY: see `prepare`.
            let run = || unsafe { kind.plan.run() }.expect("a run");
            (0..20).for_each(|_| run());
            let (before, mut fewest) = (comm.stats(), u64::MAX);
            for _ in 0..WINDOWS {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                (0..RUNS / WINDOWS).for_each(|_| run());
                fewest = fewest.min(ALLOCATIONS.load(Ordering::Relaxed) - before);
            }
            let by_run = added(comm, &before);
            let before = comm.stats();
            for _ in 0..10 {
                // SAFETY: see `prepare`; the work is over before the next begins.
                let work = unsafe { kind.plan.start() }.expect("a start");
                work.wait(Timeout::Forever).expect("a run");
            }
            let by_start = added(comm, &before);
            let name = format!("{collective} in_place={in_place}");
            said("kind", format_args!("{fewest} {by_run:?} {by_start:?} {name}"));
        }
    }
    let before = comm.stats();
    let mut array = vec![1f32; 41];
    for _ in 0..10 {
        comm.allreduce(&mut array, ReduceOp::Sum, &Options::default()).expect("a call");
    }
    said("ordinary", format_args!("{:?}", added(comm, &before)));
    let before = comm.stats();
    let refused = comm.broadcast(&mut array, 7, &Options::default()).expect_err("no rank 7");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    // SAFETY: there is no array.
    let missing = unsafe {
        let call = RawCall::new(Collective::Allreduce, DataType::Float32, 3);
        comm.call_raw(&RawCall { recv: RawArray::None, ..call }, &Options::default())
    };
    assert_eq!(missing.expect_err("no array").kind(), ErrorKind::InvalidArgument);
    said("refused", format_args!("{:?}", added(comm, &before)));
}

#[test]
fn a_run_of_a_prepared_call_allocates_chooses_and_validates_nothing() {
    for_each_driver(|driver| {
        let group = Group::new("prepared", 3).driver(driver).env("KIRSH_LIVENESS_TIMEOUT", 600);
        for outcome in group.succeed() {
            let kinds: Vec<_> = outcome.events.iter().filter(|said| said.word == "kind").collect();
            assert_eq!(kinds.len(), 2 * Collective::ALL.len());
            let free = format!("0 [0, 0, 0, {RUNS}] [0, 0, 0, 10] ");
            for kind in kinds {
                assert!(kind.text.starts_with(&free), "{driver}, rank {}: {kind:?}", outcome.rank);
            }
            // The same calls made one by one: each is validated and chosen for, the first built.
            assert_eq!(outcome.must_have_said("ordinary").text, "[10, 1, 10, 10]");
            assert_eq!(outcome.must_have_said("refused").text, "[0, 0, 2, 0]");
        }
    });
}
