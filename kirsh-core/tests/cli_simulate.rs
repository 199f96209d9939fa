//! `kirsh simulate`, `kirsh tune` and `kirsh info --algorithms`: what the model says, what it is
//! told, and errors that say what could be meant.

mod cli_support;

use std::fs;
use std::path::PathBuf;

use cli_support::{Kirsh, Output};
use serde_json::Value;

fn simulate(arguments: &str) -> Kirsh {
    Kirsh::new(["simulate"]).args(arguments.split_whitespace())
}

fn json(out: &Output) -> Value {
    assert_eq!(out.code, 0, "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?}"))
}

/// A file of this test's own, gone when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let own = format!("kirsh-{}-{name}", std::process::id());
        Scratch(std::env::temp_dir().join(own))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn every_algorithm_has_its_line_and_one_is_chosen() {
    let out = simulate("allreduce -n 64 -s 1M --bandwidth 10Gbit --latency 50us").run();
    assert_eq!(out.code, 0, "{out:?}");
    let lines = out.stdout_lines();
    let rows: Vec<&String> = lines.iter().filter(|line| !line.starts_with('#')).collect();
    assert!(rows.len() >= 3, "{lines:?}");
    let names = ["ring", "recursive_doubling", "tree"];
    for name in names {
        assert_eq!(rows.iter().filter(|row| row.split_whitespace().any(|w| w == name)).count(), 1);
    }
    assert_eq!(rows.iter().filter(|row| row.starts_with('*')).count(), 1, "{lines:?}");
    for row in &rows {
        assert_eq!(row[1..].split_whitespace().count(), 7, "seven columns: {row}");
    }
    assert!(lines[1].contains("64 ranks on 64 hosts; between hosts 50 us"), "{lines:?}");
    for column in ["algorithm", "slice", "time", "algbw", "busbw", "sent", "steps"] {
        assert!(
            lines.iter().any(|line| line.starts_with('#') && line.contains(column)),
            "{column}"
        );
    }
}

#[test]
fn channels_help_where_a_core_is_slower_than_its_link_and_are_chosen_by_cores() {
    let of = |more: &str| {
        let value = json(&simulate(&format!("allreduce -n 4 -s 256M --json {more}")).run());
        let chosen = value["results"].as_array().unwrap().iter().find(|row| row["chosen"] == true);
        let chosen = chosen.unwrap().clone();
        (chosen["channels"].as_u64().unwrap(), chosen["time_us"].as_f64().unwrap())
    };
    let (one, alone) = of("--bandwidth 100Gbit");
    let (four, together) = of("--bandwidth 100Gbit --cores 32 --channels 4");
    assert_eq!((one, four), (1, 4));
    assert!(together < alone / 2.0, "{together} us, {alone} us with one core");
    assert_eq!(of("--bandwidth 100Gbit --cores 8").0, 4);
    assert_eq!(of("--bandwidth 10Gbit --cores 64").0, 1);
    let out = simulate("allreduce -n 4 -s 256M --bandwidth 100Gbit --cores 8").run();
    assert!(out.stdout_lines().iter().any(|line| line.starts_with("# 4 channels")), "{out:?}");
}

