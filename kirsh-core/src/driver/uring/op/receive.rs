//! Receiving a message: RECVMSG, kernel 5.3; `MSG_WAITALL` with a retry of short ones, 5.19.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

/// A receive into what the header's vectors name. The kernel writes the bytes, and at the end the
/// flags and lengths of the header, until the completion; the caller of `Io::submit` keeps both.
pub(in crate::driver::uring) fn entry(
    descriptor: RawFd,
    message: *const libc::msghdr,
    all: bool,
) -> squeue::Entry {
    let flags = libc::MSG_NOSIGNAL | if all { libc::MSG_WAITALL } else { 0 };
    opcode::RecvMsg::new(types::Fd(descriptor), message.cast_mut()).flags(flags as u32).build()
}
