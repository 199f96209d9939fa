//! Listening, connecting and setting links up.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;

use super::*;
use crate::driver::fork::Fd;
use crate::driver::local::{self, Address};
use crate::driver::socket::*;
use crate::error::ErrorKind;

on_both_drivers!(
    connects_and_accepts_without_blocking,
    connects_within_the_host,
    reports_a_refused_connect,
);

/// Goes through connect and accept as a driver does, and gives both ends.
fn join<T: Io>(io: &mut T, listener: &Fd, address: SocketAddr) -> (Fd, Fd) {
    let near = connect_start(address, None).unwrap();
    io.writable(1, near.as_raw_fd());
    io.readable(2, listener.as_raw_fd());
    let ended = io.finish(2, 0);
    assert!(ended.iter().all(|completion| completion.result > 0), "{ended:?}");
    connect_result(near.as_fd()).unwrap();
    let (far, peer) = accept(listener.as_fd()).unwrap().expect("a connection is waiting");
    assert_eq!(peer, Some(local_address(&near).unwrap()));
    assert!(accept(listener.as_fd()).unwrap().is_none());
    (near, far)
}

fn connects_and_accepts_without_blocking<T: Io>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    let (listener, address) = listen(Ipv4Addr::LOCALHOST.into(), PortRange::ANY).unwrap();
    let (near, far) = join(&mut io, &listener, address);
    // Both ends carry data, which on io_uring takes blocking sockets.
    let mut sent = Message::of(b"hello");
    let mut got = Message::space(5);
    io.receive(1, &near, &mut got, true);
    assert_eq!(io.look(), []);
    io.send(2, &far, &mut sent, true);
    assert_eq!(io.finish(2, 0), [done(1, 5), done(2, 5)]);
}

fn connects_within_the_host<T: Io>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    let process = getrandom::u64().unwrap();
    let refused = local::connect(process).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
    let listener = local::listen(process).unwrap();
    let taken = local::listen(process).unwrap_err();
    assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
    let near = local::connect(process).unwrap();
    io.writable(1, near.as_raw_fd());
    io.readable(2, listener.as_raw_fd());
    let ended = io.finish(2, 0);
    assert!(ended.iter().all(|completion| completion.result > 0), "{ended:?}");
    connect_result(near.as_fd()).unwrap();
    let (far, from) = accept(listener.as_fd()).unwrap().expect("a connection is waiting");
    assert_eq!(from, None);
    for end in [&near, &far] {
        // What is TCP's is passed over.
        let reno = LinkOptions { congestion: Some("reno".into()), ..LinkOptions::default() };
        let in_force = set_up_link(end.as_fd(), &reno).unwrap();
        assert_eq!(in_force.congestion, "");
        assert!(in_force.send_buffer_bytes > 64 << 10, "{in_force:?}");
    }
    let mut sent = Message::of(b"hello");
    let mut got = Message::space(5);
    io.receive(1, &near, &mut got, true);
    assert_eq!(io.look(), []);
    io.send(2, &far, &mut sent, true);
    assert_eq!(io.finish(2, 0), [done(1, 5), done(2, 5)]);
    // What is in flight ends with the connection, as over TCP.
    io.receive(3, &near, &mut got, true);
    assert_eq!(io.look(), []);
    shutdown_both(near.as_fd()).unwrap();
    assert_eq!(io.finish(1, 0), [done(3, 0)]);
    // The name goes with the listener.
    drop(listener);
    drop(local::listen(process).unwrap());
    assert_eq!(Address::Local(0x1f).to_string(), "kirsh-000000000000001f");
}

fn reports_a_refused_connect<T: Io>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    // Bound but not listening: nobody else can listen there either.
    let idle = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    idle.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let address = local_address(&idle).unwrap();
    let near = connect_start(address, Some(Ipv4Addr::LOCALHOST.into())).unwrap();
    io.writable(1, near.as_raw_fd());
    io.finish(1, 0);
    let error = connect_result(near.as_fd()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ECONNREFUSED));
}

