//! Sending a message: SENDMSG, kernel 5.3; `MSG_WAITALL` on a send, 5.19.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

/// A send of what the header's vectors name. The kernel reads the header when the entry is
/// submitted and the bytes until the completion; the caller of `Io::submit` keeps both.
pub(in crate::driver::uring) fn entry(
    descriptor: RawFd,
    message: *const libc::msghdr,
    all: bool,
) -> squeue::Entry {
    // A peer that has gone is an error of this operation, not a signal to the process.
    let flags = libc::MSG_NOSIGNAL | if all { libc::MSG_WAITALL } else { 0 };
    opcode::SendMsg::new(types::Fd(descriptor), message).flags(flags as u32).build()
}
