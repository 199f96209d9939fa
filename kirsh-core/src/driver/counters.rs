//! What a communicator has moved so far.

use crate::memory::Counter;

/// Relaxed counters, written by whoever drives the lane.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) operations: Counter,
    /// Payload bytes handed to sockets.
    pub(crate) sent: Counter,
    /// Payload bytes taken from sockets.
    pub(crate) received: Counter,
    /// Of those, bytes that the kernel put straight into the caller's buffer.
    pub(crate) received_direct: Counter,
    /// Payload bytes that the library itself copied.
    pub(crate) copied: Counter,
    /// Payload bytes that the kernel sent straight from the caller's buffer.
    pub(crate) zero_copied: Counter,
    /// Those that it was to send so, and copied.
    pub(crate) copied_anyway: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) frames_received: Counter,
}
