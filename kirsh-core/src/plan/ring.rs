//! Ring allreduce: reduce-scatter around the ring, then allgather around the ring.
//!
//! Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
//! workstations" (JPDC 69, 2009).
//!
//! The array is cut into one chunk per rank. In turn `t` every rank sends chunk `rank - t` to its
//! right and receives chunk `rank - t - 1` from its left; the first `world - 1` turns fold what
//! comes, the others keep it. Turns: `2 (world - 1)`. Bytes sent per rank:
//! `2 (world - 1) / world` of the array.
//!
//! Association: chunk `c` is folded in ring order from rank `c`,
//! `((x[c] + x[c+1]) + x[c+2]) + ... + x[c-1]`.

use super::cut::{Shape, cut};
use super::{Plan, Step};
use crate::types::{Rank, Wire};

pub(super) struct Ring {
    shape: Shape,
    /// Slices of the largest chunk; a smaller one may leave the last empty.
    slices: u64,
}

impl Ring {
    pub(super) fn new(shape: Shape) -> Self {
        Ring { shape, slices: shape.slices(shape.count.div_ceil(shape.world.into())) }
    }

    /// The elements of the chunk that lies `back` chunks before this rank's own.
    fn chunk(&self, back: u64) -> (u64, u64) {
        let Shape { world, rank, count, .. } = self.shape;
        let (world, rank) = (u64::from(world), u64::from(rank));
        let chunk = (rank + 2 * world - back) % world;
        (cut(count, world, chunk), cut(count, world, chunk + 1))
    }
}

impl Plan for Ring {
    fn len(&self) -> u64 {
        2 * (u64::from(self.shape.world) - 1) * self.slices * 2
    }

    // A slice's send and receive stand side by side, and the turns one behind the other: the
    // first slice of a turn leaves while the last of the turn before is still being folded.
    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let (pair, receives) = (index / 2, index % 2 == 1);
        let (turn, slice) = (pair / self.slices, pair % self.slices);
        let folding = u64::from(world) - 1;
        if !receives {
            let piece = self.shape.piece(self.chunk(turn), self.slices, slice)?;
            return Some(Step::Send { peer: right(rank, world), source: piece.current(turn == 0) });
        }
        let piece = self.shape.piece(self.chunk(turn + 1), self.slices, slice)?;
        let peer = left(rank, world);
        Some(if turn < folding {
            let finish = self.shape.finish(turn + 1 == folding);
            Step::RecvReduce {
                peer,
                with: piece.input(),
                into: piece.output(),
                finish,
                wire: Wire::Plain,
            }
        } else {
            Step::Recv { peer, target: piece.output() }
        })
    }
}

fn right(rank: Rank, world: Rank) -> Rank {
    (rank + 1) % world
}

fn left(rank: Rank, world: Rank) -> Rank {
    (rank + world - 1) % world
}
