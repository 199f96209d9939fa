//! Counters, as users see them.

use crate::driver::lane::Lane;
use crate::memory::Counter;

/// What was done so that calls could run. Relaxed counters, each touched once for a call: a run of
/// one that was prepared beforehand touches none.
#[derive(Default)]
pub(super) struct Preparations {
    pub(super) validations: Counter,
    pub(super) choices: Counter,
    pub(super) plans_built: Counter,
}

/// What a communicator has done on this rank so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that are over, well or not.
    pub operations: u64,
    /// Payload bytes handed to sockets.
    pub bytes_sent: u64,
    /// Of those, bytes that the kernel read straight from the caller's array, in frames that it reports
    /// not to have copied (`KIRSH_ZERO_COPY`).
    pub bytes_sent_zero_copy: u64,
    /// Those of frames that the kernel was asked not to copy, and copied: it has no NIC that could read
    /// memory in pieces. Asking stops soon then.
    pub bytes_sent_copied_anyway: u64,
    /// Payload bytes taken from sockets.
    pub bytes_received: u64,
    /// Of those, bytes that the kernel put straight into the caller's array.
    pub bytes_received_direct: u64,
    /// Payload bytes that the library itself copied from one place to another.
    pub bytes_copied: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
    /// Collective calls whose arguments were validated. Runs of a prepared call
    /// ([`RawPlan`](super::RawPlan), [`Persistent`](super::Persistent)) are not validated again, nor
    /// counted here or below.
    pub validations: u64,
    /// How often an algorithm and a slice were chosen for a call, be it that they were remembered.
    pub choices: u64,
    /// Plans that were built, for want of one kept from an earlier call. One that goes on growing
    /// while a program makes the same calls over and over has more different calls than are kept.
    pub plans_built: u64,
}

impl Stats {
    pub(super) fn read(lane: &Lane, preparations: &Preparations) -> Self {
        let counters = &lane.counters;
        Stats {
            operations: counters.operations.get(),
            bytes_sent: counters.sent.get(),
            bytes_sent_zero_copy: counters.zero_copied.get(),
            bytes_sent_copied_anyway: counters.copied_anyway.get(),
            bytes_received: counters.received.get(),
            bytes_received_direct: counters.received_direct.get(),
            bytes_copied: counters.copied.get(),
            frames_sent: counters.frames_sent.get(),
            frames_received: counters.frames_received.get(),
            validations: preparations.validations.get(),
            choices: preparations.choices.get(),
            plans_built: preparations.plans_built.get(),
        }
    }
}
