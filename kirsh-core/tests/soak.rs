//! Ten thousand calls a driver of random kinds, sizes, types and operators on four processes,
//! compared to the bit with an oracle that folds in the plan's order; and what was sent with what the plans
//! send. Blocking and started, in place and not, from several threads, over several communicators.
//!
//! `KIRSH_TEST_SOAK` sets the number of calls per driver, `KIRSH_TEST_SEED` the seed.

mod common;
#[path = "soak/drawn.rs"]
mod drawn;
#[path = "soak/made.rs"]
mod made;
#[path = "soak/oracle.rs"]
mod oracle;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use common::{Group, Random, comm, failed, for_each_driver, said};
use drawn::{Drawn, Given};
use kirsh_core::comm::RawCall;
use kirsh_core::{Collective, Communicator, Config, DataType, Options, RawWork, ReduceOp, Timeout};
use made::Made;

const WORLD: u32 = 4;
/// Small, so that arrays of a few hundred kilobytes are many slices.
const SLICE: u32 = 16 << 10;
/// Half of them allreduces: with both drivers ten thousand.
const CALLS: u64 = 10_000;
const SEED: u64 = 20_260_801;
/// Started calls that a thread leaves unfinished.
const UNFINISHED_MAX: usize = 4;

#[test]
fn a_rank() {
    let Some((scenario, detail)) = common::scenario() else { return };
    let mut words = detail.split(' ').map(|word| word.parse::<u64>().unwrap());
    let (calls, seed) = (words.next().unwrap(), words.next().unwrap());
    match scenario.as_str() {
        "soak" => soak(calls, seed),
        "forced" => failed(&Communicator::create(&Config::default()).expect_err("no io_uring")),
        other => panic!("no scenario {other}"),
    }
}

/// Hands the turn round among the threads that share a communicator, since every rank has to make
/// the same calls in the same order.
struct Turns {
    next: Mutex<u64>,
    changed: Condvar,
}

impl Turns {
    fn take(&self, turn: u64, act: impl FnOnce()) {
        let next = self.next.lock().unwrap();
        let mut next = self.changed.wait_while(next, |next| *next != turn).unwrap();
        act();
        *next += 1;
        self.changed.notify_all();
    }
}

fn soak(calls: u64, seed: u64) {
    // A thread that fails leaves others waiting for their turn.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::exit(101);
    }));
    let comms = [comm(), comm(), comm()];
    said("driver", comms[0].driver());
    let share = calls.div_ceil(comms.len() as u64);
    std::thread::scope(|scope| {
        for (number, comm) in comms.iter().enumerate() {
            let threads = if number == 2 { 2 } else { 1 };
            let turns = std::sync::Arc::new(Turns { next: Mutex::new(0), changed: Condvar::new() });
            for thread in 0..threads {
                let turns = turns.clone();
                scope.spawn(move || {
                    let mut caller = Caller {
                        comm,
                        seed: seed ^ (number as u64) << 32,
                        unfinished: VecDeque::new(),
                    };
                    for index in (thread..share).step_by(threads as usize) {
                        turns.take(index, || caller.call(index));
                    }
                    caller.finish(0);
                });
            }
        }
    });
    for (number, comm) in comms.iter().enumerate() {
        let seed = seed ^ (number as u64) << 32;
        let planned = |index| Drawn::new(seed, index).bytes_sent(comm.rank());
        let planned: u64 = (0..share).map(planned).sum();
        let stats = comm.stats();
        assert_eq!(stats.bytes_sent, planned, "communicator {number}");
        assert_eq!(stats.operations, share, "communicator {number}");
    }
    said("calls", share * comms.len() as u64);
}

/// One thread's calls on one communicator.
struct Caller<'a> {
    comm: &'a Communicator,
    seed: u64,
    unfinished: VecDeque<(u64, RawWork, Made)>,
}

