//! Scan and exscan, by recursive doubling or along a chain.
//!
//! Source: Hillis and Steele, "Data parallel algorithms" (CACM 29, 1986) for doubling; the chain
//! is the pipeline of Sanders and Träff, "Parallel prefix (scan) algorithms for MPI" (EuroPVM/MPI
//! 2006).
//!
//! Doubling: in round `k` a rank sends what it has, the sum of up to `2^k` arrays that end with its
//! own, to the rank `2^k` above, and folds what comes from `2^k` below. Rounds: `log2(world)`
//! rounded up. Bytes sent per rank: one array for each `k` with `rank + 2^k < world`. An exscan
//! hands every array one rank up first and then is the scan of the ranks from 1 on: one round and
//! one array more.
//!
//! Chain: a rank folds the sum of all ranks below with its own array and sends it on. Hops of a
//! slice: `world - 1`. Bytes sent per rank: one array, none by the last.
//!
//! Association: along the chain `((x[0] + x[1]) + x[2]) + ... + x[r]`. By doubling, with `S(r, k)`
//! the sum of the last `2^k` arrays up to `r`, `S(r, k + 1) = S(r - 2^k, k) + S(r, k)`.
//!
//! An exscan has to give away more than it keeps, and the two come in one frame. So a rank in the
//! middle of the chain copies its own array into scratch before the frame lands, and adds it there.

use super::cut::{Batches, Piece, SCRATCH_SLICES, Shape, doublings};
use super::{Finish, Map, Plan, Step};
use crate::types::{Rank, Span, Wire};

/// Whether a rank's own array is in its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scanned {
    WithOwn,
    WithoutOwn,
}

pub(super) struct ScanDoubling {
    shape: Shape,
    scanned: Scanned,
    rounds: u32,
    batches: Batches,
    /// The round in which the rank gets the last part of its result.
    last: u32,
}

impl ScanDoubling {
    pub(super) fn new(shape: Shape, scanned: Scanned) -> Self {
        let Shape { world, rank, .. } = shape;
        let (rounds, last) = match scanned {
            Scanned::WithOwn => (doublings(world), rank.checked_ilog2().unwrap_or(0)),
            Scanned::WithoutOwn => {
                let below = rank.saturating_sub(1);
                (1 + doublings(world - 1), below.checked_ilog2().map_or(0, |log| 1 + log))
            }
        };
        let turns = if world == 1 { 0 } else { u64::from(rounds) };
        let batches = Batches::new(shape.slices(shape.count), 2 * turns);
        ScanDoubling { shape, scanned, rounds, batches, last }
    }

    /// How far frames go in this round.
    fn distance(&self, round: u32) -> Rank {
        match (self.scanned, round) {
            (Scanned::WithOwn, _) => 1 << round,
            (Scanned::WithoutOwn, 0) => 1,
            (Scanned::WithoutOwn, _) => 1 << (round - 1),
        }
    }

    /// Where the sum lies after this round.
    fn after(&self, round: u32, piece: Piece, slot: u64) -> Span {
        if self.scanned == Scanned::WithOwn || round >= self.last {
            piece.output()
        } else {
            piece.scratch(slot * self.shape.slice_bytes())
        }
    }

    fn before(&self, round: u32, piece: Piece, slot: u64) -> Span {
        match round.checked_sub(1) {
            Some(earlier) => self.after(earlier, piece, slot),
            None => piece.input(),
        }
    }

    /// What exchanges with what in this round: from the lowest rank that takes part.
    fn lowest(&self, round: u32) -> Rank {
        Rank::from(self.scanned == Scanned::WithoutOwn && round > 0)
    }
}

impl Plan for ScanDoubling {
    fn len(&self) -> u64 {
        self.batches.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let batch = self.batches.at(index);
        let (pair, receives) = (batch.index / 2, batch.index % 2 == 1);
        let (round, slot) = ((pair / batch.slices) as u32, pair % batch.slices);
        debug_assert!(round < self.rounds);
        let piece = self.shape.whole(self.batches.slices, batch.first + slot)?;
        let distance = self.distance(round);
        let before = self.before(round, piece, slot);
        if !receives {
            let taken = rank >= self.lowest(round) && distance < world - rank;
            return taken.then_some(Step::Send { peer: rank + distance, source: before });
        }
        let Some(peer) = rank.checked_sub(distance).filter(|peer| *peer >= self.lowest(round))
        else {
            // The scan of the lowest rank is its own array.
            let own = self.scanned == Scanned::WithOwn && rank == 0 && round == 0;
            let (source, target) = (piece.input(), piece.output());
            return own.then_some(Step::Map { source, target, map: Map::Copy });
        };
        let into = self.after(round, piece, slot);
        Some(if self.scanned == Scanned::WithoutOwn && round == 0 {
            Step::Recv { peer, target: into }
        } else {
            Step::RecvReduce { peer, with: before, into, finish: Finish::Keep, wire: Wire::Plain }
        })
    }

    fn scratch_len(&self) -> u64 {
        if self.scanned == Scanned::WithOwn || self.last == 0 {
            return 0;
        }
        self.batches.depth() * self.shape.slice_bytes()
    }
}

pub(super) struct ScanChain {
    shape: Shape,
    scanned: Scanned,
    slices: u64,
}

/// Steps of one slice, at most.
const CHAIN_WIDTH: u64 = 4;

impl ScanChain {
    pub(super) fn new(shape: Shape, scanned: Scanned) -> Self {
        ScanChain { shape, scanned, slices: shape.slices(shape.count) }
    }
}

impl Plan for ScanChain {
    fn len(&self) -> u64 {
        self.slices * CHAIN_WIDTH
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let (slice, column) = (index / CHAIN_WIDTH, index % CHAIN_WIDTH);
        let piece = self.shape.whole(self.slices, slice)?;
        let (input, output) = (piece.input(), piece.output());
        let above = (rank + 1 < world).then_some(rank + 1);
        let Some(below) = rank.checked_sub(1) else {
            return match (column, self.scanned) {
                (0, _) => above.map(|peer| Step::Send { peer, source: input }),
                (1, Scanned::WithOwn) => {
                    Some(Step::Map { source: input, target: output, map: Map::Copy })
                }
                _ => None,
            };
        };
        let finish = Finish::Keep;
        match (self.scanned, column) {
            (Scanned::WithOwn, 0) => Some(Step::RecvReduce {
                peer: below,
                with: input,
                into: output,
                finish,
                wire: Wire::Plain,
            }),
            (Scanned::WithOwn, 1) => above.map(|peer| Step::Send { peer, source: output }),
            (Scanned::WithOwn, _) => None,
            (Scanned::WithoutOwn, 1) => Some(Step::Recv { peer: below, target: output }),
            (Scanned::WithoutOwn, _) => {
                let peer = above?;
                let sum = piece.scratch((slice % SCRATCH_SLICES) * self.shape.slice_bytes());
                Some(match column {
                    0 => Step::Map { source: input, target: sum, map: Map::Copy },
                    2 => Step::Reduce { with: output, into: sum, finish },
                    _ => Step::Send { peer, source: sum },
                })
            }
        }
    }

    fn scratch_len(&self) -> u64 {
        let Shape { world, rank, .. } = self.shape;
        if self.scanned == Scanned::WithOwn || rank == 0 || rank + 1 == world {
            return 0;
        }
        self.slices.min(SCRATCH_SLICES) * self.shape.slice_bytes()
    }
}
