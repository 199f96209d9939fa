//! Ending operations: afterwards the memory is the caller's again, whatever the peer does.

use std::io::{Read, Write};

use super::*;

on_both_drivers!(
    a_cancelled_receive_returns_and_its_memory_stays_untouched,
    a_cancel_gives_the_count_of_what_was_received,
    a_cancel_ends_a_stuck_send_and_what_else_is_on_the_socket,
    a_cancel_with_nothing_in_flight_leaves_no_trace,
    a_cancel_does_not_reach_the_next_owner_of_the_number,
    dropping_ends_what_is_in_flight,
    a_disconnect_ends_what_is_in_flight,
);

pub(super) fn a_cancelled_receive_returns_and_its_memory_stays_untouched<T: Io>(
    open: fn() -> io::Result<T>,
) {
    let (mut near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    let mut target = Message::new(vec![vec![0xaa; 1 << 16]]);
    // Once handed over before the cancel, once not.
    for look_first in [true, false] {
        io.receive(1, &near, &mut target, true);
        if look_first {
            assert_eq!(io.look(), []);
        }
        io.cancel(near.as_raw_fd());
        assert_eq!(io.finish(1, 0), [done(1, -libc::ECANCELED)]);
        assert_eq!(io.in_flight(), 0);

        far.write_all(&[0x55; 1 << 15]).unwrap();
        // All of it comes here, so none of it went there.
        let mut bytes = vec![0; 1 << 15];
        near.read_exact(&mut bytes).unwrap();
        assert_eq!(io.look(), []);
        assert!(target.bytes().iter().all(|&byte| byte == 0xaa));
    }
}

fn a_cancel_gives_the_count_of_what_was_received<T: Io>(open: fn() -> io::Result<T>) {
    let (near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    let mut target = Message::new(vec![vec![0xaa; 8]]);
    far.write_all(b"abc").unwrap();
    io.receive(1, &near, &mut target, true);
    assert_eq!(io.look(), []);
    io.cancel(near.as_raw_fd());
    assert_eq!(io.finish(1, 0), [done(1, 3)]);
    far.write_all(b"defgh").unwrap();
    assert_eq!(io.look(), []);
    assert_eq!(target.bytes(), b"abc\xaa\xaa\xaa\xaa\xaa");
}

fn a_cancel_ends_a_stuck_send_and_what_else_is_on_the_socket<T: Io>(open: fn() -> io::Result<T>) {
    for (near, _far) in pairs() {
        let mut io = open().unwrap();
        // More than the buffers of both sides hold, and nobody reads.
        let mut sent = Message::space(64 << 20);
        let mut got = Message::space(8);
        io.send(1, &near, &mut sent, true);
        io.receive(2, &near, &mut got, false);
        assert_eq!(io.look(), []);
        io.cancel(near.as_raw_fd());
        let ended = io.finish(2, 0);
        assert!(ended[0].result > 0 && ended[0].result < 64 << 20, "{ended:?}");
        assert_eq!(ended[1], done(2, -libc::ECANCELED));
    }
}

fn a_cancel_with_nothing_in_flight_leaves_no_trace<T: Io>(open: fn() -> io::Result<T>) {
    let (near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    io.cancel(near.as_raw_fd());
    assert_eq!((io.look(), io.in_flight()), (vec![], 0));
    let mut got = Message::space(2);
    io.receive(7, &near, &mut got, true);
    far.write_all(b"ok").unwrap();
    assert_eq!(io.finish(1, 0), [done(7, 2)]);
}

fn a_cancel_does_not_reach_the_next_owner_of_the_number<T: Io>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    let mut got = Message::space(2);
    let (old, _far) = tcp_pair();
    let (new, mut peer) = tcp_pair();
    let number = old.as_raw_fd();
    io.receive(1, &old, &mut got, true);
    io.cancel(number);
    assert_eq!(io.finish(1, 0), [done(1, -libc::ECANCELED)]);
    io.cancel(number);
    // The number changes hands in one step, so that no other test can take it in between.
    // SAFETY: both are open descriptors of ours.
    assert_eq!(unsafe { libc::dup2(new.as_raw_fd(), number) }, number);
    io.receive(2, &old, &mut got, true);
    assert_eq!(io.look(), []);
    peer.write_all(b"ok").unwrap();
    assert_eq!(io.finish(1, 0), [done(2, 2)]);
}

pub(super) fn dropping_ends_what_is_in_flight<T: Io>(open: fn() -> io::Result<T>) {
    let (mut near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    let mut target = Message::new(vec![vec![0xaa; 64]]);
    let mut other = Message::new(vec![vec![0xaa; 64]]);
    let (stuck, _nobody) = tcp_pair();
    let mut large = Message::space(64 << 20);
    io.receive(1, &near, &mut target, true);
    io.send(2, &stuck, &mut large, true);
    // A request that lives on keeps its socket open, so that the peer sees no end. A socket pair
    // tells at once.
    let (left, mut right) = UnixStream::pair().unwrap();
    let mut ended = Message::space(8);
    io.receive(4, &left, &mut ended, true);
    assert_eq!(io.look(), []);
    // This one the kernel has not even seen.
    io.receive(3, &stuck, &mut other, true);
    drop(io);
    drop(left);
    right.set_nonblocking(true).unwrap();
    assert_eq!(right.read(&mut [0; 1]).unwrap(), 0);
    far.write_all(&[0x55; 64]).unwrap();
    let mut bytes = [0; 64];
    near.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [0x55; 64]);
    assert!(target.bytes().iter().chain(&other.bytes()).all(|&byte| byte == 0xaa));
}

fn a_disconnect_ends_what_is_in_flight<T: Io>(open: fn() -> io::Result<T>) {
    use crate::driver::socket::disconnect;
    use std::os::fd::AsFd;

    let (near, _far) = tcp_pair();
    let mut io = open().unwrap();
    let mut sent = Message::space(64 << 20);
    let mut got = Message::space(8);
    io.send(1, &near, &mut sent, true);
    io.receive(2, &near, &mut got, true);
    assert_eq!(io.look(), []);
    disconnect(near.as_fd()).unwrap();
    let ended = io.finish(2, 0);
    assert!(ended[0].result < 64 << 20, "{ended:?}");
    assert!(ended[1].result <= 0, "{ended:?}");
}
