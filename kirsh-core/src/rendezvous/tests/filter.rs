//! What `KIRSH_IFACE` admits, held against a naive reading of networks bit by bit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use crate::rendezvous::filter::InterfaceFilter;
use crate::rendezvous::settings;

fn admits(filter: &str, name: &str, ip: IpAddr) -> bool {
    InterfaceFilter::parse(filter).unwrap_or_else(|| panic!("{filter}")).admits(name, ip)
}

/// The bits of an address, highest first, behind a mark for its family.
fn bits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("4{}", ip.octets().map(|byte| format!("{byte:08b}")).concat()),
        IpAddr::V6(ip) => format!("6{}", ip.octets().map(|byte| format!("{byte:08b}")).concat()),
    }
}

/// Whether an address lies in a network, by the text of their bits.
fn lies_in(ip: IpAddr, network: IpAddr, prefix_len: usize) -> bool {
    bits(ip).starts_with(&bits(network)[..=prefix_len])
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ]
}

/// A network, and an address that shares at least its first bits with it more often than chance.
fn network_and_address() -> impl Strategy<Value = (IpAddr, usize, IpAddr)> {
    let near = |(network, prefix_len, flip): (IpAddr, usize, usize)| match network {
        IpAddr::V4(ip) => {
            let near = Ipv4Addr::from_bits(ip.to_bits() ^ (1 << (flip % 32)));
            (network, prefix_len % 33, IpAddr::V4(near))
        }
        IpAddr::V6(ip) => {
            let near = Ipv6Addr::from_bits(ip.to_bits() ^ (1 << (flip % 128)));
            (network, prefix_len % 129, IpAddr::V6(near))
        }
    };
    let far = (address(), 0..129usize, address()).prop_map(|(network, prefix_len, ip)| {
        let prefix_len = prefix_len % if network.is_ipv4() { 33 } else { 129 };
        (network, prefix_len, ip)
    });
    prop_oneof![3 => (address(), 0..129usize, 0..128usize).prop_map(near), 1 => far]
}

proptest! {
    #[test]
    fn a_network_admits_what_shares_its_first_bits_and_excluding_it_the_rest(
        (network, prefix_len, ip) in network_and_address()
    ) {
        let expected = lies_in(ip, network, prefix_len);
        let text = format!("{network}/{prefix_len}");
        prop_assert_eq!(admits(&text, "eth0", ip), expected);
        prop_assert_eq!(admits(&format!("!{text}"), "eth0", ip), !expected);
        prop_assert_eq!(admits(&format!("^{text}"), "eth0", ip), !expected);
        prop_assert!(admits(&format!("eth0,{text}"), "eth0", ip), "one that fits is enough");
        prop_assert!(!admits(&format!("{text},!eth0"), "eth0", ip), "an exclusion wins");
    }

    #[test]
    fn names_fit_whole_and_with_a_star_by_their_beginning(
        name in "[a-z][a-z0-9.@_-]{0,14}", cut in 0..15usize, ip in address()
    ) {
        let start = &name[..cut.min(name.len())];
        prop_assert!(admits(&name, &name, ip));
        let (with_star, longer) = (format!("{start}*"), format!("{name}x"));
        prop_assert!(admits(&with_star, &name, ip));
        let excluded = format!("^{with_star}");
        prop_assert!(!admits(&excluded, &name, ip));
        prop_assert!(!admits(&name, &longer, ip), "a name is not a beginning");
        prop_assert!(start.is_empty() || admits(start, &name, ip) == (start == name));
    }

    #[test]
    fn any_text_is_read_or_explained(text in ".{0,40}") {
        prop_assert_eq!(
            InterfaceFilter::parse(&text).is_none(),
            InterfaceFilter::problem(&text).is_some()
        );
    }
}

#[test]
fn exclusion_is_spelled_for_one_part_or_for_the_whole_list() {
    let ip: IpAddr = "10.0.0.2".parse().unwrap();
    for (filter, admitted) in [
        ("eth0,eth1", ["eth0", "eth1"].as_slice()),
        ("eth*,!eth1", &["eth0"]),
        ("eth*, ! eth1", &["eth0"]),
        ("eth*,^eth1", &["eth0"]),
        ("!eth1,!lo", &["eth0", "docker0"]),
        ("^eth1,lo", &["eth0", "docker0"]),
        ("^eth1,!lo", &["eth0", "docker0"]),
        ("^10.0.0.0/8", &[]),
        ("*,!10.0.0.3", &["eth0", "eth1", "lo", "docker0"]),
    ] {
        let mut found = vec!["eth0", "eth1", "lo", "docker0"];
        found.retain(|name| admits(filter, name, ip));
        assert_eq!(found, admitted, "{filter}");
    }
}

#[test]
fn a_part_that_is_wrong_is_named_and_what_is_allowed_said() {
    for (text, part) in [
        ("eth0,10.0.0.0/33", "\"10.0.0.0/33\" has no length from 0 to 32"),
        ("fd00::/129", "\"fd00::/129\" has no length from 0 to 128"),
        ("10.0.0.0/", "has no length"),
        ("10.0.0.0/+8", "has no length"),
        ("10.0.0/8", "\"10.0.0/8\" does not begin with an IP address"),
        ("eth0/24", "does not begin with an IP address"),
        ("eth0,,eth1", "a part is empty"),
        ("!", "a part is empty"),
        ("^", "a part is empty"),
        ("an-interface-of-20", "\"an-interface-of-20\" is longer"),
        ("et h0", "\"et h0\" is no name"),
        ("e*h0", "\"e*h0\" is no name"),
        ("!!eth0", "\"!eth0\" is no name"),
    ] {
        let error =
            settings::interfaces(&|name: &str| (name == "KIRSH_IFACE").then(|| text.to_owned()));
        let error = error.expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
        assert!(error.contains("KIRSH_IFACE") && error.contains("fd00::/8"), "{text}: {error}");
    }
}
