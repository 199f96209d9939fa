//! Pipelined chain broadcast: slices run from the root around the ring of ranks.
//!
//! Source: the pipeline of Pješivac-Grbović et al., "Performance analysis of MPI collective
//! operations" (Cluster Computing 10, 2007).
//!
//! Hops of a slice: `world - 1`; with `s` slices all is over after `s + world - 2` slice times.
//! Bytes sent per rank: one array, none by the last of the chain.

use super::cut::Shape;
use super::{Plan, Step};
use crate::types::Rank;

pub(super) struct Chain {
    shape: Shape,
    slices: u64,
    /// Ranks between the root and this one along the chain, and itself: 0 is the root.
    place: Rank,
}

impl Chain {
    pub(super) fn new(shape: Shape, root: Rank) -> Self {
        let place = (shape.rank + shape.world - root) % shape.world;
        Chain { shape, slices: shape.slices(shape.count), place }
    }

    /// Steps of one slice.
    fn width(&self) -> u64 {
        u64::from(self.place != 0) + u64::from(self.place + 1 != self.shape.world)
    }
}

impl Plan for Chain {
    fn len(&self) -> u64 {
        self.slices * self.width()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let span = self.shape.whole(self.slices, index / self.width())?.output();
        Some(if self.place != 0 && index.is_multiple_of(self.width()) {
            Step::Recv { peer: (rank + world - 1) % world, target: span }
        } else {
            Step::Send { peer: (rank + 1) % world, source: span }
        })
    }
}
