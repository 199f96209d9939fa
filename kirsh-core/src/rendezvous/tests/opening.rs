//! Who serves a rendezvous, and what is said when nobody can.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::{PLENTY, Scratch, joiners, soon};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::identity::{Identity, Rendezvous, Source};
use crate::rendezvous::{Opened, TcpServer, join, open};
use crate::wire::auth::Token;

fn identity(rank: u32, world_size: u32) -> Identity {
    let (local_rank, local_size) = (None, None);
    Identity { rank, world_size, local_rank, local_size, source: Source::Arguments }
}

fn loopback(port: u16) -> Rendezvous {
    Rendezvous::Tcp { host: "127.0.0.1".to_owned(), port }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn refused(opened: Result<Opened>) -> Error {
    opened.map(|_| ()).expect_err("opening must fail")
}

/// Every rank opens, joins, and rank 0 lingers; in any order.
fn run(rendezvous: &Rendezvous, world_size: u32) {
    std::thread::scope(|scope| {
        for me in joiners(world_size).into_iter().rev() {
            scope.spawn(move || {
                let who = identity(me.rank, world_size);
                let opened = open(rendezvous, &who, "job", None, false, 0, soon()).unwrap();
                let serves = matches!(rendezvous, Rendezvous::Tcp { .. }) && me.rank == 0;
                assert_eq!(opened.server.is_some(), serves);
                let outcome = join(&*opened.store, &me, soon());
                if me.rank == 0 {
                    opened.linger(&me, &outcome);
                }
                assert_eq!(outcome.unwrap().ranks.len(), world_size as usize);
            });
        }
    });
}

#[test]
fn rank_0_serves_and_the_same_port_serves_the_next_run() {
    let rendezvous = loopback(free_port());
    for _ in 0..3 {
        run(&rendezvous, 3);
    }
}

#[test]
fn a_directory_serves_one_run_after_the_other() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        run(&Rendezvous::File(scratch.0.clone()), 3);
    }
}

#[test]
fn a_directory_serves_the_next_run_also_after_one_that_failed() {
    let scratch = Scratch::new();
    let rendezvous = Rendezvous::File(scratch.0.clone());
    let me = &joiners(2)[0];
    let opened = open(&rendezvous, &identity(0, 2), "job", None, false, 0, soon()).unwrap();
    let outcome = join(&*opened.store, me, Instant::now());
    assert_eq!(outcome.as_ref().unwrap_err().kind(), ErrorKind::Timeout);
    opened.linger(me, &outcome);
    run(&rendezvous, 2);
}

#[test]
fn where_a_launcher_serves_rank_0_only_connects() {
    let port = free_port();
    let until = Instant::now() + Duration::from_millis(100);
    let error = refused(open(&loopback(port), &identity(0, 2), "job", None, true, 0, until));
    assert_eq!(error.kind(), ErrorKind::Rendezvous, "{error}");
    let launcher =
        TcpServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "job", None).unwrap();
    let opened = open(&loopback(port), &identity(0, 2), "job", None, true, 0, soon()).unwrap();
    assert!(opened.server.is_none());
    opened.store.set("key", b"").unwrap();
    drop(launcher);
}

#[test]
fn a_port_that_another_jobs_store_has_is_said_to_be_so() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let other = TcpServer::bind(any, "other", None).unwrap();
    let port = other.addr().port();
    let error = refused(open(&loopback(port), &identity(0, 2), "job", None, false, 0, soon()));
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let port = port.to_string();
    for part in [&port, "Kirsh store of another job", "\"other\"", "\"job\""] {
        assert!(error.message().contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn a_port_that_another_program_has_is_said_to_be_so() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = refused(open(&loopback(port), &identity(0, 2), "job", None, false, 0, soon()));
        assert_eq!(error.kind(), ErrorKind::Configuration);
        for part in [&port.to_string(), "no Kirsh store", "KIRSH_RENDEZVOUS"] {
            assert!(error.message().contains(part), "{part:?} is missing in: {error}");
        }
    });
}

#[test]
fn a_second_rank_0_becomes_a_client_and_so_is_found_out() {
    let rendezvous = loopback(free_port());
    let first = open(&rendezvous, &identity(0, 2), "job", None, false, 0, soon()).unwrap();
    let second = open(&rendezvous, &identity(0, 2), "job", None, false, 0, soon()).unwrap();
    assert!(first.server.is_some() && second.server.is_none());
    let mut ranks = joiners(2);
    ranks[1].rank = 0;
    std::thread::scope(|scope| {
        let one = scope.spawn(|| join(&*first.store, &ranks[0], Instant::now() + PLENTY));
        let other = scope.spawn(|| join(&*second.store, &ranks[1], Instant::now() + PLENTY));
        for outcome in [one.join().unwrap(), other.join().unwrap()] {
            let error = outcome.unwrap_err();
            assert!(error.message().contains("rank 0 is taken twice"), "{error}");
        }
    });
}

#[test]
fn rank_0_does_not_serve_a_host_that_is_not_its_own() {
    // A TEST-NET address of nobody (RFC 5737).
    let far = Rendezvous::Tcp { host: "203.0.113.77".to_owned(), port: free_port() };
    for (token, kind, text) in [
        (Some(Token::new("0123456789abcdef")), ErrorKind::Rendezvous, "rank 0 serves the store"),
        (None, ErrorKind::Authentication, "point KIRSH_TOKEN_FILE to it"),
    ] {
        let until = Instant::now() + Duration::from_millis(100);
        let error = refused(open(&far, &identity(0, 2), "job", token.as_ref(), false, 0, until));
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains("203.0.113.77"), "{error}");
        assert!(error.message().contains(text), "{error}");
    }
}