#[test]
fn listening_on_every_address_takes_both_families() {
    let (listener, address) = listen(Ipv6Addr::UNSPECIFIED.into(), PortRange::ANY).unwrap();
    let mut io = PollIo::new().unwrap();
    let (near, _far) = join(&mut io, &listener, (Ipv4Addr::LOCALHOST, address.port()).into());
    assert!(local_address(&near).unwrap().is_ipv4());
    if address.is_ipv6() {
        let (near, _far) = join(&mut io, &listener, (Ipv6Addr::LOCALHOST, address.port()).into());
        assert!(local_address(&near).unwrap().is_ipv6());
    }
}

#[test]
fn listening_passes_over_ports_that_are_taken() {
    let host: IpAddr = Ipv4Addr::LOCALHOST.into();
    // Two neighbouring ports, found by trying, since other programs have theirs.
    for _ in 0..100 {
        let (_first, first) = listen(host, PortRange::ANY).unwrap();
        let Some(range) = PortRange::new(first.port(), first.port().saturating_add(1)) else {
            continue;
        };
        let Ok((_second, second)) = listen(host, range) else { continue };
        assert_eq!(second.port(), first.port() + 1);
        let error = listen(host, range).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::System);
        assert!(error.message().contains("KIRSH_PORTS"), "{error}");
        assert!(error.message().contains(&range.to_string()), "{error}");
        return;
    }
    panic!("no two neighbouring ports were free");
}

#[test]
fn port_ranges_are_read_and_nonsense_is_refused() {
    assert_eq!("0".parse::<PortRange>().unwrap(), PortRange::ANY);
    assert_eq!("29600-29699".parse::<PortRange>().unwrap(), PortRange::new(29600, 29699).unwrap());
    assert_eq!(" 7 - 7 ".parse::<PortRange>().unwrap().to_string(), "7");
    for nonsense in ["", "-", "1-", "0-5", "9-3", "65536", "1-2-3", "http"] {
        let error = nonsense.parse::<PortRange>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration, "{nonsense}");
        assert!(error.message().contains("KIRSH_PORTS"));
    }
}

#[test]
fn a_link_gets_its_options_and_tells_what_is_in_force() {
    let (near, _far) = tcp_pair();
    let before = set_up_link(near.as_fd(), &LinkOptions::default()).unwrap();
    assert!(!before.congestion.is_empty());
    let socket = socket2::SockRef::from(&near);
    assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());

    let options = LinkOptions {
        user_timeout_ms: 12_345,
        send_buffer_bytes: Some(65_536),
        receive_buffer_bytes: Some(32_768),
        congestion: Some("no-such-thing".into()),
        pacing_bytes_per_second: Some(1 << 30),
    };
    let after = set_up_link(near.as_fd(), &options).unwrap();
    assert_eq!(after.congestion, before.congestion, "an unknown name changes nothing");
    assert_eq!((after.send_buffer_bytes, after.receive_buffer_bytes), (131_072, 65_536));
    assert_eq!(socket.tcp_user_timeout().unwrap().unwrap().as_millis(), 12_345);

    let reno = LinkOptions { congestion: Some("reno".into()), ..LinkOptions::default() };
    assert_eq!(set_up_link(near.as_fd(), &reno).unwrap().congestion, "reno");
}

#[test]
fn a_user_timeout_beyond_what_the_kernel_counts_is_the_longest_it_does() {
    let (near, _far) = tcp_pair();
    let options = LinkOptions { user_timeout_ms: u32::MAX, ..LinkOptions::default() };
    set_up_link(near.as_fd(), &options).unwrap();
    let in_force = socket2::SockRef::from(&near).tcp_user_timeout().unwrap().unwrap();
    assert_eq!(in_force.as_millis(), i32::MAX as u128);
}

#[test]
fn ending_a_connection_twice_is_no_error() {
    let (near, far) = tcp_pair();
    shutdown_both(near.as_fd()).unwrap();
    drop(far);
    shutdown_both(near.as_fd()).unwrap();
    disconnect(near.as_fd()).unwrap();
    shutdown_both(near.as_fd()).unwrap();
}
