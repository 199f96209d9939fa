//! Small messages go by plain calls where those do not have to wait: a send when it is handed in, a
//! receive while the thread looks before it sleeps. What is left goes to the ring.
//!
//! Nobody has two operations of one direction in flight on a socket (see [`io`](crate::driver::io)),
//! so a plain call overtakes nothing, and nothing is handed to the ring for a socket that a plain call
//! has still to do with.

use std::os::fd::RawFd;

use super::{UringIo, op};
use crate::driver::io::{Completion, Op};
use crate::driver::transfer::Transfer;
use crate::wire::header::{HEADER_BYTES, TRAILER_BYTES};

/// Messages of up to so many bytes, headers and all, are small. An all-reduce of two ranks on loopback
/// takes 5.5 µs by plain calls and 6.0 by the ring at 4 bytes, 7.1 and 7.4 at 16 KiB; of four on two
/// cores 30 and 32, 37 and 39. Of larger ones a call finds only a part, and is made again for the rest,
/// while the ring goes on as bytes come.
pub(super) const SMALL_BYTES_MAX: usize = (16 << 10) + HEADER_BYTES + TRAILER_BYTES;

/// Receives that are tried directly; with more, one visit for all of them is cheaper.
const HELD_MAX: usize = 4;

/// A receive that the kernel does not know of yet.
pub(super) struct Held {
    token: u64,
    descriptor: RawFd,
    message: *const libc::msghdr,
    transfer: Transfer,
}

impl UringIo {
    /// Does a small send, or keeps a small receive back. False if it is for the ring.
    ///
    /// # Safety
    /// As for [`Io::submit`](crate::driver::io::Io::submit).
    pub(super) unsafe fn takes_small(&mut self, token: u64, descriptor: RawFd, op: Op) -> bool {
        match op {
            Op::Send { message, all, zero_copy: false } => {
                // SAFETY: the caller lends the message for longer than this call.
                let mut transfer = unsafe { Transfer::send(message, all) };
                if transfer.total() > SMALL_BYTES_MAX {
                    return false;
                }
                let result = transfer.attempt(descriptor, &mut self.account);
                // What is short is told so, and the rest handed in again.
                let moved = Some(transfer.moved_or(0)).filter(|moved| *moved > 0);
                let Some(result) = result.or(moved) else { return false };
                self.early.push(Completion::done(token, result));
                true
            }
            Op::Receive { message, all: false } if self.held.len() < HELD_MAX => {
                // SAFETY: the caller lends the message, to be written too, until its completion has
                // been returned, and the transfer is dropped when its completion is made.
                let transfer = unsafe { Transfer::receive(message, false) };
                if transfer.total() > SMALL_BYTES_MAX {
                    return false;
                }
                self.held.push(Held { token, descriptor, message, transfer });
                true
            }
            _ => false,
        }
    }

    /// Tries every receive that is kept back once. What is done is in `early`.
    pub(super) fn try_held(&mut self) {
        for index in (0..self.held.len()).rev() {
            let held = &mut self.held[index];
            if let Some(result) = held.transfer.attempt(held.descriptor, &mut self.account) {
                let token = self.held.swap_remove(index).token;
                self.early.push(Completion::done(token, result));
            }
        }
    }

    /// Hands the receives that were kept back to the ring. None of them has begun: one that finds
    /// something is over.
    pub(super) fn arm_held(&mut self) {
        while let Some(Held { token, descriptor, message, .. }) = self.held.pop() {
            self.push_or_fail(token, &op::receive::entry(descriptor, message, false));
        }
    }

    /// Ends the receives that are kept back for this descriptor.
    pub(super) fn cancel_held(&mut self, descriptor: RawFd) {
        for index in (0..self.held.len()).rev() {
            if self.held[index].descriptor == descriptor {
                let token = self.held.swap_remove(index).token;
                self.early.push(Completion::done(token, -libc::ECANCELED));
            }
        }
    }
}
