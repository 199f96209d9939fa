//! Counters, as users see them.

use crate::driver::lane::Lane;

/// What a communicator has done on this rank so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that are over, well or not.
    pub operations: u64,
    /// Payload bytes handed to sockets.
    pub bytes_sent: u64,
    /// Payload bytes taken from sockets.
    pub bytes_received: u64,
    /// Of those, bytes that the kernel put straight into the caller's array.
    pub bytes_received_direct: u64,
    /// Payload bytes that the library itself copied from one place to another.
    pub bytes_copied: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
}

impl Stats {
    pub(super) fn read(lane: &Lane) -> Self {
        let counters = &lane.counters;
        Stats {
            operations: counters.operations.get(),
            bytes_sent: counters.sent.get(),
            bytes_received: counters.received.get(),
            bytes_received_direct: counters.received_direct.get(),
            bytes_copied: counters.copied.get(),
            frames_sent: counters.frames_sent.get(),
            frames_received: counters.frames_received.get(),
        }
    }
}
