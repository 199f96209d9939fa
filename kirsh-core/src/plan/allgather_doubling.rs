//! Recursive doubling allgather, for any world size, with as many elements from each rank or a
//! count for each.
//!
//! Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations
//! in MPICH" (IJHPCA 19, 2005), with the even ranks of the first pairs folded into their
//! neighbours where the world is no power of two, as in the allreduce of that name.
//!
//! With `p` the largest power of two within the world: in each of `log2 p` rounds a rank exchanges
//! all it has with the one whose number among the `p` differs in one bit, so that what it has is
//! one run of the array at all times. The other `world - p` ranks hand their block to a neighbour
//! first and get the rest from it last: two more rounds. Bytes sent per rank: nearly an array, by
//! such a neighbour nearly two, and one block by a rank that was folded in.

use super::cut::{Blocks, Shape};
use super::rounds::{NONE, Round, Rounded, Rounds, Side};
use crate::types::{Rank, Span};

/// Which ranks exchange, as places among the largest power of two within the world, and which are
/// folded into those.
#[derive(Clone, Copy)]
struct Pairing {
    /// Rounds in which arrays are exchanged.
    rounds: u32,
    /// Ranks that are folded into a neighbour: the even ones of as many pairs.
    extras: Rank,
}

impl Pairing {
    fn new(world: Rank) -> Self {
        let rounds = world.ilog2();
        Pairing { rounds, extras: world - (1 << rounds) }
    }

    fn part(self, rank: Rank) -> Part {
        match rank {
            rank if rank >= 2 * self.extras => Part::Alone,
            rank if rank.is_multiple_of(2) => Part::Folded(rank + 1),
            rank => Part::Host(rank - 1),
        }
    }

    /// A rank's place; `None` where it is folded in.
    fn place(self, rank: Rank) -> Option<Rank> {
        match self.part(rank) {
            Part::Alone => Some(rank - self.extras),
            Part::Host(_) => Some(rank / 2),
            Part::Folded(_) => None,
        }
    }

    /// The rank at a place.
    fn rank(self, place: Rank) -> Rank {
        if place < self.extras { 2 * place + 1 } else { place + self.extras }
    }

    /// The first rank whose block is of this place.
    fn first_rank(self, place: Rank) -> Rank {
        if place < self.extras { 2 * place } else { place + self.extras }
    }
}

/// What a rank does beside or instead of the exchanges.
#[derive(Clone, Copy)]
enum Part {
    /// Hands its block to this neighbour and gets all others from it.
    Folded(Rank),
    /// Takes in this neighbour's block first, and hands it all others last.
    Host(Rank),
    Alone,
}

pub(super) struct AllgatherDoubling {
    shape: Shape,
    blocks: Blocks,
    pairing: Pairing,
    part: Part,
}

impl AllgatherDoubling {
    pub(super) fn plan(shape: Shape, blocks: Blocks) -> Rounded<Self> {
        let pairing = Pairing::new(shape.world);
        let part = pairing.part(shape.rank);
        let rounds = AllgatherDoubling { shape, blocks, pairing, part };
        Rounded::new(rounds, shape)
    }

    fn run(&self, from: Rank, to: Rank) -> Span {
        self.shape.output(self.blocks.run(from, to))
    }

    /// All that the places of a group of `2^round` have, of which this place is one.
    fn of_group(&self, place: Rank, round: u32) -> Span {
        let first = place >> round << round;
        self.run(self.pairing.first_rank(first), self.pairing.first_rank(first + (1 << round)))
    }

    /// Everything but one rank's block.
    fn but(&self, rank: Rank) -> [Span; 3] {
        [self.run(0, rank), self.run(rank + 1, self.shape.world), NONE]
    }
}

impl Rounds for AllgatherDoubling {
    /// The exchanges, and one round before and after them.
    fn count(&self) -> u64 {
        u64::from(self.pairing.rounds) + 2
    }

    fn round(&self, index: u64) -> Round {
        let Shape { rank, .. } = self.shape;
        let (first, last) = (index == 0, index + 1 == self.count());
        let own = self.run(rank, rank + 1);
        let input = Span::input(0, own.len);
        let copy = first.then_some((input, own));
        let one = |peer, run| Some(Side { peer, runs: [run, NONE, NONE] });
        if first {
            return match self.part {
                Part::Folded(host) => Round { copy, send: one(host, input), receive: None },
                Part::Host(folded) => {
                    let receive = one(folded, self.run(folded, folded + 1));
                    Round { copy, send: None, receive }
                }
                Part::Alone => Round { copy, ..Round::default() },
            };
        }
        if last {
            return match self.part {
                Part::Folded(peer) => {
                    Round { receive: Some(Side { peer, runs: self.but(rank) }), ..Round::default() }
                }
                Part::Host(peer) => {
                    Round { send: Some(Side { peer, runs: self.but(peer) }), ..Round::default() }
                }
                Part::Alone => Round::default(),
            };
        }
        let Some(place) = self.pairing.place(rank) else { return Round::default() };
        let round = index as u32 - 1;
        let other = place ^ (1 << round);
        let peer = self.pairing.rank(other);
        let lone = round == 0 && matches!(self.part, Part::Alone);
        let sent = if lone { input } else { self.of_group(place, round) };
        Round { copy: None, send: one(peer, sent), receive: one(peer, self.of_group(other, round)) }
    }
}
