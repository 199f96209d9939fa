//! What is said of messages that let others wait.

use super::super::{Action, Direct, Request, Settings, Side, Source, Tag};
use super::model::settings;
use crate::types::DataType;

const AFTER_NS: u64 = 30_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

fn direct() -> Direct {
    Direct::new(Settings { warn_after_ns: AFTER_NS, ..settings(0, 3) })
}

fn receive(from: Source, tag: Tag) -> Request {
    Request::Receive { from, tag, dtype: DataType::Int8, count: 4, deadline_ns: u64::MAX }
}

/// What is said by this time.
fn warnings(direct: &mut Direct, now_ns: u64) -> Vec<String> {
    direct.handle_tick(now_ns);
    let said = std::iter::from_fn(|| direct.poll());
    said.filter_map(|action| match action {
        Action::Warn { text } => Some(text),
        _ => None,
    })
    .collect()
}

#[test]
fn a_receive_that_waits_for_long_says_for_whom_and_how_long_again_and_again() {
    let mut direct = direct();
    assert_eq!(direct.next_deadline(), u64::MAX);
    direct.handle_tick(SECOND_NS);
    direct.start(receive(Source::Rank(2), Tag::Is(7)));
    assert_eq!(direct.next_deadline(), SECOND_NS + AFTER_NS);
    assert!(warnings(&mut direct, AFTER_NS).is_empty());
    let said = warnings(&mut direct, SECOND_NS + AFTER_NS);
    let text = "still waiting after 30.0 s: no message with tag 7 from rank 2 has come (";
    assert!(said.len() == 1 && said[0].starts_with(text), "{said:?}");
    // One that began later waits as long by the next time.
    direct.start(receive(Source::Any, Tag::Any));
    assert_eq!(direct.next_deadline(), SECOND_NS + 2 * AFTER_NS);
    let said = warnings(&mut direct, SECOND_NS + 2 * AFTER_NS);
    let text = "still waiting after 60.0 s: no message with tag 7 from rank 2 has come, and 1 more";
    assert!(said.len() == 1 && said[0].starts_with(text), "{said:?}");
}

#[test]
fn a_send_that_nobody_receives_is_late_too() {
    let mut direct = direct();
    direct.start(Request::Send {
        to: 1,
        tag: 3,
        dtype: DataType::Int8,
        count: 1 << 20,
        deadline_ns: u64::MAX,
    });
    let said = warnings(&mut direct, AFTER_NS);
    assert!(said[0].contains("tag 3 could not be sent to rank 1"), "{said:?}");
    direct.handle_link_up(1, Side::Outward);
    direct.handle_sent(1, Side::Outward);
    let said = warnings(&mut direct, 2 * AFTER_NS);
    assert!(said[0].contains("rank 1 has not received the message with tag 3"), "{said:?}");
}

#[test]
fn what_is_over_in_time_is_not_spoken_of_and_the_clock_is_left_alone() {
    let mut direct = direct();
    let send =
        |tag| Request::Send { to: 0, tag, dtype: DataType::Int8, count: 4, deadline_ns: u64::MAX };
    direct.start(receive(Source::Rank(0), Tag::Is(1)));
    direct.start(send(1));
    direct.handle_tick(5 * SECOND_NS);
    direct.start(receive(Source::Rank(0), Tag::Is(2)));
    assert!(warnings(&mut direct, AFTER_NS).is_empty());
    assert_eq!(direct.next_deadline(), 5 * SECOND_NS + AFTER_NS);
    direct.start(send(2));
    assert!(warnings(&mut direct, 5 * SECOND_NS + AFTER_NS).is_empty());
    assert_eq!(direct.next_deadline(), u64::MAX);
}
