//! What becomes of calls when something goes wrong: an error or the right result on every rank,
//! nothing lent any more, and nobody left waiting.

use kirsh_core::plan::{Counts, Params};
use kirsh_core::sim::{Calling, Fault, Report, Scenario};
use kirsh_core::{Algorithm, Call, Collective, Error, ErrorKind, Rank, ReduceOp};

use super::catalogue::{self, Pair, calling, pairs, params};
use super::{scenario, seeds, simulate, worlds};

const SECOND_NS: u64 = 1_000_000_000;

const RING: Pair = (Collective::Allreduce, Algorithm::Ring);
const BARRIER: Pair = (Collective::Barrier, Algorithm::Dissemination);

/// A few of all kinds of call, so that a fault has something to hit early and late.
fn some_calls(world: u32, seed: u64) -> Vec<Calling> {
    let calls = catalogue::some_calls(world, world as usize + seed as usize);
    let from = calls.len() * (seed as usize % 4) / 4;
    calls.into_iter().cycle().skip(from).take(12).collect()
}

/// The error that ended each rank's calls, where one did: the same in every call from then on.
fn causes(report: &Report) -> Vec<Option<Error>> {
    let ranks = report.outcomes.first().map_or(0, Vec::len);
    let cause = |rank: usize| {
        let outcomes = report.outcomes.iter().filter_map(|outcomes| outcomes[rank].as_ref());
        let mut cause: Option<&Error> = None;
        for outcome in outcomes {
            match (outcome, cause) {
                (Ok(()), None) => {}
                (Ok(()), Some(error)) => panic!("rank {rank}: a result after {error}"),
                (Err(error), None) => cause = Some(error),
                (Err(error), Some(first)) => assert_eq!(error.to_string(), first.to_string()),
            }
        }
        cause.cloned()
    };
    (0..ranks).map(cause).collect()
}

/// Runs with the fault at a moment that differs from seed to seed.
fn simulate_with(test: &str, mut scenario: Scenario, fault: Fault) -> Report {
    let events = simulate(test, &scenario).events;
    scenario.timeout_ns = 10 * SECOND_NS;
    let moment = scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    scenario.fault = Some((1 + moment % events, fault));
    simulate(test, &scenario)
}

