//! Moving bytes: small and large, in pieces, to the end, and when the peer goes away.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread;

use socket2::SockRef;

use super::*;
use crate::driver::doorbell::Doorbell;

on_both_drivers!(
    echoes_over_tcp_and_over_a_socket_pair,
    gathers_and_scatters_several_pieces,
    moves_large_messages_both_ways_at_once,
    continues_a_message_of_many_pieces_where_it_stopped,
    gives_what_there_is_unless_all_is_asked_for,
    shows_the_end_of_the_stream_as_zero,
    gives_the_count_when_the_stream_ends_within_a_message,
    shows_a_reset_as_an_error,
    completes_an_impossible_operation_with_an_error,
    takes_more_operations_than_its_queues_hold,
    leaves_the_callers_header_usable_again,
);

/// A ring without the newest so many features.
fn older<const LEFT_OFF: usize>() -> io::Result<UringIo> {
    patiently(|| UringIo::new_without(LEFT_OFF))
}

#[test]
fn rings_of_older_kernels_do_the_same() {
    if uring().is_none() {
        return;
    }
    let olders: [fn() -> io::Result<UringIo>; 6] =
        [older::<1>, older::<2>, older::<3>, older::<4>, older::<5>, older::<6>];
    for (open, left) in olders.into_iter().zip([5, 4, 3, 1, 1, 0]) {
        assert_eq!(open().unwrap().features().len(), left);
        echoes_over_tcp_and_over_a_socket_pair(open);
        gives_what_there_is_unless_all_is_asked_for(open);
        takes_more_operations_than_its_queues_hold(open);
        super::cancel::a_cancelled_receive_returns_and_its_memory_stays_untouched(open);
        super::cancel::dropping_ends_what_is_in_flight(open);
        super::wake::a_deadline_ends_the_wait_and_loses_nothing(open);
    }
}

fn echoes_over_tcp_and_over_a_socket_pair<T: Io>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut io = open().unwrap();
                for _ in 0..100 {
                    let mut got = Message::space(64);
                    io.receive(1, &far, &mut got, true);
                    assert_eq!(io.finish(1, 0), [done(1, 64)]);
                    let mut back = Message::of(&got.bytes());
                    io.send(2, &far, &mut back, true);
                    assert_eq!(io.finish(1, 0), [done(2, 64)]);
                }
            });
            let mut io = open().unwrap();
            for round in 0..100 {
                let mut sent = Message::new(vec![pattern(round, 64)]);
                let mut got = Message::space(64);
                io.send(1, &near, &mut sent, true);
                io.receive(2, &near, &mut got, true);
                assert_eq!(io.in_flight(), 2);
                // Both ways of waiting, sleeping and spinning, must come to the same.
                let spin_ns = if round % 2 == 0 { 0 } else { SECOND_NS };
                assert_eq!(io.finish(2, spin_ns), [done(1, 64), done(2, 64)]);
                assert_eq!(io.in_flight(), 0);
                assert_eq!(got.bytes(), sent.bytes());
            }
        });
    }
}

fn gathers_and_scatters_several_pieces<T: Io>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        let mut io = open().unwrap();
        let mut sent = Message::new([1, 0, 4096, 7, 100].map(|len| pattern(len, len as _)).into());
        let mut got = Message::new([1000, 3000, 0, 204].map(|len| vec![0; len]).into());
        io.send(1, &near, &mut sent, true);
        io.receive(2, &far, &mut got, true);
        assert_eq!(io.finish(2, 0), [done(1, 4204), done(2, 4204)]);
        assert_eq!(got.bytes(), sent.bytes());
    }
}

/// Both sides send before either receives more than a buffer: if a driver finished one direction
/// first, neither would ever end.
fn moves_large_messages_both_ways_at_once<T: Io>(open: fn() -> io::Result<T>) {
    const LEN: usize = 64 << 20;

    fn exchange<T: Io>(open: fn() -> io::Result<T>, socket: TcpStream, out: u64, back: u64) {
        let mut io = open().unwrap();
        let mut sent = Message::new(vec![pattern(out, LEN)]);
        let mut got = Message::space(LEN);
        io.send(1, &socket, &mut sent, true);
        io.receive(2, &socket, &mut got, true);
        assert_eq!(io.finish(2, 0), [done(1, LEN as i32), done(2, LEN as i32)]);
        assert!(got.pieces[0] == pattern(back, LEN), "received other bytes than were sent");
    }

    let (near, far) = tcp_pair();
    thread::scope(|scope| {
        scope.spawn(move || exchange(open, far, 5, 3));
        exchange(open, near, 3, 5);
    });
}

fn continues_a_message_of_many_pieces_where_it_stopped<T: Io>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        // Much less than the message, but not so little that TCP waits for acknowledgements.
        SockRef::from(&near).set_send_buffer_size(1 << 15).unwrap();
        let mut io = open().unwrap();
        // Pieces of odd lengths, so that a stop falls within one, and more of them than a driver
        // lays out at a time.
        let mut sent = Message::new((0..200).map(|i| pattern(i, 3001 + 17 * i as usize)).collect());
        let total = sent.bytes().len();
        let mut got = Message::new(
            (0..total / 9999).map(|_| vec![0; 9999]).chain([vec![0; total % 9999]]).collect(),
        );
        io.send(1, &near, &mut sent, true);
        io.receive(2, &far, &mut got, true);
        assert_eq!(io.finish(2, 0), [done(1, total as i32), done(2, total as i32)]);
        assert!(got.bytes() == sent.bytes());
    }
}

