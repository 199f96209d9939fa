//! What a trace shows of a real run: every operation, where its time went, and how it ended.

mod cli_support;
mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cli_support::Kirsh;
use common::{Group, comm, for_each_driver, said};
use kirsh_core::{Algorithm, Options, ReduceOp, Source, Tag};
use serde_json::Value;

/// Microseconds by which rounding to whole nanoseconds may move the two ends of an event.
const ROUNDING_US: f64 = 0.002;

#[test]
fn a_rank() {
    match common::scenario() {
        Some((scenario, _)) if scenario == "several" => several(),
        Some((scenario, _)) if scenario == "aborted" => aborted(),
        Some((scenario, file)) if scenario == "dies" => dies(Path::new(&file)),
        Some((scenario, _)) => panic!("no scenario {scenario}"),
        None => {}
    }
}

const CALLS: usize = 20;

fn several() {
    let comm = comm();
    let other = 1 - comm.rank();
    let options = Options::default();
    let mut small = [1.0f32];
    for _ in 0..CALLS {
        comm.allreduce(&mut small, ReduceOp::Sum, &options).unwrap();
    }
    let by_ring = Options {
        algorithm: Some(Algorithm::Ring),
        name: Some("gradients \"1\""),
        ..Options::default()
    };
    let mut large = vec![1.0f32; 200_000];
    comm.allreduce(&mut large, ReduceOp::Sum, &by_ring).unwrap();
    let dup = comm.dup(0, &options).unwrap();
    let works: Vec<_> = (0..3)
        .map(|_| dup.start_allreduce(vec![1.0f64; 50_000], ReduceOp::Max, &options).unwrap())
        .collect();
    works.into_iter().for_each(|work| drop(work.wait().unwrap()));
    // Two at once, which must not share a track.
    let first = comm.start_recv(vec![0u8; 5], Source::Rank(other), Tag::Is(2), &options).unwrap();
    let second = comm.start_recv(vec![0u8; 9], Source::Any, Tag::Any, &options).unwrap();
    comm.barrier(&options).unwrap();
    comm.send(&[7u8; 3], other, 1, &options).unwrap();
    comm.send(&[8u8; 5], other, 2, &options).unwrap();
    second.wait().unwrap();
    first.wait().unwrap();
    comm.barrier(&options).unwrap();
    dup.close().unwrap();
    comm.close().unwrap();
    said("done", "");
}

fn aborted() {
    let comm = comm();
    let options = Options::default();
    comm.barrier(&options).unwrap();
    if comm.rank() == 0 {
        // The call is under way before the word that lets the other abort.
        let work = comm.start_allreduce(vec![1.0f32], ReduceOp::Sum, &options).unwrap();
        comm.send(&[1u8], 1, 0, &options).unwrap();
        said("failed", work.wait().unwrap_err().0);
    } else {
        comm.recv(&mut [0u8], Source::Rank(0), Tag::Is(0), &options).unwrap();
        comm.abort("enough \"now\"");
    }
}

/// Ends without a word as soon as its trace tells of a call.
fn dies(file: &Path) {
    let comm = comm();
    let options = Options::default();
    loop {
        comm.allreduce(&mut [1.0f32], ReduceOp::Sum, &options).unwrap();
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if whole_lines(&text).contains("\"allreduce\"") {
            std::process::abort();
        }
    }
}

/// What comes before the last line, in the middle of which a process may have died.
fn whole_lines(text: &str) -> &str {
    text.rsplit_once(",\n").map_or("", |(whole, _)| whole)
}

/// A directory of a test's own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("kirsh-trace-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

fn start(event: &Value) -> f64 {
    event["ts"].as_f64().unwrap()
}

fn end(event: &Value) -> f64 {
    start(event) + event["dur"].as_f64().unwrap()
}

/// The complete events of a category, in the order of their begin.
fn of<'a>(events: &'a [Value], category: &str) -> Vec<&'a Value> {
    let mut found: Vec<&Value> =
        events.iter().filter(|event| event["ph"] == "X" && event["cat"] == category).collect();
    found.sort_by(|a, b| start(a).total_cmp(&start(b)));
    found
}

