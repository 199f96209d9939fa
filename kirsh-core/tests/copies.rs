//! Payload goes straight from the kernel to where it belongs: nothing is copied on the way, and
//! nothing is held beside it.

mod common;

use common::{Group, comm, for_each_driver, said};
use kirsh_core::plan::{Params, Step, build};
use kirsh_core::{
    Algorithm, Call, Collective, Communicator, DataType, Options, ReduceOp, Stats, Wire,
};

const MIB: usize = 1 << 20;
/// What memory may grow by while a gibibyte goes through.
const GROWTH_MAX_KIB: u64 = 8 << 10;

#[test]
fn a_rank() {
    match common::scenario() {
        Some((scenario, _)) if scenario == "stats" => stats(),
        Some((scenario, _)) if scenario == "alone" => alone(),
        Some((scenario, mode)) if scenario == "lent" => lent(&mode),
        Some((scenario, _)) if scenario == "memory" => memory(),
        Some((scenario, _)) => panic!("no scenario {scenario}"),
        None => {}
    }
}

/// What one call adds to the statistics.
fn added(comm: &Communicator, call: impl FnOnce()) -> Stats {
    let before = comm.stats();
    call();
    let mut added = comm.stats();
    added.bytes_copied -= before.bytes_copied;
    added.bytes_received -= before.bytes_received;
    added.bytes_received_direct -= before.bytes_received_direct;
    added.bytes_sent -= before.bytes_sent;
    added
}

/// Bytes that this rank's plan receives into place, as the plan itself says.
fn planned_direct(comm: &Communicator, call: Call) -> u64 {
    // However it is cut, the bytes are the same.
    let plan = build(&Params::new(call, comm.size(), 1 << 18), comm.rank()).unwrap();
    let received = |step| match step {
        Step::Recv { target, .. } => target.len,
        _ => 0,
    };
    (0..plan.len()).filter_map(|index| plan.step(index)).map(received).sum()
}

fn stats() {
    let comm = comm();
    let world = comm.size();
    let count = 3 * MIB;
    let bytes = 4 * count as u64;
    let options = |algorithm| Options { algorithm: Some(algorithm), ..Options::default() };
    for algorithm in [Algorithm::Binomial, Algorithm::Chain] {
        for root in [0, world - 1] {
            let mut data = vec![if comm.rank() == root { 2.5f32 } else { 0.0 }; count];
            let added = added(&comm, || {
                comm.broadcast(&mut data, root, &options(algorithm)).unwrap();
            });
            assert!(data.iter().all(|value| *value == 2.5));
            let payload = if comm.rank() == root { 0 } else { bytes };
            assert_eq!(added.bytes_copied, 0, "{algorithm}");
            assert_eq!(added.bytes_received, payload, "{algorithm}");
            assert_eq!(added.bytes_received_direct, payload, "{algorithm}");
        }
    }
    let call = Call {
        collective: Collective::Allreduce,
        algorithm: Algorithm::Ring,
        dtype: DataType::Float32,
        op: ReduceOp::Sum,
        root: 0,
        count: count as u64,
        wire: Wire::Plain,
    };
    // Each rank gathers all parts but its own, and folds as much before.
    let gathered = planned_direct(&comm, call);
    assert_eq!(gathered, bytes / u64::from(world) * u64::from(world - 1));
    for in_place in [true, false] {
        let mut data = vec![1.0f32; count];
        let mut output = vec![0.0f32; if in_place { 0 } else { count }];
        let added = added(&comm, || {
            let (op, options) = (ReduceOp::Sum, options(Algorithm::Ring));
            match in_place {
                true => comm.allreduce(&mut data, op, &options).unwrap(),
                false => comm.allreduce_into(&data, &mut output, op, &options).unwrap(),
            }
        });
        let result = if in_place { &data } else { &output };
        assert!(result.iter().all(|value| *value == world as f32));
        assert_eq!(added.bytes_copied, 0, "in place: {in_place}");
        assert_eq!(added.bytes_received_direct, gathered, "in place: {in_place}");
        assert_eq!(added.bytes_received, 2 * gathered, "in place: {in_place}");
        assert_eq!(added.bytes_sent, 2 * gathered, "in place: {in_place}");
    }
    said("done", "");
}

