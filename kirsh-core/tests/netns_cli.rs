//! The `kirsh` command between hosts, each a network namespace: launchers of several nodes, and the
//! doctor on networks that are slow or broken. Needs root and iproute2; elsewhere each test says
//! why it is skipped.

mod cli_support;
#[path = "netns/network.rs"]
mod network;

use cli_support::{Kirsh, Output, Running};
use network::{Family, Network};

const TOKEN: &str = "5f0c1f2a9b7d4e6380a1c2d3e4f50617";

/// The launcher of one host, without a program yet.
fn launcher(network: &Network, nodes: u32, node: u32, ranks: u32) -> Kirsh {
    let starters = network.starters(nodes);
    let (nodes, node_rank, ranks) = (nodes.to_string(), node.to_string(), ranks.to_string());
    let words = ["run", "--nnodes", &nodes, "--node-rank", &node_rank, "-n", &ranks];
    Kirsh::through(&starters[node as usize], words)
        .args(["--rendezvous", &network.rendezvous(), "--no-prefix", "--"])
        .env("OMP_NUM_THREADS", "1")
        .env("KIRSH_JOIN_TIMEOUT", "30")
}

/// The same program on every host, with so many ranks each.
fn on_hosts<const N: usize>(network: &Network, ranks: [u32; N], program: &[&str]) -> Vec<Output> {
    let start = |(node, ranks)| {
        launcher(network, N as u32, node, ranks).env("KIRSH_TOKEN", TOKEN).args(program).start()
    };
    let started: Vec<Running> = (0..).zip(ranks).map(start).collect();
    started.into_iter().map(Running::finish).collect()
}

#[test]
fn launchers_on_three_hosts_start_one_world_that_works_and_ends_together() {
    let kirsh = env!("CARGO_BIN_EXE_kirsh");
    for family in [Family::V4, Family::V6] {
        let Some(network) = Network::or_skip(3, family) else { return };
        let program = [kirsh, "perf", "allreduce", "-b", "40K", "-e", "40K", "-i", "3"];
        let outs = on_hosts(&network, [2, 1, 1], &program);
        for out in &outs {
            assert_eq!(out.code, 0, "{out:?}");
        }
        let head = &outs[0].stdout_lines()[0];
        assert!(head.contains("4 ranks, 2 on this host"), "{head}");

        let script = "[ $RANK != 3 ] || exit 9; exec sleep 100";
        for out in on_hosts(&network, [2, 1, 1], &["sh", "-c", script]) {
            assert_eq!(out.code, 9, "{out:?}");
            assert!(out.stderr().contains("rank 3 on node 2 (host "), "{out:?}");
        }
    }
}

#[test]
fn without_a_token_every_launcher_says_how_to_make_one() {
    let Some(network) = Network::or_skip(2, Family::V4) else { return };
    let start = |node| {
        let one = launcher(&network, 2, node, 1).args(["sleep", "100"]);
        one.env_remove("KIRSH_TOKEN").env_remove("KIRSH_TOKEN_FILE").start()
    };
    let started = [start(0), start(1)];
    for out in started.map(Running::finish) {
        assert_eq!(out.code, 1, "{out:?}");
        assert!(out.stderr().contains("kirsh token"), "{out:?}");
        assert!(out.stderr().contains("KIRSH_TOKEN_FILE"), "{out:?}");
    }
}

#[test]
fn a_host_that_is_cut_off_ends_the_run_on_both_sides() {
    let Some(network) = Network::or_skip(2, Family::V4) else { return };
    let start = |node| {
        launcher(&network, 2, node, 1)
            .env("KIRSH_TOKEN", TOKEN)
            .env("KIRSH_LIVENESS_TIMEOUT", "3")
            .args(["sh", "-c", "echo up; exec sleep 300"])
            .start()
    };
    let mut started = [start(0), start(1)];
    for one in &mut started {
        assert_eq!(one.line(), "up");
    }
    let unplug = network.unplug(1);
    let words: Vec<&str> = unplug.split(' ').collect();
    assert!(std::process::Command::new(words[0]).args(&words[1..]).status().unwrap().success());
    let [zero, one] = started.map(Running::finish);
    assert_eq!((zero.code, one.code), (1, 1), "{zero:?}\n{one:?}");
    assert!(zero.stderr().contains("node 1 has not been heard of"), "{zero:?}");
    assert!(one.stderr().contains("node 1 has lost node 0"), "{one:?}");
}

