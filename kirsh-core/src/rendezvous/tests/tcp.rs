//! The server survives whatever comes, and the client says what is wrong.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{PLENTY, soon, token};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::rendezvous::tcp_client::{Client, Shop};
use crate::rendezvous::tcp_store::Greeting;
use crate::rendezvous::tcp_wire::{
    Answer, FRONT_BYTES, Hello, ReplyHeader, Request, RequestHeader, Status,
};
use crate::rendezvous::{Patience, Store, TcpServer, TcpStore};
use crate::wire::auth::Token;

const GREETING: Greeting<'static> = Greeting { job: "job", rank: Some(3), token: None };

fn any_port() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn server() -> TcpServer {
    TcpServer::bind(any_port(), "job", None).unwrap()
}

fn connect(server: &TcpServer, greeting: &Greeting<'_>) -> Result<TcpStore> {
    TcpStore::connect("127.0.0.1", server.addr().port(), greeting, soon())
}

/// Asserts that the server still serves.
fn assert_serves(server: &TcpServer) {
    let store = connect(server, &GREETING).unwrap();
    let count = store.add("alive", 1).unwrap();
    assert_eq!(store.get("alive").unwrap().unwrap(), count.to_string().as_bytes());
}

fn raw(server: &TcpServer) -> TcpStream {
    let stream = TcpStream::connect(server.addr()).unwrap();
    stream.set_read_timeout(Some(PLENTY)).unwrap();
    stream
}

fn hello(job: &str) -> Hello {
    let (pid, host_name, nonce) = (1, "far".to_owned(), [9; 32]);
    Hello { rank: Some(1), pid, host_name, has_token: false, job: job.to_owned(), nonce }
}

/// A raw connection that has shaken hands.
fn let_in(server: &TcpServer) -> TcpStream {
    let mut stream = raw(server);
    stream.write_all(&hello("job").encode()).unwrap();
    let mut front = [0; FRONT_BYTES];
    stream.read_exact(&mut front).unwrap();
    let mut body = vec![0; Answer::read_front(&front).unwrap().1];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(Answer::decode(&body, 1).unwrap().refusal, "");
    stream
}

/// Whether the other side has closed, without a byte of reply.
fn is_closed(mut stream: TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(cause) => cause.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn garbage_ends_only_its_own_connection(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        start in 0..3,
    ) {
        let server = server();
        let mut stream = match start {
            0 => raw(&server),
            1 => let_in(&server),
            _ => {
                let mut stream = raw(&server);
                stream.write_all(&hello("job").encode()[..FRONT_BYTES]).unwrap();
                stream
            }
        };
        // The server may have closed already.
        let _ = stream.write_all(&bytes);
        assert_serves(&server);
    }
}

#[test]
fn lengths_beyond_the_limits_end_the_connection_unread() {
    let server = server();
    let fine = RequestHeader { request: Request::Set, key_len: 1, value_len: 0, argument: 0 };
    let too_long = [
        RequestHeader { key_len: limits::STORE_KEY_MAX + 1, ..fine },
        RequestHeader { value_len: limits::STORE_VALUE_MAX + 1, ..fine },
        RequestHeader { key_len: 0, ..fine },
    ];
    for header in too_long {
        let mut stream = let_in(&server);
        stream.write_all(&header.encode()).unwrap();
        assert!(is_closed(stream), "{header:?}");
    }
    let mut greeting = hello("job").encode();
    greeting[10..12].copy_from_slice(&(limits::HANDSHAKE_BYTES_MAX as u16 + 1).to_le_bytes());
    let mut stream = raw(&server);
    stream.write_all(&greeting[..FRONT_BYTES]).unwrap();
    assert!(is_closed(stream));
    assert_serves(&server);
}

#[test]
fn a_claimed_length_reserves_no_memory() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (stream, from) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut client = Client::new(stream, from);
    let mut shop =
        Shop { addr: from, job: "job".to_owned(), token: None, shelf: Default::default() };
    let claim = RequestHeader {
        request: Request::Set,
        key_len: 1,
        value_len: limits::STORE_VALUE_MAX,
        argument: 0,
    };
    let words = [hello("job").encode(), claim.encode(), vec![b'k'; 1000]].concat();
    peer.write_all(&words).unwrap();
    let end = soon();
    while client.unfinished_bytes() < 1000 && Instant::now() < end {
        client.advance(&mut shop);
    }
    assert!(!client.is_gone() && !client.is_stranger());
    assert!((1000..100_000).contains(&client.unfinished_bytes()));
}