fn communicators(events: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = of(events, "collective")
        .into_iter()
        .map(|event| event["args"]["communicator"].as_str().unwrap())
        .collect();
    names.dedup();
    let mut seen = Vec::new();
    names.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    names
}

/// Whatever shares a track lies one behind the other, or one within the other.
fn assert_nested(events: &[Value]) {
    let mut tracks: HashMap<u64, Vec<&Value>> = HashMap::new();
    for event in events.iter().filter(|event| event["ph"] == "X") {
        tracks.entry(event["tid"].as_u64().unwrap()).or_default().push(event);
    }
    for events in tracks.values_mut() {
        events.sort_by(|a, b| start(a).total_cmp(&start(b)).then(end(b).total_cmp(&end(a))));
        let mut open: Vec<&Value> = Vec::new();
        for event in events {
            while open.last().is_some_and(|last| end(last) <= start(event) + ROUNDING_US) {
                open.pop();
            }
            if let Some(outer) = open.last() {
                assert!(end(event) <= end(outer) + ROUNDING_US, "{outer} and {event} overlap");
            }
            open.push(event);
        }
    }
}

/// What lies within a collective on its track.
fn inside<'a>(events: &'a [Value], outer: &Value) -> Vec<&'a Value> {
    let is_inside = |event: &&Value| {
        event["ph"] == "X"
            && event["tid"] == outer["tid"]
            && event["cat"] != "collective"
            && start(event) >= start(outer) - ROUNDING_US
            && end(event) <= end(outer) + ROUNDING_US
    };
    events.iter().filter(is_inside).collect()
}

