//! Ring allgather, with as many elements from each rank or a count for each.
//!
//! Source: the second half of Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for
//! clusters of workstations" (JPDC 69, 2009).
//!
//! In round `t` every rank passes on to its right the block that came in the round before, its own
//! in the first. Rounds: `world - 1`. Bytes sent per rank: all blocks but its right-hand
//! neighbour's.

use super::cut::{Blocks, Shape};
use super::rounds::{NONE, Round, Rounded, Rounds, Side};
use crate::types::Span;

pub(super) struct AllgatherRing {
    shape: Shape,
    blocks: Blocks,
}

impl AllgatherRing {
    pub(super) fn plan(shape: Shape, blocks: Blocks) -> Rounded<Self> {
        let longest = blocks.longest();
        let rounds = AllgatherRing { shape, blocks };
        Rounded::of_one_run(rounds, shape, longest)
    }
}

impl Rounds for AllgatherRing {
    // The last round of all, which no frame moves in, is there for the own block's sake in a world
    // of one.
    fn count(&self) -> u64 {
        (u64::from(self.shape.world) - 1).max(1)
    }

    fn round(&self, index: u64) -> Round {
        let Shape { world, rank, .. } = self.shape;
        let turn = index as u32;
        let back = |by: u32| (rank + world - by) % world;
        let block = |back: u32| self.shape.output(self.blocks.of(back));
        let own = self.shape.output(self.blocks.of(rank));
        let input = Span::input(0, own.len);
        let copy = (turn == 0).then_some((input, own));
        if world == 1 {
            return Round { copy, ..Round::default() };
        }
        let sent = if turn == 0 { input } else { block(back(turn)) };
        Round {
            copy,
            send: Some(Side { peer: (rank + 1) % world, runs: [sent, NONE, NONE] }),
            receive: Some(Side { peer: back(1), runs: [block(back(turn + 1)), NONE, NONE] }),
        }
    }
}
