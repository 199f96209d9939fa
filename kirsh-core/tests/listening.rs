//! On which addresses of its host a rank listens: on no more than its settings say.

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use common::{Group, comm, said};
use kirsh_core::Options;

const TOKEN: &str = "a-token-for-the-tests-of-listening";

#[test]
fn a_rank() {
    if common::scenario().is_none() {
        return;
    }
    let comm = comm();
    let texts: Vec<String> = listened_on().iter().map(SocketAddr::to_string).collect();
    said("listens", texts.join(" "));
    comm.barrier(&Options::default()).unwrap();
}

/// The addresses of all sockets of this process that listen.
fn listened_on() -> Vec<SocketAddr> {
    let held = std::fs::read_dir("/proc/self/fd").unwrap();
    let held = held.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let held: Vec<String> = held.map(|target| target.to_string_lossy().into_owned()).collect();
    let mut found = Vec::new();
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        // A kernel without IPv6 has no second one.
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // TCP_LISTEN is 10; see proc_net_tcp in the kernel's documentation.
            if words[3] == "0A" && held.contains(&format!("socket:[{}]", words[9])) {
                let (ip, port) = words[1].split_once(':').unwrap();
                found.push(SocketAddr::new(address(ip), u16::from_str_radix(port, 16).unwrap()));
            }
        }
    }
    found
}

/// An address as the kernel writes it: words of 32 bits, each in the order of this host.
fn address(hex: &str) -> IpAddr {
    let words = hex.as_bytes().chunks(8).map(|word| std::str::from_utf8(word).unwrap());
    let bytes: Vec<u8> =
        words.flat_map(|word| u32::from_str_radix(word, 16).unwrap().to_ne_bytes()).collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap())),
    }
}

fn listening(change: impl Fn(Group) -> Group) -> Vec<Vec<SocketAddr>> {
    let outcomes = change(Group::new("listen", 2)).succeed();
    let said = outcomes.iter().map(|outcome| outcome.must_have_said("listens").text.clone());
    said.map(|text| text.split(' ').map(|at| at.parse().unwrap()).collect()).collect()
}

#[test]
fn without_a_token_a_rank_listens_on_127_0_0_1_alone() {
    for found in listening(|group| group) {
        assert!(!found.is_empty());
        assert!(found.iter().all(|at| at.ip() == Ipv4Addr::LOCALHOST), "{found:?}");
    }
}

#[test]
fn with_a_token_a_rank_listens_on_all_addresses() {
    for found in listening(|group| group.env("KIRSH_TOKEN", TOKEN)) {
        assert!(found.iter().any(|at| at.ip().is_unspecified()), "{found:?}");
    }
}

#[test]
fn what_kirsh_iface_leaves_out_is_not_listened_on_and_the_rest_has_one_port() {
    // By name, by networks for documentation, which no host has, and by all networks that there are.
    for filter in ["no-such-one", "198.51.100.0/24,2001:db8::/32", "^0.0.0.0/0,::/0"] {
        let low = common::free_port();
        let ports = low..=low + 99;
        let only = |group: Group| {
            group
                .env("KIRSH_TOKEN", TOKEN)
                .env("KIRSH_IFACE", filter)
                .env("KIRSH_PORTS", format!("{low}-{}", low + 99))
        };
        for found in listening(only) {
            assert!(!found.is_empty());
            assert!(found.iter().all(|at| at.ip().is_loopback()), "{filter}: {found:?}");
            assert!(found.iter().all(|at| at.port() == found[0].port()), "{filter}: {found:?}");
            assert!(ports.contains(&found[0].port()), "{filter}: {found:?}");
        }
    }
}