fn gives_what_there_is_unless_all_is_asked_for<T: Io>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        let mut io = open().unwrap();
        let mut sent = Message::of(b"half");
        let mut some = Message::space(100);
        io.send(1, &near, &mut sent, false);
        assert_eq!(io.finish(1, 0), [done(1, 4)]);
        io.receive(2, &far, &mut some, false);
        assert_eq!(io.finish(1, 0), [done(2, 4)]);

        let mut all = Message::space(8);
        io.receive(3, &far, &mut all, true);
        io.send(1, &near, &mut sent, false);
        assert_eq!(io.finish(1, 0), [done(1, 4)], "a receive of all came back half full");
        assert_eq!(io.look(), []);
        io.send(1, &near, &mut sent, false);
        assert_eq!(io.finish(2, 0), [done(1, 4), done(3, 8)]);
        assert_eq!(all.bytes(), b"halfhalf");
    }
}

fn shows_the_end_of_the_stream_as_zero<T: Io>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        let mut io = open().unwrap();
        let mut waiting = Message::space(8);
        io.receive(1, &near, &mut waiting, true);
        assert_eq!(io.look(), []);
        drop(far);
        assert_eq!(io.finish(1, 0), [done(1, 0)]);
        // And again, for a receive that begins after the end.
        io.receive(2, &near, &mut waiting, false);
        assert_eq!(io.finish(1, 0), [done(2, 0)]);
    }
}

fn gives_the_count_when_the_stream_ends_within_a_message<T: Io>(open: fn() -> io::Result<T>) {
    let (near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    let mut got = Message::space(8);
    io.receive(1, &near, &mut got, true);
    assert_eq!(io.look(), []);
    far.write_all(b"end").unwrap();
    drop(far);
    assert_eq!(io.finish(1, 0), [done(1, 3)]);
    assert_eq!(&got.bytes()[..3], b"end");
}

fn shows_a_reset_as_an_error<T: Io>(open: fn() -> io::Result<T>) {
    let (near, far) = tcp_pair();
    let mut io = open().unwrap();
    let mut got = Message::space(8);
    io.receive(1, &near, &mut got, true);
    assert_eq!(io.look(), []);
    // Without lingering a close sends a reset.
    SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(far);
    assert_eq!(io.finish(1, 0), [done(1, -libc::ECONNRESET)]);
    let mut sent = Message::of(b"anyone?");
    io.send(2, &near, &mut sent, true);
    assert_eq!(io.finish(1, 0), [done(2, -libc::EPIPE)]);
}

fn completes_an_impossible_operation_with_an_error<T: Io>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    let mut message = Message::of(b"nowhere");
    let file = std::fs::File::open("/dev/null").unwrap();
    io.send(1, &file, &mut message, true);
    io.receive(2, &file, &mut message, true);
    io.send(3, &-1, &mut message, true);
    io.receive(4, &-1, &mut message, false);
    io.readable(5, -1);
    let expected = [
        done(1, -libc::ENOTSOCK),
        done(2, -libc::ENOTSOCK),
        done(3, -libc::EBADF),
        done(4, -libc::EBADF),
        done(5, -libc::EBADF),
    ];
    assert_eq!(io.finish(5, 0), expected);
}

fn takes_more_operations_than_its_queues_hold<T: Io>(open: fn() -> io::Result<T>) {
    const COUNT: u64 = 3000;
    let bell = Doorbell::new().unwrap();
    let mut io = open().unwrap();
    for token in 0..COUNT {
        io.readable(token, bell.fd());
    }
    assert_eq!(io.in_flight(), COUNT as usize);
    assert_eq!(io.look(), []);
    bell.ring();
    let all = io.finish(COUNT as usize, 0);
    assert!(all.iter().enumerate().all(|(i, c)| *c == done(i as u64, libc::POLLIN.into())));
    assert_eq!(io.in_flight(), 0);
}

fn leaves_the_callers_header_usable_again<T: Io>(open: fn() -> io::Result<T>) {
    let (near, mut far) = tcp_pair();
    let mut io = open().unwrap();
    let mut got = Message::new(vec![vec![0; 3], vec![0; 5]]);
    let mut sent = Message::new(vec![b"abc".to_vec(), b"defgh".to_vec()]);
    for _ in 0..3 {
        io.receive(1, &near, &mut got, true);
        far.write_all(b"abc").unwrap();
        assert_eq!(io.look(), []);
        far.write_all(b"defgh").unwrap();
        assert_eq!(io.finish(1, 0), [done(1, 8)]);
        assert_eq!(got.bytes(), b"abcdefgh");
        got.pieces.iter_mut().for_each(|piece| piece.fill(0));

        io.send(2, &near, &mut sent, true);
        assert_eq!(io.finish(1, 0), [done(2, 8)]);
        let mut echoed = [0; 8];
        far.read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"abcdefgh");
    }
}
