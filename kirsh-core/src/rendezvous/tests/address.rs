//! Real networks first, tunnels and containers after them, loopback last.

use std::net::{IpAddr, SocketAddr};

use crate::error::ErrorKind;
use crate::limits;
use crate::rendezvous::address::{
    InterfaceFilter, Listening, binds, choose, host_id, places_of, published, survey, to_bind,
};
use crate::rendezvous::settings::Advertised;
use crate::rendezvous::sys::Interface;

fn interface(name: &str, ip: &str) -> Interface {
    let ip: IpAddr = ip.parse().unwrap();
    Interface {
        name: name.to_owned(),
        ip,
        prefix: if ip.is_ipv4() { 24 } else { 64 },
        running: true,
        loopback: ip.is_loopback(),
        point_to_point: false,
    }
}

fn host() -> Vec<Interface> {
    let mut host = vec![
        interface("lo", "127.0.0.1"),
        interface("lo", "::1"),
        interface("docker0", "172.17.0.1"),
        interface("tun0", "10.8.0.2"),
        interface("eth0", "fe80::1"),
        interface("eth0", "fd00::2"),
        interface("eth0", "10.0.0.2"),
        interface("eth1", "169.254.3.4"),
        interface("eth2", "10.0.9.9"),
        interface("lab", "10.9.0.1"),
    ];
    host[8].running = false;
    host[9].point_to_point = true;
    host
}

