//! How a session behaves towards its peers, rule by rule of `docs/PROTOCOL.md`: what it takes,
//! what it says and when. Whole worlds of sessions are the simulator's part.

use std::sync::Arc;

use super::*;
use crate::plan::Step;
use crate::types::{Algorithm, Collective, DataType, ReduceOp, Span, Wire};
use crate::wire::control::Message;
use crate::wire::header::FrameKind;

const MS: u64 = 1_000_000;
const KEY: u64 = 0x1234;

/// Steps written down one by one.
struct Steps(Vec<Step>);

impl Plan for Steps {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn step(&self, index: u64) -> Option<Step> {
        self.0.get(index as usize).copied()
    }
}

fn settings() -> Settings {
    Settings {
        rank: 0,
        world: 4,
        communicator: 7,
        epoch: 1,
        look_ahead: 8,
        slabs_per_link: 2,
        checksums: true,
        warn_after_ns: u64::MAX,
        dealing: Dealing::even(),
    }
}

fn call() -> Call {
    Call {
        collective: Collective::Broadcast,
        algorithm: Algorithm::Chain,
        dtype: DataType::Byte,
        op: ReduceOp::Sum,
        root: 1,
        count: 8,
        wire: Wire::Plain,
    }
}

fn operation(steps: Vec<Step>) -> Operation {
    Operation {
        call: call(),
        plan: Arc::new(Steps(steps)),
        key: KEY,
        stripes: 1,
        alias: Alias::None,
        deadline_ns: u64::MAX,
    }
}

fn from_rank_1() -> Vec<Step> {
    vec![Step::Recv { peer: 1, target: Span::output(0, 8) }]
}

/// Rank 0 of 4, with links to all.
fn session() -> Session {
    let mut session = Session::new(settings());
    (1..4).for_each(|peer| session.handle_link_up(peer, 0));
    session
}

fn actions(session: &mut Session) -> Vec<Action> {
    std::iter::from_fn(|| session.poll()).collect()
}

#[test]
fn whom_a_session_waits_for_is_whom_its_earliest_step_in_the_plan_waits_for() {
    let mut session = session();
    assert_eq!(session.awaited_peer(), None);
    let steps = [3, 1, 2].map(|peer| {
        let at = u64::from(peer) * 8;
        Step::Recv { peer, target: Span::output(at, 8) }
    });
    session.enqueue(operation(steps.into())).unwrap();
    let slots: Vec<(Slot, Rank)> = actions(&mut session)
        .into_iter()
        .filter_map(|action| match action {
            Action::Receive { slot, peer, .. } => Some((slot, peer)),
            _ => None,
        })
        .collect();
    let mut receive = |peer| {
        let (slot, _) = slots.iter().find(|(_, of)| *of == peer).unwrap();
        session.handle_received(*slot);
        session.handle_verified(*slot);
        session.awaited_peer()
    };
    assert_eq!([receive(1), receive(3), receive(2)], [Some(3), Some(2), None]);
}

/// Begins an operation that waits for eight bytes from rank 1; gives the slot and the header due.
fn receiving(session: &mut Session) -> (Slot, Header) {
    session.enqueue(operation(from_rank_1())).unwrap();
    match actions(session).pop() {
        Some(Action::Receive { slot, expected, .. }) => (slot, expected),
        other => panic!("{other:?} instead of a receive"),
    }
}

fn receive(session: &mut Session, slot: Slot, header: &Header) {
    assert!(session.handle_header(slot, header));
    session.handle_received(slot);
    session.handle_verified(slot);
}

fn stalled(origin: Rank, sequence: Sequence, key: u64, blame: Rank) -> Message {
    let (communicator, epoch) = (7, 1);
    Message::Stalled { communicator, epoch, origin, to: 0, sequence, key, call: call(), blame }
}

fn refused(origin: Rank, sequence: Sequence) -> Message {
    Message::Refused {
        communicator: 7,
        epoch: 1,
        origin,
        sequence,
        call: call(),
        kind: ErrorKind::InvalidArgument,
        reason: "a buffer too short".to_owned(),
    }
}

fn abort(origin: Rank, sequence: Option<Sequence>, kind: ErrorKind) -> Message {
    let reason = "enough".to_owned();
    Message::Abort { communicator: 7, epoch: 1, origin, sequence, about: None, kind, reason }
}

