//! Submitting and waiting allocate nothing once a driver has warmed up.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use kirsh_core::driver::clock::now_ns;
use kirsh_core::driver::io::{Completion, Io, Op, Wait};
use kirsh_core::driver::poll::PollIo;
use kirsh_core::driver::uring::UringIo;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: hands everything to the system's allocator, and counts in a thread-local without a
// destructor, which allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: passed on to our caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on to our caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn message(vector: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: all zeroes are a message header without anything.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header
}

fn finish(io: &mut impl Io, done: &mut Vec<Completion>, count: usize, spin_ns: u64) {
    done.clear();
    let until_ns = now_ns() + 30_000_000_000;
    while done.len() < count {
        match io.wait(Wait { until_ns, spin_ns }, done) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
            _ => assert!(now_ns() < until_ns),
        }
    }
}

/// Sends to itself over a connection, with a timed-out wait and a cancel in each round. Returns the
/// allocations of all rounds but the first.
fn allocations(io: &mut impl Io) -> u64 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let (mut sent, mut got) = ([7u8; 4096], [0u8; 4096]);
    let mut sent = libc::iovec { iov_base: sent.as_mut_ptr().cast(), iov_len: sent.len() };
    let mut got = libc::iovec { iov_base: got.as_mut_ptr().cast(), iov_len: got.len() };
    let (send, mut receive) = (message(&mut sent), message(&mut got));
    let mut done: Vec<Completion> = Vec::with_capacity(64);
    let mut before = 0;
    for round in 0..200 {
        if round == 1 {
            before = ALLOCATIONS.with(Cell::get);
        }
        let op = Op::Receive { message: &raw mut receive, all: true };
        // SAFETY: headers, vectors and bytes live until this function ends, which every operation
        // does before.
        unsafe { io.submit(1, far.as_raw_fd(), op) };
        done.clear();
        let _ = io.wait(Wait { until_ns: now_ns() + 1000, spin_ns: 0 }, &mut done);
        io.cancel(far.as_raw_fd());
        finish(io, &mut done, 1, 0);
        // SAFETY: as above.
        unsafe {
            io.submit(2, far.as_raw_fd(), op);
            io.submit(
                3,
                near.as_raw_fd(),
                Op::Send { message: &send, all: true, zero_copy: false },
            );
        }
        finish(io, &mut done, 2, if round % 2 == 0 { 0 } else { 1_000_000 });
    }
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn a_warm_poll_driver_allocates_nothing() {
    assert_eq!(allocations(&mut PollIo::new().unwrap()), 0);
}

#[test]
fn a_warm_ring_allocates_nothing() {
    match UringIo::new() {
        Ok(mut io) => assert_eq!(allocations(&mut io), 0),
        Err(error) => eprintln!("not tested, since io_uring cannot be used here: {error}"),
    }
}
