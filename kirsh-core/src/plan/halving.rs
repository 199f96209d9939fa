//! Recursive halving reduce-scatter, and the allreduce that doubles back from it.
//!
//! Source: Rabenseifner, "Optimization of collective reduction operations" (ICCS 2004), in the form
//! that takes any world size without extra rounds: Träff, "Optimal, non-pipelined reduce-scatter
//! and allreduce algorithms" (arXiv 2410.14234, 2024).
//!
//! There is one block for each rank; block `i` *of a rank* is that of the rank `i` above it. A
//! round begins with `s` blocks that are still open, the world's size at first, and ends with `h`,
//! half of them rounded up: a rank sends its blocks `h..s` to the rank `h` above, whose blocks
//! `0..s-h` they are, and folds what comes from `h` below into its own. In the end its block 0 is
//! complete. The allreduce then runs the same rounds backwards, each frame the other way, to hand
//! complete blocks out.
//!
//! Rounds: `log2(world)` rounded up, twice that for the allreduce. Bytes sent per rank:
//! `(world - 1) / world` of the array, twice that for the allreduce; with unequal counts all but
//! the rank's own block.
//!
//! Association: with `P(r, i)` what rank `r` holds of its block `i`, a round makes it
//! `P(r, i) + P(r - h, i + h)`, which for powers of two is a balanced tree.
//!
//! An allreduce keeps partial results in its output. A reduce-scatter keeps those of half of the
//! blocks in scratch; where blocks are longer than a slice, it goes through all rounds with one
//! slice of each, then with the next, so that scratch holds half a slice for each rank.

use super::cut::{Blocks, Piece, Shape};
use super::{Plan, Step};
use crate::types::{Rank, Span, Wire};

/// What is sent in a round, or in a part of one.
#[derive(Clone, Copy, Debug)]
struct Leg {
    /// How far above the receiver is.
    hop: Rank,
    /// The blocks of the sender.
    blocks: (Rank, Rank),
    /// Whether the sender's blocks hold its own contribution alone, and whether the receiver's do.
    untouched: [bool; 2],
    /// Whether what is received becomes complete.
    last: bool,
    /// Pairs of steps in earlier legs.
    before: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Output,
    Scratch,
}

pub(super) struct Halving {
    shape: Shape,
    blocks: Blocks,
    store: Store,
    legs: Vec<Leg>,
    /// Slices of the longest block where each block goes slice by slice; else one.
    columns: u64,
    /// Pairs of steps of a column.
    pairs: u64,
}

impl Halving {
    /// The rank's own block lands in its output.
    pub(super) fn reduce_scatter(shape: Shape, blocks: Blocks) -> Self {
        Halving::new(shape, blocks, Store::Scratch)
    }

    fn new(shape: Shape, blocks: Blocks, store: Store) -> Self {
        let columns = match store {
            Store::Output => 1,
            Store::Scratch => shape.slices(blocks.longest()).max(1),
        };
        let mut halving = Halving { shape, blocks, store, legs: Vec::new(), columns, pairs: 0 };
        let mut open = shape.world;
        while open > 1 {
            let hop = open.div_ceil(2);
            let first = open == shape.world;
            // In a world of odd size the first round leaves one block as it is, and the second
            // sends it: from another place than the others, so in a leg of its own.
            let spared = open > shape.world / 2 && !first;
            let (from, to) = (hop, open);
            let legs = if spared { [(to - 1, to), (from, to - 1)] } else { [(from, to), (to, to)] };
            for (blocks, spared) in legs.into_iter().zip([spared, false]) {
                if blocks.0 == blocks.1 {
                    continue;
                }
                let untouched = [first || spared, first];
                let leg = Leg { hop, blocks, untouched, last: hop == 1, before: halving.pairs };
                halving.pairs += halving.width(&leg);
                halving.legs.push(leg);
            }
            open = hop;
        }
        halving
    }

    /// Frames of a leg of a column, sent or received, whichever are more.
    fn width(&self, leg: &Leg) -> u64 {
        if self.columns > 1 {
            return u64::from(leg.blocks.1 - leg.blocks.0);
        }
        let slices = |sender| {
            let runs = self.runs(sender, leg.blocks);
            runs.map(|(begin, end)| self.shape.slices(end - begin)).iter().sum()
        };
        let (sent, received): (u64, u64) = (slices(self.shape.rank), slices(self.below(leg.hop)));
        sent.max(received)
    }

    fn below(&self, hop: Rank) -> Rank {
        (self.shape.rank + self.shape.world - hop) % self.shape.world
    }

