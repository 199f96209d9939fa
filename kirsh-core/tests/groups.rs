//! Communicators made from communicators: who is in them, that they run and fail apart from one
//! another, and that nothing of them is left when they close. Real processes, both drivers.

mod common;
#[path = "groups/ranks.rs"]
mod ranks;

use common::{Failure, Group, Outcome, for_each_driver};

#[test]
fn a_rank() {
    if let Some((scenario, detail)) = common::scenario() {
        ranks::play(&scenario, &detail);
    }
}

#[test]
fn groups_have_the_members_and_ranks_that_were_asked_for_and_outlive_their_parent() {
    for_each_driver(|driver| drop(Group::new("members", 5).driver(driver).succeed()));
}

#[test]
fn groups_run_apart_from_many_threads_and_in_opposite_orders() {
    for_each_driver(|driver| drop(Group::new("apart", 4).driver(driver).succeed()));
}

#[test]
fn a_hundred_groups_leave_no_descriptor_and_no_thread_and_at_once_add_no_thread() {
    for_each_driver(|driver| drop(Group::new("hundred", 3).driver(driver).succeed()));
}

#[test]
fn calls_that_do_not_fit_fail_on_every_rank_and_the_parent_goes_on() {
    for_each_driver(|driver| drop(Group::new("misfits", 4).driver(driver).succeed()));
}

#[test]
fn a_list_that_one_rank_cannot_mean_fails_on_all() {
    for_each_driver(|driver| {
        for outcome in Group::new("refused", 3).driver(driver).run() {
            let failure = outcome.failure();
            let kind = if outcome.rank == 1 { "invalid argument" } else { "refused" };
            assert_eq!(failure.kind, kind, "{failure:?}");
            assert!(failure.message.contains("9 is not a rank"), "{failure:?}");
            assert!(failure.message.contains("subgroup #0: "), "{failure:?}");
            let refused = failure.message.contains("rank 1 refused subgroup(): 9 is not");
            assert_eq!(refused, outcome.rank != 1, "{failure:?}");
            assert!(outcome.status.success(), "{}", outcome.output);
        }
    });
}

#[test]
fn a_call_that_makes_a_communicator_is_named_where_it_meets_another() {
    for_each_driver(|driver| {
        for (detail, name) in [("split", "split"), ("dup", "dup"), ("subgroup", "subgroup")] {
            let outcomes = Group::new("meets another", 3).driver(driver).detail(detail).succeed();
            for failure in outcomes.iter().map(Outcome::failure) {
                assert_eq!(failure.kind, "mismatch", "{failure:?}");
                let called = format!("called {name}()");
                assert!(failure.message.contains(&called), "{failure:?}");
                let own = if failure.rank == 1 { "allgather" } else { name };
                assert!(failure.message.contains(&format!("{own} #0: ")), "{failure:?}");
            }
        }
    });
}

#[test]
fn a_rank_that_dies_in_a_split_is_named_by_the_others() {
    for_each_driver(|driver| {
        let outcomes = Group::new("dies in a split", 4).driver(driver).run();
        for failure in survivors(&outcomes, 2) {
            assert_eq!(
                (failure.kind.as_str(), failure.peer),
                ("peer lost", Some(2)),
                "{failure:?}"
            );
            assert!(failure.message.contains("split #0: "), "{failure:?}");
        }
    });
}

#[test]
fn a_rank_that_dies_fails_the_groups_that_it_is_in_and_no_other() {
    for_each_driver(|driver| {
        let outcomes = Group::new("dies", 4).driver(driver).run();
        for failure in survivors(&outcomes, 1) {
            assert_eq!(failure.kind, "peer lost", "{failure:?}");
            match failure.rank {
                // Together with 1 in a group of their own, in which that is rank 1 and 0.
                0 => assert_eq!(failure.peer, Some(1), "{failure:?}"),
                2 => {
                    assert_eq!(failure.peer, Some(0), "{failure:?}");
                    let note = "(rank 0 of this communicator is rank 1 of the first)";
                    assert!(failure.message.ends_with(note), "{failure:?}");
                }
                // In no group with it, but in the world.
                _ => assert_eq!(failure.peer, Some(1), "{failure:?}"),
            }
        }
    });
}

/// What became of all ranks but one.
fn survivors(outcomes: &[Outcome], victim: u32) -> impl Iterator<Item = Failure> {
    outcomes.iter().filter(move |outcome| outcome.rank != victim).map(|outcome| {
        assert!(outcome.status.success(), "{}", outcome.output);
        outcome.failure()
    })
}

// P-25
#[test]
fn an_abort_reaches_members_that_have_no_link_to_one_another_and_ends_no_other_group() {
    for_each_driver(|driver| {
        let outcomes = Group::new("aborts", 6).driver(driver).succeed();
        let failure = outcomes[4].failure();
        assert_eq!((failure.kind.as_str(), failure.peer), ("aborted", Some(0)), "{failure:?}");
        assert!(failure.message.contains("enough of this"), "{failure:?}");
        assert!(failure.message.contains("is rank 1 of the first"), "{failure:?}");
    });
}

// P-26
#[test]
fn a_member_that_closes_a_group_is_missed_there_and_nowhere_else() {
    for_each_driver(|driver| {
        for detail in ["fresh", "used"] {
            let outcomes = Group::new("closes", 3).driver(driver).detail(detail).succeed();
            for failure in survivors(&outcomes, 1) {
                let told = (failure.kind.as_str(), failure.peer);
                assert_eq!(told, ("peer lost", Some(1)), "{detail}: {failure:?}");
            }
        }
    });
}

#[test]
fn in_a_forked_child_the_handles_of_groups_are_dead() {
    for_each_driver(|driver| drop(Group::new("forks", 2).driver(driver).succeed()));
}
