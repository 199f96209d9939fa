//! Sending a message: SENDMSG, kernel 5.3; `MSG_WAITALL` on a send, 5.19. Without a copy: SENDMSG_ZC,
//! 6.1; reports of usage, 6.2. An older kernel answers `-EINVAL`.

use std::os::fd::RawFd;

use io_uring::{cqueue, opcode, squeue, types};

use crate::driver::io::Event;

/// `IORING_SEND_ZC_REPORT_USAGE`: the notification is to say whether the kernel copied all the same.
const REPORT_USAGE: u16 = 1 << 3;

/// `IORING_NOTIF_USAGE_ZC_COPIED`, in the notification's result.
const COPIED: i32 = i32::MIN;

/// A send of what the header's vectors name. The kernel reads the header when the entry is
/// submitted and the bytes until the completion; the caller of `Io::submit` keeps both.
pub(in crate::driver::uring) fn entry(
    descriptor: RawFd,
    message: *const libc::msghdr,
    all: bool,
) -> squeue::Entry {
    opcode::SendMsg::new(types::Fd(descriptor), message).flags(flags(all)).build()
}

/// The same without a copy. The kernel reads the bytes until the notification.
pub(in crate::driver::uring) fn zero_copy_entry(
    descriptor: RawFd,
    message: *const libc::msghdr,
    all: bool,
) -> squeue::Entry {
    opcode::SendMsgZc::new(types::Fd(descriptor), message)
        .ioprio(REPORT_USAGE)
        .flags(flags(all))
        .build()
}

fn flags(all: bool) -> u32 {
    // A peer that has gone is an error of the operation, not a signal to the process.
    (libc::MSG_NOSIGNAL | if all { libc::MSG_WAITALL } else { 0 }) as u32
}

/// What an entry of the completion queue with these flags says of the memory.
pub(in crate::driver::uring) fn event(flags: u32, result: i32) -> Event {
    if cqueue::notif(flags) {
        Event::Released { copied: result & COPIED != 0 }
    } else if cqueue::more(flags) {
        Event::Kept
    } else {
        Event::Done
    }
}
