//! What time and repetition bring: a rank that comes late, and one that comes again and again. Real
//! processes, both drivers.

mod common;

use std::time::{Duration, Instant};

use common::{Group, comm, for_each_driver};
use kirsh_core::Options;

/// Communicators that one process makes, one after the other.
const COMMUNICATORS: usize = 200;

/// More than the socket buffers of both ends hold.
const MANY: usize = 64 << 20;

#[test]
fn a_rank() {
    match common::scenario() {
        Some((scenario, _)) if scenario == "late" => late(),
        Some((scenario, _)) if scenario == "again" => again_and_again(),
        Some((scenario, _)) => panic!("no scenario {scenario}"),
        None => {}
    }
}

/// Rank 1 is busy with something else for several times the liveness timeout, while rank 0 has more
/// for it than fits the sockets. It is alive all the time, and says so over control.
fn late() {
    let comm = comm();
    let options = Options::default();
    comm.barrier(&options).unwrap();
    let mut data = vec![0u8; MANY];
    if comm.rank() == 0 {
        data.fill(7);
    } else {
        std::thread::sleep(Duration::from_secs(5));
    }
    comm.broadcast(&mut data, 0, &options).unwrap();
    assert!(data.iter().all(|&byte| byte == 7));
    comm.barrier(&options).unwrap();
}

#[test]
fn a_rank_that_reads_late_is_waited_for_beyond_the_liveness_timeout() {
    for_each_driver(|driver| {
        Group::new("late", 2).driver(driver).env("KIRSH_LIVENESS_TIMEOUT", 1).succeed();
    });
}

/// Open descriptors and threads of this process.
fn held() -> (usize, usize) {
    let entries = |path| std::fs::read_dir(path).unwrap().count();
    (entries("/proc/self/fd"), entries("/proc/self/task"))
}

fn again_and_again() {
    let options = Options::default();
    let round = |number: usize| {
        let comm = comm();
        let mut data = [number as u64];
        comm.broadcast(&mut data, 0, &options).unwrap();
        // Every other time with something started, and every fourth without a goodbye by hand.
        if number.is_multiple_of(2) {
            comm.start_barrier(&options).unwrap().wait(Default::default()).unwrap();
        }
        if !number.is_multiple_of(4) {
            comm.close().unwrap();
        }
    };
    // The first leaves behind what a thread keeps: its own ring.
    round(0);
    let before = held();
    (1..COMMUNICATORS).for_each(round);
    // A thread that has said its last may take a moment to be gone.
    let until = Instant::now() + Duration::from_secs(10);
    while held() != before && Instant::now() < until {
        std::thread::yield_now();
    }
    assert_eq!(held(), before, "descriptors and threads");
}

#[test]
fn making_communicators_again_and_again_leaves_nothing_behind() {
    for_each_driver(|driver| {
        let name = format!("kirsh-endurance-{driver}-{}", std::process::id());
        let meeting = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&meeting).unwrap();
        let group = Group::new("again", 2).driver(driver).deadline(120);
        group.env("KIRSH_RENDEZVOUS", format_args!("file://{}", meeting.display())).succeed();
        std::fs::remove_dir_all(&meeting).unwrap();
    });
}
