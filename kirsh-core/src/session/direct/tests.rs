//! Messages against the plainest matcher there is, in every order that chance finds, and the rules
//! one by one.

mod late;
mod model;

use std::collections::BTreeMap;

use model::World;

use super::{Action, Direct, Landing, Request, Side, Source, Tag};
use crate::error::{Error, ErrorKind, Scope};
use crate::limits::{EAGER_BYTES_MAX, EAGER_WINDOW_BYTES, EAGER_WINDOW_MESSAGES, SLICE_BYTES_MAX};
use crate::types::{DataType, Rank};
use crate::wire::{DirectFrame, FrameKind};

/// Lengths on both sides of every limit.
const LENGTHS: [u64; 7] = [0, 1, 1000, 16_384, 16_385, 300_000, (2 << 20) + 5];

fn random_messages(world: u32, seed: u64) {
    let mut w = World::new(world, seed);
    let messages = 60 + w.random.below(60);
    // Messages of several slices are rare, for they take long.
    let (lengths, room) = if seed.is_multiple_of(20) { (7, 3 << 20) } else { (5, 16_400) };
    // What each rank is sent, so that it can post as many receives.
    let mut due: Vec<Vec<(Rank, u32)>> = vec![Vec::new(); world as usize];
    let mut sends = Vec::new();
    for n in 0..messages {
        let from = w.random.below(world.into()) as Rank;
        let to = w.random.below(world.into()) as Rank;
        let tag = w.random.below(3) as u32;
        let count = LENGTHS[w.random.below(lengths) as usize];
        due[to as usize].push((from, tag));
        sends.push((from, to, tag, n as u8, count));
    }
    let mut receives = Vec::new();
    for (rank, due) in due.iter().enumerate() {
        // Either all by name, or all by wildcard: each has its message then.
        let by_name = w.random.below(2) == 0;
        for (from, tag) in due {
            let source = if by_name { Source::Rank(*from) } else { Source::Any };
            let tag = if w.random.below(2) == 0 && !by_name { Tag::Any } else { Tag::Is(*tag) };
            receives.push((rank as Rank, source, if by_name { tag } else { Tag::Any }));
        }
    }
    let mut sent: BTreeMap<(Rank, Rank, u32), Vec<(u8, u64)>> = BTreeMap::new();
    let mut tickets = Vec::new();
    sends.reverse();
    while !sends.is_empty() || !receives.is_empty() {
        match w.random.below(4) {
            0 => {
                if let Some((from, to, tag, value, count)) = sends.pop() {
                    sent.entry((from, to, tag)).or_default().push((value, count));
                    w.send(from, to, tag, value, count);
                }
            }
            1 if !receives.is_empty() => {
                let at = w.random.below(receives.len() as u64) as usize;
                let (rank, from, tag) = receives.swap_remove(at);
                tickets.push((rank, w.receive(rank, from, tag, room)));
            }
            _ => drop(w.step()),
        }
    }
    w.settle();
    w.check_clean();
    let window = (u64::from(world) * EAGER_WINDOW_MESSAGES) as usize;
    assert!(w.parties.iter().all(|party| party.slabs_max <= window));
    // Who got what: as the naive matcher says, and of each rank and tag in order.
    tickets.sort();
    let expected: Vec<_> = w.parties.iter().map(|party| party.expected()).collect();
    for (rank, ticket) in &tickets {
        let (result, _) = w.outcome(*rank, *ticket);
        let received = result.clone().expect("no error").expect("a message");
        let pair = expected[*rank as usize].get(ticket);
        assert_eq!(pair, Some(&(received.source, received.tag)), "seed {seed}");
    }
    let mut got: BTreeMap<(Rank, Rank, u32), Vec<(u8, u64)>> = BTreeMap::new();
    for rank in 0..world {
        for (ticket, (from, tag)) in &expected[rank as usize] {
            let (result, memory) = w.outcome(rank, *ticket);
            let count = result.clone().expect("no error").expect("a message").count;
            let value = memory.first().copied().filter(|_| count > 0);
            assert!(memory[..count].iter().all(|byte| Some(*byte) == value), "seed {seed}");
            assert!(memory[count..].iter().all(|byte| *byte == 0xee), "seed {seed}");
            let list = got.entry((*from, rank, *tag)).or_default();
            list.push((value.unwrap_or(0), count as u64));
        }
    }
    for (key, list) in sent {
        let mut list: Vec<_> = list
            .iter()
            .map(|(value, count)| (if *count > 0 { *value } else { 0 }, *count))
            .collect();
        let mut other = got.remove(&key).unwrap_or_default();
        list.sort();
        other.sort();
        assert_eq!(list, other, "seed {seed}, {key:?}");
    }
}

