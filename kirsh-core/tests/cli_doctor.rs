//! `kirsh doctor` on one host: every rank and pair reported, whoever started the ranks.

mod cli_support;

use cli_support::{Kirsh, Output};

fn doctor(arguments: &str) -> Kirsh {
    Kirsh::new(["doctor"]).args(arguments.split_whitespace())
}

fn json(out: &Output) -> serde_json::Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|cause| panic!("{cause}: {out:?}"))
}

#[test]
fn three_ranks_reach_each_other_and_one_pair_is_measured() {
    for driver in ["uring", "poll"] {
        let out = doctor("-n 3 --time 0.05 --json").env("KIRSH_DRIVER", driver).run();
        assert_eq!(out.code, 0, "{out:?}");
        let value = json(&out);
        assert_eq!(value["reachable"], true);
        let ranks = value["ranks"].as_array().unwrap();
        assert_eq!(ranks.len(), 3);
        for (number, rank) in ranks.iter().enumerate() {
            assert_eq!((&rank["rank"], &rank["driver"]), (&number.into(), &driver.into()));
            assert!(!rank["addresses"].as_array().unwrap().is_empty(), "{rank}");
            assert!(rank["why"].as_str().unwrap().contains("KIRSH_DRIVER"), "{rank}");
        }
        let pairs = value["pairs"].as_array().unwrap();
        let names: Vec<_> = pairs.iter().map(|pair| (&pair["from"], &pair["to"])).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        for pair in pairs {
            assert!(pair["chosen"].as_str().unwrap().starts_with("127.0.0.1:"), "{pair}");
            let measured = pair["from"] == 0 && pair["to"] == 1;
            for value in ["latency_us", "bandwidth_mbit", "path_mtu", "mss"] {
                assert_eq!(
                    pair[value].as_f64().is_some_and(|value| value > 0.0),
                    measured,
                    "{pair}"
                );
            }
            assert_eq!(pair["retransmits"].is_u64(), measured, "{pair}");
        }
    }
}

#[test]
fn people_read_of_ranks_pairs_and_findings() {
    let out = doctor("-n 2 --time 0.05 --size 1M").env("KIRSH_DRIVER", "poll").run();
    assert_eq!(out.code, 0, "{out:?}");
    let text = out.stdout_lines().join("\n");
    for part in [
        "2 ranks",
        "rank 1: host ",
        "driver poll (",
        "0 -> 1  127.0.0.1:",
        "Mbit/s",
        "MTU",
        "1 -> 0",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(text.matches("doctor: 2 ranks").count(), 1, "rank 0 alone prints: {text}");
}

#[test]
fn under_a_launcher_it_examines_the_world_that_is_there() {
    let kirsh = env!("CARGO_BIN_EXE_kirsh");
    let run = Kirsh::new(["run", "-n", "2", "--no-prefix", "--"]);
    let out = run.args([kirsh, "doctor", "--time", "0.05", "--json"]).run();
    assert_eq!(out.code, 0, "{out:?}");
    assert_eq!(json(&out)["ranks"].as_array().unwrap().len(), 2);
    let out = doctor("-n 3").env("RANK", "0").env("WORLD_SIZE", "1").run();
    assert_eq!(out.code, 1);
    assert!(out.stderr().contains("RANK and WORLD_SIZE"), "{out:?}");
}

#[test]
fn alone_it_speaks_of_this_host() {
    let out = doctor("--json").run();
    assert_eq!(out.code, 0, "{out:?}");
    let value = json(&out);
    assert_eq!(value["pairs"].as_array().map(Vec::len), Some(0));
    assert_eq!(value["ranks"].as_array().map(Vec::len), Some(1));
}

#[test]
fn ranks_that_do_not_come_end_it_within_the_join_timeout() {
    let out = doctor("")
        .env("RANK", "1")
        .env("WORLD_SIZE", "2")
        .env("KIRSH_RENDEZVOUS", "tcp://127.0.0.1:9")
        .env("KIRSH_JOIN_TIMEOUT", "1")
        .run();
    assert_eq!(out.code, 1, "{out:?}");
    assert!(out.stderr().contains("127.0.0.1"), "{out:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (arguments, word) in
        [("--time 0", "0.01"), ("--time x", "0.01"), ("--size 1X", "K, M or G"), ("-n 0", "0")]
    {
        let out = doctor(arguments).run();
        assert_eq!(out.code, 2, "{arguments}: {out:?}");
        assert!(out.stderr().contains(word), "{arguments}: {out:?}");
    }
}
