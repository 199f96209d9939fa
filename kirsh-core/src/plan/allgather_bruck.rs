//! Bruck's allgather, for any world size, with as many elements from each rank or a count for each.
//!
//! Source: Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//! communications in multiport message-passing systems" (IEEE TPDS 8, 1997).
//!
//! After `k` rounds a rank has the blocks of the `2^k` ranks from itself on. In round `k` it hands
//! them to the rank `2^k` below and gets as many from the one `2^k` above; the last round moves
//! what is missing. Every block goes straight to its place, where the paper turns the array round
//! in the end: the blocks of a round are one run of the array, or two around its end.
//!
//! Rounds: `log2(world)`, rounded up. Bytes sent per rank: `world - 1` blocks.

use super::cut::{Blocks, Shape, doublings};
use super::rounds::{NONE, Round, Rounded, Rounds, Side};
use crate::types::{Rank, Span};

pub(super) struct AllgatherBruck {
    shape: Shape,
    blocks: Blocks,
}

impl AllgatherBruck {
    pub(super) fn plan(shape: Shape, blocks: Blocks) -> Rounded<Self> {
        Rounded::new(AllgatherBruck { shape, blocks }, shape)
    }

    /// The places of the blocks of this many ranks from this one on.
    fn runs(&self, first: Rank, ranks: Rank) -> [Span; 3] {
        let Shape { world, .. } = self.shape;
        let end = (first + ranks).min(world);
        let around = first + ranks - end;
        let run = |from, to| self.shape.output(self.blocks.run(from, to));
        [run(first, end), run(0, around), NONE]
    }
}

impl Rounds for AllgatherBruck {
    fn count(&self) -> u64 {
        u64::from(doublings(self.shape.world)).max(1)
    }

    fn round(&self, index: u64) -> Round {
        let Shape { world, rank, .. } = self.shape;
        let own = self.shape.output(self.blocks.of(rank));
        let input = Span::input(0, own.len);
        let copy = (index == 0).then_some((input, own));
        if world == 1 {
            return Round { copy, ..Round::default() };
        }
        let far = 1 << index;
        let ranks = far.min(world - far);
        let above = (rank + far) % world;
        let sent = if index == 0 { [input, NONE, NONE] } else { self.runs(rank, ranks) };
        Round {
            copy,
            send: Some(Side { peer: (rank + world - far) % world, runs: sent }),
            receive: Some(Side { peer: above, runs: self.runs(above, ranks) }),
        }
    }
}