#[test]
fn two_parties_match_as_the_naive_matcher_does() {
    (0..100).for_each(|seed| random_messages(2, seed));
}

#[test]
fn three_parties_match_as_the_naive_matcher_does() {
    (1000..1100).for_each(|seed| random_messages(3, seed));
}

// P-53
#[test]
fn messages_under_one_tag_keep_their_order_however_long_they_are() {
    for seed in 0..20 {
        let mut w = World::new(2, seed);
        let mut sends = Vec::new();
        let mut receives = Vec::new();
        for n in 0..100u8 {
            let count = LENGTHS[1 + w.random.below(5) as usize];
            sends.push((n, count));
            w.send(0, 1, 5, n, count);
            if w.random.below(2) == 0 {
                receives.push(w.receive(1, Source::Rank(0), Tag::Is(5), 300_000));
            }
            while w.random.below(3) != 0 && w.step() {}
        }
        while receives.len() < 100 {
            receives.push(w.receive(1, Source::Any, Tag::Any, 300_000));
            while w.random.below(3) != 0 && w.step() {}
        }
        w.settle();
        w.check_clean();
        for ((value, count), ticket) in sends.into_iter().zip(receives) {
            let (result, memory) = w.outcome(1, ticket);
            let received = result.clone().unwrap().unwrap();
            assert_eq!((memory[0], received.count as u64), (value, count), "seed {seed}");
        }
    }
}

// P-56
#[test]
fn expired_operations_give_their_memory_back_and_leave_the_others_alone() {
    let mut ended_early = 0;
    for seed in 0..100 {
        let mut w = World::new(2, seed);
        let mut tickets = Vec::new();
        for n in 0..60u8 {
            let until = w.now_ns + 1 + w.random.below(40);
            let count = LENGTHS[w.random.below(6) as usize];
            let tag = w.random.below(2) as u32;
            let expires = w.random.below(3) == 0;
            let until = if expires { until } else { u64::MAX };
            if w.random.below(2) == 0 {
                tickets.push((0, w.send_until(0, 1, tag, n, count, until)));
            } else {
                let of = (Source::Rank(0), Tag::Is(tag));
                tickets.push((1, w.receive_until(1, of.0, of.1, 300_000, until)));
            }
            while w.random.below(3) != 0 && w.step() {}
            let ns = w.random.below(10);
            w.pass(ns);
        }
        w.settle();
        // Whatever is without its other half ends when its own time comes: nobody has to fail.
        for tag in 0..2 {
            for _ in 0..60 {
                let until = w.now_ns + 5;
                tickets
                    .push((1, w.receive_until(1, Source::Rank(0), Tag::Is(tag), 300_000, until)));
                w.settle();
            }
        }
        w.pass(100);
        w.settle();
        for _ in 0..120 {
            for tag in 0..2 {
                let until = w.now_ns + 5;
                tickets.push((0, w.send_until(0, 1, tag, 1, 10, until)));
            }
        }
        w.settle();
        // The window may be too full for the last of them.
        w.pass(100);
        w.settle();
        for (rank, party) in w.parties.iter().enumerate() {
            assert!(party.failed.is_none(), "seed {seed}, rank {rank}: {:?}", party.failed);
        }
        for (rank, ticket) in tickets {
            let (result, memory) = w.outcome(rank, ticket);
            match result {
                Ok(Some(received)) => {
                    let got = &memory[..received.count];
                    assert!(got.iter().all(|byte| *byte == got[0]), "seed {seed}");
                }
                Ok(None) => {}
                Err(error) => {
                    ended_early += 1;
                    assert_eq!((error.kind(), error.scope()), (ErrorKind::Timeout, Scope::Call));
                }
            }
        }
    }
    assert!(ended_early > 100, "{ended_early}");
}

