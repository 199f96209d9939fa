//! What a process keeps account of for all its communicators, and its trace, if one is written.

use super::clock::now_ns;
use super::counters::{Calls, OBSERVE, Traffic};
use super::trace::Trace;

/// Shared by whoever drives anything of a process.
pub(crate) struct Observed {
    /// What goes over control links, by world rank, counted by the progress thread.
    pub(crate) control: Box<[Traffic]>,
    /// Made by the progress thread's driver.
    pub(crate) calls: Calls,
    trace: Option<Trace>,
}

impl Observed {
    /// Of a process of a world of so many ranks.
    pub(crate) fn new(world: u32, trace: Option<Trace>) -> Self {
        Observed { control: Traffic::with(world as usize), calls: Calls::default(), trace }
    }

    #[inline]
    pub(crate) fn trace(&self) -> Option<&Trace> {
        if OBSERVE { self.trace.as_ref() } else { None }
    }

    /// The time, where a trace wants to know it.
    #[inline]
    pub(crate) fn traced_now(&self) -> Option<u64> {
        self.trace().map(|_| now_ns())
    }
}