#[test]
fn silent_and_slow_clients_delay_nobody() {
    let server = server();
    let silent: Vec<TcpStream> = (0..50).map(|_| raw(&server)).collect();
    let idle: Vec<TcpStream> = (0..50).map(|_| let_in(&server)).collect();
    // One that speaks byte by byte is understood in the end.
    let mut slow = let_in(&server);
    let header = RequestHeader { request: Request::Add, key_len: 4, value_len: 0, argument: 41 };
    for byte in [&header.encode()[..], b"slow"].concat() {
        assert_serves(&server);
        slow.write_all(&[byte]).unwrap();
    }
    let mut reply = [0; 16];
    slow.read_exact(&mut reply).unwrap();
    assert_eq!(connect(&server, &GREETING).unwrap().get("slow").unwrap().unwrap(), b"41");
    drop((silent, idle));
}

#[test]
fn a_client_that_does_not_read_its_replies_delays_nobody() {
    let server = server();
    connect(&server, &GREETING).unwrap().set("large", &vec![1; 8 << 20]).unwrap();
    let mut deaf = let_in(&server);
    let header = RequestHeader { request: Request::Get, key_len: 5, value_len: 0, argument: 0 };
    let request = [&header.encode()[..], b"large"].concat();
    for _ in 0..100 {
        deaf.write_all(&request).unwrap();
    }
    assert_serves(&server);
}

#[test]
fn a_wait_is_answered_when_the_value_comes_and_not_at_its_end() {
    let server = server();
    let mut stream = let_in(&server);
    let wait = RequestHeader { request: Request::Wait, key_len: 1, value_len: 0, argument: 60_000 };
    stream.write_all(&[&wait.encode()[..], b"k"].concat()).unwrap();
    assert_serves(&server);
    connect(&server, &GREETING).unwrap().set("k", b"v").unwrap();
    let mut reply = [0; 17];
    stream.read_exact(&mut reply).unwrap();
    let header = ReplyHeader::decode(reply.first_chunk().unwrap()).unwrap();
    assert_eq!((header.status, header.value_len, reply[16]), (Status::Done, 1, b'v'));
}

#[test]
fn a_client_that_asks_again_while_it_waits_is_dropped() {
    let server = server();
    let mut stream = let_in(&server);
    let wait = RequestHeader { request: Request::Wait, key_len: 1, value_len: 0, argument: 60_000 };
    stream.write_all(&[&wait.encode()[..], b"k"].concat()).unwrap();
    // Served after it, so the wait is known to be under way.
    assert_serves(&server);
    stream.write_all(b"more").unwrap();
    assert!(is_closed(stream));
    assert_serves(&server);
}

#[test]
fn dropping_the_server_ends_it_with_clients_that_wait() {
    let server = server();
    let port = server.addr().port();
    let store = connect(&server, &GREETING).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.wait("never", soon()));
        let (done, dropped) = mpsc::channel();
        scope.spawn(move || {
            drop(server);
            done.send(()).unwrap();
        });
        dropped.recv_timeout(PLENTY).expect("the drop must end");
        let error = waiting.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rendezvous);
        assert!(error.message().contains(&format!("127.0.0.1:{port}")), "{error}");
    });
    // The port is free again at once.
    drop(TcpServer::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "job", None).unwrap());
}

#[test]
fn a_client_finds_a_server_that_comes_late() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let at = listener.local_addr().unwrap();
    drop(listener);
    let (tried, started) = mpsc::channel();
    let rounds = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let tried = tried;
            let ask = || {
                // In the third round two have failed already.
                if rounds.fetch_add(1, Ordering::Relaxed) == 2 {
                    tried.send(()).unwrap();
                }
                Ok(())
            };
            TcpStore::connect("127.0.0.1", at.port(), &GREETING, Patience::new(soon(), &ask))
        });
        started.recv_timeout(PLENTY).unwrap();
        let server = TcpServer::bind(at, "job", None).unwrap();
        client.join().unwrap().unwrap().set("key", b"").unwrap();
        drop(server);
    });
}

#[test]
fn giving_up_says_where_what_was_tried_and_why_it_failed() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let until = Instant::now() + Duration::from_millis(100);
    let error = TcpStore::connect("127.0.0.1", port, &GREETING, until).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rendezvous);
    let place = format!("127.0.0.1:{port}");
    for part in ["no store at", &place, "refused", " within ", "KIRSH_RENDEZVOUS"] {
        assert!(error.message().contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn a_name_that_does_not_resolve_is_said_to_be_one() {
    let until = Instant::now();
    let error = TcpStore::connect("no such host", 1, &GREETING, until).unwrap_err();
    assert!(error.message().contains("could not be resolved"), "{error}");
}

#[test]
fn an_interrupt_ends_connecting() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let interrupt = || Err(Error::new(ErrorKind::Interrupted, "Ctrl-C"));
    let patience = Patience::new(soon(), &interrupt);
    let error = TcpStore::connect("127.0.0.1", port, &GREETING, patience).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Interrupted);
}