// P-29
#[test]
fn a_broken_link_ends_calls_with_an_error_or_the_right_result() {
    let test = "a_broken_link_ends_calls_with_an_error_or_the_right_result";
    let mut failed = 0;
    for world in worlds(2..14) {
        for seed in seeds(20) {
            let scenario = scenario(world, some_calls(world, seed), seed);
            let report = simulate_with(test, scenario, Fault::Cut);
            for error in causes(&report).into_iter().flatten() {
                assert_eq!(error.kind(), ErrorKind::PeerLost, "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no cut hit anything");
}

// P-28
#[test]
fn a_crashed_rank_is_named_by_every_other() {
    let test = "a_crashed_rank_is_named_by_every_other";
    let mut failed = 0;
    for world in worlds(2..14) {
        for seed in seeds(20) {
            let rank = (seed % u64::from(world)) as Rank;
            let scenario = scenario(world, some_calls(world, seed), seed);
            let report = simulate_with(test, scenario, Fault::Crash(rank));
            for error in causes(&report).into_iter().flatten() {
                assert_eq!(error.kind(), ErrorKind::PeerLost, "{error}");
                assert_eq!(error.peer(), Some(rank), "world {world}, seed {seed}: {error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no crash hit anything");
}

// P-23
#[test]
fn a_frozen_rank_is_named_by_every_other_when_time_is_up() {
    let test = "a_frozen_rank_is_named_by_every_other_when_time_is_up";
    let mut failed = 0;
    for world in worlds(2..14) {
        for seed in seeds(20) {
            let rank = (seed % u64::from(world)) as Rank;
            let scenario = scenario(world, some_calls(world, seed), seed);
            let report = simulate_with(test, scenario, Fault::Freeze(rank));
            assert!(report.now_ns <= 11 * SECOND_NS);
            for error in causes(&report).into_iter().flatten() {
                assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                assert_eq!(error.peer(), Some(rank), "world {world}, seed {seed}: {error}");
                failed += 1;
            }
        }
    }
    assert!(failed > 0, "no frozen rank was missed");
}

// P-10, P-23
#[test]
fn different_calls_are_an_error_on_every_rank_within_a_second() {
    let test = "different_calls_are_an_error_on_every_rank_within_a_second";
    let mistakes: [fn(Rank, Params) -> Params; 4] = [
        |rank, params| match params.counts.clone() {
            _ if rank != params.world / 2 => params,
            Counts::Even => {
                let count = params.call.count + 1;
                Params { call: Call { count, ..params.call }, ..params }
            }
            Counts::Known(counts) => {
                let counts = counts.iter().enumerate();
                let more = counts.map(|(other, count)| count + u64::from(other == 0)).collect();
                let count = params.call.count + 1;
                Params { call: Call { count, ..params.call }, ..params }
                    .with_counts(Counts::Known(more))
            }
            Counts::Own { .. } => params,
        },
        |rank, params| {
            let root = if rank == params.world / 2 { rank } else { params.call.root };
            Params { call: Call { root, ..params.call }, ..params }
        },
        |rank, params| {
            let other = catalogue::params(params.world, BARRIER, ReduceOp::Sum, 0, 0);
            if rank == params.world / 2 { other } else { params }
        },
        // P-60: the same call by another number of sockets.
        |rank, params| {
            let may = !params.call.collective.has_own_counts();
            let stripes = params.stripes % 4 + 1;
            if may && rank == params.world / 2 { Params { stripes, ..params } } else { params }
        },
    ];
    for world in worlds(2..14) {
        for pair in pairs() {
            for (number, mistake) in mistakes.iter().enumerate() {
                let right = calling(world, pair, ReduceOp::Sum, 0, 40, true);
                let mistaken = mistake(world / 2, right.params.clone());
                // With counts for each pair, two ranks may have nothing to do with one another
                // whatever they call.
                if mistaken == right.params || right.pairs.is_some() && number < 2 {
                    continue;
                }
                for seed in seeds(4) {
                    let wrong = Calling { mistake: Some(*mistake), ..right.clone() };
                    // Whoever is through with the first in time hears of it in the second.
                    let barrier = params(world, BARRIER, ReduceOp::Sum, 0, 0);
                    let calls = vec![wrong, Calling::new(barrier, false)];
                    let mut scenario = scenario(world, calls, seed);
                    scenario.timeout_ns = 10 * SECOND_NS;
                    let report = simulate(test, &scenario);
                    let place = format!("{pair:?}, mistake {number}, world {world}, seed {seed}");
                    assert!(report.now_ns < SECOND_NS, "{place}: {} ns", report.now_ns);
                    for cause in causes(&report) {
                        let error = cause.unwrap_or_else(|| panic!("no error: {place}"));
                        assert_eq!(error.kind(), ErrorKind::Mismatch, "{place}: {error}");
                    }
                }
            }
        }
    }
}

// P-25
#[test]
fn an_abort_reaches_every_rank() {
    let test = "an_abort_reaches_every_rank";
    for world in worlds(2..14) {
        for seed in seeds(10) {
            let rank = (seed % u64::from(world)) as Rank;
            let scenario = scenario(world, some_calls(world, seed), seed);
            let report = simulate_with(test, scenario, Fault::Abort(rank));
            let causes = causes(&report);
            for error in causes.iter().flatten() {
                assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
            }
            let over = |outcomes: &Vec<_>| matches!(outcomes[rank as usize], Some(Ok(())));
            assert!(causes[rank as usize].is_some() || report.outcomes.iter().all(over));
        }
    }
}

/// A call that some ranks refuse, then a barrier. What every rank got out of each.
fn simulate_refusal(test: &str, world: u32, seed: u64, refused: fn(Rank) -> bool) -> Report {
    let call = |pair, count| Calling::new(params(world, pair, ReduceOp::Sum, 0, count), false);
    let refused = Calling { refused: Some(refused), ..call(RING, 40) };
    let calls = vec![refused, call(BARRIER, 0)];
    simulate(test, &scenario(world, calls, seed))
}

// P-24
#[test]
fn a_refused_call_fails_on_every_rank_with_the_reason() {
    let test = "a_refused_call_fails_on_every_rank_with_the_reason";
    for world in worlds(2..14) {
        for seed in seeds(10) {
            let report = simulate_refusal(test, world, seed, |rank| rank == 1);
            for (rank, outcome) in report.outcomes[0].iter().enumerate().filter(|(at, _)| *at != 1)
            {
                let Some(Err(error)) = outcome else { panic!("rank {rank} got {outcome:?}") };
                assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
                assert_eq!(error.peer(), Some(1), "{error}");
                assert!(error.message().contains("a buffer too short"), "{error}");
            }
            assert!(report.outcomes[1].iter().all(|outcome| matches!(outcome, Some(Err(_)))));
        }
    }
}

// P-24
#[test]
fn a_call_that_every_rank_refuses_poisons_nothing() {
    let test = "a_call_that_every_rank_refuses_poisons_nothing";
    for world in worlds(2..14) {
        for seed in seeds(10) {
            let report = simulate_refusal(test, world, seed, |_| true);
            assert!(report.outcomes[1].iter().all(|outcome| matches!(outcome, Some(Ok(())))));
        }
    }
}
