//! Arithmetic for the session, with the checksums that come of it.

use super::Core;
use crate::driver::counters::Counters;
use crate::driver::sums::{SUMMED_AHEAD_MAX, Sums};
use crate::driver::trace::Phase;
use crate::plan::{Finish, Map};
use crate::session::{SlabId, Slot};
use crate::types::{Span, Wire};
use crate::wire::checksum::Checksum;

impl Core {
    /// Folds what has come into a slab, and finds out on the way whether it is what was sent.
    pub(super) fn fold(
        &mut self,
        slot: Slot,
        slab: SlabId,
        (with, into): (Span, Span),
        finish: Finish,
        wire: Wire,
    ) {
        let Some(slab) = self.slabs.get_mut(slab) else { return };
        let (received, claimed) = (slab.as_ptr().cast_const(), slab.claimed.take());
        let mut sums = self.wanted_sums(slot);
        sums.received = claimed.map(|_| Checksum::new());
        self.known.forget(into);
        self.work(Phase::Folding, into.len, |job| {
            job.fold(received, with, into, finish, wire, &mut sums);
        });
        // P-17
        if sums.received.map(|checksum| checksum.value()) != claimed {
            return self.session.handle_corrupt(slot);
        }
        self.worked(slot, &sums);
    }

    pub(super) fn reduce(&mut self, slot: Slot, with: Span, into: Span, finish: Finish) {
        let mut sums = self.wanted_sums(slot);
        self.known.forget(into);
        self.work(Phase::Folding, into.len, |job| job.reduce(with, into, finish, &mut sums));
        self.worked(slot, &sums);
    }

    pub(super) fn map(
        &mut self,
        slot: Slot,
        (source, target): (Span, Span),
        map: Map,
        counters: &Counters,
    ) {
        let mut sums = self.wanted_sums(slot);
        self.known.forget(target);
        self.work(Phase::of(map), target.len, |job| {
            job.map(source, target, map, &counters.copied, &mut sums);
        });
        self.worked(slot, &sums);
    }

    /// What is to be summed of a step's result: all of it, if it goes on just so and soon enough.
    fn wanted_sums(&self, slot: Slot) -> Sums {
        let mut sums = Sums::default();
        if self.session.settings().checksums {
            let (span, sends) = self.session.forwarded(slot);
            let wanted = sends > 0 && span.len <= SUMMED_AHEAD_MAX;
            sums.result = wanted.then(Checksum::new);
        }
        sums
    }

    fn worked(&mut self, slot: Slot, sums: &Sums) {
        if let Some(checksum) = sums.result {
            let (span, sends) = self.session.forwarded(slot);
            self.known.note(span, checksum.value(), sends);
        }
        self.session.handle_folded(slot);
    }
}