#[test]
fn another_program_on_the_port_is_named_as_such() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = TcpStore::connect("127.0.0.1", port, &GREETING, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.message().contains("not a Kirsh store"), "{error}");
    });
}

#[test]
fn without_a_token_only_loopback_is_served() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = TcpServer::bind(address.parse().unwrap(), "job", None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.message().contains("kirsh token"), "{error}");
    }
    let secret = token("the-token-of-the-job");
    drop(TcpServer::bind("0.0.0.0:0".parse().unwrap(), "job", Some(secret)).unwrap());
}

#[test]
fn a_server_that_does_not_know_the_token_is_not_believed_and_gets_no_proof() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = token("the-token-of-the-job");
    let greeting = Greeting { token: Some(&secret), ..GREETING };
    std::thread::scope(|scope| {
        let impostor = scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut front = [0; FRONT_BYTES];
            stream.read_exact(&mut front).unwrap();
            let mut body = vec![0; Hello::read_front(&front).unwrap().1];
            stream.read_exact(&mut body).unwrap();
            let mut answer = Answer {
                refusal: String::new(),
                job: "job".to_owned(),
                nonce: [3; 32],
                proof: [0; 32],
            };
            answer.prove(&Token::new("a-token-that-was-guessed"), &[&front[..], &body].concat());
            stream.write_all(&answer.encode()).unwrap();
            let mut proof = [1; 32];
            stream.read_exact(&mut proof).unwrap();
            // And lets everybody in.
            let _ = stream.write_all(&answer.encode());
            proof
        });
        let error = TcpStore::connect("127.0.0.1", port, &greeting, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert_eq!(impostor.join().unwrap(), [0; 32], "no proof for a stranger");
    });
}

#[test]
fn a_client_that_claims_to_have_a_token_and_does_not_is_not_let_in() {
    let secret = token("the-token-of-the-job");
    let server = TcpServer::bind(any_port(), "job", Some(secret)).unwrap();
    let mut stream = raw(&server);
    stream.write_all(&Hello { has_token: true, ..hello("job") }.encode()).unwrap();
    stream.write_all(&[0; 32]).unwrap();
    let set = RequestHeader { request: Request::Set, key_len: 1, value_len: 0, argument: 0 };
    stream.write_all(&[&set.encode()[..], b"k"].concat()).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    let first = FRONT_BYTES + Answer::read_front(heard.first_chunk().unwrap()).unwrap().1;
    let last = Answer::decode(&heard[first + FRONT_BYTES..], 1).unwrap();
    assert!(last.refusal.contains("its token is not the store's"), "{}", last.refusal);
    let greeting = Greeting { token: Some(&token("the-token-of-the-job")), ..GREETING };
    assert_eq!(connect(&server, &greeting).unwrap().get("k").unwrap(), None);
}

#[test]
fn a_refusal_is_recorded_with_address_rank_and_what_differed() {
    let server = server();
    let store = connect(&server, &GREETING).unwrap();
    let error = connect(&server, &Greeting { job: "other", ..GREETING }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Authentication);
    let noted = String::from_utf8(store.wait("refused", soon()).unwrap().unwrap()).unwrap();
    for part in ["rank 3 (host ", "from 127.0.0.1:", "\"job\"", "\"other\""] {
        assert!(noted.contains(part), "{part:?} is missing in: {noted}");
    }
    assert!(error.message().contains(&noted), "{error}");
}

#[test]
fn a_client_of_another_version_is_told_so() {
    let server = server();
    let mut stream = raw(&server);
    let mut words = hello("job").encode();
    words[8..10].copy_from_slice(&7u16.to_le_bytes());
    stream.write_all(&words).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let answer = Answer::decode(&bytes[FRONT_BYTES..], 1).unwrap();
    assert!(answer.refusal.contains("version 1 and the client 7"), "{}", answer.refusal);
}

#[test]
fn hundreds_of_clients_are_served_at_once() {
    let server = server();
    let stores: Vec<TcpStore> = (0..300).map(|_| connect(&server, &GREETING).unwrap()).collect();
    for (number, store) in (1..).zip(&stores) {
        assert_eq!(store.add("count", 1).unwrap(), number);
    }
}
