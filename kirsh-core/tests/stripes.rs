//! Several sockets between two ranks: when they open, and that what goes by them is right.

mod common;

use std::time::{Duration, Instant};

use common::{Group, comm, for_each_driver, said};
use kirsh_core::{Options, ReduceOp};

/// Elements of a call that is many slices, of which no two by one socket follow each other.
const LARGE: usize = 100_003;

#[test]
fn a_rank() {
    let Some((scenario, _)) = common::scenario() else { return };
    match scenario.as_str() {
        "opens" => opens(),
        other => panic!("no scenario {other}"),
    }
}

/// Sockets that this process has open.
fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let target =
        |file: std::io::Result<std::fs::DirEntry>| std::fs::read_link(file.ok()?.path()).ok();
    files
        .filter_map(target)
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}

/// How many there are once they stay as many for a tenth of a second: those of joining go by themselves.
fn settled() -> usize {
    let (mut count, mut since) = (sockets(), Instant::now());
    while since.elapsed() < Duration::from_millis(100) {
        std::thread::sleep(Duration::from_millis(5));
        let now = sockets();
        if now != count {
            (count, since) = (now, Instant::now());
        }
    }
    count
}

fn opens() {
    let comm = comm();
    let options = Options::default();
    let (rank, size) = (comm.rank(), comm.size());
    comm.barrier(&options).unwrap();
    let first = settled();
    // Its one frame in each direction has the first socket.
    let mut small = [rank];
    comm.allreduce(&mut small, ReduceOp::Sum, &options).unwrap();
    said("small", settled() - first);
    // Nobody goes on or leaves while another counts.
    comm.barrier(&options).unwrap();
    for turn in 0..3 {
        let value = |rank: u32, at: usize| (rank + 1) * (at as u32 % 1000) + turn;
        let mut large: Vec<u32> = (0..LARGE).map(|at| value(rank, at)).collect();
        comm.allreduce(&mut large, ReduceOp::Sum, &options).unwrap();
        let right = |at: usize| (0..size).map(|rank| value(rank, at)).sum::<u32>();
        assert!(large.iter().zip(0..).all(|(sum, at)| *sum == right(at)));
    }
    said("large", settled() - first);
    comm.barrier(&options).unwrap();
}

fn opened(group: Group) -> Vec<(String, String)> {
    let outcomes = group.env("KIRSH_SLICE", "16K").succeed();
    let word = |outcome: &common::Outcome, word| outcome.must_have_said(word).text.clone();
    outcomes.iter().map(|outcome| (word(outcome, "small"), word(outcome, "large"))).collect()
}

// P-60
#[test]
fn sockets_open_as_frames_need_them() {
    for_each_driver(|driver| {
        let group = || Group::new("opens", 2).driver(driver);
        let of = |small: &str, large: &str| (small.to_owned(), large.to_owned());
        // Ranks of one host have one, unless somebody says otherwise.
        assert_eq!(opened(group()), [of("0", "0"), of("0", "0")]);
        assert_eq!(opened(group().env("KIRSH_STRIPES", 3)), [of("0", "2"), of("0", "2")]);
        assert_eq!(opened(group().env("KIRSH_STRIPES", 8)), [of("0", "7"), of("0", "7")]);
    });
}

#[test]
fn a_number_that_cannot_be_is_an_error_that_says_so() {
    for outcome in Group::new("opens", 2).env("KIRSH_STRIPES", 9).run() {
        assert!(outcome.output.contains("KIRSH_STRIPES is \"9\""), "{}", outcome.output);
    }
}