/// Whom the session blames in what it now says of standing still, by addressee.
fn blames(session: &mut Session) -> Vec<(Rank, Rank)> {
    let said = actions(session).into_iter().filter_map(|action| match action {
        Action::Control { message: Message::Stalled { to, blame, .. }, .. } => Some((to, blame)),
        _ => None,
    });
    said.collect()
}

fn aborts(actions: &[Action]) -> usize {
    let is_abort =
        |action: &&Action| matches!(action, Action::Control { message: Message::Abort { .. }, .. });
    actions.iter().filter(is_abort).count()
}

// P-10: counts that only two ranks know are in no key; a frame's length tells.
#[test]
fn counts_that_do_not_agree_are_a_mismatch_that_says_so() {
    let exchange = || {
        let mut operation = operation(from_rank_1());
        operation.call = Call { collective: Collective::Alltoallv, count: 0, ..call() };
        operation
    };
    let expect = |session: &Session, words: &str| {
        let error = session.failure().expect("a failure");
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Mismatch, Some(1)), "{error}");
        assert!(error.message().contains(words), "{error}");
    };
    let begin = |session: &mut Session| {
        session.enqueue(exchange()).unwrap();
        match actions(session).pop() {
            Some(Action::Receive { slot, expected, .. }) => (slot, expected),
            other => panic!("{other:?} instead of a receive"),
        }
    };
    let mut shorter = session();
    let (slot, header) = begin(&mut shorter);
    assert!(!shorter.handle_header(slot, &Header { length: 7, ..header }));
    expect(&shorter, "frame 0 from rank 1 has 7 bytes where rank 0 expected frame 0 of 8");

    let mut more = session();
    let (slot, header) = begin(&mut more);
    receive(&mut more, slot, &header);
    actions(&mut more);
    let (slot, _) = begin(&mut more);
    assert!(!more.handle_header(slot, &Header { step: 1, ..header }));
    expect(&more, "rank 1 sent more of call #0 alltoallv");
}

// P-10, P-14, P-16
#[test]
fn a_frame_that_differs_in_any_field_ends_the_communicator() {
    type Change = fn(&mut Header);
    let cases: [(Change, ErrorKind, &str); 9] = [
        (|header| header.kind = FrameKind::Control, ErrorKind::Protocol, "another communicator"),
        (|header| header.communicator += 1, ErrorKind::Protocol, "another communicator"),
        (|header| header.epoch += 1, ErrorKind::Protocol, "another communicator"),
        (|header| header.call = None, ErrorKind::Mismatch, "called different things"),
        (|header| header.key += 1, ErrorKind::Mismatch, "would cut it differently"),
        (|header| header.checksummed = false, ErrorKind::Mismatch, "carry checksums"),
        (|header| header.step += 1, ErrorKind::Protocol, "frame 1 of 8 bytes where frame 0"),
        (|header| header.length -= 1, ErrorKind::Protocol, "frame 0 of 7 bytes where"),
        (|header| header.sequence = 0, ErrorKind::Mismatch, "ranks are at different calls"),
    ];
    for (change, kind, text) in cases {
        let mut session = session();
        let (slot, header) = receiving(&mut session);
        receive(&mut session, slot, &header);
        let (slot, mut header) = receiving(&mut session);
        change(&mut header);
        assert!(!session.handle_header(slot, &header));
        let error = session.failure().unwrap_or_else(|| panic!("{text}: nothing failed")).clone();
        assert_eq!((error.kind(), error.peer()), (kind, Some(1)), "{error}");
        assert!(error.message().contains(text), "{text:?} is missing in {error}");
    }
    let mut session = session();
    let (slot, header) = receiving(&mut session);
    let other_call = Some(Call { count: 9, ..call() });
    assert!(!session.handle_header(slot, &Header { call: other_call, ..header }));
    assert_eq!(session.failure().unwrap().kind(), ErrorKind::Mismatch);
}

// P-10, P-46
#[test]
fn ranks_whose_elements_travel_differently_hear_which_way_each_has() {
    let mut session = session();
    let (slot, header) = receiving(&mut session);
    let theirs = Some(Call { wire: Wire::Bf16, ..call() });
    assert!(!session.handle_header(slot, &Header { call: theirs, key: 1, ..header }));
    let error = session.failure().expect("a mismatch");
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    let text = "with different wire formats: rank 1 with bf16, rank 0 with none";
    assert!(error.message().contains(text), "{error}");
}

