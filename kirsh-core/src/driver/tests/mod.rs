//! Both drivers under the same tests: whatever a lane relies on holds for either.

mod cancel;
mod socket;
mod suite;
mod wake;
mod zero_copy;

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::clock::now_ns;
use super::io::{Completion, Io, Op, Wait};
use super::poll::PollIo;
use super::uring::{UringIo, setup};

const SECOND_NS: u64 = 1_000_000_000;

/// What no test should ever reach.
const PATIENCE_NS: u64 = 60 * SECOND_NS;

/// Makes one test for each driver of a function that takes the driver's constructor.
macro_rules! on_both_drivers {
    ($($test:ident),+ $(,)?) => {
        mod uring {
            $(#[test]
            fn $test() {
                if let Some(open) = $crate::driver::tests::uring() {
                    super::$test(open);
                }
            })+
        }
        mod poll {
            $(#[test]
            fn $test() {
                super::$test($crate::driver::poll::PollIo::new);
            })+
        }
    };
}
use on_both_drivers;

/// The constructor of the ring driver, or nothing where this machine forbids io_uring.
fn uring() -> Option<fn() -> io::Result<UringIo>> {
    match setup::probe() {
        Ok(_) => Some(|| patiently(UringIo::new)),
        Err(reason) => {
            eprintln!("not tested, since io_uring cannot be used here: {reason}");
            None
        }
    }
}

/// Waits for locked memory if it must: the kernel gives back that of a closed ring a little later,
/// and a plain user may have little.
fn patiently(open: impl Fn() -> io::Result<UringIo>) -> io::Result<UringIo> {
    let until_ns = now_ns() + PATIENCE_NS;
    loop {
        match open() {
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && now_ns() < until_ns => {
                std::thread::yield_now();
            }
            opened => return opened,
        }
    }
}

/// A message header with the vectors it points to, and the memory those point to.
struct Message {
    pieces: Vec<Vec<u8>>,
    _vectors: Box<[libc::iovec]>,
    header: Box<libc::msghdr>,
}

impl Message {
    fn new(mut pieces: Vec<Vec<u8>>) -> Self {
        let mut vectors: Box<[libc::iovec]> = pieces
            .iter_mut()
            .map(|piece| libc::iovec { iov_base: piece.as_mut_ptr().cast(), iov_len: piece.len() })
            .collect();
        // SAFETY: all zeroes are a message header without anything.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_iov = vectors.as_mut_ptr();
        header.msg_iovlen = vectors.len() as _;
        Message { pieces, _vectors: vectors, header }
    }

    fn of(bytes: &[u8]) -> Self {
        Message::new(vec![bytes.to_vec()])
    }

    fn space(len: usize) -> Self {
        Message::new(vec![vec![0; len]])
    }

    fn bytes(&self) -> Vec<u8> {
        self.pieces.concat()
    }
}

/// The calls of `Io` without `unsafe`, for tests that keep messages alive by hand.
trait Use: Io {
    fn send(&mut self, token: u64, socket: &impl AsRawFd, message: &mut Message, all: bool) {
        let op = Op::Send { message: &*message.header, all, zero_copy: false };
        // SAFETY: every test keeps its messages until their completions have come or the driver
        // has been dropped, and looks into them only then.
        unsafe { self.submit(token, socket.as_raw_fd(), op) };
    }

    fn receive(&mut self, token: u64, socket: &impl AsRawFd, message: &mut Message, all: bool) {
        let op = Op::Receive { message: &raw mut *message.header, all };
        // SAFETY: as for `send`.
        unsafe { self.submit(token, socket.as_raw_fd(), op) };
    }

    fn readable(&mut self, token: u64, descriptor: i32) {
        // SAFETY: names no memory.
        unsafe { self.submit(token, descriptor, Op::Readable) };
    }

    fn writable(&mut self, token: u64, descriptor: i32) {
        // SAFETY: names no memory.
        unsafe { self.submit(token, descriptor, Op::Writable) };
    }

    /// Waits for so many completions, in order of their tokens.
    fn finish(&mut self, count: usize, spin_ns: u64) -> Vec<Completion> {
        let until_ns = now_ns() + PATIENCE_NS;
        let mut done = Vec::new();
        while done.len() < count {
            assert!(now_ns() < until_ns, "only {done:?} of {count} came");
            match self.wait(Wait { until_ns, spin_ns }, &mut done) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
                _ => {}
            }
        }
        assert_eq!(done.len(), count, "{done:?}");
        done.sort_by_key(|completion| completion.token);
        done
    }

    /// What is there without waiting.
    fn look(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        self.wait(Wait { until_ns: 0, spin_ns: 0 }, &mut done).unwrap();
        done
    }
}

impl<T: Io> Use for T {}

fn done(token: u64, result: i32) -> Completion {
    Completion::done(token, result)
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// A TCP connection and a socket pair: whatever holds for one should for the other.
fn pairs() -> [(OwnedFd, OwnedFd); 2] {
    let (near, far) = tcp_pair();
    let (left, right) = UnixStream::pair().unwrap();
    [(near.into(), far.into()), (left.into(), right.into())]
}

/// Bytes that differ from place to place and from seed to seed.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut state = seed | 1;
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(seed | 1);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}