fn chosen(filter: &str, change: impl Fn(&mut Listening<'_>)) -> Vec<String> {
    try_choose(filter, change, &host()).unwrap().iter().map(SocketAddr::to_string).collect()
}

fn try_choose(
    filter: &str,
    change: impl Fn(&mut Listening<'_>),
    host: &[Interface],
) -> crate::Result<Vec<SocketAddr>> {
    let filter = match filter {
        "" => InterfaceFilter::default(),
        text => InterfaceFilter::parse(text).unwrap(),
    };
    let (bind, advertise) = (None, &[][..]);
    let mut listening =
        Listening { port: 9, bind, advertise, filter: &filter, loopback_only: false };
    change(&mut listening);
    choose(&listening, &binds(&listening, host), host)
}

#[test]
fn real_interfaces_come_first_and_what_is_down_or_link_local_not_at_all() {
    let expected = [
        "10.0.0.2:9",
        "[fd00::2]:9",
        "172.17.0.1:9",
        "10.8.0.2:9",
        "169.254.3.4:9",
        "10.9.0.1:9",
        "127.0.0.1:9",
        "[::1]:9",
    ];
    assert_eq!(chosen("", |_| {}), expected);
}

#[test]
fn the_filter_narrows_by_name_and_network_but_keeps_loopback() {
    let loopback = ["127.0.0.1:9", "[::1]:9"];
    let cases: [(&str, &[&str]); 6] = [
        ("eth0", &["10.0.0.2:9", "[fd00::2]:9"]),
        ("10.0.0.0/8", &["10.0.0.2:9", "10.8.0.2:9", "10.9.0.1:9"]),
        ("10.0.0.0/8,!tun0,!10.9.0.1", &["10.0.0.2:9"]),
        ("fd00::/16", &["[fd00::2]:9"]),
        ("!docker0,!10.0.0.0/8,!eth1", &["[fd00::2]:9", "172.17.0.1:9"]),
        ("nothing", &[]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<&str> = expected
            .iter()
            .chain(&loopback)
            .copied()
            .filter(|address| !filter.contains("!docker0") || !address.starts_with("172"))
            .collect();
        assert_eq!(chosen(filter, |_| {}), expected, "{filter}");
    }
}

#[test]
fn one_bound_address_is_the_only_one_published() {
    let bind = |text: &str| Some(text.parse::<IpAddr>().unwrap());
    assert_eq!(chosen("", |l| l.bind = bind("10.8.0.2")), ["10.8.0.2:9"]);
    assert_eq!(chosen("", |l| l.bind = bind("127.0.0.5")), ["127.0.0.5:9"]);
    let v4 = chosen("", |l| l.bind = bind("0.0.0.0"));
    assert!(v4.contains(&"10.0.0.2:9".to_owned()) && v4.iter().all(|a| !a.starts_with('[')));
    assert_eq!(chosen("", |l| l.bind = bind("::")), chosen("", |_| {}));
}

#[test]
fn advertised_addresses_replace_the_hosts_own_except_loopback() {
    let ip: IpAddr = "203.0.113.5".parse().unwrap();
    let seen = [Advertised { ip, port: None }, Advertised { ip, port: Some(80) }];
    let expected = ["203.0.113.5:9", "203.0.113.5:80", "127.0.0.1:9", "[::1]:9"];
    // `choose` is asked here directly, since the list outlives the closure's argument.
    let filter = InterfaceFilter::default();
    let mut listening =
        Listening { port: 9, bind: None, advertise: &seen, filter: &filter, loopback_only: false };
    let texts = |found: Vec<SocketAddr>| -> Vec<String> {
        found.iter().map(SocketAddr::to_string).collect()
    };
    let all = |listening: &Listening<'_>| choose(listening, &binds(listening, &host()), &host());
    assert_eq!(texts(all(&listening).unwrap()), expected);
    listening.loopback_only = true;
    assert_eq!(texts(all(&listening).unwrap()), ["127.0.0.1:9"]);
}

#[test]
fn a_job_without_a_token_publishes_what_it_listens_on_which_is_127_0_0_1() {
    assert_eq!(chosen("", |l| l.loopback_only = true), ["127.0.0.1:9"]);
}

#[test]
fn the_filter_narrows_what_is_listened_on_as_well() {
    let bound = |filter: &str, change: &dyn Fn(&mut Listening<'_>)| -> Vec<String> {
        let filter = match filter {
            "" => InterfaceFilter::default(),
            text => InterfaceFilter::parse(text).unwrap(),
        };
        let (bind, advertise) = (None, &[][..]);
        let mut listening =
            Listening { port: 0, bind, advertise, filter: &filter, loopback_only: false };
        change(&mut listening);
        binds(&listening, &host()).iter().map(IpAddr::to_string).collect()
    };
    assert_eq!(bound("", &|_| {}), ["::"]);
    assert_eq!(bound("eth0", &|_| {}), ["10.0.0.2", "fd00::2", "127.0.0.1", "::1"]);
    assert_eq!(bound("nothing", &|_| {}), ["127.0.0.1", "::1"]);
    assert!(!bound("!eth0", &|_| {}).contains(&"10.0.0.2".to_owned()));
    // An address named goes before, and a job without a token stays where it is.
    assert_eq!(bound("eth0", &|l| l.bind = "10.8.0.2".parse().ok()), ["10.8.0.2"]);
    assert_eq!(bound("eth0", &|l| l.loopback_only = true), ["127.0.0.1"]);
}

#[test]
fn only_what_was_bound_is_published() {
    let filter = InterfaceFilter::default();
    let listening =
        Listening { port: 9, bind: None, advertise: &[], filter: &filter, loopback_only: false };
    let bound = ["10.0.0.2", "127.0.0.1"].map(|ip| ip.parse().unwrap());
    let found = choose(&listening, &bound, &host()).unwrap();
    assert_eq!(found.iter().map(SocketAddr::ip).collect::<Vec<_>>(), bound);
    // A host without IPv6 binds the other wildcard.
    let found = choose(&listening, &["0.0.0.0".parse().unwrap()], &host()).unwrap();
    assert!(found.len() > 2 && found.iter().all(SocketAddr::is_ipv4), "{found:?}");
}

#[test]
fn where_nothing_is_left_the_error_lists_what_the_host_has_and_why_not() {
    let host: Vec<Interface> = host().into_iter().filter(|found| !found.loopback).collect();
    let error = try_choose("eth7", |_| {}, &host).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let parts = [
        "eth0 10.0.0.2 (left out by KIRSH_IFACE)",
        "eth0 fe80::1 (link-local)",
        "eth2 10.0.9.9 (down)",
    ];
    for part in parts {
        assert!(error.message().contains(part), "{part:?} is missing in: {error}");
    }
    let error = try_choose("", |l| l.bind = Some("9.9.9.9".parse().unwrap()), &host).unwrap_err();
    assert!(error.message().contains("KIRSH_BIND is 9.9.9.9"), "{error}");
}

#[test]
fn a_host_of_many_addresses_publishes_the_best_and_loopback() {
    let mut host = host();
    host.extend((0..40).map(|i| interface("eth0", &format!("10.1.0.{i}"))));
    let found = try_choose("", |_| {}, &host).unwrap();
    assert_eq!(found.len(), limits::ADDRESSES_MAX);
    assert!(found.last().unwrap().ip().is_loopback());
    assert_eq!(found.iter().filter(|address| address.ip().is_loopback()).count(), 1);
}

#[test]
fn this_host_has_loopback_and_one_id() {
    let filter = InterfaceFilter::default();
    let listening =
        Listening { port: 9, bind: None, advertise: &[], filter: &filter, loopback_only: true };
    let bound = to_bind(&listening).unwrap();
    let found = published(&listening, &bound).unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
    let seen = survey(&filter).unwrap();
    assert!(seen.iter().any(|address| address.ip.is_loopback() && address.left_out.is_none()));
    let firsts_left_out = seen.iter().skip_while(|address| address.left_out.is_none());
    assert!(firsts_left_out.clone().all(|address| address.left_out.is_some()), "they stand last");
    assert_eq!(host_id(), host_id());
}

// P-61
#[test]
fn real_networks_are_told_apart_and_what_leads_nowhere_has_none() {
    let host = [
        interface("lo", "127.0.0.1"),
        interface("eth0", "10.0.0.5"),
        interface("eth1", "10.1.0.5"),
        interface("docker0", "172.17.0.1"),
        interface("eth0", "fd00::5"),
    ];
    let mut published: Vec<SocketAddr> =
        host.iter().map(|interface| SocketAddr::new(interface.ip, 7)).collect();
    // Where others see it, and not the host itself.
    published.push("203.0.113.7:7".parse().unwrap());
    let places = places_of(&published, &host);
    let prefixes: Vec<u8> = places.iter().map(|place| place.prefix).collect();
    assert_eq!(prefixes, [0, 24, 24, 0, 64, 0]);
    assert_eq!(places[1].interface, places[4].interface);
    assert_ne!(places[1].interface, places[2].interface);
    let own = survey(&InterfaceFilter::default()).unwrap();
    let loopback = own.iter().find(|seen| seen.ip.is_loopback());
    assert!(loopback.is_none_or(|seen| seen.network.is_none()));
}