// P-10
#[test]
fn a_frame_of_a_later_call_gives_the_reason_for_it_time_to_come() {
    let late = |told: bool| {
        let mut session = session();
        let (slot, header) = receiving(&mut session);
        assert!(!session.handle_header(slot, &Header { sequence: 1, ..header }));
        assert!(session.failure().is_none());
        session.handle_tick(1);
        session.handle_tick(299 * MS);
        assert!(session.failure().is_none());
        if told {
            session.handle_message(&refused(1, 0));
        }
        session.handle_tick(301 * MS);
        session.failure().unwrap().kind()
    };
    assert_eq!(late(false), ErrorKind::Mismatch);
    assert_eq!(late(true), ErrorKind::Refused);
}

// P-17
#[test]
fn a_corrupt_payload_ends_the_communicator_with_nothing_of_it_sent_on_and_no_call_finished() {
    let span = Span::output(0, 8);
    let (finish, wire) = (crate::plan::Finish::Keep, Wire::Plain);
    let folded = Step::RecvReduce { peer: 1, with: span, into: span, finish, wire };
    for step in [Step::Recv { peer: 1, target: span }, folded] {
        let mut session = session();
        let on = Step::Send { peer: 2, source: span };
        session.enqueue(operation(vec![step, on])).unwrap();
        let Some(Action::Receive { slot, expected, .. }) = session.poll() else { panic!() };
        assert!(session.handle_header(slot, &expected));
        session.handle_received(slot);
        let begun = actions(&mut session);
        match step {
            // Whoever folds finds out.
            Step::RecvReduce { .. } => assert!(matches!(begun[..], [Action::Fold { .. }])),
            _ => assert!(begun.is_empty(), "{begun:?}"),
        }
        session.handle_corrupt(slot);
        let after = actions(&mut session);
        let goes_on = |action: &Action| {
            matches!(action, Action::Send { .. } | Action::Finish { result: Ok(()), .. })
        };
        assert!(!after.iter().any(goes_on), "{after:?}");
        let failure = session.failure().unwrap();
        assert_eq!((failure.kind(), failure.peer()), (ErrorKind::Corrupt, Some(1)));
    }
}

#[test]
fn a_session_knows_how_many_live_steps_send_just_what_a_step_writes() {
    let (span, half) = (Span::output(0, 8), Span::output(0, 4));
    let mut session = session();
    let sends = [(2, span), (3, span), (3, half)];
    let sends = sends.map(|(peer, source)| Step::Send { peer, source });
    let steps = std::iter::once(Step::Recv { peer: 1, target: span }).chain(sends);
    session.enqueue(operation(steps.collect())).unwrap();
    let Some(Action::Receive { slot, expected, .. }) = session.poll() else { panic!() };
    assert_eq!(session.forwarded(slot), (span, 2));
    receive(&mut session, slot, &expected);
    assert_eq!(
        actions(&mut session).iter().filter(|a| matches!(a, Action::Send { .. })).count(),
        2
    );
}

// P-23
#[test]
fn standing_still_is_told_after_100_ms_and_every_500_and_not_after_a_step_on() {
    let mut session = session();
    let (slot, header) = receiving(&mut session);
    for (at_ms, told) in [(99, false), (100, true), (599, false), (600, true), (1100, true)] {
        session.handle_tick(at_ms * MS);
        let blames = blames(&mut session);
        let all = [(1, 1), (2, 1), (3, 1)];
        assert_eq!(blames, if told { &all[..] } else { &[] }, "at {at_ms} ms");
    }
    receive(&mut session, slot, &header);
    receiving(&mut session);
    session.handle_tick(1199 * MS);
    assert!(blames(&mut session).is_empty());
    session.handle_tick(1200 * MS);
    assert!(!blames(&mut session).is_empty());
}

