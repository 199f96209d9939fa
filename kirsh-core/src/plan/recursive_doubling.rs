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

use super::cut::{Piece, Shape};
use super::{Finish, Plan, Step};
use crate::types::{Rank, Wire};

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

    /// The slice at an index, where every round walks over all of them.
    fn piece(&self, index: u64) -> Option<Piece> {
        self.shape.whole(self.slices, index % self.slices)
    }

    /// A step of the exchanges; `untouched` if this rank's array alone goes into the first.
    fn exchange(&self, index: u64, untouched: bool) -> Option<Step> {
        let (pair, receives) = (index / 2, !index.is_multiple_of(2));
        let round = (pair / self.slices) as u32;
        let (peer, piece) = (self.partner(round), self.piece(pair)?);
        let current = piece.current(untouched && round == 0);
        Some(if receives {
            let finish = self.shape.finish(round + 1 == self.rounds);
            Step::RecvReduce {
                peer,
                with: current,
                into: piece.output(),
                finish,
                wire: Wire::Plain,
            }
        } else {
            Step::Send { peer, source: current }
        })
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
        match self.part {
            Part::Folded(peer) => {
                let piece = self.piece(index)?;
                Some(if index < self.slices {
                    Step::Send { peer, source: piece.input() }
                } else {
                    Step::Recv { peer, target: piece.output() }
                })
            }
            Part::Alone => self.exchange(index, true),
            Part::Host(peer) => {
                let piece = self.piece(index)?;
                let Some(index) = index.checked_sub(self.slices) else {
                    let (with, into) = (piece.input(), piece.output());
                    return Some(Step::RecvReduce {
                        peer,
                        with,
                        into,
                        finish: Finish::Keep,
                        wire: Wire::Plain,
                    });
                };
                if index < 2 * self.slices * u64::from(self.rounds) {
                    return self.exchange(index, false);
                }
                Some(Step::Send { peer, source: piece.output() })
            }
        }
    }
}
