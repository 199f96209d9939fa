//! Pairwise alltoall, with as many elements for each pair of ranks or a count for each.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005).
//!
//! In round `t` a rank sends to the one `t` further on and receives from the one `t` before; where
//! the world is a power of two both are the rank whose number differs by the bits of `t`. Every
//! block goes from its array straight to its place in the other. Rounds: `world - 1`. Bytes sent
//! per rank: all blocks but its own.

use super::cut::{Blocks, Shape};
use super::rounds::{NONE, Round, Rounded, Rounds, Side};

pub(super) struct Pairwise {
    shape: Shape,
    /// Of Input: what goes to each rank.
    sent: Blocks,
    /// Of Output: what comes from each rank.
    received: Blocks,
}

impl Pairwise {
    pub(super) fn plan(shape: Shape, sent: Blocks, received: Blocks) -> Rounded<Self> {
        let longest = sent.longest().max(received.longest());
        let rounds = Pairwise { shape, sent, received };
        Rounded::of_one_run(rounds, shape, longest)
    }
}

impl Rounds for Pairwise {
    fn count(&self) -> u64 {
        self.shape.world.into()
    }

    fn round(&self, index: u64) -> Round {
        let Shape { world, rank, .. } = self.shape;
        let turn = index as u32;
        let (to, from) = match world.is_power_of_two() {
            true => (rank ^ turn, rank ^ turn),
            false => ((rank + turn) % world, (rank + world - turn) % world),
        };
        let source = self.shape.input(self.sent.of(to));
        let target = self.shape.output(self.received.of(from));
        if turn == 0 {
            return Round { copy: Some((source, target)), ..Round::default() };
        }
        let side = |peer, run| Some(Side { peer, runs: [run, NONE, NONE] });
        Round { copy: None, send: side(to, source), receive: side(from, target) }
    }
}