// P-23
#[test]
fn a_changed_blame_is_told_at_once_and_believed_for_a_while() {
    let mut session = session();
    receiving(&mut session);
    session.handle_tick(100 * MS);
    assert_eq!(blames(&mut session)[0], (1, 1));
    // Rank 1 says that it waits for rank 3; said again it is no news, and hearsay of rank 2 none.
    session.handle_tick(150 * MS);
    session.handle_message(&stalled(1, 0, KEY, 3));
    assert_eq!(blames(&mut session), [(1, 3), (2, 3), (3, 3)]);
    session.handle_message(&stalled(1, 0, KEY, 3));
    session.handle_message(&stalled(2, 0, KEY, 1));
    assert!(blames(&mut session).is_empty());
    // Told again in its turn; 1.5 s after the word it is no longer believed.
    session.handle_tick(600 * MS);
    assert_eq!(blames(&mut session)[0], (1, 3));
    session.handle_tick(1651 * MS);
    assert_eq!(blames(&mut session)[0], (1, 1));
    // Somebody who waits for this very rank gives no better answer.
    session.handle_message(&stalled(1, 0, KEY, 0));
    assert!(blames(&mut session).is_empty());
}

// P-22
#[test]
fn a_word_that_blames_a_rank_beyond_the_world_is_not_believed() {
    let mut session = session();
    receiving(&mut session);
    session.handle_tick(100 * MS);
    assert_eq!(blames(&mut session)[0], (1, 1));
    session.handle_message(&stalled(1, 0, KEY, 4));
    session.handle_message(&stalled(1, 0, KEY + 1, 60_000));
    assert!(blames(&mut session).is_empty());
    assert!(session.failure().is_none());
    session.handle_message(&stalled(1, 0, KEY, 3));
    assert_eq!(blames(&mut session)[0], (1, 3));
}

// P-23
#[test]
fn a_stalled_peers_call_is_compared_with_the_one_of_its_number() {
    // With the one that runs, one gone by, and one that comes later.
    let mut running = session();
    receiving(&mut running);
    running.handle_message(&stalled(2, 0, KEY + 1, 3));
    let mut past = session();
    let (slot, header) = receiving(&mut past);
    receive(&mut past, slot, &header);
    actions(&mut past);
    past.handle_message(&stalled(2, 0, KEY, 3));
    assert!(past.failure().is_none());
    past.handle_message(&stalled(2, 0, KEY + 1, 3));
    let mut later = session();
    later.handle_message(&stalled(2, 0, KEY + 1, 3));
    assert!(later.failure().is_none());
    later.enqueue(operation(from_rank_1())).unwrap();
    actions(&mut later);
    for session in [running, past, later] {
        let error = session.failure().unwrap();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Mismatch, Some(2)), "{error}");
    }
}

// P-24
#[test]
fn a_refusal_is_passed_on_once_and_waits_for_its_call() {
    let mut session = session();
    session.handle_message(&refused(2, 0));
    session.handle_message(&refused(2, 0));
    let passed = actions(&mut session);
    let [Action::Control { to: Audience::Everyone, message }] = &passed[..] else {
        panic!("{passed:?}")
    };
    assert_eq!(*message, refused(2, 0));
    assert!(session.failure().is_none());
    session.enqueue(operation(from_rank_1())).unwrap();
    actions(&mut session);
    let error = session.failure().unwrap();
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Refused, Some(2)), "{error}");
    assert!(error.message().contains("a buffer too short"), "{error}");
}

// P-24
#[test]
fn who_refused_a_call_tells_those_who_wait_in_it_and_fails_nothing_where_all_refuse() {
    let mut session = session();
    let reason = Error::new(ErrorKind::InvalidArgument, "no such root");
    session.refuse(call(), &reason).unwrap();
    let is_refusal = |action: &Action, audience| {
        matches!(action, Action::Control { to, message: Message::Refused { origin: 0, .. } }
            if *to == audience)
    };
    let said = actions(&mut session);
    assert!(is_refusal(&said[0], Audience::Everyone), "{said:?}");
    session.handle_message(&stalled(3, 0, KEY, 0));
    let said = actions(&mut session);
    assert!(is_refusal(&said[0], Audience::Rank(3)), "{said:?}");
    (1..4).for_each(|origin| session.handle_message(&refused(origin, 0)));
    assert_eq!(actions(&mut session).len(), 3, "each is passed on");
    assert!(session.failure().is_none());
    // Whoever sends a frame of that call meets the same reason.
    let (slot, header) = receiving(&mut session);
    assert!(!session.handle_header(slot, &Header { sequence: 0, ..header }));
    let error = session.failure().unwrap();
    assert_eq!((error.kind(), error.peer()), (ErrorKind::Refused, Some(0)), "{error}");
}

