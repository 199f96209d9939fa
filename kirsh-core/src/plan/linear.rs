//! Linear gather and scatter: between the root and each other rank, directly. With as many
//! elements for each rank, or a count for each that it and the root know.
//!
//! Source: the linear algorithms of Pješivac-Grbović et al., "Performance analysis of MPI
//! collective operations" (Cluster Computing 10, 2007).
//!
//! Every block goes from its array straight to its place in the other; nothing is copied but the
//! root's own block, and that only where the call is not in place. The root goes through all ranks
//! with the first slice, then with the second, so that all links are busy. Rounds: one. Bytes sent:
//! a block by each rank but the root, or all but one block by the root.

use super::cut::{Blocks, Shape};
use super::rounds::piece;
use super::{Map, Plan, Step};
use crate::types::{Rank, Space};

/// Where the blocks go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ToRoot,
    FromRoot,
}

pub(super) struct Linear {
    shape: Shape,
    way: Way,
    root: Rank,
    /// Of the array that the root alone has.
    blocks: Blocks,
    /// Elements of this rank's own block, in the array that every rank has.
    own: u64,
    slices: u64,
}

impl Linear {
    /// `blocks` say something at the root alone, `own` on every rank.
    pub(super) fn new(shape: Shape, way: Way, root: Rank, blocks: Blocks, own: u64) -> Self {
        let longest = if shape.rank == root { blocks.longest() } else { own };
        Linear { shape, way, root, blocks, own, slices: shape.slices(longest) }
    }
}

impl Plan for Linear {
    fn len(&self) -> u64 {
        let at_root = self.shape.rank == self.root;
        self.slices * if at_root { self.shape.world.into() } else { 1 }
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let (at_root, own) = match self.way {
            Way::ToRoot => (Space::Output, Space::Input),
            Way::FromRoot => (Space::Input, Space::Output),
        };
        let own = self.shape.span(own, (0, self.own));
        if rank != self.root {
            let (peer, span) = (self.root, piece(&self.shape, &[own], index)?);
            return Some(match self.way {
                Way::ToRoot => Step::Send { peer, source: span },
                Way::FromRoot => Step::Recv { peer, target: span },
            });
        }
        let world = u64::from(world);
        let (slice, far) = (index / world, index % world);
        let peer = ((u64::from(rank) + far) % world) as Rank;
        let block = self.shape.span(at_root, self.blocks.of(peer));
        let block = piece(&self.shape, &[block], slice)?;
        if far == 0 {
            let own = piece(&self.shape, &[own], slice)?;
            let (source, target) = match self.way {
                Way::ToRoot => (own, block),
                Way::FromRoot => (block, own),
            };
            return Some(Step::Map { source, target, map: Map::Copy });
        }
        Some(match self.way {
            Way::ToRoot => Step::Recv { peer, target: block },
            Way::FromRoot => Step::Send { peer, source: block },
        })
    }
}
