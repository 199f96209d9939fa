//! Ranks on several hosts: each in a network namespace of its own, with cables and a switch
//! between them. Needs root and iproute2; elsewhere each test says why it is skipped.

mod common;
#[path = "netns/network.rs"]
mod network;
#[path = "netns/ranks.rs"]
mod ranks;

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Failure, Group, Outcome, for_each_driver};
use network::{Family, Network};

const SECOND_NS: u64 = 1_000_000_000;
const HOSTS: u32 = 3;

#[test]
fn a_rank() {
    if let Some((scenario, detail)) = common::scenario() {
        ranks::play(&scenario, &detail);
    }
}

/// A file with a token that only its owner may read; gone when dropped.
struct TokenFile(PathBuf);

impl TokenFile {
    fn new(token: &str) -> TokenFile {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("kirsh-test-token-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| writeln!(file, "{token}")).expect("a token file");
        TokenFile(path)
    }

    fn path(&self) -> std::path::Display<'_> {
        Path::display(&self.0)
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A rank on each host, all told the same.
fn group(scenario: &'static str, network: &Network, token: &TokenFile) -> Group {
    without_token(scenario, network).env("KIRSH_TOKEN_FILE", token.path())
}

fn without_token(scenario: &'static str, network: &Network) -> Group {
    Group::new(scenario, HOSTS)
        .through(network.starters(HOSTS))
        .env("KIRSH_RENDEZVOUS", network.rendezvous())
}

fn a_token() -> TokenFile {
    TokenFile::new("3b1f9c0d5e7a48629d0c4b8f6a2e1d70")
}

/// How each rank failed to join, each within this time.
fn failures(outcomes: &[Outcome], within_s: u64) -> Vec<Failure> {
    let failures = outcomes.iter().map(|outcome| {
        let failure = outcome.failure();
        let took_ns = failure.at_ns - outcome.must_have_said("begins").at_ns;
        assert!(took_ns < within_s * SECOND_NS, "after {} ms: {failure:?}", took_ns / 1_000_000);
        failure
    });
    failures.collect()
}

/// How long a rank took until its first operation was over.
fn ready_ms(outcome: &Outcome) -> u64 {
    outcome.must_have_said("ready").text.parse().unwrap()
}

fn ranks_on_hosts_of_their_own_work(family: Family) {
    let Some(network) = Network::or_skip(HOSTS, family) else { return };
    let token = a_token();
    for_each_driver(|driver| {
        for (checksum, trailers) in [("auto", 1.0), ("off", 0.0)] {
            let group = group("works", &network, &token).driver(driver);
            for outcome in group.env("KIRSH_CHECKSUM", checksum).succeed() {
                outcome.must_have_said("done");
                // These cables copy, so that the ranks ask for it at first, and then no more.
                let asks = outcome.must_have_said("asked").text == "1";
                assert_eq!(asks, driver == "uring");
                let seen: f64 = outcome.must_have_said("trailers").text.parse().unwrap();
                let off = (seen - trailers).abs();
                assert!(off < 0.3, "{driver}, checksums {checksum}: {seen} trailers a frame");
            }
        }
    });
}

#[test]
fn ranks_on_hosts_of_their_own_work_and_check_payloads() {
    ranks_on_hosts_of_their_own_work(Family::V4);
}

#[test]
fn ranks_on_hosts_of_their_own_work_where_there_is_only_ipv6() {
    ranks_on_hosts_of_their_own_work(Family::V6);
}

#[test]
fn a_limited_rank_sends_no_faster_than_it_may() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    let token = a_token();
    for_each_driver(|driver| {
        let group = group("limited", &network, &token).driver(driver);
        for outcome in group.env("KIRSH_RATE_LIMIT", "40mbit").succeed() {
            outcome.must_have_said("done");
        }
    });
}

#[test]
fn several_hosts_without_a_token_are_refused_and_every_rank_is_told_what_to_do() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    let group = without_token("joins", &network).env("KIRSH_JOIN_TIMEOUT", "20").deadline(40);
    for failure in failures(&group.succeed(), 5) {
        assert_eq!(failure.kind, "authentication", "{failure:?}");
        assert!(failure.message.contains("kirsh token"), "{failure:?}");
        assert!(failure.message.contains("KIRSH_TOKEN_FILE"), "{failure:?}");
    }
}

