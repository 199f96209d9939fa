//! What moves bytes: the seam between a lane, which knows frames, and the kernel.
//!
//! An `Io` belongs to one thread. The caller sees to it that at most one send and one receive are
//! in flight on a socket. Sockets that carry data are in blocking mode: io_uring arms its own poll
//! there and would answer `-EAGAIN` on others, and the poll driver passes `MSG_DONTWAIT` with every
//! call.

use std::io;
use std::os::fd::RawFd;

/// The token that no operation of a caller may have: completions under it stay inside a driver.
pub const TOKEN_RESERVED: u64 = u64::MAX;

/// What one operation moves at most, in bytes: the kernel's limit for one call. Longer messages
/// come back short.
pub const OP_BYTES_MAX: usize = 0x7fff_f000;

/// Something for the kernel to do. The memory that a message header names (itself, its vectors,
/// and what those point to) is lent to the kernel until the completion has been returned by
/// [`Io::wait`], or until its [`Event::Released`] where that was [`Event::Kept`]. A message has at least
/// one byte, and at most 1024 vectors.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Sends what the header's vectors name. With `all`, the driver goes on until everything is
    /// sent or an error comes, as `MSG_WAITALL` does; the result may still be short. With `zero_copy`
    /// the driver may have the NIC read from that memory instead of a copy, if it can.
    Send { message: *const libc::msghdr, all: bool, zero_copy: bool },
    /// Receives into what the header's vectors name; `all` as for `Send`. The kernel may write to
    /// the header, too (its flags and lengths), but leaves pointers and vectors as they are.
    Receive { message: *const libc::msghdr, all: bool },
    /// Completes once when the descriptor is readable, hung up or in error. Result: `poll` events.
    Readable,
    /// Completes once when the descriptor is writable, hung up or in error (a connect has ended).
    Writable,
}

/// What a completion says of the operation and of its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The operation is over, and the memory is the caller's again.
    Done,
    /// The operation is over, but the kernel goes on reading what it sends. The header and its vectors
    /// are the caller's again; `Released` with the same token will follow.
    Kept,
    /// The memory of a send that was `Kept` is the caller's again. The kernel may have copied it all
    /// the same. The result means nothing.
    Released { copied: bool },
}

/// The outcome of one `Op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// As given to `submit`.
    pub token: u64,
    /// Bytes moved or events, or a negative errno. 0 for a receive is the end of the stream. When an
    /// error or a cancel ends an operation that has moved something, the result is the count.
    pub result: i32,
    pub event: Event,
}

impl Completion {
    /// Of an operation that is over in every respect.
    pub const fn done(token: u64, result: i32) -> Self {
        Completion { token, result, event: Event::Done }
    }
}

/// Until when `wait` may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// On the clock of [`crate::driver::clock::now_ns`]; 0 only looks, `u64::MAX` waits for ever.
    pub until_ns: u64,
    /// How long to look from user space before sleeping, giving way to whoever else could run. 0
    /// sleeps at once.
    pub spin_ns: u64,
}

/// What an `Io` has done to move bytes, for whoever keeps account of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// System calls since somebody last took these over.
    pub enter: u64,
    pub ppoll: u64,
    pub sendmsg: u64,
    pub recvmsg: u64,
    /// When the last `wait` found nothing and began to look or to sleep; 0 where it did not have to.
    pub waiting_since_ns: u64,
}

/// Moves bytes on behalf of one thread.
pub trait Io {
    /// Hands an operation to the kernel, now or at the next `wait`. An operation that cannot even
    /// be begun completes with an error; `submit` itself does not fail. The token is any number but
    /// [`TOKEN_RESERVED`]; tokens need not differ.
    ///
    /// # Safety
    /// The memory named by the operation stays valid, and is not touched except as the operation
    /// allows, until its completion is returned. `descriptor` stays open as long.
    unsafe fn submit(&mut self, token: u64, descriptor: RawFd, op: Op);

    /// Appends what has completed to `done`, waiting for at least one completion, the deadline or
    /// a signal that comes while it sleeps (then `ErrorKind::Interrupted`, with nothing lost, and
    /// now and then without a signal). Completions that are already there come at once.
    ///
    /// # Errors
    /// Besides interruption: the driver itself has failed, or this is a forked child. Nothing has
    /// been appended then.
    fn wait(&mut self, wait: Wait, done: &mut Vec<Completion>) -> io::Result<()>;

    /// Asks for everything in flight on the descriptor to end. Each operation still completes, in
    /// `wait`, as it would otherwise or with `-ECANCELED`. It may be asked again, and must be if the
    /// operations do not end: a kernel without memory can fail to take it.
    fn cancel(&mut self, descriptor: RawFd);

    /// Operations handed in of which `wait` has not yet returned the last completion.
    fn in_flight(&self) -> usize;

    /// What it has done.
    fn account(&mut self) -> &mut Account;
}
