//! Reduce-scatter by pairwise exchange: every contribution goes straight to where it is folded.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005).
//!
//! In turn `t` a rank sends its array's block of rank `rank + t` to that one, and folds what
//! `rank - t` sends of this rank's own block into its output. Turns: `world - 1`. Bytes sent per
//! rank: all blocks but its own, so `(world - 1) / world` of the array where counts are equal.
//! Needs no scratch, and a link between any two ranks.
//!
//! Association: `((x[r] + x[r-1]) + x[r-2]) + ... + x[r+1]`.

use super::cut::{Blocks, Shape};
use super::{Plan, Step};
use crate::types::{Rank, Wire};

pub(super) struct ReducePairwise {
    shape: Shape,
    blocks: Blocks,
    /// Slices of the longest block.
    slices: u64,
}

impl ReducePairwise {
    pub(super) fn new(shape: Shape, blocks: Blocks) -> Self {
        let slices = shape.slices(blocks.longest());
        ReducePairwise { shape, blocks, slices }
    }
}

impl Plan for ReducePairwise {
    fn len(&self) -> u64 {
        2 * (u64::from(self.shape.world) - 1) * self.slices
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, size, .. } = self.shape;
        let (pair, receives) = (index / 2, index % 2 == 1);
        let (turn, slice) = (1 + (pair / self.slices) as Rank, pair % self.slices);
        let (to, from) = ((rank + turn) % world, (rank + world - turn) % world);
        let elements = self.blocks.of(if receives { rank } else { to });
        let slices = self.shape.slices(elements.1 - elements.0);
        if slice >= slices {
            return None;
        }
        let piece = self.shape.piece(elements, slices, slice)?;
        if !receives {
            return Some(Step::Send { peer: to, source: piece.input() });
        }
        let into = piece.behind(elements.0 * size).output();
        let with = if turn == 1 { piece.input() } else { into };
        let finish = self.shape.finish(turn + 1 == world);
        Some(Step::RecvReduce { peer: from, with, into, finish, wire: Wire::Plain })
    }
}
