//! The examples compile without a warning and do what they say.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Linkage, compile, package, run_ranks, scratch};

fn example(name: &str) -> PathBuf {
    package().join("../examples").join(name)
}

#[test]
fn the_minimal_program_counts_its_ranks() {
    let program = compile(&example("minimal.c"), Linkage::Shared);
    let printed = run_ranks(&program, &[], 3);
    for (rank, text) in printed.iter().enumerate() {
        assert_eq!(*text, format!("rank {rank} of 3: the ranks sum to 3\n"));
    }
}

/// The digits as scikit-learn ships them, written by the example beside this one.
fn digits() -> Option<PathBuf> {
    let csv = scratch("digits").join("digits.csv");
    let pythons = [package().join("../.venv/bin/python"), PathBuf::from("python3")];
    let written = pythons.iter().any(|python| {
        let mut command = Command::new(python);
        command.arg(example("digits_data.py")).arg(&csv);
        command.output().is_ok_and(|output| output.status.success())
    });
    written.then_some(csv)
}

/// What the ranks print last: accuracy, and a checksum of the weights.
fn last_words(text: &str) -> (f64, String) {
    let field = |name: &str| {
        let start = text.rfind(name).unwrap_or_else(|| panic!("no {name} in {text}")) + name.len();
        text[start..].split(',').next().unwrap().trim().to_owned()
    };
    (field("accuracy").parse().unwrap(), field("weights"))
}

fn train(program: &Path, csv: &Path, ranks: u32) -> String {
    let printed = run_ranks(program, &[csv.to_str().unwrap()], ranks);
    let words: Vec<_> = printed.iter().map(|text| last_words(text)).collect();
    for (accuracy, checksum) in &words {
        assert!(*accuracy >= 0.95, "{printed:?}");
        assert_eq!(*checksum, words[0].1, "the weights differ between ranks: {printed:?}");
    }
    words[0].1.clone()
}

#[test]
fn the_digits_are_learned_with_the_same_weights_on_every_rank_and_run() {
    let Some(csv) = digits() else {
        eprintln!("skipped: no Python with scikit-learn in .venv or PATH to write the digits");
        return;
    };
    let program = compile(&example("digits.cpp"), Linkage::Shared);
    let once = train(&program, &csv, 4);
    assert_eq!(once, train(&program, &csv, 4), "a second run gave other weights");
    // 1437 rows are an odd number, so these two shards differ in size.
    train(&program, &csv, 2);
}
