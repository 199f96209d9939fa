//! Any reduce_scatter with encoded elements: what is sent is encoded just before, and what comes is
//! decoded by the fold. Nobody gets what another has, so the result is no encoding.

use crate::plan::cut::SCRATCH_SLICES;
use crate::plan::{Map, Plan, Step};
use crate::types::{Span, Wire};

pub(super) struct EncodedFold<P> {
    inner: P,
    /// Of so many steps of the inner plan one sends, at most.
    beat: u64,
    /// Bytes of an encoded slice, at most.
    slot: u64,
    wire: Wire,
}

impl<P: Plan> EncodedFold<P> {
    pub(super) fn new(inner: P, beat: u64, slice_bytes: u64, wire: Wire) -> Self {
        EncodedFold { inner, beat, slot: wire.encoded(slice_bytes), wire }
    }
}

impl<P: Plan> Plan for EncodedFold<P> {
    fn len(&self) -> u64 {
        2 * self.inner.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let (index, first) = (index / 2, index.is_multiple_of(2));
        match self.inner.step(index)? {
            Step::Send { peer, source } => {
                let slot = index / self.beat % SCRATCH_SLICES;
                let target = Span::encoded(slot * self.slot, self.wire.encoded(source.len));
                let encode = Step::Map { source, target, map: Map::Encode(self.wire) };
                Some(if first { encode } else { Step::Send { peer, source: target } })
            }
            _ if !first => None,
            Step::RecvReduce { peer, with, into, finish, .. } => {
                Some(Step::RecvReduce { peer, with, into, finish, wire: self.wire })
            }
            step => Some(step),
        }
    }

    fn scratch_len(&self) -> u64 {
        self.inner.scratch_len()
    }

    fn encoded_len(&self) -> u64 {
        SCRATCH_SLICES * self.slot
    }
}
