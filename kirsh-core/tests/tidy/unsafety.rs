//! `unsafe` stays where it belongs, and each block says why it is safe.

use crate::source::{Source, words};

/// Layers that decide, and so never touch memory by address.
const FORBIDDING: [&str; 5] = [
    "kirsh-core/src/wire/mod.rs",
    "kirsh-core/src/plan/mod.rs",
    "kirsh-core/src/model/mod.rs",
    "kirsh-core/src/session/mod.rs",
    "kirsh-core/src/sim/mod.rs",
];

/// Where `unsafe` may be.
const PLACES: [&str; 16] = [
    "kirsh-core/src/memory/",
    "kirsh-core/src/reduce/",
    "kirsh-core/src/driver/",
    // The raw entry points, the safe calls over them, and what lends a buffer to an operation.
    "kirsh-core/src/comm/mod.rs",
    "kirsh-core/src/comm/blocking.rs",
    "kirsh-core/src/comm/started.rs",
    "kirsh-core/src/comm/persistent.rs",
    "kirsh-core/src/comm/direct.rs",
    "kirsh-core/src/comm/call.rs",
    "kirsh-core/src/comm/work.rs",
    "kirsh-core/src/comm/buffer.rs",
    // System calls in safe clothes.
    "kirsh-core/src/cli/run/sys.rs",
    "kirsh-core/src/rendezvous/sys.rs",
    // The other side speaks C.
    "kirsh-ffi/",
    "python/src/",
    // Counts allocations and forks.
    "benches/",
];

/// How many lines a statement may have before its `unsafe`, below the comment.
const LINES_BEFORE_MAX: usize = 3;

pub(crate) fn forbidden(source: &Source) -> Vec<String> {
    let forbids = source.code.contains("#![forbid(unsafe_code)]");
    match FORBIDDING.contains(&source.path.as_str()) && !forbids {
        true => vec![source.complain(1, "this layer has to say #![forbid(unsafe_code)]")],
        false => Vec::new(),
    }
}

pub(crate) fn placed(source: &Source) -> Vec<String> {
    if source.is_test() || PLACES.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let here = source.lines().into_iter().filter(|(_, line)| !words(line, "unsafe").is_empty());
    here.map(|(number, _)| {
        source.complain(number, "no unsafe here: see PLACES in tidy/unsafety.rs")
    })
    .collect()
}

pub(crate) fn explained(source: &Source) -> Vec<String> {
    let text: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (index, line) in source.code.lines().enumerate() {
        let opens = words(line, "unsafe").into_iter().any(|at| {
            let rest = line[at + "unsafe".len()..].trim_start();
            rest.starts_with('{') || words(rest, "impl").first() == Some(&0)
        });
        if opens && !is_explained(&text, index) {
            complaints.push(source.complain(index + 1, "no // SAFETY: comment above"));
        }
    }
    complaints
}

/// Whether the comment above the statement that this line is part of says SAFETY.
fn is_explained(text: &[&str], index: usize) -> bool {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let mut at = index;
    if text[at].contains("SAFETY:") {
        return true;
    }
    for _ in 0..=LINES_BEFORE_MAX {
        let Some(above) = at.checked_sub(1) else { return false };
        at = above;
        let line = text[at].trim();
        if is_comment(line) {
            let block = text[..=at].iter().rev().take_while(|line| is_comment(line));
            return block.into_iter().any(|line| line.contains("SAFETY:"));
        }
        // An attribute or the beginning of the same statement may stand between.
        let continues = !(line.is_empty() || line.ends_with([';', '}']));
        if !continues {
            return false;
        }
    }
    false
}

#[test]
fn canary_a_layer_that_stops_forbidding_is_found() {
    let found = |text| forbidden(&Source::new("kirsh-core/src/plan/mod.rs", text)).len();
    assert_eq!(
        found("//! Plans.\n// #![forbid(unsafe_code)]\nmod ring;\n"),
        1,
        "a comment is none"
    );
    assert_eq!(found("//! Plans.\n#![forbid(unsafe_code)]\nmod ring;\n"), 0);
}

#[test]
fn canary_unsafe_in_a_deciding_layer_is_found() {
    let found = |path, text| placed(&Source::new(path, text)).len();
    let block = "// SAFETY: no reason.\nlet x = unsafe { *p };\n";
    assert_eq!(found("kirsh-core/src/session/window.rs", block), 1);
    assert_eq!(found("kirsh-core/src/comm/plans.rs", "unsafe fn f() {}"), 1);
    assert_eq!(found("kirsh-core/src/cli/perf/mod.rs", "unsafe impl Element for T {}"), 1);
    assert_eq!(found("kirsh-core/src/driver/link.rs", block), 0);
    assert_eq!(found("kirsh-core/src/plan/mod.rs", "#![forbid(unsafe_code)] // unsafe"), 0);
}

#[test]
fn canary_unsafe_without_a_proof_is_found() {
    let found = |text| explained(&Source::new("kirsh-core/src/driver/link.rs", text)).len();
    assert_eq!(found("let x = unsafe { f() };\n"), 1);
    assert_eq!(found("// SAFETY: one.\nunsafe { f() };\nunsafe { g() };\n"), 1);
    assert_eq!(found("// It is fine.\nunsafe impl Send for X {}\n"), 1);
    assert_eq!(found("// SAFETY: far.\nlet a = 1;\n\nunsafe { f() };\n"), 1);
    assert_eq!(found("// SAFETY: near,\n// on two lines.\nlet x =\n    unsafe { f() };\n"), 0);
    assert_eq!(found("unsafe fn f() {}\n#[unsafe(no_mangle)]\nfn g() {}\n"), 0);
}
