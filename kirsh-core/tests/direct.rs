//! Messages from rank to rank, in real processes over both drivers: order, tags, sources, lengths,
//! what waits for what and what does not, and what becomes of messages when things go wrong.

mod common;
#[path = "direct/ranks.rs"]
mod ranks;

use common::{Group, Outcome, for_each_driver, for_each_way};

#[test]
fn a_rank() {
    if let Some((scenario, detail)) = common::scenario() {
        ranks::play(&scenario, &detail);
    }
}

// P-52, P-55
#[test]
fn messages_of_every_length_arrive_as_they_were_sent() {
    for_each_way(|way| drop(Group::new("lengths", 2).way(way).succeed()));
}

// P-53
#[test]
fn messages_of_one_rank_and_tag_keep_their_order_and_tags_keep_apart() {
    for_each_driver(|driver| drop(Group::new("order", 3).driver(driver).succeed()));
}

#[test]
fn a_receive_from_any_source_hears_everybody() {
    for_each_driver(|driver| drop(Group::new("anybody", 4).driver(driver).succeed()));
}

// P-54
#[test]
fn a_receive_is_not_held_up_by_messages_under_another_tag() {
    for_each_way(|way| drop(Group::new("behind", 2).way(way).succeed()));
}

#[test]
fn exchanges_in_a_ring_and_of_long_messages_both_ways_end() {
    for_each_driver(|driver| drop(Group::new("exchange", 4).driver(driver).succeed()));
}

#[test]
fn a_rank_sends_to_itself() {
    for_each_driver(|driver| drop(Group::new("oneself", 1).driver(driver).succeed()));
}

#[test]
fn what_does_not_fit_is_dropped_and_the_next_message_comes() {
    for_each_driver(|driver| drop(Group::new("misfits", 2).driver(driver).succeed()));
}

// P-56
#[test]
fn operations_whose_time_is_up_give_their_buffers_back_and_harm_nobody() {
    for_each_way(|way| drop(Group::new("expires", 2).way(way).succeed()));
}

#[test]
fn messages_and_collectives_do_not_disturb_one_another() {
    for_each_driver(|driver| drop(Group::new("both", 3).driver(driver).succeed()));
}

// P-57
#[test]
fn what_was_sent_before_a_rank_left_is_received() {
    for_each_way(|way| drop(Group::new("leaves", 2).way(way).succeed()));
}

fn last_said(outcomes: &[Outcome], word: &str) -> u64 {
    let events = outcomes.iter().filter_map(|outcome| outcome.said(word));
    events.map(|event| event.at_ns).max().unwrap_or_else(|| panic!("nobody said {word}"))
}

/// How often a test of a time limit is tried: a busy host may keep a rank from running for longer
/// than that. What is said is checked each time.
const ATTEMPTS: u32 = 3;

// P-28, P-57
#[test]
fn a_killed_rank_is_named_by_those_who_need_it_within_a_second() {
    for what in ["receive", "rendezvous", "transfer", "anybody"] {
        for_each_driver(|driver| {
            let mut slow = Vec::new();
            for _ in 0..ATTEMPTS {
                let outcomes = Group::new("killed", 2).driver(driver).detail(what).run();
                let failure = outcomes[0].failure();
                assert!(outcomes[0].status.success(), "{}", outcomes[0].output);
                assert_eq!((failure.kind.as_str(), failure.peer), ("peer lost", Some(1)), "{what}");
                assert_eq!(failure.scope, "Communicator", "{failure:?}");
                assert!(failure.message.contains("rank 1"), "{failure:?}");
                let took_ns = failure.at_ns.saturating_sub(last_said(&outcomes, "dies"));
                if took_ns <= 1_000_000_000 {
                    return;
                }
                slow.push(took_ns);
            }
            panic!("{what}: failures came after {slow:?} ns");
        });
    }
}

#[test]
fn an_abort_ends_messages_that_wait() {
    for_each_driver(|driver| drop(Group::new("aborts", 2).driver(driver).succeed()));
}

#[test]
fn messages_know_the_ranks_of_their_communicator() {
    for_each_driver(|driver| drop(Group::new("split", 4).driver(driver).succeed()));
}

#[test]
fn in_a_forked_child_messages_are_refused_and_the_parent_goes_on() {
    for_each_driver(|driver| drop(Group::new("forks", 2).driver(driver).succeed()));
}