impl Caller<'_> {
    fn call(&mut self, index: u64) {
        let rank = self.comm.rank();
        let drawn = Drawn::new(self.seed, index);
        // Chance of this rank's own: peers need not know whether a call is started or in place.
        let mut own = Random(drawn.seed ^ 0x5eed ^ u64::from(rank) << 8);
        let started = own.below(3) == 0;
        let call = drawn.call();
        let factor = drawn.factors()[rank as usize];
        let options = Options {
            algorithm: Some(call.algorithm),
            scale: (call.op == ReduceOp::PremulSum).then_some(factor),
            wire: Some(call.wire),
            ..Options::default()
        };
        let counts = Given::new(drawn.params(rank), rank);
        let mut made = Made::new(drawn, rank, &mut own);
        let [send, recv] = made.runs();
        let raw = RawCall::new(call.collective, call.dtype, call.count as usize);
        let raw = raw.op(call.op).root(call.root).counts(counts.raw());
        let raw = if let [(one, _)] = send[..] { raw.send(one) } else { raw.send_many(&send) };
        let raw = if let [(one, _)] = recv[..] { raw.recv(one) } else { raw.recv_many(&recv) };
        let comm = self.comm;
        if started {
            // SAFETY: the arrays are as long as the call says, and stay in `unfinished`, untouched,
            // until the work is over.
            let work = unsafe { comm.start_raw(&raw, &options) };
            self.unfinished.push_back((index, work.unwrap(), made));
            self.finish(UNFINISHED_MAX);
        } else {
            // SAFETY: the arrays are as long as the call says and live until it returns.
            let done = unsafe { comm.call_raw(&raw, &options) };
            done.unwrap_or_else(|error| panic!("call {index}: {error}"));
            made.verify(index, rank);
        }
    }

    /// Waits for the oldest until so many are left.
    fn finish(&mut self, left: usize) {
        while self.unfinished.len() > left {
            if let Some((index, work, made)) = self.unfinished.pop_front() {
                assert!(
                    work.wait(Timeout::Forever)
                        .unwrap_or_else(|error| panic!("call {index}: {error}"))
                );
                drop(work);
                made.verify(index, self.comm.rank());
            }
        }
    }
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn group(scenario: &'static str, calls: u64) -> Group {
    let seed = setting("KIRSH_TEST_SEED", SEED);
    Group::new(scenario, WORLD)
        .detail(format!("{calls} {seed}"))
        .env("KIRSH_SLICE", SLICE)
        .deadline(120)
}

#[test]
fn every_algorithm_gives_what_the_oracle_gives_and_sends_what_its_plan_says() {
    for_each_driver(|driver| {
        let calls = setting("KIRSH_TEST_SOAK", CALLS);
        for outcome in group("soak", calls).driver(driver).succeed() {
            assert_eq!(outcome.must_have_said("driver").text, driver);
            let made: u64 = outcome.must_have_said("calls").text.parse().unwrap();
            assert!(made >= calls, "{}", outcome.output);
        }
    });
}

// P-6. Checksums are taken in the passes that fold, and known ones are sent again: where the bytes
// are others, the receiver says so.
#[test]
fn with_checksums_every_algorithm_gives_what_the_oracle_gives() {
    for_each_driver(|driver| {
        let calls = setting("KIRSH_TEST_SOAK", CALLS) / 4;
        for outcome in group("soak", calls).env("KIRSH_CHECKSUM", "on").driver(driver).succeed() {
            outcome.must_have_said("calls");
        }
    });
}

// P-60
#[test]
fn by_several_sockets_every_algorithm_gives_the_same() {
    for_each_driver(|driver| {
        let calls = setting("KIRSH_TEST_SOAK", CALLS) / 4;
        for outcome in group("soak", calls).driver(driver).env("KIRSH_STRIPES", 3).succeed() {
            outcome.must_have_said("calls");
        }
    });
}

#[test]
fn where_io_uring_is_forbidden_everything_works_over_poll() {
    for outcome in group("soak", 300).denied().succeed() {
        assert_eq!(outcome.must_have_said("driver").text, "poll");
        outcome.must_have_said("calls");
    }
}

#[test]
fn where_io_uring_is_forbidden_and_asked_for_it_is_an_error() {
    for outcome in group("forced", 0).denied().driver("uring").succeed() {
        let failure = outcome.failure();
        assert_eq!(failure.kind, "unsupported", "{failure:?}");
        assert!(failure.message.contains("KIRSH_DRIVER"), "{failure:?}");
    }
}

#[test]
fn the_oracle_finds_an_operator_that_is_not_the_one_that_was_called() {
    // That it folds at all, and by rank: the maximum of four arrays is not their minimum.
    let drawn = (0..).map(|index| Drawn::new(SEED, index)).find(|drawn| {
        let call = drawn.call();
        let fits = call.op == ReduceOp::Max && call.dtype == DataType::Int32;
        call.collective == Collective::Allreduce && fits && call.count > 10
    });
    let mut drawn = drawn.unwrap();
    let largest = drawn.result(1);
    for params in &mut drawn.params {
        params.call.op = ReduceOp::Min;
    }
    assert_ne!(drawn.result(1), largest);
    let inputs: Vec<Vec<i32>> = (0..WORLD)
        .map(|rank| {
            drawn.input(rank).as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect()
        })
        .collect();
    let by_hand =
        (0..inputs[0].len()).map(|at| inputs.iter().map(|input| input[at]).max().unwrap());
    assert!(largest.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).eq(by_hand));
}
