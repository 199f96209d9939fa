//! Reduce-scatter around a ring, and the reduce that gathers its blocks at the root.
//!
//! Source: Patarasuk and Yuan (JPDC 69, 2009) for the ring; Thakur, Rabenseifner and Gropp (IJHPCA
//! 19, 2005) for a reduce that gathers what a reduce-scatter left.
//!
//! There is one block for each rank. In turn `t` every rank sends block `rank - 1 - t` to its
//! right and folds block `rank - 2 - t`, which comes from its left, with its own; the last that it
//! folds is the rank's own block. In a reduce every rank then sends its block to the root. Turns:
//! `world - 1`, one more for the reduce. Bytes sent per rank: all blocks but its own, so
//! `(world - 1) / world` of the array where counts are equal; in a reduce the whole array, by the
//! root all but its own block.
//!
//! Association: block `c` is folded in ring order from the rank after `c`,
//! `((x[c+1] + x[c+2]) + x[c+3]) + ... + x[c]`.
//!
//! A partial result is sent on in the next turn and lies in scratch till then. Slices go in
//! batches, each through all turns, so that the scratch of two turns of one batch is enough.

use super::cut::{Batches, Blocks, Piece, Shape};
use super::{Plan, Step};
use crate::types::{Rank, Span, Wire};

pub(super) struct ReduceRing {
    shape: Shape,
    blocks: Blocks,
    batches: Batches,
    /// Who gets all blocks in the end; `None` where each rank keeps its own.
    root: Option<Rank>,
}

impl ReduceRing {
    /// The rank's own block lands in its output.
    pub(super) fn reduce_scatter(shape: Shape, blocks: Blocks) -> Self {
        ReduceRing::new(shape, blocks, None)
    }

    /// All blocks land in the root's output.
    pub(super) fn reduce(shape: Shape, root: Rank) -> Self {
        ReduceRing::new(shape, Blocks::balanced(shape.count, shape.world), Some(root))
    }

    fn new(shape: Shape, blocks: Blocks, root: Option<Rank>) -> Self {
        let shape = shape.with_slices_below(blocks.longest());
        let turns = u64::from(shape.world) - 1;
        let gathers = match root {
            Some(root) if root == shape.rank => turns,
            Some(_) => 1,
            None => 0,
        };
        let batches = Batches::new(shape.slices(blocks.longest()), 2 * turns + gathers);
        ReduceRing { shape, blocks, batches, root }
    }

    /// One slice of the block of the rank that lies `back` ranks before this one.
    fn piece(&self, back: u64, slice: u64) -> Option<Piece> {
        let Shape { world, rank, .. } = self.shape;
        let (world, rank) = (u64::from(world), u64::from(rank));
        let elements = self.blocks.of(((rank + world - back % world) % world) as Rank);
        let slices = self.shape.slices(elements.1 - elements.0);
        if slice < slices { self.shape.piece(elements, slices, slice) } else { None }
    }

    /// Where the partial result of a turn lies; `slot` is the slice's place in its batch.
    fn partial(&self, piece: Piece, turn: u64, slot: u64) -> Span {
        let slots = self.batches.depth();
        piece.scratch((turn % 2 * slots + slot) * self.shape.slice_bytes())
    }

    /// Where the rank's own block is folded for the last time.
    fn complete(&self, piece: Piece, turn: u64, slot: u64) -> Span {
        let Shape { rank, size, .. } = self.shape;
        match self.root {
            None => piece.behind(self.blocks.of(rank).0 * size).output(),
            Some(root) if root == rank => piece.output(),
            Some(_) => self.partial(piece, turn, slot),
        }
    }
}

impl Plan for ReduceRing {
    fn len(&self) -> u64 {
        self.batches.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let turns = u64::from(world) - 1;
        let batch = self.batches.at(index);
        let Some(gathered) = batch.index.checked_sub(2 * turns * batch.slices) else {
            let (pair, receives) = (batch.index / 2, batch.index % 2 == 1);
            let (turn, slot) = (pair / batch.slices, pair % batch.slices);
            let slice = batch.first + slot;
            if !receives {
                let piece = self.piece(1 + turn, slice)?;
                let source = match turn.checked_sub(1) {
                    Some(earlier) => self.partial(piece, earlier, slot),
                    None => piece.input(),
                };
                return Some(Step::Send { peer: (rank + 1) % world, source });
            }
            let piece = self.piece(2 + turn, slice)?;
            let last = turn + 1 == turns;
            let into = if last {
                self.complete(piece, turn, slot)
            } else {
                self.partial(piece, turn, slot)
            };
            return Some(Step::RecvReduce {
                peer: (rank + world - 1) % world,
                with: piece.input(),
                into,
                finish: self.shape.finish(last),
                wire: Wire::Plain,
            });
        };
        let root = self.root?;
        if rank != root {
            let piece = self.piece(0, batch.first + gathered)?;
            return Some(Step::Send {
                peer: root,
                source: self.partial(piece, turns - 1, gathered),
            });
        }
        let (slot, ahead) = (gathered / turns, 1 + gathered % turns);
        let piece = self.piece(u64::from(world) - ahead, batch.first + slot)?;
        Some(Step::Recv { peer: (rank + ahead as Rank) % world, target: piece.output() })
    }

    fn scratch_len(&self) -> u64 {
        let used = match self.shape.world {
            0..=1 => 0,
            // The first turn is the last.
            2 => u64::from(self.root.is_some_and(|root| root != self.shape.rank)),
            _ => 2,
        };
        used * self.batches.depth() * self.shape.slice_bytes()
    }
}
