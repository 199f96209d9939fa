//! What the inside of a lane tells of itself: how long it waits and for whom, what has ended, and each
//! of its doings where a trace is written.

use super::Core;
use crate::driver::choose::AnyIo;
use crate::driver::clock::{Stretch, now_ns};
use crate::driver::job::Job;
use crate::driver::lane::Lane;
use crate::driver::thread::Happening;
use crate::driver::trace::{Event, Phase, What};
use crate::error::{Error, Result};
use crate::types::{Call, Sequence};

impl Core {
    /// Takes in what a wait has brought to the thread that drives this lane alone.
    pub(crate) fn happened(&mut self, io: &mut AnyIo, lane: &Lane, happening: Happening) {
        match happening {
            Happening::Waited(stretch) => self.waited(lane, stretch),
            Happening::Done(completion) => self.complete(io, lane, completion),
        }
    }

    /// Whoever drives has waited for so long. Told before what the wait has brought, so that the steps
    /// that are live are those that were waited for.
    pub(crate) fn waited(&self, lane: &Lane, stretch: Stretch) {
        if self.session.is_idle() {
            return;
        }
        let peer = self.session.awaited_peer();
        lane.counters.collective.waited(peer, stretch.ns());
        let sequence = self.jobs.front().map(|job| job.sequence);
        self.record(stretch, || What::Waiting { sequence, peer });
    }

    /// Works on payload for the first job, which the trace shows.
    #[inline]
    pub(super) fn work(&self, phase: Phase, bytes: u64, work: impl FnOnce(&Job)) {
        let Some(job) = self.jobs.front() else { return };
        let Some(from_ns) = self.observed.traced_now() else { return work(job) };
        work(job);
        let sequence = job.sequence;
        let stretch = Stretch { from_ns, to_ns: now_ns() };
        self.record(stretch, || What::Working { phase, sequence, bytes });
    }

    /// A job is over, well or not.
    pub(super) fn note_end(&mut self, lane: &Lane, job: &Job, result: &Result<()>) {
        // The first channel's part stands for all.
        if lane.channel == 0 {
            lane.counters.operations[job.call.collective as usize].add(1);
        }
        let Some(to_ns) = self.observed.traced_now() else { return };
        // Its turn came when the one before it had ended.
        let from_ns = job.enqueued_ns.max(self.turn_ns).min(to_ns);
        self.turn_ns = to_ns;
        let queued_ns = from_ns.saturating_sub(job.enqueued_ns);
        self.record(Stretch { from_ns, to_ns }, || What::Collective {
            call: job.call,
            label: job.label.clone(),
            sequence: Some(job.sequence),
            queued_ns,
            outcome: result.clone(),
        });
    }

    /// A call has ended before it had a turn.
    #[cold]
    pub(super) fn note_refusal(&self, call: Call, sequence: Option<Sequence>, error: &Error) {
        let Some(now_ns) = self.observed.traced_now() else { return };
        self.record(Stretch { from_ns: now_ns, to_ns: now_ns }, || What::Collective {
            call,
            label: None,
            sequence,
            queued_ns: 0,
            outcome: Err(error.clone()),
        });
    }

    #[inline]
    fn record(&self, stretch: Stretch, what: impl FnOnce() -> What) {
        if let Some(trace) = self.observed.trace() {
            trace.record(Event { communicator: self.traced_as, stretch, what: what() });
        }
    }
}
