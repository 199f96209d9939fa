//! Payload bytes are copied in one counted place.

use crate::source::{Source, words};

/// The one place.
const COPIER: &str = "kirsh-core/src/memory/copy.rs";

/// Copies through pointers: nowhere else, whatever they copy.
const BY_POINTER: [&str; 6] =
    ["copy_nonoverlapping", "ptr::copy", "copy_to", "copy_from", "memcpy", "memmove"];

/// Copies between slices: fine for headers, not for payload.
const BY_SLICE: [&str; 3] = ["copy_from_slice", "clone_from_slice", "copy_within"];

/// Layers that hold payload, where not even a growing vector may take it in.
const PAYLOAD: [&str; 4] = [
    "kirsh-core/src/memory/",
    "kirsh-core/src/reduce/",
    "kirsh-core/src/driver/",
    "kirsh-core/src/comm/",
];
const BY_VECTOR: [&str; 2] = ["extend_from_slice", "to_vec"];

/// Who copies slices, and what.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("kirsh-core/src/wire/header.rs", "a header, to where it is sent from"),
    ("kirsh-core/src/wire/key.rs", "what a plan key is the hash of"),
    ("kirsh-core/src/wire/handshake/transport.rs", "the length of a message"),
    ("kirsh-core/src/sim/rank.rs", "symbols of the simulator, which knows no bytes"),
    ("kirsh-core/src/sim/memory.rs", "symbols, too"),
    ("kirsh-core/src/sim/straight.rs", "symbols, too"),
];

pub(crate) fn check(source: &Source) -> Vec<String> {
    let excepted = EXCEPTIONS.iter().any(|(path, _)| source.path == *path);
    check_with(source, excepted)
}

fn check_with(source: &Source, excepted: bool) -> Vec<String> {
    let inside = source.path.starts_with("kirsh-core/src/");
    if !inside || source.is_test() || source.path == COPIER {
        return Vec::new();
    }
    let holds_payload = PAYLOAD.iter().any(|layer| source.path.starts_with(layer));
    let mut wanted: Vec<&str> = BY_POINTER.to_vec();
    wanted.extend(BY_SLICE.iter().filter(|_| !excepted));
    wanted.extend(BY_VECTOR.iter().filter(|_| holds_payload));
    let mut complaints = Vec::new();
    for (number, line) in source.lines() {
        let found = wanted.iter().find(|call| !words(line, call).is_empty());
        if let Some(call) = found {
            let what = format!("{call}: payload is copied in {COPIER} alone, where it is counted");
            complaints.push(source.complain(number, &what));
        }
    }
    complaints
}

/// Exceptions that no source needs.
pub(crate) fn stale(sources: &[Source]) -> Vec<String> {
    let unused = |(path, _): &&(&str, &str)| {
        !sources.iter().any(|source| source.path == *path && !check_with(source, false).is_empty())
    };
    let stale = EXCEPTIONS.iter().filter(unused);
    stale.map(|(path, _)| format!("copies: {path} no longer copies slices")).collect()
}

#[test]
fn canary_a_copy_beside_the_counted_one_is_found() {
    let found = |path, text| check(&Source::new(path, text)).len();
    let by_pointer = "unsafe { ptr::copy_nonoverlapping(a, b, len) };";
    assert_eq!(found("kirsh-core/src/driver/core.rs", by_pointer), 1);
    assert_eq!(found("kirsh-core/src/wire/key.rs", by_pointer), 1, "an exception is for slices");
    assert_eq!(found("kirsh-core/src/driver/core.rs", "unsafe { a.copy_to(b, len) };"), 1);
    assert_eq!(found("kirsh-core/src/driver/link.rs", "target.copy_from_slice(source);"), 1);
    assert_eq!(found("kirsh-core/src/session/links.rs", "all.copy_within(1.., 0);"), 1);
    assert_eq!(found("kirsh-core/src/comm/call.rs", "kept.extend_from_slice(data);"), 1);
    assert_eq!(found(COPIER, by_pointer), 0);
    assert_eq!(found("kirsh-core/src/wire/key.rs", "bytes.copy_from_slice(&count);"), 0);
    assert_eq!(found("kirsh-core/src/wire/reader.rs", "out.extend_from_slice(text);"), 0);
}
