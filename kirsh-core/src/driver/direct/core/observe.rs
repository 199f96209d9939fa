//! What the messages of a communicator tell of themselves: how long they are waited for, and what has
//! ended.

use super::{DirectCore, Entry};
use crate::driver::clock::Stretch;
use crate::driver::trace::{Event, What};
use crate::error::Result;
use crate::session::direct::{Received, Request, Ticket};

impl DirectCore {
    /// The progress thread has waited for so long. Told before what the wait has brought.
    pub(crate) fn waited(&self, stretch: Stretch) {
        let Some(peer) = self.session.awaited_peer() else { return };
        self.lane.counters.direct.waited(peer, stretch.ns());
        self.record(stretch, || What::AwaitingMessages { peer });
    }

    /// A send or a receive is over, well or not.
    pub(super) fn note_end(
        &self,
        ticket: Ticket,
        entry: &Entry,
        outcome: &Result<Option<Received>>,
    ) {
        let counters = &self.lane.counters;
        match entry.request {
            Request::Send { .. } => counters.sends.add(1),
            Request::Receive { .. } => counters.receives.add(1),
        }
        if let Some(to_ns) = self.lane.observed.traced_now() {
            let stretch = Stretch { from_ns: entry.posted_ns, to_ns };
            let (request, number, outcome) = (entry.request, ticket.0, outcome.clone());
            self.record(stretch, || What::Message { request, number, outcome });
        }
    }

    fn record(&self, stretch: Stretch, what: impl FnOnce() -> What) {
        if let Some(trace) = self.lane.observed.trace() {
            trace.record(Event { communicator: self.lane.key, stretch, what: what() });
        }
    }
}