/// The doctor with a rank on every host; its report, and the exit codes.
fn doctor<const N: usize>(network: &Network, json: &[&str]) -> (Output, Vec<i32>) {
    let starters = network.starters(N as u32);
    let start = |rank: usize| {
        Kirsh::through(&starters[rank], ["doctor", "--time", "0.3", "--size", "16M"])
            .args(json)
            .env("RANK", &rank.to_string())
            .env("WORLD_SIZE", &N.to_string())
            .env("KIRSH_RENDEZVOUS", &network.rendezvous())
            .env("KIRSH_TOKEN", TOKEN)
            .env("KIRSH_JOIN_TIMEOUT", "30")
            .start()
    };
    let started: Vec<Running> = (0..N).map(start).collect();
    let mut outs: Vec<Output> = started.into_iter().map(Running::finish).collect();
    let codes = outs.iter().map(|out| out.code).collect();
    (outs.swap_remove(0), codes)
}

fn parsed(out: &Output) -> serde_json::Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|cause| panic!("{cause}: {out:?}"))
}

fn pair(report: &serde_json::Value, from: u32, to: u32) -> &serde_json::Value {
    let pairs = report["pairs"].as_array().unwrap();
    pairs.iter().find(|pair| pair["from"] == from && pair["to"] == to).unwrap()
}

fn findings(report: &serde_json::Value) -> String {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|found| format!("{}: {}\n", found["severity"], found["text"])).collect()
}

#[test]
fn the_doctor_names_a_slow_network_while_a_fast_one_is_there() {
    let Some(network) = Network::or_skip(2, Family::V4) else { return };
    network.add_second_network(2);
    for host in 0..2 {
        if let Err(why) = network.shape(host, "eth0", "10mbit") {
            return eprintln!("skipped: {why}");
        }
    }
    let (out, codes) = doctor::<2>(&network, &["--json"]);
    assert_eq!(codes, [0, 0], "slow is not broken: {out:?}");
    let report = parsed(&out);
    for (from, to) in [(0, 1), (1, 0)] {
        let pair = pair(&report, from, to);
        let chosen = network.address(to, 0);
        assert!(pair["chosen"].as_str().unwrap().starts_with(&chosen), "{pair}");
        let rate = pair["bandwidth_mbit"].as_f64().unwrap();
        assert!((2.0..30.0).contains(&rate), "10 Mbit/s look like {rate}");
        assert!(pair["latency_us"].as_f64().unwrap() > 0.0, "{pair}");
        assert_eq!(pair["path_mtu"], 1500, "{pair}");
    }
    let findings = findings(&report);
    let rival = format!("while {}", network.address(1, 1));
    for part in ["10 Mbit/s class", &rival, "is reachable", "KIRSH_IFACE"] {
        assert!(findings.contains(part), "no {part:?} in {findings}");
    }
}

#[test]
fn the_doctor_names_the_pair_that_cannot_connect_and_goes_on_with_the_others() {
    let Some(network) = Network::or_skip(3, Family::V4) else { return };
    network.block(1, 2);
    let (out, codes) = doctor::<3>(&network, &["--json"]);
    assert_eq!(codes, [1, 1, 1], "every rank leaves with the same code: {out:?}");
    let report = parsed(&out);
    assert_eq!(report["reachable"], false);
    let findings = findings(&report);
    for (from, to) in [(1, 2), (2, 1)] {
        assert!(pair(&report, from, to)["chosen"].is_null(), "{report}");
        let name = format!("\"rank {from} (host ");
        let line = findings.lines().find(|line| line.contains(&name) && line.contains("cannot"));
        let line = line.unwrap_or_else(|| panic!("{name} is missing in {findings}"));
        assert!(line.contains(&network.address(to, 0)) && line.contains("error"), "{line}");
    }
    for (from, to) in [(0, 1), (1, 0), (0, 2), (2, 0)] {
        let pair = pair(&report, from, to);
        assert!(pair["bandwidth_mbit"].as_f64().unwrap() > 0.0, "{pair}");
    }
    let (out, _) = doctor::<3>(&network, &[]);
    let text = out.stdout_lines().join("\n");
    assert!(text.contains("1 -> 2  UNREACHABLE"), "{text}");
}
