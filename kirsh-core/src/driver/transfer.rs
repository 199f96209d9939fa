//! One message on its way by plain calls: how far it is, and one non-blocking attempt to get further.

use std::io;
use std::os::fd::RawFd;

use crate::driver::counters::ONE;
use crate::driver::io::{Account, OP_BYTES_MAX};

/// Vectors that are laid out again after partial progress. Messages of the library have a handful;
/// the rest of a longer one follows in the next round.
const WINDOW: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Send,
    Receive,
}

/// A send or a receive of what a message header names. The header is never written to.
pub(super) struct Transfer {
    direction: Direction,
    message: *const libc::msghdr,
    all: bool,
    /// Bytes to move in all.
    total: usize,
    moved: usize,
    /// The vector to go on with, and the bytes of it that are done.
    vector: usize,
    offset: usize,
}

impl Transfer {
    /// A send that has not begun.
    ///
    /// # Safety
    /// The header, its vectors and what they point to stay valid while the transfer is used.
    pub(super) unsafe fn send(message: *const libc::msghdr, all: bool) -> Self {
        // SAFETY: passed on to our caller.
        unsafe { Transfer::new(Direction::Send, message, all) }
    }

    /// A receive that has not begun.
    ///
    /// # Safety
    /// As for `send`, and nothing else touches the memory that is received into.
    pub(super) unsafe fn receive(message: *const libc::msghdr, all: bool) -> Self {
        // SAFETY: passed on to our caller.
        unsafe { Transfer::new(Direction::Receive, message, all) }
    }

    /// # Safety
    /// As for `send` and `receive`.
    unsafe fn new(direction: Direction, message: *const libc::msghdr, all: bool) -> Self {
        let mut this =
            Transfer { direction, message, all, total: 0, moved: 0, vector: 0, offset: 0 };
        let total = this.vectors().iter().fold(0usize, |sum, v| sum.saturating_add(v.iov_len));
        this.total = total.min(OP_BYTES_MAX);
        this
    }

    fn vectors(&self) -> &[libc::iovec] {
        // SAFETY: the header is valid by the promise made to `new`, and this copies two fields.
        let (first, count) = unsafe { ((*self.message).msg_iov, (*self.message).msg_iovlen) };
        if count == 0 {
            return &[];
        }
        // SAFETY: by the same promise the header names `count` vectors from `first` on.
        unsafe { std::slice::from_raw_parts(first, count) }
    }

    /// Bytes that it is to move in all.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// What has been moved, or this if nothing has.
    pub(super) fn moved_or(&self, otherwise: i32) -> i32 {
        // `total`, and with it `moved`, is less than 2^31.
        if self.moved > 0 { self.moved as i32 } else { otherwise }
    }

    /// Moves what can be moved without blocking. The result if that ends the operation.
    pub(super) fn attempt(&mut self, descriptor: RawFd, account: &mut Account) -> Option<i32> {
        loop {
            let mut window = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; WINDOW];
            // SAFETY: the header is valid by the promise made to `new`.
            let mut header = unsafe { *self.message };
            let asked = if self.moved == 0 {
                self.total
            } else {
                let (count, bytes) = self.lay_out(&mut window);
                header.msg_iov = window.as_mut_ptr();
                header.msg_iovlen = count as _;
                bytes
            };
            match self.direction {
                Direction::Send => account.sendmsg += ONE,
                Direction::Receive => account.recvmsg += ONE,
            }
            match self.call(descriptor, &mut header) {
                Ok(moved) => {
                    self.advance(moved);
                    if !self.all || moved == 0 || self.moved == self.total {
                        return Some(self.moved as i32);
                    }
                    // Short means that the socket is full or empty. If that has changed since,
                    // poll(2) will say so.
                    if moved < asked {
                        return None;
                    }
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EINTR) => {}
                    Some(libc::EAGAIN) => return None,
                    errno => return Some(self.moved_or(-errno.unwrap_or(libc::EIO))),
                },
            }
        }
    }

    fn call(&self, descriptor: RawFd, header: &mut libc::msghdr) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `header` names the lent memory, or the window into it that our caller keeps
        // alive. A receive writes there, which the promise made to `receive` allows.
        let moved = unsafe {
            match self.direction {
                Direction::Send => libc::sendmsg(descriptor, header, flags),
                Direction::Receive => libc::recvmsg(descriptor, header, flags),
            }
        };
        usize::try_from(moved).map_err(|_| io::Error::last_os_error())
    }

    /// Copies the vectors still to do, as far as they fit. Returns how many, and their bytes.
    fn lay_out(&self, window: &mut [libc::iovec; WINDOW]) -> (usize, usize) {
        let mut bytes = 0;
        let mut count = 0;
        let mut skip = self.offset;
        for source in self.vectors()[self.vector..].iter().take(WINDOW) {
            let len = (source.iov_len - skip).min(self.total - self.moved - bytes);
            let base = source.iov_base.cast::<u8>().wrapping_add(skip).cast();
            window[count] = libc::iovec { iov_base: base, iov_len: len };
            count += 1;
            bytes += len;
            skip = 0;
        }
        (count, bytes)
    }

    fn advance(&mut self, bytes: usize) {
        self.moved += bytes;
        let mut left = bytes;
        let (mut vector, mut offset) = (self.vector, self.offset);
        let vectors = self.vectors();
        while vector < vectors.len() && left >= vectors[vector].iov_len - offset {
            left -= vectors[vector].iov_len - offset;
            vector += 1;
            offset = 0;
        }
        (self.vector, self.offset) = (vector, offset + left);
    }
}
