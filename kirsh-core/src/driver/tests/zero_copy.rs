//! Sends that the kernel makes from lent memory: io_uring alone has them.

use std::os::fd::AsRawFd;

use super::*;
use crate::driver::io::Event;

fn send(io: &mut UringIo, token: u64, socket: &impl AsRawFd, message: &mut Message) {
    let op = Op::Send { message: &*message.header, all: true, zero_copy: true };
    // SAFETY: the tests keep the message until its last completion has come, or the driver is gone.
    unsafe { io.submit(token, socket.as_raw_fd(), op) };
}

/// Completions until nothing is in flight.
fn all(io: &mut UringIo) -> Vec<Completion> {
    let until_ns = now_ns() + PATIENCE_NS;
    let mut done = Vec::new();
    while io.in_flight() > 0 {
        assert!(now_ns() < until_ns, "{done:?}");
        let _ = io.wait(Wait { until_ns, spin_ns: 0 }, &mut done);
    }
    done
}

#[test]
fn memory_comes_back_after_the_send_and_with_it_whether_it_was_copied() {
    let Some(open) = uring() else { return };
    let (near, far) = tcp_pair();
    let mut io = open().unwrap();
    let bytes: Vec<u8> = (0..200_000u32).map(|at| at as u8).collect();
    let mut message = Message::of(&bytes);
    let mut space = Message::space(bytes.len());
    send(&mut io, 1, &near, &mut message);
    io.receive(2, &far, &mut space, true);
    let done = all(&mut io);
    assert_eq!(space.bytes(), bytes);
    let of_send: Vec<_> = done.iter().filter(|completion| completion.token == 1).collect();
    let [first, second] = of_send[..] else { panic!("{done:?}") };
    assert_eq!((first.event, first.result), (Event::Kept, bytes.len() as i32));
    // Loopback has no NIC that could read from memory.
    assert_eq!(second.event, Event::Released { copied: true });
}

#[test]
fn a_driver_that_goes_takes_lent_memory_back_from_a_peer_that_reads_nothing() {
    let Some(open) = uring() else { return };
    let (near, far) = tcp_pair();
    let mut io = open().unwrap();
    let mut message = Message::of(&vec![7; 64 << 20]);
    send(&mut io, 1, &near, &mut message);
    io.look();
    assert_eq!(io.in_flight(), 1, "more than any socket holds");
    // Would wait for ever for the peer's acknowledgement.
    drop(io);
    drop((near, far));
}

#[test]
fn a_socket_that_knows_no_such_sends_says_so() {
    let Some(open) = uring() else { return };
    let (near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut io = open().unwrap();
    let mut message = Message::of(&[1; 40_000]);
    send(&mut io, 1, &near, &mut message);
    let done = all(&mut io);
    assert!(crate::driver::zero_copy::is_refusal(done[0].result), "{done:?}");
}
