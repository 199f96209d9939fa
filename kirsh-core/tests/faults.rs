//! What becomes of calls when a process dies, stops, errs, forks or leaves: every rank gets an
//! error that says who and what, in time, or the right result. Real processes, both drivers.

mod common;
#[path = "faults/ranks.rs"]
mod ranks;

use std::net::TcpListener;

use common::{Failure, Group, Outcome, Way, for_each_driver, for_each_way, for_each_way_at_once};

const SECOND_NS: u64 = 1_000_000_000;

/// How often a test of a time limit is tried: a busy host may keep a rank from running for longer
/// than that. What is said is checked each time.
const ATTEMPTS: u32 = 3;

#[test]
fn a_rank() {
    if let Some((scenario, detail)) = common::scenario() {
        ranks::play(&scenario, &detail);
    }
}

/// When the last rank that did so said this word.
fn last_said(outcomes: &[Outcome], word: &str) -> u64 {
    let events = outcomes.iter().filter_map(|outcome| outcome.said(word));
    let last = events.map(|event| event.at_ns).max();
    last.unwrap_or_else(|| {
        let told: Vec<&str> = outcomes.iter().map(|outcome| outcome.output.as_str()).collect();
        panic!("nobody said {word}: {}", told.join("\n---\n"))
    })
}

/// Runs a group until its failures come in time, and checks each of them.
fn fail_within(
    limit_ns: u64,
    since: &str,
    group: impl Fn() -> Group,
    survives: impl Fn(u32) -> bool,
    check: impl Fn(&Failure),
) {
    let mut slow = Vec::new();
    for _ in 0..ATTEMPTS {
        let outcomes = group().run();
        let began_ns = last_said(&outcomes, since);
        let mut took_ns = 0;
        for outcome in outcomes.iter().filter(|outcome| survives(outcome.rank)) {
            let failure = outcome.failure();
            check(&failure);
            assert_eq!(failure.scope, "Communicator", "{failure:?}");
            assert!(failure.message.contains(&format!("rank {}: ", outcome.rank)), "{failure:?}");
            assert!(outcome.status.success(), "{}", outcome.output);
            took_ns = took_ns.max(failure.at_ns.saturating_sub(began_ns));
        }
        if took_ns <= limit_ns {
            return;
        }
        slow.push(took_ns);
    }
    panic!("failures came after {slow:?} ns, where {limit_ns} are allowed");
}

fn a_killed_rank_is_named(victim: u32, what: &str, child: &str) {
    for_each_way(|way| {
        let group = || Group::new("killed", 4).way(way).detail(format!("{victim} {what}{child}"));
        fail_within(
            SECOND_NS,
            "dies",
            group,
            |rank| rank != victim,
            |failure| {
                assert_eq!(failure.kind, "peer lost", "{way}, {what}: {failure:?}");
                assert_eq!(failure.peer, Some(victim), "{way}, {what}: {failure:?}");
                assert!(failure.message.contains(&format!("rank {victim}")), "{failure:?}");
            },
        );
    });
}

// P-28
#[test]
fn a_killed_rank_is_named_by_every_other_within_a_second() {
    for what in ["small", "ring", "tree", "barrier", "started"] {
        a_killed_rank_is_named(2, what, "");
    }
    a_killed_rank_is_named(0, "small", "");
    a_killed_rank_is_named(0, "ring", "");
}

#[test]
fn a_killed_rank_whose_child_lives_is_named_within_a_second() {
    a_killed_rank_is_named(2, "small", " child");
    a_killed_rank_is_named(1, "started", " child");
}

// P-23
#[test]
fn a_stopped_rank_is_named_by_every_other_when_time_is_up() {
    for_each_way_at_once(|way| {
        let cases = [(2u32, "small"), (0, "barrier"), (3, "ring"), (1, "started")];
        std::thread::scope(|scope| {
            for (victim, what) in cases {
                scope.spawn(move || a_stopped_rank_is_named(way, victim, what));
            }
        });
    });
}

fn a_stopped_rank_is_named(way: Way, victim: u32, what: &str) {
    let group = || {
        let detail = format!("{victim} {what}");
        Group::new("stopped", 4).way(way).detail(detail).stuck(victim)
    };
    fail_within(
        11 * SECOND_NS,
        "stops",
        group,
        |rank| rank != victim,
        |failure| {
            assert_eq!(failure.kind, "timeout", "{way}, {what}: {failure:?}");
            assert_eq!(failure.peer, Some(victim), "{way}, {what}: {failure:?}");
        },
    );
}