#[test]
fn ranks_that_do_not_belong_together_are_told_so_with_both_sides_named() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    let (token, other) = (a_token(), TokenFile::new("00000000000000000000000000000000"));
    let group = || group("joins", &network, &token).env("KIRSH_JOIN_TIMEOUT", "20").deadline(40);
    let cases = [
        (
            "token",
            group().env_of(2, "KIRSH_TOKEN_FILE", other.path()),
            "authentication",
            ["rank 2", "KIRSH_TOKEN"],
        ),
        (
            "job",
            group().env_of(2, "KIRSH_JOB_ID", "another"),
            "authentication",
            ["rank 2", "\"another\""],
        ),
        (
            "rank",
            group().env_of(2, "RANK", "1"),
            "rendezvous",
            ["rank 1 is taken twice", "by rank 1 "],
        ),
        ("size", group().env_of(2, "WORLD_SIZE", "4"), "mismatch", ["has 4", "has 3"]),
    ];
    for (what, group, kind, texts) in cases {
        for failure in failures(&group.succeed(), 10) {
            assert_eq!(failure.kind, kind, "{what}: {failure:?}");
            for text in texts {
                assert!(failure.message.contains(text), "{what}: no {text:?} in {failure:?}");
            }
        }
    }
}

// P-44
#[test]
fn an_address_that_leads_nowhere_is_passed_over_and_kirsh_iface_leaves_it_out() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    (0..HOSTS).for_each(|host| network.add_dead_interface(host));
    let token = a_token();
    for_each_driver(|driver| {
        // The dead address stands first: the kernel takes three seconds to find out.
        let group = || group("works", &network, &token).driver(driver);
        let outcomes = group().succeed();
        assert!(outcomes.iter().any(|outcome| ready_ms(outcome) > 2500), "none was tried");
        for filter in ["eth0", "^aux*", "10.77.0.0/16", "10.0.0.0/8,!10.78.0.0/24"] {
            for outcome in group().env("KIRSH_IFACE", filter).succeed() {
                let ms = ready_ms(&outcome);
                assert!(ms < 2500, "{filter}: {ms} ms: {}", outcome.output);
            }
        }
    });
}

#[test]
fn a_rank_whose_kirsh_iface_leaves_loopback_alone_is_named_on_every_host() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    let token = a_token();
    let group = group("joins", &network, &token).env("KIRSH_JOIN_TIMEOUT", "20").deadline(40);
    let outcomes = group.env_of(2, "KIRSH_IFACE", "192.168.0.0/16").succeed();
    for failure in failures(&outcomes, 10) {
        assert_eq!(failure.kind, "configuration", "{failure:?}");
        for text in ["rank 2 (host ", "loopback addresses alone", "KIRSH_IFACE"] {
            assert!(failure.message.contains(text), "no {text:?} in {failure:?}");
        }
    }
}

// P-44
#[test]
fn where_no_address_answers_every_rank_is_told_which_were_tried() {
    let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
    let token = a_token();
    // Nobody has the first; the second is in a network to which no way leads.
    let (absent, outside) = ("10.77.0.200", "192.0.2.9");
    for_each_driver(|driver| {
        let outcomes = group("joins", &network, &token)
            .driver(driver)
            .env("KIRSH_ADVERTISE", format!("{absent},{outside}"))
            .env("KIRSH_JOIN_TIMEOUT", "25")
            .deadline(50)
            .succeed();
        for failure in failures(&outcomes, 20) {
            assert_eq!(failure.kind, "peer lost", "{failure:?}");
            for text in [absent, outside, "no control connection to rank", "KIRSH_ADVERTISE"] {
                assert!(failure.message.contains(text), "no {text:?} in {failure:?}");
            }
        }
    });
}

