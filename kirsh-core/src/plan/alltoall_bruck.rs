//! Bruck's alltoall, for any world size: few rounds, for small blocks.
//!
//! Source: Bruck, Ho, Kipnis, Upfal and Weathersby, "Efficient algorithms for all-to-all
//! communications in multiport message-passing systems" (IEEE TPDS 8, 1997).
//!
//! The block that a rank has for the one `i` further on travels `2^k` ranks in round `k` for every
//! bit `k` of `i`. So in round `k` a rank packs all blocks whose distance has that bit, half of the
//! array, and hands them to the rank `2^k` further on. What has arrived with that bit, its highest,
//! is received straight into its place in Output (one run, or two around the array's end), where
//! the paper turns the array round in the end; the rest waits in scratch for its next bit.
//!
//! Rounds: `log2(world)`, rounded up. Bytes sent per rank: half of the array in each. Copies: as
//! much as is sent, when it is packed. Scratch: two packed halves in turn, and what waits, up to
//! half an array for each round.

use super::cut::{Blocks, Shape, doublings};
use super::rounds::{RUNS, piece};
use super::{Map, Plan, Step};
use crate::types::{Rank, Span};

pub(super) struct AlltoallBruck {
    shape: Shape,
    blocks: Blocks,
    rounds: u32,
    /// Blocks that go in one round, at most.
    half: u32,
    /// Slices of one block.
    slices: u64,
    /// Steps of one round: pack, then a send and a receive for each slice.
    packing: u64,
    width: u64,
    /// Bytes of one block.
    block: u64,
}

impl AlltoallBruck {
    pub(super) fn new(shape: Shape, count: u64) -> Self {
        let half = shape.world / 2;
        // Every run may have one that is not full.
        let packed_slices = match count {
            0 => 0,
            _ => shape.slices(u64::from(half) * count) + RUNS as u64 - 1,
        };
        let rounds = doublings(shape.world);
        let slices = shape.slices(count);
        let packing = u64::from(half) * slices;
        let width = packing + 2 * packed_slices;
        let (blocks, block) = (Blocks::Even(count), shape.bytes(count));
        AlltoallBruck { shape, blocks, rounds, half, slices, packing, width, block }
    }

    /// Distances below the world size that have this bit.
    fn with_bit(&self, round: u32) -> Rank {
        let (whole, rest) =
            (self.shape.world >> (round + 1), self.shape.world & ((2 << round) - 1));
        (whole << round) + rest.saturating_sub(1 << round)
    }

    /// Of those, the ones that have no higher bit: the first so many.
    fn last_hops(&self, round: u32) -> Rank {
        self.with_bit(round).min(1 << round)
    }

    /// The `number`-th distance that has this bit.
    fn distance(&self, round: u32, number: u32) -> Rank {
        let low = (1 << round) - 1;
        ((number & !low) << 1) | (1 << round) | (number & low)
    }

    /// How many distances with this bit are below this one.
    fn number(&self, round: u32, distance: Rank) -> u32 {
        let low = (1 << round) - 1;
        ((distance >> 1) & !low) | (distance & low)
    }

    /// Where in what is packed for a round a block lies. Those that arrive stand in the order of
    /// their places in Output, the farthest first.
    fn packed(&self, round: u32, number: u32) -> Span {
        let arriving = self.last_hops(round);
        let place = if number < arriving { arriving - 1 - number } else { number };
        self.blocks_at(self.pack(round) + place, 1)
    }

    /// The first block of the packed half of a round.
    fn pack(&self, round: u32) -> u32 {
        round % 2 * self.half
    }

    /// The first block of what waits since a round.
    fn waiting(&self, round: u32) -> u32 {
        (2 + round) * self.half
    }

    fn blocks_at(&self, first: u32, blocks: u32) -> Span {
        Span::scratch(u64::from(first) * self.block, u64::from(blocks) * self.block)
    }

    /// Where the block of a distance lies before a round that it has the bit of.
    fn before(&self, round: u32, distance: Rank) -> Span {
        let Shape { world, rank, .. } = self.shape;
        let travelled = distance & ((1 << round) - 1);
        if travelled == 0 {
            return self.shape.input(self.blocks.of((rank + distance) % world));
        }
        let last = travelled.ilog2();
        let place = self.number(last, distance) - self.last_hops(last);
        self.blocks_at(self.waiting(last) + place, 1)
    }

    /// How many of the blocks that arrive at a rank in a round lie before the end of its array, and
    /// the rank that the first of them is from.
    fn arriving(&self, round: u32, at: Rank) -> (u32, Rank) {
        let Shape { world, .. } = self.shape;
        let arriving = self.last_hops(round);
        let first = (at + world - ((1 << round) + arriving - 1)) % world;
        (arriving.min(world - first), first)
    }

    fn sent(&self, round: u32, to: Rank) -> [Span; RUNS] {
        let (before, _) = self.arriving(round, to);
        let (arriving, all) = (self.last_hops(round), self.with_bit(round));
        let pack = self.pack(round);
        [
            self.blocks_at(pack, before),
            self.blocks_at(pack + before, arriving - before),
            self.blocks_at(pack + arriving, all - arriving),
        ]
    }

    fn received(&self, round: u32) -> [Span; RUNS] {
        let (before, first) = self.arriving(round, self.shape.rank);
        let (arriving, all) = (self.last_hops(round), self.with_bit(round));
        [
            self.shape.output(self.blocks.run(first, first + before)),
            self.shape.output(self.blocks.run(0, arriving - before)),
            self.blocks_at(self.waiting(round), all - arriving),
        ]
    }

    fn copy(&self, source: Span, target: Span, slice: u64) -> Option<Step> {
        let source = piece(&self.shape, &[source], slice)?;
        let target = piece(&self.shape, &[target], slice)?;
        Some(Step::Map { source, target, map: Map::Copy })
    }
}

impl Plan for AlltoallBruck {
    fn len(&self) -> u64 {
        self.slices + u64::from(self.rounds) * self.width
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let Some(index) = index.checked_sub(self.slices) else {
            let own = self.blocks.of(rank);
            return self.copy(self.shape.input(own), self.shape.output(own), index);
        };
        let (round, index) = ((index / self.width) as u32, index % self.width);
        let Some(index) = index.checked_sub(self.packing) else {
            let (number, slice) = ((index / self.slices) as u32, index % self.slices);
            if number >= self.with_bit(round) {
                return None;
            }
            let distance = self.distance(round, number);
            return self.copy(self.before(round, distance), self.packed(round, number), slice);
        };
        let far = 1 << round;
        Some(if index.is_multiple_of(2) {
            let peer = (rank + far) % world;
            Step::Send { peer, source: piece(&self.shape, &self.sent(round, peer), index / 2)? }
        } else {
            let peer = (rank + world - far) % world;
            Step::Recv { peer, target: piece(&self.shape, &self.received(round), index / 2)? }
        })
    }

    fn scratch_len(&self) -> u64 {
        match self.shape.world {
            // Nothing waits after the last round.
            3.. => u64::from(self.waiting(self.rounds - 1)) * self.block,
            _ => u64::from(self.half) * self.block,
        }
    }
}