// P-10
#[test]
fn calls_that_differ_are_an_error_on_every_rank_that_says_who_called_what() {
    let sum = "allreduce(1000 x float32, sum)";
    let cases = [
        ("collective", "barrier()", sum),
        ("count", "allreduce(1001 x float32, sum)", sum),
        ("zero", "allreduce(0 x float32, sum)", sum),
        ("large", "allreduce(4194303 x float32, sum)", "allreduce(4194304 x float32, sum)"),
        ("dtype", "allreduce(1000 x int32, sum)", sum),
        ("op", "allreduce(1000 x float32, max)", sum),
        ("root", "broadcast(3000 x uint8, root=1)", "broadcast(3000 x uint8, root=0)"),
        ("order", "barrier()", sum),
    ];
    for_each_way(|way| {
        for (number, (what, odd_call, call)) in cases.into_iter().enumerate() {
            let odd = [2, 0, 3, 1][number % 4];
            let group = || Group::new("mismatch", 4).way(way).detail(format!("{odd} {what}"));
            fail_within(
                SECOND_NS,
                "calls",
                group,
                |_| true,
                |failure| {
                    assert_eq!(failure.kind, "mismatch", "{way}, {what}: {failure:?}");
                    let text = &failure.message;
                    assert!(text.contains(&format!("rank {odd} ")), "{way}, {what}: {failure:?}");
                    assert!(text.contains(odd_call), "{way}, {what}: {failure:?}");
                    assert!(text.contains(call), "{way}, {what}: {failure:?}");
                    assert!(failure.peer.is_some(), "{failure:?}");
                },
            );
        }
    });
}

// P-23
#[test]
fn two_ranks_that_wait_for_each_other_find_out() {
    // Each takes the other for the root.
    for_each_way(|way| {
        let group = || Group::new("mismatch", 2).way(way).detail("0 root");
        fail_within(
            SECOND_NS,
            "calls",
            group,
            |_| true,
            |failure| {
                assert_eq!(failure.kind, "mismatch", "{failure:?}");
                assert!(failure.message.contains("root=1"), "{failure:?}");
                assert!(failure.message.contains("root=0"), "{failure:?}");
            },
        );
    });
}

// P-10
#[test]
fn two_ranks_that_each_think_themselves_the_root_find_out_in_the_next_call() {
    for_each_way(|way| {
        let group = || Group::new("mismatch", 2).way(way).detail("1 root");
        fail_within(
            SECOND_NS,
            "calls",
            group,
            |_| true,
            |failure| {
                assert_eq!(failure.kind, "mismatch", "{way}: {failure:?}");
                assert!(failure.message.contains("broadcast(3000 x uint8, root="), "{failure:?}");
            },
        );
    });
}

// P-24
#[test]
fn a_refused_call_is_an_error_on_every_rank_with_its_reason() {
    for_each_way(|way| {
        for refuser in [1, 0] {
            let group = || Group::new("refused", 4).way(way).detail(refuser);
            fail_within(
                SECOND_NS,
                "calls",
                group,
                |rank| rank != refuser,
                |failure| {
                    assert_eq!(failure.kind, "refused", "{way}: {failure:?}");
                    assert_eq!(failure.peer, Some(refuser), "{way}: {failure:?}");
                    assert!(failure.message.contains("avg is not defined on int32"), "{failure:?}");
                },
            );
            let own = group().succeed()[refuser as usize].failure();
            assert_eq!((own.kind.as_str(), own.scope.as_str()), ("unsupported", "Call"));
        }
    });
}

// P-24
#[test]
fn a_call_that_every_rank_refuses_harms_nobody() {
    for_each_way(|way| drop(Group::new("refused", 4).way(way).detail("all").succeed()));
}

#[test]
fn nobody_writes_to_a_buffer_after_its_call_has_failed() {
    for_each_way(|way| {
        for how in ["started", "blocking"] {
            let outcomes = Group::new("lent", 2).way(way).detail(how).succeed();
            assert_eq!(outcomes[0].failure().kind, "timeout");
            outcomes[0].must_have_said("unchanged");
        }
        for outcome in Group::new("overtaken", 4).way(way).succeed() {
            assert_eq!(outcome.failure().kind, "aborted", "{}", outcome.output);
            outcome.must_have_said("unchanged");
        }
    });
}

// P-29
#[test]
fn a_rank_that_is_through_and_leaves_breaks_nobody() {
    for_each_driver(|driver| {
        for last in ["broadcast", "allreduce"] {
            for outcome in Group::new("leaves", 4).driver(driver).detail(last).succeed() {
                outcome.must_have_said("done");
            }
        }
    });
}

#[test]
fn a_rendezvous_port_that_somebody_else_has_is_an_error_that_says_so() {
    let foreign = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = foreign.local_addr().unwrap().port();
    let outcomes = Group::new("joins", 2)
        .env("KIRSH_RENDEZVOUS", format!("tcp://127.0.0.1:{port}"))
        .env("KIRSH_JOIN_TIMEOUT", "3")
        .deadline(20)
        .succeed();
    let failure = outcomes[0].failure();
    assert_eq!(failure.kind, "configuration", "{failure:?}");
    assert!(failure.message.contains(&port.to_string()), "{failure:?}");
    assert!(failure.message.contains("KIRSH_RENDEZVOUS"), "{failure:?}");
    let failure = outcomes[1].failure();
    assert!(failure.message.contains(&port.to_string()), "{failure:?}");
    assert!(failure.at_ns - outcomes[1].must_have_said("begins").at_ns < 6 * SECOND_NS);
}