// P-28
#[test]
fn a_host_that_is_cut_off_is_named_by_the_others_within_the_liveness_timeout() {
    let token = a_token();
    for_each_driver(|driver| {
        for victim in [2u32, 0] {
            let Some(network) = Network::or_skip(HOSTS, Family::V4) else { return };
            let outcomes = group("unplugged", &network, &token)
                .driver(driver)
                .env("KIRSH_LIVENESS_TIMEOUT", "3")
                .env("KIRSH_TIMEOUT", "60")
                .detail(format!("{victim} {}", network.unplug(victim)))
                .succeed();
            let unplugged_ns = outcomes[victim as usize].must_have_said("unplugs").at_ns;
            for outcome in &outcomes {
                let failure = outcome.failure();
                assert_eq!(failure.kind, "peer lost", "{driver}: {failure:?}");
                if outcome.rank != victim {
                    assert_eq!(failure.peer, Some(victim), "{driver}: {failure:?}");
                }
                let took_ms = (failure.at_ns - unplugged_ns) / 1_000_000;
                // A second more than the timeout: the machine may be busy.
                assert!(took_ms < 4000, "{driver}: {took_ms} ms, {failure:?}");
            }
        }
    });
}

/// Two hosts with two cables each, of these rates; or why there can be none.
fn two_rails(rates: [&str; 2]) -> Option<Network> {
    let network = Network::or_skip(2, Family::V4)?;
    network.add_second_rail(2);
    for host in 0..2 {
        for (interface, rate) in ["eth0", "eth1"].into_iter().zip(rates) {
            if let Err(why) = network.shape(host, interface, rate) {
                eprintln!("skipped: {why}");
                return None;
            }
        }
    }
    Some(network)
}

/// The first cable's shares of the bytes: of large calls, of large calls of a communicator made from the
/// first, and of small calls; for each rank.
fn shares(network: &Network, rails: &str, driver: &str) -> Vec<[f64; 3]> {
    let token = a_token();
    let group = Group::new("rails", 2)
        .through(network.starters(2))
        .env("KIRSH_RENDEZVOUS", network.rendezvous())
        .env("KIRSH_TOKEN_FILE", token.path())
        .env("KIRSH_RAILS", rails)
        .driver(driver);
    let of = |outcome: &Outcome| {
        ["large", "inherited", "small"]
            .map(|word| outcome.must_have_said(word).text.parse().unwrap())
    };
    group.succeed().iter().map(of).collect()
}

/// Whether the first cable got its share, of each rank's bytes.
fn fits(seen: &[[f64; 3]], share: f64) -> bool {
    let near = |seen: f64| (seen - share).abs() < 0.15;
    seen.iter().all(|[large, inherited, small]| {
        near(*large) && near(*inherited) && (share == 0.5 || (*small > 0.5) == (share > 0.5))
    })
}

// P-61
#[test]
fn two_cables_carry_their_shares_of_large_calls_and_the_faster_one_the_small() {
    for (rates, share) in [
        (["300mbit", "300mbit"], 0.5),
        (["300mbit", "100mbit"], 0.75),
        (["100mbit", "300mbit"], 0.25),
    ] {
        let Some(network) = two_rails(rates) else { return };
        for_each_driver(|driver| {
            // What is measured on a machine that others use as well may be wrong, but not each time.
            let mut tries = Vec::new();
            let fitting = (0..4).any(|_| {
                tries.push(shares(&network, "auto", driver));
                tries.last().is_some_and(|seen| fits(seen, share))
            });
            assert!(fitting, "{driver}, {rates:?}: {tries:?} of the bytes");
        });
    }
}

// P-61
#[test]
fn without_rails_one_cable_carries_everything() {
    let Some(network) = two_rails(["400mbit", "400mbit"]) else { return };
    for [large, inherited, small] in shares(&network, "off", "poll") {
        for share in [large, inherited, small] {
            assert!(!(0.1..=0.9).contains(&share), "{share}");
        }
    }
}