/// Sums a few arrays that are long enough to be lent, and says how the kernel sent them.
fn lent(mode: &str) {
    let comm = comm();
    let count = 3 * MIB + 1;
    for algorithm in [Algorithm::Ring, Algorithm::HalvingDoubling, Algorithm::Tree] {
        let options = Options { algorithm: Some(algorithm), ..Options::default() };
        // Its end must not come before the kernel has read all: the array changes at once.
        for round in 1..4 {
            let mut data: Vec<f32> = (0..count).map(|at| (at % 1000 * round) as f32).collect();
            comm.allreduce(&mut data, ReduceOp::Sum, &options).unwrap();
            let sum = |at| (at % 1000 * round) as f32 * comm.size() as f32;
            assert!((0..count).all(|at| data[at] == sum(at)), "{algorithm}, round {round}");
            data.fill(f32::NAN);
        }
    }
    let stats = comm.stats();
    assert_eq!(stats.bytes_sent_zero_copy, 0, "loopback has no NIC");
    let asked = stats.bytes_sent_copied_anyway;
    let uring = std::env::var("KIRSH_DRIVER").is_ok_and(|driver| driver == "uring");
    match mode {
        // A link lends one frame at a time, and copies what is due meanwhile.
        "on" if uring => assert!(asked > stats.bytes_sent / 20, "{asked} of {}", stats.bytes_sent),
        _ => assert_eq!(asked, 0, "nobody asks {mode}, or poll cannot"),
    }
    said("done", "");
}

/// The one copy that there is, which shows that copies are counted.
fn alone() {
    let comm = comm();
    let mut output = vec![0.0f32; MIB];
    let input = vec![1.0f32; MIB];
    let added = added(&comm, || {
        comm.allreduce_into(&input, &mut output, ReduceOp::Sum, &Options::default()).unwrap();
    });
    assert_eq!(added.bytes_copied, 4 * MIB as u64);
    said("done", "");
}

/// A figure of /proc/self/status, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn memory() {
    let comm = comm();
    let mut data = vec![comm.rank() as u8 + 1; 1024 * MIB];
    comm.barrier(&Options::default()).unwrap();
    // Lets the peak start from here.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    comm.broadcast(&mut data, 0, &Options::default()).unwrap();
    let peak = status("VmHWM:");
    assert!(data.iter().all(|byte| *byte == 1));
    let grown = peak.saturating_sub(before);
    assert!(before > 1 << 20, "the array was not there before: {before} KiB");
    assert!(grown < GROWTH_MAX_KIB, "memory grew by {grown} KiB, from {before} to {peak}");
    assert_eq!(comm.stats().bytes_copied, 0);
    said("grown", grown);
}

#[test]
fn nothing_is_copied_and_gathered_bytes_land_in_place() {
    for_each_driver(|driver| {
        for world in [2, 4] {
            for outcome in Group::new("stats", world).driver(driver).succeed() {
                outcome.must_have_said("done");
            }
        }
    });
}

#[test]
fn frames_that_the_kernel_is_asked_not_to_copy_arrive_and_are_counted() {
    for_each_driver(|driver| {
        for mode in ["on", "auto", "off"] {
            let group = Group::new("lent", 3).detail(mode).driver(driver);
            for outcome in group.env("KIRSH_ZERO_COPY", mode).succeed() {
                outcome.must_have_said("done");
            }
        }
    });
}

#[test]
fn the_copy_of_a_world_of_one_is_counted() {
    for outcome in Group::new("alone", 1).succeed() {
        outcome.must_have_said("done");
    }
}

#[test]
fn a_broadcast_of_a_gibibyte_needs_no_memory_beside_it() {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap();
    let available = info.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    let available_kib: u64 = available.split_whitespace().nth(1).unwrap().parse().unwrap();
    if available_kib < 4 << 20 {
        eprintln!("not tested: two ranks need 2 GiB, and {available_kib} KiB are available");
        return;
    }
    for_each_driver(|driver| {
        for outcome in Group::new("memory", 2).driver(driver).succeed() {
            let grown = &outcome.must_have_said("grown").text;
            eprintln!("{driver}, rank {}: grown by {grown} KiB", outcome.rank);
        }
    });
}