// P-25
#[test]
fn an_abort_is_relayed_once_and_one_callers_interrupt_is_an_abort_to_others() {
    let mut session = session();
    receiving(&mut session);
    session.handle_message(&abort(2, None, ErrorKind::Interrupted));
    session.handle_message(&abort(3, None, ErrorKind::Timeout));
    let said = actions(&mut session);
    assert_eq!(aborts(&said), 1, "{said:?}");
    let Action::Control { to: Audience::Everyone, message } = &said[0] else { panic!("{said:?}") };
    let Message::Abort { origin: 0, about, kind, reason, .. } = message else {
        panic!("{message:?}")
    };
    assert_eq!((*about, *kind), (Some(2), ErrorKind::Aborted));
    assert_eq!(reason, "enough (reported by rank 2)");
    assert_eq!(session.failure().unwrap().kind(), ErrorKind::Aborted);
}

// P-25
#[test]
fn an_abort_of_a_later_call_waits_for_the_end_of_this_one() {
    let mut session = session();
    let (slot, header) = receiving(&mut session);
    session.handle_message(&abort(1, Some(1), ErrorKind::Aborted));
    assert!(session.failure().is_none());
    receive(&mut session, slot, &header);
    let said = actions(&mut session);
    let well = |action: &Action| matches!(action, Action::Finish { sequence: 0, result: Ok(()) });
    assert!(well(&said[0]), "{said:?}");
    assert_eq!(session.failure().unwrap().kind(), ErrorKind::Aborted);

    // An abort of this very call does not wait, and neither does the end of a link that is needed.
    for (sequence, link_ends) in [(0, false), (1, true)] {
        let mut session = self::session();
        receiving(&mut session);
        session.handle_message(&abort(1, Some(sequence), ErrorKind::Aborted));
        if link_ends {
            session.handle_link_down(1, 0, Error::new(ErrorKind::PeerLost, "closed"));
        }
        assert_eq!(session.failure().unwrap().kind(), ErrorKind::Aborted);
    }
}

// P-25
#[test]
fn between_calls_too_an_abort_of_a_later_one_waits() {
    // What the later call failed of may be a refusal of the one before it, whose news is slower.
    let mut session = session();
    session.handle_message(&abort(1, Some(1), ErrorKind::Aborted));
    assert!(session.failure().is_none());
    session.handle_message(&abort(2, Some(0), ErrorKind::Refused));
    let error = session.failure().unwrap();
    assert_eq!((error.kind(), error.sequence()), (ErrorKind::Refused, Some(0)), "{error}");

    // An abort of the next call does not, nor one that this rank has got to by refusing a call.
    let mut session = self::session();
    session.handle_message(&abort(1, Some(0), ErrorKind::Aborted));
    assert_eq!(session.failure().unwrap().sequence(), Some(0));
    let mut session = self::session();
    session.handle_message(&abort(1, Some(1), ErrorKind::Aborted));
    let call = operation(from_rank_1()).call;
    session.refuse(call, &Error::new(ErrorKind::InvalidArgument, "no")).unwrap();
    assert_eq!(session.failure().unwrap().sequence(), Some(1));
}

// P-25, P-58
#[test]
fn a_channel_that_gets_past_the_call_that_failed_fails_with_it() {
    let mut session = session();
    let cause = Error::new(ErrorKind::Mismatch, "differ").with_peer(1);
    session.handle_channel_failed(cause.with_operation("barrier", Some(5)));
    assert!(session.failure().is_none(), "calls before that one may come");
    session.skip_to(6);
    session.enqueue(operation(from_rank_1())).unwrap();
    assert_eq!(session.failure().unwrap().kind(), ErrorKind::Mismatch);
}

