//! Recursive doubling allreduce, for any world size.
//!
//! Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//! in MPICH" (IJHPCA 19, 2005), with the even ranks of the first pairs folded into their
//! neighbours where the world is no power of two.
//!
//! With `p` the largest power of two within the world: `log2 p` rounds, in each of which a rank
//! exchanges its whole partial result with the one whose number among the `p` differs in one bit.
//! The other `world - p` ranks hand their array to a neighbour first and get the result last: two
//! more rounds. Bytes sent per rank: `log2 p` arrays, one more by such a neighbour, and one in all
//! by a rank that was folded in.
//!
//! Association: a balanced binary tree over the `p` places in order, each leaf one rank's array
//! or the sum of a pair's two.

use super::cut::Shape;
use super::{Plan, Step};
use crate::types::Rank;

pub(super) struct RecursiveDoubling {
    shape: Shape,
    slices: u64,
    /// Rounds in which arrays are exchanged.
    rounds: u32,
    part: Part,
}

/// What a rank does beside or instead of the exchanges.
#[derive(Clone, Copy)]
enum Part {
    /// Hands its array to this neighbour and gets the result from it.
    Folded(Rank),
    /// Takes in this neighbour's array first, and hands it the result last.
    Host(Rank),
    Alone,
}

impl RecursiveDoubling {
    pub(super) fn new(shape: Shape) -> Self {
        let rounds = shape.world.ilog2();
        let paired = 2 * (shape.world - (1 << rounds));
        let part = match shape.rank {
            rank if rank >= paired => Part::Alone,
            rank if rank % 2 == 0 => Part::Folded(rank + 1),
            rank => Part::Host(rank - 1),
        };
        RecursiveDoubling { shape, slices: shape.slices(shape.count), rounds, part }
    }

    /// The rank to exchange with in this round.
    fn partner(&self, round: u32) -> Rank {
        let extras = self.shape.world - (1 << self.rounds);
        let place = match self.part {
            Part::Alone => self.shape.rank - extras,
            _ => self.shape.rank / 2,
        };
        let place = place ^ (1 << round);
        if place < extras { 2 * place + 1 } else { place + extras }
    }
}

impl Plan for RecursiveDoubling {
    fn len(&self) -> u64 {
        self.slices
            * match self.part {
                Part::Folded(_) => 2,
                Part::Host(_) => 2 + 2 * u64::from(self.rounds),
                Part::Alone => 2 * u64::from(self.rounds),
            }
    }

    fn step(&self, index: u64) -> Option<Step> {
        let piece = |index: u64| self.shape.whole(self.slices, index % self.slices);
        let taken_in = match self.part {
            Part::Folded(peer) => {
                let piece = piece(index)?;
                return Some(if index < self.slices {
                    Step::Send { peer, source: piece.input() }
                } else {
                    Step::Recv { peer, target: piece.output() }
                });
            }
            Part::Host(peer) if index < self.slices => {
                let (with, into) = (piece(index)?.input(), piece(index)?.output());
                let finish = self.shape.finish(false);
                return Some(Step::RecvReduce { peer, with, into, finish });
            }
            Part::Host(_) => true,
            Part::Alone => false,
        };
        let index = if taken_in { index - self.slices } else { index };
        let round = (index / (2 * self.slices)) as u32;
        if let (Part::Host(peer), true) = (self.part, round == self.rounds) {
            return Some(Step::Send { peer, source: piece(index)?.output() });
        }
        let (peer, piece) = (self.partner(round), piece(index / 2)?);
        let current = piece.current(round == 0 && !taken_in);
        Some(if index % 2 == 0 {
            Step::Send { peer, source: current }
        } else {
            let finish = self.shape.finish(round + 1 == self.rounds);
            Step::RecvReduce { peer, with: current, into: piece.output(), finish }
        })
    }
}