    /// The elements of some of a rank's blocks: from its own on to the end of the array, then on
    /// from the array's beginning.
    fn runs(&self, rank: Rank, (from, to): (Rank, Rank)) -> [(u64, u64); 2] {
        let world = self.shape.world;
        let (from, to) = (rank + from, rank + to);
        let mut runs = [(0, 0); 2];
        if from < world {
            runs[0] = self.blocks.run(from, to.min(world));
        }
        if to > world {
            runs[1] = self.blocks.run(from.max(world) - world, to - world);
        }
        runs
    }

    /// One frame of a leg. The last go first: the next round sends what they are folded into.
    fn piece(&self, sender: Rank, leg: &Leg, column: u64, frame: u64) -> Option<Piece> {
        if self.columns > 1 {
            let block = (leg.blocks.1 - 1).checked_sub(frame as Rank)?;
            let elements = self.blocks.of((sender + block) % self.shape.world);
            let slices = self.shape.slices(elements.1 - elements.0);
            return if column < slices { self.shape.piece(elements, slices, column) } else { None };
        }
        let mut frame = frame;
        for run in self.runs(sender, leg.blocks).into_iter().rev() {
            let slices = self.shape.slices(run.1 - run.0);
            if frame < slices {
                return self.shape.piece(run, slices, slices - 1 - frame);
            }
            frame -= slices;
        }
        None
    }

    /// Where this rank's partial result of a piece lies; `block` counts from its own.
    fn partial(&self, piece: Piece, block: Rank) -> Span {
        if self.store == Store::Output {
            return piece.output();
        }
        if self.columns > 1 {
            return piece.scratch(u64::from(block) * self.shape.slice_bytes());
        }
        let (own, _) = self.blocks.of(self.shape.rank);
        let (_, end) = self.blocks.run(0, self.shape.world);
        piece.scratch(piece.ahead_of(own * self.shape.size, end * self.shape.size))
    }
}

impl Plan for Halving {
    fn len(&self) -> u64 {
        2 * self.columns * self.pairs
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, size, .. } = self.shape;
        let (pair, receives) = (index / 2, index % 2 == 1);
        let (column, pair) = match self.columns {
            1 => (0, pair),
            _ => (pair / self.pairs, pair % self.pairs),
        };
        let leg = &self.legs[self.legs.partition_point(|leg| leg.before <= pair) - 1];
        let frame = pair - leg.before;
        let [source_untouched, with_untouched] = leg.untouched;
        // The block of a frame, where a frame has only one.
        let block = leg.blocks.1.saturating_sub(1 + frame as Rank);
        if !receives {
            let piece = self.piece(rank, leg, column, frame)?;
            let source = if source_untouched { piece.input() } else { self.partial(piece, block) };
            return Some(Step::Send { peer: (rank + leg.hop) % world, source });
        }
        let peer = self.below(leg.hop);
        let piece = self.piece(peer, leg, column, frame)?;
        let partial = self.partial(piece, block.saturating_sub(leg.hop));
        let with = if with_untouched { piece.input() } else { partial };
        let into = if leg.last && self.store == Store::Scratch {
            piece.behind(self.blocks.of(rank).0 * size).output()
        } else {
            partial
        };
        Some(Step::RecvReduce {
            peer,
            with,
            into,
            finish: self.shape.finish(leg.last),
            wire: Wire::Plain,
        })
    }

    fn scratch_len(&self) -> u64 {
        let Shape { world, rank, size, .. } = self.shape;
        // A world of two or less completes blocks in the first round.
        if self.store == Store::Output || world <= 2 {
            return 0;
        }
        if self.columns > 1 {
            return u64::from(world / 2) * self.shape.slice_bytes();
        }
        let runs = self.runs(rank, (0, world / 2));
        runs.map(|(begin, end)| (end - begin) * size).iter().sum()
    }
}

/// The allreduce: halving, and then the same steps from the last to the first with their frames
/// turned round.
pub(super) struct HalvingDoubling {
    halving: Halving,
}

impl HalvingDoubling {
    pub(super) fn new(shape: Shape) -> Self {
        let blocks = Blocks::balanced(shape.count, shape.world);
        HalvingDoubling { halving: Halving::new(shape, blocks, Store::Output) }
    }
}

impl Plan for HalvingDoubling {
    fn len(&self) -> u64 {
        2 * self.halving.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Some(doubled) = index.checked_sub(self.halving.len()) else {
            return self.halving.step(index);
        };
        match self.halving.step(self.halving.len() - 1 - doubled)? {
            Step::Send { peer, source } => {
                Some(Step::Recv { peer, target: Span::output(source.offset, source.len) })
            }
            Step::RecvReduce { peer, into, .. } => Some(Step::Send { peer, source: into }),
            Step::Recv { .. } | Step::Reduce { .. } | Step::Map { .. } => None,
        }
    }
}
