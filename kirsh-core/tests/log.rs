//! Messages become lines, for standard error or for the sink of a host language.

mod cli_support;

use std::sync::{Mutex, PoisonError};

use cli_support::Kirsh;
use kirsh_core::log::{set_level, set_sink};

static HEARD: Mutex<Vec<(u8, String)>> = Mutex::new(Vec::new());

fn first(level: u8, text: &str) {
    HEARD.lock().unwrap().push((level, text.to_owned()));
}

fn second(level: u8, text: &str) {
    first(level, &format!("second {text}"));
}

/// What the sinks were given since the last look.
fn heard() -> Vec<(u8, String)> {
    std::mem::take(&mut *HEARD.lock().unwrap())
}

/// A message of each level, as the core itself would write them.
fn speak() {
    tracing::error!(target: "kirsh_core::test", rank = 3_u32, "lost");
    tracing::warn!(target: "kirsh_core::test", rank = 3_u32, peer = 7, "late by {} s", 30);
    tracing::info!(target: "kirsh_core::test", "no rank yet");
    tracing::debug!(target: "kirsh_core::test", from = %"10.0.0.1:7", name = "a b", "dialled");
    tracing::trace!(target: "kirsh_core::test", "step");
    tracing::error!(target: "somebody_else", "not ours");
}

/// The level and the sink belong to the process, so that the tests take turns.
fn turn() -> std::sync::MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    set_sink(first);
    heard();
    turn
}

#[test]
fn a_sink_gets_one_line_for_each_message_that_is_important_enough() {
    let _turn = turn();
    let all = [
        (1, "rank 3: lost".to_owned()),
        (2, "rank 3: late by 30 s peer=7".to_owned()),
        (3, "no rank yet".to_owned()),
        (4, "dialled from=10.0.0.1:7 name=\"a b\"".to_owned()),
        (5, "step".to_owned()),
    ];
    // Up and down: what a call site learnt at one level must not outlive it.
    for level in [5, 0, 2, 4, 1, 3] {
        set_level(level);
        speak();
        assert_eq!(heard(), all[..usize::from(level)], "level {level}");
    }
}

#[test]
fn a_later_sink_takes_the_place_of_the_one_before() {
    let _turn = turn();
    set_level(1);
    set_sink(second);
    speak();
    assert_eq!(heard(), [(1, "second rank 3: lost".to_owned())]);
    set_sink(first);
    speak();
    assert_eq!(heard(), [(1, "rank 3: lost".to_owned())]);
}

#[test]
fn a_message_stays_on_its_line() {
    let _turn = turn();
    set_level(2);
    tracing::warn!(target: "kirsh_core::test", reason = %"a\nkirsh ERROR b\x1b[0m", "refused");
    assert_eq!(heard(), [(2, "refused reason=a kirsh ERROR b [0m".to_owned())]);
}

#[test]
fn standard_error_shows_what_kirsh_log_asks_for() {
    let perf = || Kirsh::new(["perf", "barrier", "-n", "2", "-i", "2"]);
    let out = perf().env_remove("KIRSH_LOG").run();
    assert_eq!((out.code, out.stderr().as_str()), (0, ""), "a good run says nothing");
    let out = perf().env("KIRSH_LOG", "debug").run();
    let lines = out.stderr_lines();
    for rank in 0..2 {
        let start = format!("kirsh DEBUG rank {rank}: ");
        assert!(lines.iter().any(|line| line.starts_with(&start)), "{start}: {out:?}");
    }
    let out = perf().env("KIRSH_LOG", "loud").run();
    assert_eq!(out.code, 1, "{out:?}");
    assert!(out.stderr().contains("KIRSH_LOG") && out.stderr().contains("loud"), "{out:?}");
}
