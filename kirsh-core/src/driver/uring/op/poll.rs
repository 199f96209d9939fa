//! Awaiting readiness and ending what is in flight: POLL_ADD, kernel 5.1, and ASYNC_CANCEL by
//! descriptor, 5.19. Neither borrows memory.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

/// Completes once, when any of the events (or a hang-up or error) is there.
pub(in crate::driver::uring) fn entry(descriptor: RawFd, events: libc::c_short) -> squeue::Entry {
    opcode::PollAdd::new(types::Fd(descriptor), events as u32).build()
}

/// Ends everything in flight on the descriptor.
pub(in crate::driver::uring) fn cancel(descriptor: RawFd) -> squeue::Entry {
    let all_of_it = types::CancelBuilder::fd(types::Fd(descriptor)).all();
    opcode::AsyncCancel2::new(all_of_it).build()
}

/// Ends everything in flight on the ring.
pub(in crate::driver::uring) fn cancel_everything() -> squeue::Entry {
    opcode::AsyncCancel2::new(types::CancelBuilder::any()).build()
}
