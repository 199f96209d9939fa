//! Calls that several channels carry out: right results, one error for all that may go wrong, and
//! nothing left behind. Real processes, both drivers.

mod common;
#[path = "channels/faults.rs"]
mod faults;
#[path = "channels/results.rs"]
mod results;

use common::{Failure, Group, Outcome, for_each_driver, for_each_way};

#[test]
fn a_rank() {
    let Some((scenario, detail)) = common::scenario() else { return };
    match scenario.as_str() {
        "results" => results::all(),
        "mixed" => results::mixed(),
        "counted" => results::counted(),
        "leaves nothing" => results::leaves_nothing(),
        "killed" => faults::killed(&detail),
        "mismatch" => faults::mismatch(&detail),
        "refused" => faults::refused(),
        "aborts" => faults::aborts(&detail),
        "idle" => faults::idle(),
        "behind" => faults::behind(&detail),
        "late" => faults::late(),
        other => panic!("no scenario {other}"),
    }
}

fn group(scenario: &'static str, world: u32) -> Group {
    Group::new(scenario, world).env("KIRSH_CHANNELS", 3)
}

#[test]
fn every_collective_that_is_cut_gives_what_it_should_blocking_and_started_in_place_and_apart() {
    for_each_way(|way| {
        for world in [2, 3, 4] {
            group("results", world).way(way).succeed();
        }
    });
}

#[test]
fn rank_0_decides_for_all() {
    for_each_driver(|driver| {
        let group = group("results", 2).driver(driver);
        group.env_of(1, "KIRSH_CHANNELS", 8).succeed();
    });
}

#[test]
fn calls_of_one_channel_and_of_several_follow_one_another_from_many_threads() {
    for_each_driver(|driver| drop(group("mixed", 3).driver(driver).succeed()));
}

#[test]
fn an_operation_counts_once_and_the_bytes_of_all_channels_count() {
    for_each_driver(|driver| {
        let bytes = |channels: u32| -> Vec<String> {
            let group = Group::new("counted", 3).driver(driver).env("KIRSH_CHANNELS", channels);
            let outcomes = group.succeed();
            outcomes.iter().map(|rank| rank.must_have_said("bytes").text.clone()).collect()
        };
        assert_eq!(bytes(3), bytes(1), "{driver}");
    });
}

#[test]
fn channels_leave_no_thread_and_no_descriptor_behind() {
    for_each_driver(|driver| drop(group("leaves nothing", 2).driver(driver).succeed()));
}

fn survivors(outcomes: &[Outcome], victim: u32) -> Vec<Failure> {
    let survivors = outcomes.iter().filter(|outcome| outcome.rank != victim);
    survivors
        .map(|outcome| {
            assert!(outcome.status.success(), "{}", outcome.output);
            outcome.failure()
        })
        .collect()
}

#[test]
fn a_rank_that_is_killed_is_named_with_the_call_within_the_usual_time() {
    for_each_way(|way| {
        for how in ["blocking", "started"] {
            let outcomes = group("killed", 4).way(way).detail(how).run();
            let dies_ns = outcomes[2].must_have_said("dies").at_ns;
            for failure in survivors(&outcomes, 2) {
                assert_eq!(failure.kind, "peer lost", "{way}, {how}: {failure:?}");
                assert_eq!(failure.peer, Some(2), "{way}, {how}: {failure:?}");
                assert_eq!(failure.scope, "Communicator", "{failure:?}");
                // A rank that was still on its way to the call does not know it by name.
                assert!(failure.message.contains(" #"), "{way}, {how}: {failure:?}");
                // What the machine may add to a second, where others keep it busy.
                let took_ns = failure.at_ns.saturating_sub(dies_ns);
                assert!(took_ns < 5_000_000_000, "{way}, {how}: {took_ns} ns");
            }
        }
    });
}

#[test]
fn calls_that_differ_in_size_and_so_in_channels_are_named() {
    for_each_driver(|driver| {
        for how in ["1", "7000", "0"] {
            let outcomes = group("mismatch", 3).driver(driver).detail(how).succeed();
            for failure in outcomes.iter().map(Outcome::failure) {
                assert_eq!(failure.kind, "mismatch", "{driver}, {how}: {failure:?}");
                let named = failure.message.contains(&format!("{how} x int64"))
                    && failure.message.contains("100000 x int64");
                assert!(named, "{driver}, {how}: {failure:?}");
                assert!(failure.message.contains(" #1: "), "{failure:?}");
            }
        }
    });
}

#[test]
fn a_call_that_one_rank_refuses_fails_on_the_others_with_its_reason() {
    for_each_driver(|driver| {
        let outcomes = group("refused", 3).driver(driver).succeed();
        for failure in outcomes.iter().map(Outcome::failure) {
            let kind = if failure.rank == 1 { "invalid argument" } else { "refused" };
            assert_eq!(failure.kind, kind, "{driver}: {failure:?}");
            assert!(failure.message.contains("overlap"), "{failure:?}");
            assert!(failure.message.contains(" #1: "), "{failure:?}");
        }
    });
}

#[test]
fn an_abort_from_another_thread_ends_all_channels_on_every_rank() {
    for_each_driver(|driver| {
        for how in ["blocking", "started"] {
            let outcomes = group("aborts", 3).driver(driver).detail(how).succeed();
            for failure in outcomes.iter().map(Outcome::failure) {
                assert_eq!(failure.kind, "aborted", "{driver}, {how}: {failure:?}");
                assert!(failure.message.contains("enough of it"), "{failure:?}");
            }
        }
    });
}

#[test]
fn channels_that_were_idle_when_the_first_one_failed_fail_when_they_are_needed() {
    for_each_driver(|driver| {
        let outcomes = group("idle", 3).driver(driver).succeed();
        for failure in outcomes.iter().map(Outcome::failure) {
            assert_eq!(failure.kind, "mismatch", "{driver}: {failure:?}");
        }
    });
}

#[test]
fn an_abort_reaches_a_channel_that_is_in_an_earlier_call_than_the_first_one() {
    for_each_driver(|driver| {
        // Links are one rank's to make, whichever it is: the other one's channels wait for it.
        for ahead in [0, 1] {
            let ended = format!("kirsh-behind-{}-{driver}-{ahead}", std::process::id());
            let ended = std::env::temp_dir().join(ended);
            let detail = format!("{ahead} {}", ended.display());
            let outcomes = group("behind", 2).driver(driver).detail(detail).run();
            let _ = std::fs::remove_file(&ended);
            for outcome in &outcomes {
                assert!(outcome.status.success(), "{driver}, {ahead}: {}", outcome.output);
                let message = outcome.failure().message;
                assert!(message.contains("enough of it"), "{driver}, {ahead}: {message}");
            }
        }
    });
}

#[test]
fn a_call_that_times_out_has_drained_every_channel_and_its_arrays_change_no_more() {
    for_each_way(|way| {
        let outcomes = group("late", 2).way(way).succeed();
        let failure = outcomes[0].failure();
        assert_eq!(failure.kind, "timeout", "{way}: {failure:?}");
        assert!(failure.message.contains("allreduce #1"), "{failure:?}");
    });
}