#[test]
fn elements_that_travel_encoded_are_fewer_bytes_by_the_algorithms_that_can() {
    let of = |wire: &str| {
        let arguments = format!("allreduce -n 8 -s 64M --bandwidth 1Gbit --wire {wire} --json");
        let value = json(&simulate(&arguments).run());
        assert_eq!(value["wire"], wire);
        value["results"].as_array().unwrap().clone()
    };
    let (plain, int8) = (of("none"), of("int8"));
    let names: Vec<_> = int8.iter().map(|row| row["algorithm"].as_str().unwrap()).collect();
    assert!(names.len() == 2 && names.contains(&"ring") && names.contains(&"halving_doubling"));
    let number = |rows: &[Value], name: &str| {
        rows.iter().find(|row| row["algorithm"] == "ring").unwrap()[name].as_f64().unwrap()
    };
    let ratio = |name: &str| number(&plain, name) / number(&int8, name);
    assert!((3.9..4.0).contains(&ratio("bytes_sent")), "{}", ratio("bytes_sent"));
    assert!((3.5..4.0).contains(&ratio("time_us")), "{}", ratio("time_us"));
    let out = simulate("allreduce -n 8 --wire bf16 --algorithm tree").run();
    assert_eq!(out.code, 2, "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("wire=bf16 with tree"), "{out:?}");
}

#[test]
fn json_says_the_same_and_busbw_and_bytes_fit_the_time() {
    let value = json(&simulate("allreduce -n 8 -s 8M --algorithm ring --json").run());
    assert_eq!((&value["collective"], &value["ranks"]), (&"allreduce".into(), &8.into()));
    let results = value["results"].as_array().unwrap();
    assert_eq!(results.len(), 1);
    let row = &results[0];
    let number = |name: &str| row[name].as_f64().unwrap();
    let near = |left: f64, right: f64| (left - right).abs() <= 1e-6 * right;
    assert!(near(number("algbw_gbps"), f64::from(8 << 20) / (number("time_us") * 1e3)), "{row}");
    assert!(near(number("busbw_gbps"), 1.75 * number("algbw_gbps")), "2(n-1)/n for eight: {row}");
    assert!(near(number("bytes_sent"), 1.75 * f64::from(8 << 20)), "{row}");
    // A wire of 10 Gbit/s and its framing carry at most 1.18 GB/s.
    assert!((0.5..1.18).contains(&number("busbw_gbps")), "{row}");
}

#[test]
fn what_holds_up_a_network_shows() {
    let time = |arguments: &str| {
        let value = json(&simulate(&format!("{arguments} --json")).run());
        value["results"][0]["time_us"].as_f64().unwrap()
    };
    let ring = "allreduce -n 16 -s 4M --algorithm ring";
    let plain = time(ring);
    assert!(time(&format!("{ring} --bandwidth 1Gbit")) > 5.0 * plain);
    assert!(time(&format!("{ring} --straggler 3")) > 2.0 * plain);
    let doubling = "allreduce -n 16 -s 4M --algorithm recursive_doubling";
    let narrow = format!("{doubling} --hosts-per-switch 4 --oversubscription 8");
    assert!(time(&narrow) > 2.0 * time(doubling));
    assert!(time(&format!("{doubling} --ranks-per-host 4")) > 1.5 * time(doubling));
    assert!(time("broadcast -n 16 -s 4M --latency 5ms") > time("broadcast -n 16 -s 4M") + 5e3);
}

#[test]
fn every_collective_with_even_counts_can_be_simulated() {
    for collective in ["barrier", "broadcast", "allreduce"] {
        let value = json(&simulate(&format!("{collective} -n 5 -s 64K --json")).run());
        let results = value["results"].as_array().unwrap();
        assert!(!results.is_empty(), "{collective}");
        assert_eq!(results.iter().filter(|row| row["chosen"] == true).count(), 1, "{collective}");
        let size = if collective == "barrier" { 0 } else { 64 << 10 };
        assert_eq!(value["size"], size, "{collective}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_could() {
    for (arguments, word) in [
        ("allreduce", "--ranks"),
        ("allreduce -n 0", "1..="),
        ("allreduce -n 4 -s 12X", "K, M or G"),
        ("allreduce -n 4 --bandwidth 10", "10Gbit"),
        ("allreduce -n 4 --latency 50", "50us"),
        ("allreduce -n 4 --algorithm chain", "ring, recursive_doubling"),
        ("allreduce -n 4 --algorithm rings", "ring"),
        ("allreduce -n 4 --dtype float32 --op band", "band"),
        ("allreduce -n 4 --straggler 0.5", "factor"),
        ("allreduce -n 4 --straggler 2 --straggler-rank 4", "world of 4"),
        ("allreduce -n 4 --oversubscription 2", "--hosts-per-switch"),
        ("alltoallv -n 4", "even form"),
        ("allreduces -n 4", "allreduce"),
    ] {
        let out = simulate(arguments).run();
        assert_eq!(out.code, 2, "{arguments}: {out:?}");
        assert!(out.stderr().contains(word), "{arguments}: {out:?}");
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn a_plot_is_a_picture_with_more_than_one_colour() {
    let file = Scratch::new("plot.png");
    let out = simulate("allreduce -n 8 -s 64K --plot").args([file.path()]).run();
    assert_eq!(out.code, 0, "{out:?}");
    let decoder = png::Decoder::new(std::io::BufReader::new(fs::File::open(&file.0).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let colours: std::collections::HashSet<&[u8]> = pixels.chunks_exact(3).collect();
    assert!(colours.len() >= 5, "paper, ink and a line for each algorithm: {}", colours.len());
    let out = simulate("allreduce -n 8 --plot /nowhere/at/all.png").run();
    assert_eq!(out.code, 1);
    assert!(out.stderr().contains("/nowhere/at/all.png"), "{out:?}");
}

#[test]
fn tune_writes_a_table_which_is_loaded_and_changes_the_choice() {
    let file = Scratch::new("tuned.table");
    let tune = ["tune", "-n", "2", "--maxbytes", "128K", "--budget-ms", "1", "-o", file.path()];
    let out = Kirsh::new(tune).run();
    assert_eq!(out.code, 0, "{out:?}");
    let text = fs::read_to_string(&file.0).unwrap();
    assert!(text.lines().any(|line| line == "kirsh-costs 1"), "{text}");
    assert!(text.contains("2 ranks on 1 hosts"), "{text}");
    let lines = out.stdout_lines();
    assert!(lines.iter().any(|line| line.contains("not seen by the fit")), "{lines:?}");

    let info = |table: &str| {
        let info = Kirsh::new(["info", "--algorithms", "-n", "8", "--json"]);
        json(&info.env("KIRSH_TABLE", table).run())
    };
    let tuned = info(file.path());
    assert!(tuned["source"].as_str().unwrap().contains(file.path()), "{tuned}");
    let built_in = json(&Kirsh::new(["info", "--algorithms", "-n", "8", "--json"]).run());
    assert!(built_in["source"].as_str().unwrap().contains("built in"), "{built_in}");

    // A network of which nothing but the latency counts chooses otherwise.
    let far: String = text
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("remote.latency_us", _)) => "remote.latency_us = 900000\n".to_owned(),
            _ => format!("{line}\n"),
        })
        .collect();
    fs::write(&file.0, far).unwrap();
    let far = info(file.path());
    assert_ne!(far["collectives"], tuned["collectives"]);
    // And a world goes by it, or says what is wrong with it.
    let barrier = ["perf", "allreduce", "-n", "2", "-b", "4", "-e", "64K", "-i", "2"];
    let out = Kirsh::new(barrier).env("KIRSH_TABLE", file.path()).run();
    assert_eq!(out.code, 0, "{out:?}");
    fs::write(&file.0, "kirsh-costs 1\ncores = many\n").unwrap();
    let out = Kirsh::new(["perf", "barrier", "-n", "2"]).env("KIRSH_TABLE", file.path()).run();
    assert_eq!(out.code, 1);
    let said = out.stderr();
    assert!(said.contains("KIRSH_TABLE") && said.contains("line 2"), "{said}");
}

#[test]
fn what_is_forced_and_which_links_are_assumed_shows_in_the_choice() {
    let info = |name: &str, value: &str| {
        let info = Kirsh::new(["info", "--algorithms", "-n", "16", "--ranks-per-host", "4"]);
        info.env(name, value).run()
    };
    let out = info("KIRSH_ALGORITHM", "allreduce:ring");
    assert_eq!(out.code, 0, "{out:?}");
    let lines = out.stdout_lines();
    let at = lines.iter().position(|line| line == "allreduce (forced)").expect("said so");
    let until = lines[at..].iter().position(String::is_empty).unwrap_or(1);
    assert!(lines[at + 1..at + until].iter().all(|line| line.contains("ring")), "{lines:?}");
    assert!(lines[0].contains("16 ranks, 4 to a host"), "{lines:?}");
    let out = info("KIRSH_LINK", "100gbit");
    assert!(out.stdout_lines()[0].contains("100gbit links: KIRSH_LINK says so"), "{out:?}");
    let out = info("KIRSH_LINK", "fast");
    assert_eq!(out.code, 1);
    assert!(out.stderr().contains("KIRSH_LINK"), "{out:?}");
}

#[test]
fn tune_needs_ranks_to_tune_between() {
    let out = Kirsh::new(["tune"]).run();
    assert_eq!(out.code, 2, "{out:?}");
    assert!(out.stderr().contains("-n"), "{out:?}");
    assert_eq!(Kirsh::new(["tune", "-n", "1"]).run().code, 2);
}