fn check_several(rank: u64, events: &[Value]) {
    assert!(events.iter().all(|event| event["pid"] == rank));
    let named = |name: &str| events.iter().find(|event| event["name"] == name);
    assert_eq!(named("process_name").unwrap()["args"]["name"], format!("rank {rank}"));
    let about = &named("kirsh").unwrap()["args"];
    assert_eq!((about["rank"].as_u64(), about["world"].as_u64()), (Some(rank), Some(2)));
    assert!(about["realtime_offset_ns"].as_u64().unwrap() > 1_500_000_000_000_000_000);
    assert_nested(events);

    let collectives = of(events, "collective");
    let [first, second] = communicators(events)[..] else { panic!("{events:?}") };
    for communicator in [first, second] {
        let sequences: Vec<u64> = collectives
            .iter()
            .filter(|event| event["args"]["communicator"] == communicator)
            .map(|event| event["args"]["sequence"].as_u64().unwrap())
            .collect();
        assert_eq!(sequences, (0..sequences.len() as u64).collect::<Vec<_>>(), "{communicator}");
    }
    let calls = |name: &str| collectives.iter().filter(|event| event["name"] == name).count();
    let counts = [calls("allreduce"), calls("gradients \"1\""), calls("dup"), calls("barrier")];
    assert_eq!(counts, [CALLS + 3, 1, 1, 2]);
    assert!(collectives.iter().all(|event| event["args"]["outcome"] == "ok"));

    let large = collectives.iter().find(|event| event["name"] == "gradients \"1\"").unwrap();
    assert_eq!(large["args"]["call"], "allreduce(200000 x float32, sum)");
    assert_eq!(
        (&large["args"]["algorithm"], &large["args"]["bytes"]),
        (&"ring".into(), &800_000.into())
    );
    let parts = inside(events, large);
    let folded: u64 = parts
        .iter()
        .filter(|event| event["name"] == "folding")
        .map(|event| event["args"]["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(folded, 400_000, "half of the array is this rank's to fold");
    for outer in &collectives {
        let parts: f64 = inside(events, outer).iter().map(|event| end(event) - start(event)).sum();
        let whole = end(outer) - start(outer);
        assert!(parts <= whole + ROUNDING_US * 64.0, "{parts} of {whole} us in {outer}");
    }
    let waits = of(events, "wait");
    assert!(!waits.is_empty());
    for wait in &waits {
        assert_eq!(wait["name"], format!("waiting for rank {}", 1 - rank), "{wait}");
    }

    let messages = of(events, "message");
    let of_kind = |name: &str| -> Vec<(u64, u64, u64)> {
        let args =
            messages.iter().filter(|event| event["name"] == name).map(|event| &event["args"]);
        let mut parts: Vec<_> = args
            .map(|args| ["peer", "tag", "bytes"].map(|part| args[part].as_u64().unwrap()).into())
            .collect();
        parts.sort_unstable();
        parts
    };
    let other = 1 - rank;
    assert_eq!(of_kind("send"), [(other, 1, 3), (other, 2, 5)]);
    assert_eq!(of_kind("recv"), of_kind("send"));
    let receives: Vec<_> = messages.iter().filter(|event| event["name"] == "recv").collect();
    assert_ne!(receives[0]["tid"], receives[1]["tid"], "they overlap");
    assert_eq!(receives[0]["args"]["call"], format!("recv(5 x uint8, from={other}, tag=2)"));
    assert_eq!(receives[1]["args"]["call"], "recv(9 x uint8, from=any, tag=any)");
    assert!(!events.iter().any(|event| event["cat"] == "trace"), "nothing was lost");
}

/// Nobody leaves a barrier before all have come, on one clock.
fn assert_lined_up(ranks: &[Vec<Value>; 2]) {
    let barriers = ranks.each_ref().map(|events| {
        let all = of(events, "collective").into_iter();
        all.filter(|event| event["name"] == "barrier").collect::<Vec<_>>()
    });
    for (a, b) in barriers[0].iter().zip(&barriers[1]) {
        assert!(start(a) < end(b) && start(b) < end(a), "{a} and {b}");
    }
}

#[test]
fn a_trace_has_every_operation_with_its_parts_within_it_and_ranks_line_up() {
    for_each_driver(|driver| {
        let scratch = Scratch::new();
        let name = scratch.file("trace-%r.json");
        let group = Group::new("several", 2).driver(driver).env("KIRSH_TRACE", name.display());
        for outcome in group.succeed() {
            outcome.must_have_said("done");
        }
        let files = ["trace-0.json", "trace-1.json"].map(|name| scratch.file(name));
        let ranks = files.each_ref().map(|file| read(file));
        check_several(0, &ranks[0]);
        check_several(1, &ranks[1]);
        assert_lined_up(&ranks);
        check_merged(&files, &ranks);
    });
}

/// `kirsh trace merge` has every event of every file once, on one clock that begins with the first.
fn check_merged(files: &[PathBuf; 2], ranks: &[Vec<Value>; 2]) {
    let merged = Kirsh::new(["trace", "merge"]).args(files).run();
    assert_eq!((merged.code, merged.stderr()), (0, String::new()));
    let merged: Vec<Value> = serde_json::from_slice(&merged.stdout).unwrap();
    assert_eq!(merged.len(), ranks[0].len() + ranks[1].len());
    let timed = merged.iter().filter(|event| event["ph"] == "X").map(start);
    assert_eq!(timed.fold(f64::INFINITY, f64::min), 0.0);
    let split = [0, 1].map(|rank| {
        let mine = merged.iter().filter(|event| event["pid"] == rank);
        mine.cloned().collect::<Vec<Value>>()
    });
    check_several(0, &split[0]);
    check_several(1, &split[1]);
    assert_lined_up(&split);
}

#[test]
fn an_operation_that_was_aborted_is_marked_with_the_reason() {
    let scratch = Scratch::new();
    let name = scratch.file("trace");
    let outcomes = Group::new("aborted", 2).env("KIRSH_TRACE", name.display()).succeed();
    outcomes[0].must_have_said("failed");
    let events = read(&scratch.file("trace.0"));
    assert_nested(&events);
    let outcomes: Vec<(&str, &str)> = of(&events, "collective")
        .into_iter()
        .map(|event| (event["name"].as_str().unwrap(), event["args"]["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(outcomes, [("barrier", "ok"), ("allreduce", "aborted")]);
    let last = of(&events, "collective")[1];
    assert!(last["args"]["error"].as_str().unwrap().contains("enough \"now\""), "{last}");
    assert_eq!((&last["args"]["blamed"], &last["args"]["sequence"]), (&1.into(), &1.into()));
}

#[test]
fn what_a_process_that_died_has_left_is_whole_up_to_its_last_line() {
    let scratch = Scratch::new();
    let name = scratch.file("trace.%r");
    let file = scratch.file("trace.1");
    let group = Group::new("dies", 2).detail(file.display()).env("KIRSH_TRACE", name.display());
    let outcomes = group.env_of(0, common::DETAIL, "/nowhere").run();
    assert!(!outcomes[1].status.success());
    let text = std::fs::read_to_string(&file).unwrap();
    let whole = whole_lines(&text);
    let events: Vec<Value> = serde_json::from_str(&format!("{whole}]")).unwrap();
    assert!(of(&events, "collective").iter().any(|event| event["name"] == "allreduce"));
    // The command that merges takes the file as it was left, and says where a line is cut off.
    let merge = || {
        let merged = Kirsh::new(["trace", "merge"]).args([&file]).run();
        assert_eq!(merged.code, 0, "{merged:?}");
        let events: Vec<Value> = serde_json::from_slice(&merged.stdout).unwrap();
        (events.len(), merged.stderr())
    };
    assert!((events.len()..=events.len() + 1).contains(&merge().0));
    std::fs::write(&file, whole).unwrap();
    assert_eq!(merge(), (events.len(), String::new()));
    std::fs::write(&file, &whole[..whole.len() - 7]).unwrap();
    let (merged, warning) = merge();
    assert_eq!(merged, events.len() - 1);
    assert!(warning.contains("cut off"), "{warning}");
}

#[test]
fn a_trace_that_cannot_be_written_is_a_reason_not_to_start() {
    let outcomes = Group::new("several", 2).env("KIRSH_TRACE", "/nowhere/trace").run();
    for outcome in outcomes {
        assert!(!outcome.status.success());
        assert!(outcome.output.contains("/nowhere/trace."), "{}", outcome.output);
    }
}

#[test]
fn merging_what_is_no_trace_says_so() {
    let scratch = Scratch::new();
    let file = scratch.file("other.json");
    std::fs::write(&file, "{\"traceEvents\": []}\n").unwrap();
    let merged = Kirsh::new(["trace", "merge"]).args([&file]).run();
    assert_eq!(merged.code, 1);
    assert!(merged.stderr().contains("is no trace of Kirsh"), "{merged:?}");
    assert_eq!(merged.stdout, b"");
}

#[test]
fn merging_brings_files_of_hosts_with_different_clocks_on_one() {
    let scratch = Scratch::new();
    // Both begin in the same microsecond of the world's time.
    let hosts =
        [(0, 1_700_000_000_000_000_000u64, "5000.000"), (1, 1_699_999_999_999_998_000, "5003.500")];
    let files = hosts.map(|(rank, offset, ts)| {
        let file = scratch.file(&rank.to_string());
        let text = format!(
            "[\n{{\"ph\":\"M\",\"pid\":{rank},\"name\":\"kirsh\",\"args\":{{\"realtime_offset_ns\":{offset}}}}},\n\
             {{\"ph\":\"X\",\"pid\":{rank},\"ts\":{ts},\"dur\":1.000}}\n]\n"
        );
        std::fs::write(&file, text).unwrap();
        file
    });
    let merged = Kirsh::new(["trace", "merge"]).args(&files).run();
    let merged: Vec<Value> = serde_json::from_slice(&merged.stdout).unwrap();
    let times: Vec<f64> = merged.iter().filter(|event| event["ph"] == "X").map(start).collect();
    assert_eq!(times, [0.0, 1.5]);
}
