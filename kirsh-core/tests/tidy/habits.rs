//! Small habits: files say what they are for, stay short, and leave nothing half-done.

use crate::source::{Source, words};

/// Lines of a file that a reader can still hold together.
const LINES_MAX: usize = 500;

pub(crate) fn opening(source: &Source) -> Vec<String> {
    match source.is_rust() && !source.text.starts_with("//! ") {
        true => vec![source.complain(1, "a file opens with //! and what it is for")],
        false => Vec::new(),
    }
}

pub(crate) fn length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    match source.is_rust() && !source.is_test() && lines > LINES_MAX {
        true => {
            let what =
                format!("{lines} lines, more than {LINES_MAX}: which second idea is in there?");
            vec![source.complain(LINES_MAX + 1, &what)]
        }
        false => Vec::new(),
    }
}

pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    // Put together here, so that this file does not name them.
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let calls = [concat!("to", "do"), concat!("unimple", "mented"), concat!("db", "g")];
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        if let Some(mark) = marks.iter().find(|mark| !words(line, mark).is_empty()) {
            complaints.push(source.complain(number, &format!("{mark}: do it, or leave it out")));
        }
    }
    for (number, line) in (1..).zip(source.code.lines()) {
        let called = |call: &&&str| {
            let places = words(line, call);
            places.iter().any(|at| line[at + call.len()..].starts_with('!'))
        };
        if let Some(call) = calls.iter().find(called) {
            complaints.push(source.complain(number, &format!("{call}! is for unfinished code")));
        }
    }
    complaints
}

#[test]
fn canary_a_file_that_does_not_say_what_it_is_for_is_found() {
    let found = |path, text| opening(&Source::new(path, text)).len();
    assert_eq!(found("kirsh-core/src/types.rs", "// Types.\nuse std::fmt;\n"), 1);
    assert_eq!(found("examples/minimal.rs", "fn main() {}\n"), 1);
    assert_eq!(found("kirsh-core/src/types.rs", "//! Types.\n"), 0);
}

#[test]
fn canary_a_file_that_grows_too_long_is_found() {
    let of = |path, lines| length(&Source::new(path, &"x\n".repeat(lines))).len();
    assert_eq!(of("kirsh-core/src/types.rs", LINES_MAX + 1), 1);
    assert_eq!(of("kirsh-core/src/types.rs", LINES_MAX), 0);
    assert_eq!(of("kirsh-core/src/wire/handshake/tests.rs", 5 * LINES_MAX), 0);
}

#[test]
fn canary_what_is_left_for_later_is_found() {
    let found = |text: &str| unfinished(&Source::new("kirsh-core/src/types.rs", text)).len();
    assert_eq!(found(concat!("// TO", "DO: think\n")), 1);
    assert_eq!(found(concat!("/* FIX", "ME */\n")), 1);
    assert_eq!(found(concat!("fn f() { to", "do!() }\n")), 1);
    assert_eq!(found(concat!("fn f() { unimple", "mented!(\"x\") }\n")), 1);
    assert_eq!(found("let todos = 1; // methodology\n"), 0);
}