// P-25, P-58
#[test]
fn what_this_rank_ends_ends_its_other_channels_in_whatever_call_they_are() {
    let ended = |kind, peer: Option<Rank>| {
        let mut session = session();
        receiving(&mut session);
        let cause = Error::new(kind, "enough").with_operation("barrier", Some(1));
        let cause = peer.iter().fold(cause, |cause, peer| cause.with_peer(*peer));
        session.handle_channel_failed(cause);
        session.failure().map(|error| error.sequence())
    };
    for kind in [ErrorKind::Aborted, ErrorKind::Interrupted, ErrorKind::Internal] {
        assert_eq!(ended(kind, None), Some(Some(0)), "the call that runs is named");
        assert_eq!(ended(kind, Some(0)), Some(Some(0)));
        assert_eq!(ended(kind, Some(1)), None, "another rank has ended a later call");
    }
    assert_eq!(ended(ErrorKind::Mismatch, None), None);
}

// P-28, P-29
#[test]
fn a_peer_that_is_gone_may_have_sent_before_and_a_silent_one_has_not() {
    let lost = || Error::new(ErrorKind::PeerLost, "lost").with_peer(1);
    let mut gone = session();
    let (slot, header) = receiving(&mut gone);
    gone.handle_peer_gone(1, lost());
    assert!(gone.failure().is_none());
    receive(&mut gone, slot, &header);
    assert!(matches!(actions(&mut gone)[..], [Action::Finish { result: Ok(()), .. }]));

    let mut unlinked = Session::new(settings());
    unlinked.enqueue(operation(from_rank_1())).unwrap();
    actions(&mut unlinked);
    unlinked.handle_peer_gone(1, lost());
    let mut silent = session();
    receiving(&mut silent);
    silent.handle_peer_silent(2, lost());
    assert!(silent.failure().is_none(), "nothing waits for rank 2");
    silent.handle_peer_silent(1, lost());
    for session in [unlinked, silent] {
        assert_eq!(session.failure().unwrap().kind(), ErrorKind::PeerLost);
    }
}

/// What begins of three frames from rank 1 that are dealt out to two stripes: peer, stripe, frame.
fn begun(session: &mut Session) -> Vec<(Slot, u8, u32)> {
    let begins = |action| match action {
        Action::Receive { slot, peer: 1, stripe, expected, .. } => {
            Some((slot, stripe, expected.step))
        }
        _ => None,
    };
    actions(session).into_iter().filter_map(begins).collect()
}

fn three_frames() -> Operation {
    let steps = [0, 8, 16].map(|at| Step::Recv { peer: 1, target: Span::output(at, 8) });
    Operation { stripes: 2, ..operation(steps.into()) }
}

// P-11, P-60
#[test]
fn frames_wait_for_those_before_them_on_their_stripe_and_for_no_others() {
    let mut session = session();
    session.handle_link_up(1, 1);
    session.enqueue(three_frames()).unwrap();
    let first = begun(&mut session);
    assert_eq!(
        first.iter().map(|(_, stripe, step)| (*stripe, *step)).collect::<Vec<_>>(),
        [(0, 0), (1, 1)]
    );
    session.handle_received(first[1].0);
    assert!(begun(&mut session).is_empty(), "the third has the first's stripe");
    session.handle_received(first[0].0);
    let third = begun(&mut session);
    assert_eq!(
        third.iter().map(|(_, stripe, step)| (*stripe, *step)).collect::<Vec<_>>(),
        [(0, 2)]
    );
}

// P-60
#[test]
fn with_a_rank_of_the_same_host_there_is_one_stripe() {
    let near = Dealing { single: [true, true, false, false].into(), ..Dealing::even() };
    let mut session = Session::new(Settings { dealing: near, ..settings() });
    (1..3).for_each(|peer| session.handle_link_up(peer, 0));
    session.enqueue(three_frames()).unwrap();
    assert_eq!(begun(&mut session).len(), 1);
}

// P-28, P-60
#[test]
fn a_peer_that_goes_while_a_stripe_of_it_is_dialled_is_lost() {
    for up in [false, true] {
        let mut session = session();
        session.enqueue(three_frames()).unwrap();
        let dials = |action: &Action| matches!(action, Action::Dial { peer: 1, stripe: 1 });
        assert!(actions(&mut session).iter().any(dials));
        if up {
            session.handle_link_up(1, 1);
        }
        session.handle_peer_gone(1, Error::new(ErrorKind::PeerLost, "gone"));
        assert_eq!(session.failure().is_some(), !up);
    }
}