fn alone(rank: Rank) -> Direct {
    let mut direct = Direct::new(model::settings(rank, 3));
    direct.handle_link_up(0, Side::Inward);
    direct
}

fn frame(kind: FrameKind) -> DirectFrame {
    DirectFrame::new(kind, 9, 1, true)
}

fn failure(direct: &mut Direct) -> Option<Error> {
    std::iter::from_fn(|| direct.poll()).find_map(|action| match action {
        Action::Fail { error } => Some(error),
        _ => None,
    })
}

fn eager(sequence: u64, length: u32) -> DirectFrame {
    DirectFrame { sequence, length, count: length.into(), ..frame(FrameKind::Eager) }
}

/// Frames that no peer in its right mind sends end the communicator, and name the peer.
fn is_refused(direct: &mut Direct, frame: &DirectFrame, what: &str) {
    assert_eq!(direct.handle_frame(0, Side::Inward, frame), Landing::Refused, "{what}");
    let error = failure(direct).unwrap_or_else(|| panic!("{what} was accepted"));
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Protocol, Some(0)), "{error}");
    assert!(error.message().contains(what), "{error}");
}

// P-53
#[test]
fn a_message_out_of_turn_is_refused() {
    is_refused(&mut alone(1), &eager(1, 5), "out of turn");
    let mut direct = alone(1);
    direct.handle_frame(0, Side::Inward, &eager(0, 0));
    direct.handle_payload(0, Side::Inward, true);
    is_refused(&mut direct, &eager(0, 0), "out of turn");
}

// P-54
#[test]
fn more_than_the_window_is_refused_and_a_whole_window_is_not() {
    for (count, length) in [
        (EAGER_WINDOW_MESSAGES, 1),
        (EAGER_WINDOW_BYTES / EAGER_BYTES_MAX as u64, EAGER_BYTES_MAX as u32),
    ] {
        let mut direct = alone(1);
        for n in 0..count {
            let landing = direct.handle_frame(0, Side::Inward, &eager(n, length));
            assert!(matches!(landing, Landing::Slab(_)), "{n}: {landing:?}");
            direct.handle_payload(0, Side::Inward, true);
        }
        is_refused(&mut direct, &eager(count, length), "given it room for");
    }
}

// P-55
#[test]
fn payload_that_nobody_asked_for_is_refused() {
    let data = DirectFrame { length: 10, ..frame(FrameKind::Data) };
    is_refused(&mut alone(1), &data, "not asked for");
    let announce = DirectFrame { count: 3 << 20, ..frame(FrameKind::Announce) };
    let mut direct = alone(1);
    direct.handle_frame(0, Side::Inward, &announce);
    direct.handle_payload(0, Side::Inward, true);
    is_refused(&mut direct, &data, "not asked for");
    let asked = || {
        let mut direct = alone(1);
        let (from, tag, dtype) = (Source::Any, Tag::Any, DataType::Byte);
        let deadline_ns = u64::MAX;
        direct.start(Request::Receive { from, tag, dtype, count: 3 << 20, deadline_ns });
        direct.handle_frame(0, Side::Inward, &announce);
        direct.handle_payload(0, Side::Inward, true);
        direct
    };
    let whole = DirectFrame { length: SLICE_BYTES_MAX as u32, ..frame(FrameKind::Data) };
    assert!(matches!(asked().handle_frame(0, Side::Inward, &whole), Landing::Place(_, 0)));
    is_refused(&mut asked(), &data, "another slice");
    is_refused(&mut asked(), &DirectFrame { step: 1, ..whole }, "another slice");
}

