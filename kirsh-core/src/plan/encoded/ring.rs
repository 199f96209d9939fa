//! The ring with encoded elements: allreduce, and its second half alone, which is an allgather.
//!
//! Turns, chunks and association are those of [`Ring`](crate::plan::ring). A chunk's slice is encoded
//! by itself. What is received complete stays encoded for as long as it is to be sent on, so for one
//! turn: the slices of one turn and a few more are all that is held.

use crate::plan::cut::{Blocks, Piece, SCRATCH_SLICES, Shape};
use crate::plan::{Map, Plan, Step};
use crate::types::{Rank, Span, Wire};

pub(in crate::plan) struct EncodedRing {
    shape: Shape,
    blocks: Blocks,
    wire: Wire,
    /// Turns that fold, before those that hand out.
    folds: u64,
    /// Slices of the longest block.
    slices: u64,
}

/// Steps of one slice of a turn.
const WIDTH: u64 = 5;

impl EncodedRing {
    pub(super) fn allreduce(shape: Shape, wire: Wire) -> Self {
        let blocks = Blocks::balanced(shape.count, shape.world);
        EncodedRing::new(shape, blocks, wire, u64::from(shape.world) - 1)
    }

    pub(super) fn allgather(shape: Shape, blocks: Blocks, wire: Wire) -> Self {
        EncodedRing::new(shape, blocks, wire, 0)
    }

    fn new(shape: Shape, blocks: Blocks, wire: Wire, folds: u64) -> Self {
        let shape = shape.with_slices_below(blocks.longest());
        let slices = shape.slices(blocks.longest());
        EncodedRing { shape, blocks, wire, folds, slices }
    }

    /// One slice of the block of the rank that lies `back` ranks before this one.
    fn piece(&self, back: u64, slice: u64) -> Option<Piece> {
        let Shape { world, rank, .. } = self.shape;
        let (world, rank) = (u64::from(world), u64::from(rank));
        let elements = self.blocks.of(((rank + world - back % world) % world) as Rank);
        let slices = self.shape.slices(elements.1 - elements.0);
        if slice < slices { self.shape.piece(elements, slices, slice) } else { None }
    }

    /// Where what is sent in a row lies encoded, which the row a turn before may have received.
    fn encoded(&self, piece: Piece, row: u64) -> Span {
        let slot = self.wire.encoded(self.shape.slice_bytes());
        let len = self.wire.encoded(piece.output().len);
        Span::encoded(row % (self.slices + SCRATCH_SLICES) * slot, len)
    }

    /// The rank's own elements, before anything was folded into them.
    fn own(&self, piece: Piece) -> Span {
        match self.folds {
            // What an allgather gives is one block.
            0 => piece.behind(self.blocks.of(self.shape.rank).0 * self.shape.size).input(),
            _ => piece.input(),
        }
    }
}

impl Plan for EncodedRing {
    fn len(&self) -> u64 {
        (self.folds + u64::from(self.shape.world) - 1) * self.slices * WIDTH
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let (right, left) = ((rank + 1) % world, (rank + world - 1) % world);
        let (row, column) = (index / WIDTH, index % WIDTH);
        let (turn, slice) = (row / self.slices, row % self.slices);
        let (folding, handing_out) = (turn < self.folds, turn > self.folds);
        let (encode, decode) = (Map::Encode(self.wire), Map::Decode(self.wire));
        if column < 3 {
            let piece = self.piece(turn, slice)?;
            let encoded = self.encoded(piece, row);
            return match column {
                0 if handing_out => None,
                0 => {
                    let source = if turn == 0 { self.own(piece) } else { piece.output() };
                    Some(Step::Map { source, target: encoded, map: encode })
                }
                1 if folding || handing_out => None,
                // The owner ends with what it hands out.
                1 => Some(Step::Map { source: encoded, target: piece.output(), map: decode }),
                _ => Some(Step::Send { peer: right, source: encoded }),
            };
        }
        let piece = self.piece(turn + 1, slice)?;
        let encoded = self.encoded(piece, row + self.slices);
        match (folding, column) {
            (true, 3) => Some(Step::RecvReduce {
                peer: left,
                with: piece.input(),
                into: piece.output(),
                finish: self.shape.finish(turn + 1 == self.folds),
                wire: self.wire,
            }),
            (true, _) => None,
            (false, 3) => Some(Step::Recv { peer: left, target: encoded }),
            (false, _) => Some(Step::Map { source: encoded, target: piece.output(), map: decode }),
        }
    }

    fn encoded_len(&self) -> u64 {
        (self.slices + SCRATCH_SLICES) * self.wire.encoded(self.shape.slice_bytes())
    }
}
