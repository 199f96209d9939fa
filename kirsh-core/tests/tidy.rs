//! Keeps the sources as their architecture wants them: imports point downwards, `unsafe` and copies
//! stay where they belong, and no habit slips.
//!
//! The rules read text, not types: simple enough to be understood when one complains. Each is a
//! function from a source to complaints, and each has a canary, a bad snippet that it must refuse.

#[path = "tidy/copies.rs"]
mod copies;
#[path = "tidy/habits.rs"]
mod habits;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/settings.rs"]
mod settings;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/unsafety.rs"]
mod unsafety;

use source::Source;

/// Runs a rule over every source and fails with all of its complaints.
fn keep(rule: impl Fn(&Source) -> Vec<String>) {
    let sources = source::all();
    assert!(sources.len() > 100, "the sources were not found: {}", sources.len());
    let complaints: Vec<String> = sources.iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn imports_point_downwards_only() {
    keep(layers::check);
}

#[test]
fn deciding_layers_forbid_unsafe_code() {
    keep(unsafety::forbidden);
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    keep(unsafety::placed);
}

#[test]
fn every_unsafe_block_says_why_it_is_safe() {
    keep(unsafety::explained);
}

#[test]
fn payload_is_copied_in_one_counted_place() {
    keep(copies::check);
}

#[test]
fn files_open_with_what_they_are_for() {
    keep(habits::opening);
}

#[test]
fn files_stay_short() {
    keep(habits::length);
}

#[test]
fn nothing_is_left_for_later() {
    keep(habits::unfinished);
}

#[test]
fn every_setting_is_read_and_no_other_is_named() {
    let complaints = settings::check(&source::all());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn exceptions_that_nobody_needs_any_more_are_gone() {
    let sources = source::all();
    let stale = copies::stale(&sources);
    assert!(stale.is_empty(), "\n{}\n", stale.join("\n"));
}
