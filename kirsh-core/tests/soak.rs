//! Ten thousand calls of random kinds, sizes, types and operators on four processes, compared to
//! the bit with an oracle that folds in the plan's order; and what was sent with what the plans
//! send. Blocking and started, in place and not, from several threads, over several communicators.
//!
//! `KIRSH_TEST_SOAK` sets the number of calls per driver, `KIRSH_TEST_SEED` the seed.

mod common;
#[path = "soak/oracle.rs"]
mod oracle;

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use common::{Group, Random, comm, deny_io_uring, failed, for_each_driver, said};
use kirsh_core::comm::RawCall;
use kirsh_core::model::choice::Selection;
use kirsh_core::model::{Class, Layout};
use kirsh_core::plan::{Params, algorithms, build, bytes_sent};
use kirsh_core::{
    Call, Collective, Communicator, Config, DataType, Options, RawWork, ReduceOp, Timeout,
};

const WORLD: u32 = 4;
/// Small, so that arrays of a few hundred kilobytes are many slices.
const SLICE: u32 = 16 << 10;
const CALLS: u64 = 5000;
const SEED: u64 = 20_260_801;
/// Started calls that a thread leaves unfinished.
const UNFINISHED_MAX: usize = 4;

#[test]
fn a_rank() {
    let Some((scenario, detail)) = common::scenario() else { return };
    let mut words = detail.split(' ').map(|word| word.parse::<u64>().unwrap());
    let (calls, seed) = (words.next().unwrap(), words.next().unwrap());
    if scenario != "soak" {
        deny_io_uring(libc::EPERM);
    }
    match scenario.as_str() {
        "soak" | "denied" => soak(calls, seed),
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

/// One call, as chance has drawn it: equal on every rank.
struct Drawn {
    params: Params,
    seed: u64,
}

impl Drawn {
    fn new(seed: u64, index: u64) -> Self {
        let mut random = Random(seed.wrapping_add(index.wrapping_mul(0x1_0000_0001)));
        let collective = match random.below(20) {
            0 => Collective::Barrier,
            1 | 2 => Collective::Broadcast,
            _ => Collective::Allreduce,
        };
        let reducing = |dtype: &&DataType| **dtype != DataType::Byte;
        let dtypes: Vec<_> = DataType::ALL.iter().filter(reducing).collect();
        let mut dtype = *dtypes[random.below(dtypes.len() as u64) as usize];
        let ops: Vec<_> = ReduceOp::ALL.iter().filter(|op| op.supports(dtype)).collect();
        let mut op = *ops[random.below(ops.len() as u64) as usize];
        let mut count = match random.below(16) {
            0..=5 => random.below(16),
            6..=11 => random.below(2_000),
            12..=14 => random.below(20_000),
            _ => random.below(100_000),
        };
        let mut root = 0;
        match collective {
            Collective::Barrier => (count, dtype, op) = (0, DataType::Byte, ReduceOp::Sum),
            Collective::Broadcast => {
                (root, op) = (random.below(WORLD.into()) as u32, ReduceOp::Sum)
            }
            _ => {}
        }
        // Every algorithm in turn.
        let able = algorithms(collective);
        let algorithm = able[index as usize % able.len()];
        let call = Call { collective, algorithm, dtype, op, root, count };
        let layout = Layout { world: WORLD, ranks_per_host_max: WORLD };
        let choice = Selection::built_in(Class::Gbit1, 2).choose(layout, &call, Some(algorithm));
        assert_eq!(choice.algorithm, algorithm);
        Drawn { params: Params::new(call, WORLD, SLICE), seed: random.next() }
    }

    fn input(&self, rank: u32) -> Vec<u8> {
        let mut random = Random(self.seed ^ u64::from(rank) << 48);
        let bytes = self.params.call.bytes() as usize;
        let mut input: Vec<u8> = std::iter::repeat_with(|| random.next().to_ne_bytes())
            .take(bytes.div_ceil(8))
            .flatten()
            .collect();
        input.truncate(bytes);
        input
    }

    fn factors(&self) -> Vec<f64> {
        (0..WORLD).map(|rank| (self.seed % 7) as f64 - 3.25 + f64::from(rank)).collect()
    }

    fn result(&self, rank: u32) -> Vec<u8> {
        let inputs = (0..WORLD).map(|rank| self.input(rank)).collect();
        oracle::results(&self.params, inputs, &self.factors()).swap_remove(rank as usize)
    }

    fn bytes_sent(&self, rank: u32) -> u64 {
        bytes_sent(&*build(&self.params, rank).unwrap()).values().sum()
    }
}

/// A call and its arrays.
struct Made {
    drawn: Drawn,
    /// `None` where the call is in place.
    input: Option<Vec<u8>>,
    output: Vec<u8>,
}

impl Made {
    fn verify(&self, index: u64, rank: u32) {
        let expected = self.drawn.result(rank);
        let differs = self.output.iter().zip(&expected).position(|(got, due)| got != due);
        assert!(
            differs.is_none() && self.output.len() == expected.len(),
            "call {index}, {:?}, in place: {}: differs at byte {differs:?}",
            self.drawn.params,
            self.input.is_none()
        );
        if let Some(input) = &self.input {
            assert!(*input == self.drawn.input(rank), "call {index} has changed its input");
        }
    }
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
        let (started, in_place) = (own.below(3) == 0, own.below(2) == 0);
        let call = drawn.params.call;
        let in_place = in_place || call.collective == Collective::Broadcast;
        let factor = drawn.factors()[rank as usize];
        let options = Options {
            algorithm: Some(call.algorithm),
            scale: (call.op == ReduceOp::PremulSum).then_some(factor),
            ..Options::default()
        };
        let input = drawn.input(rank);
        let mut made = match in_place {
            true => Made { drawn, input: None, output: input },
            false => Made { drawn, output: vec![0x5a; input.len()], input: Some(input) },
        };
        let output = made.output.as_mut_ptr();
        let input = made.input.as_ref().map_or(output.cast_const(), |input| input.as_ptr());
        let (count, dtype) = (call.count as usize, call.dtype);
        let raw = RawCall::new(call.collective, dtype, count).op(call.op).root(call.root);
        let raw = raw.send(input).recv(output);
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
        .deadline(300)
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

#[test]
fn where_io_uring_is_forbidden_everything_works_over_poll() {
    for outcome in group("denied", 300).succeed() {
        assert_eq!(outcome.must_have_said("driver").text, "poll");
        outcome.must_have_said("calls");
    }
}

#[test]
fn where_io_uring_is_forbidden_and_asked_for_it_is_an_error() {
    for outcome in group("forced", 0).driver("uring").succeed() {
        let failure = outcome.failure();
        assert_eq!(failure.kind, "unsupported", "{failure:?}");
        assert!(failure.message.contains("KIRSH_DRIVER"), "{failure:?}");
    }
}

#[test]
fn the_oracle_finds_an_operator_that_is_not_the_one_that_was_called() {
    // That it folds at all, and by rank: the maximum of four arrays is not their minimum.
    let drawn = (0..).map(|index| Drawn::new(SEED, index)).find(|drawn| {
        let call = drawn.params.call;
        call.op == ReduceOp::Max && call.dtype == DataType::Int32 && call.count > 10
    });
    let mut drawn = drawn.unwrap();
    let largest = drawn.result(1);
    drawn.params.call.op = ReduceOp::Min;
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