#[test]
fn frames_that_are_not_of_this_link_are_refused() {
    let other = DirectFrame { communicator: 8, ..eager(0, 1) };
    is_refused(&mut alone(1), &other, "another communicator");
    let other = DirectFrame { epoch: 2, ..eager(0, 1) };
    is_refused(&mut alone(1), &other, "another communicator");
    let other = DirectFrame { checksummed: false, ..eager(0, 1) };
    is_refused(&mut alone(1), &other, "trailer flag");
    is_refused(&mut alone(1), &frame(FrameKind::Credit), "a link that it sends on");
    is_refused(&mut alone(1), &frame(FrameKind::Clear), "a link that it sends on");
    let withdraw = DirectFrame { sequence: 0, ..frame(FrameKind::Withdraw) };
    is_refused(&mut alone(1), &withdraw, "never announced");
}

// P-54, P-55
#[test]
fn answers_to_what_was_never_said_are_refused() {
    for (answer, what) in [
        (DirectFrame { sequence: 1, ..frame(FrameKind::Credit) }, "never sent"),
        (DirectFrame { count: 1, ..frame(FrameKind::Credit) }, "never sent"),
        (frame(FrameKind::Clear), "never sent"),
        (eager(0, 1), "a link that it answers on"),
    ] {
        let mut direct = alone(1);
        direct.handle_link_up(2, Side::Outward);
        assert_eq!(direct.handle_frame(2, Side::Outward, &answer), Landing::Refused);
        let error = failure(&mut direct).expect("a refusal");
        assert!(error.message().contains(what), "{error}");
    }
}

#[test]
fn a_checksum_that_does_not_fit_ends_the_communicator() {
    let mut direct = alone(1);
    direct.handle_frame(0, Side::Inward, &eager(0, 5));
    direct.handle_payload(0, Side::Inward, false);
    let error = failure(&mut direct).expect("a failure");
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Corrupt, Some(0)), "{error}");
}

#[test]
fn a_lost_peer_fails_what_needs_it_and_nothing_else() {
    let lost = || Error::new(ErrorKind::PeerLost, "gone").with_peer(2);
    let receive = |from| Request::Receive {
        from,
        tag: Tag::Any,
        dtype: DataType::Byte,
        count: 1,
        deadline_ns: u64::MAX,
    };
    let mut direct = alone(1);
    direct.start(receive(Source::Rank(0)));
    direct.start(receive(Source::Any));
    direct.handle_peer_lost(2, lost(), false);
    assert!(failure(&mut direct).is_none(), "nobody needs rank 2");
    direct.start(receive(Source::Rank(2)));
    assert_eq!(failure(&mut direct).expect("a failure").peer(), Some(2));
    // From anybody: when nobody is left.
    let mut direct = alone(1);
    direct.start(receive(Source::Any));
    direct.handle_peer_lost(2, lost(), false);
    let end = Error::new(ErrorKind::PeerLost, "ended").with_peer(0);
    direct.handle_link_down(0, Side::Inward, end);
    direct.handle_tick(u64::MAX - 1);
    assert!(failure(&mut direct).is_some(), "nobody is left");
}

#[test]
fn the_end_of_a_link_gives_way_to_what_explains_more() {
    let mut direct = alone(1);
    let (from, tag, dtype) = (Source::Rank(0), Tag::Any, DataType::Byte);
    let ticket =
        direct.start(Request::Receive { from, tag, dtype, count: 1, deadline_ns: u64::MAX });
    direct.handle_tick(5);
    direct.handle_link_down(0, Side::Inward, Error::new(ErrorKind::PeerLost, "closed"));
    assert!(failure(&mut direct).is_none(), "suspicious only");
    assert!(direct.next_deadline() < u64::MAX);
    direct.handle_over(Error::new(ErrorKind::Aborted, "why").with_scope(Scope::Communicator));
    direct.handle_drained();
    let result = std::iter::from_fn(|| direct.poll()).find_map(|action| match action {
        Action::Finish { ticket: other, result } if other == ticket => Some(result),
        _ => None,
    });
    assert_eq!(result.expect("an end").expect_err("an error").kind(), ErrorKind::Aborted);
    // And so do later ones.
    direct.start(Request::Receive { from, tag, dtype, count: 1, deadline_ns: u64::MAX });
    let next = direct.poll();
    assert!(
        matches!(&next, Some(Action::Finish { result: Err(error), .. })
        if error.kind() == ErrorKind::Aborted),
        "{next:?}"
    );
}