#[test]
fn a_range_of_ports_that_is_used_up_is_an_error_that_says_so() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let outcomes = Group::new("joins", 2)
        .env("KIRSH_PORTS", format!("{port}-{port}"))
        .env("KIRSH_JOIN_TIMEOUT", "3")
        .deadline(20)
        .succeed();
    for outcome in outcomes {
        let failure = outcome.failure();
        assert_eq!(failure.kind, "system", "{failure:?}");
        assert!(failure.message.contains(&port.to_string()), "{failure:?}");
        assert!(failure.message.contains("KIRSH_PORTS"), "{failure:?}");
    }
}

#[test]
fn a_rendezvous_that_nobody_serves_is_an_error_in_time_that_lists_what_was_tried() {
    let outcomes =
        Group::new("joins", 2).absent(0).env("KIRSH_JOIN_TIMEOUT", "2").deadline(20).succeed();
    let failure = outcomes[0].failure();
    assert_eq!(failure.kind, "rendezvous", "{failure:?}");
    assert!(failure.message.contains("127.0.0.1"), "{failure:?}");
    assert!(failure.at_ns - outcomes[0].must_have_said("begins").at_ns < 4 * SECOND_NS);
}

#[test]
fn a_rank_that_never_comes_is_an_error_in_time_that_names_it() {
    let outcomes =
        Group::new("joins", 3).absent(2).env("KIRSH_JOIN_TIMEOUT", "2").deadline(20).succeed();
    for outcome in outcomes {
        let failure = outcome.failure();
        assert!(failure.message.contains('2'), "{failure:?}");
        assert!(failure.at_ns - outcome.must_have_said("begins").at_ns < 6 * SECOND_NS);
    }
}

#[test]
fn a_rank_0_that_dies_while_others_join_is_an_error_that_names_it_and_its_store() {
    // The others could wait for half a minute.
    for (scenario, world) in [("deserts", 3), ("vanishes", 2)] {
        let port = common::free_port();
        let group = Group::new(scenario, world)
            .env("KIRSH_RENDEZVOUS", format!("tcp://127.0.0.1:{port}"))
            .env("KIRSH_JOIN_TIMEOUT", "30");
        let outcomes = group.run();
        let failure = outcomes[1].failure();
        assert!(outcomes[1].status.success(), "{}", outcomes[1].output);
        assert!(failure.message.contains("rank 0"), "{failure:?}");
        // Who has the table knows rank 0's own address.
        let has_store = failure.message.contains(&format!("127.0.0.1:{port}"));
        assert!(has_store || scenario == "vanishes", "{failure:?}");
        let took_ns = failure.at_ns.saturating_sub(last_said(&outcomes, "dies"));
        assert!(took_ns < 8 * SECOND_NS, "{scenario}: after {took_ns} ns: {failure:?}");
    }
}

#[test]
fn forks_in_the_middle_of_a_loop_harm_neither_the_parent_nor_its_peers() {
    for_each_driver(|driver| {
        for outcome in Group::new("forks", 3).driver(driver).succeed() {
            outcome.must_have_said("done");
        }
    });
}

// P-25
#[test]
fn an_abort_from_another_thread_ends_a_blocked_call_on_every_rank() {
    for_each_driver(|driver| {
        for who in [0, 2] {
            let group = || Group::new("abort", 4).driver(driver).detail(who);
            fail_within(
                SECOND_NS,
                "aborts",
                group,
                |rank| rank != 3,
                |failure| {
                    assert_eq!(failure.kind, "aborted", "{driver}: {failure:?}");
                    assert_eq!(failure.peer, Some(who), "{driver}: {failure:?}");
                    assert!(failure.message.contains("the loss is not a number"), "{failure:?}");
                },
            );
            let idle = group().succeed()[3].failure();
            assert_eq!((idle.kind.as_str(), idle.peer), ("aborted", Some(who)), "{idle:?}");
        }
    });
}

fn all_done(scenario: &'static str, world: u32) {
    for_each_driver(|driver| {
        for outcome in Group::new(scenario, world).driver(driver).succeed() {
            outcome.must_have_said("done");
        }
    });
}

#[test]
fn a_wait_that_runs_out_leaves_the_operation_running() {
    all_done("patience", 3);
}

#[test]
fn communicators_can_be_made_again_and_leave_nothing_open() {
    all_done("again", 3);
}

#[test]
fn a_world_of_one_works() {
    all_done("alone", 1);
}

#[test]
fn two_communicators_run_side_by_side() {
    all_done("two", 3);
}
