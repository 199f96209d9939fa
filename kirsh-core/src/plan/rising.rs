//! Reduce over a binomial tree or a chain: slices rise to the root and are folded on the way.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005) for the tree, which is the one that a
//! [binomial](super::binomial) broadcast falls down; the pipeline of Pješivac-Grbović et al.
//! (Cluster Computing 10, 2007) for the chain.
//!
//! Places are counted from the root. In the tree place `v` folds what `v + 2^j` sends, for every
//! `2^j` below its lowest set bit, and sends the sum to `v` without that bit; in the chain it folds
//! what `v + 1` sends and sends the sum to `v - 1`. Hops of a slice: `log2(world)` rounded up, or
//! `world - 1`. Bytes sent per rank: one array, none by the root.
//!
//! The root folds into its output. The others hold a partial result no longer than it takes to
//! send it, so a few slices of scratch do for an array of any length, and are used in turns.
//!
//! Association: a place folds its own array with what its children send, nearest child first,
//! `((x[v] + T[v+1]) + T[v+2]) + T[v+4] ...`, where `T` is the same for the child; in the chain
//! `x[v] + T[v+1]`.

use super::binomial::Family;
use super::cut::{SCRATCH_SLICES, Shape};
use super::{Plan, Step};
use crate::types::{Rank, Wire};

pub(super) struct Rising {
    shape: Shape,
    slices: u64,
    parent: Option<Rank>,
    /// How many children; the `j`-th is `2^j` places away.
    children: u32,
}

impl Rising {
    pub(super) fn binomial(shape: Shape, root: Rank) -> Self {
        let Shape { world, rank, .. } = shape;
        let family = Family::new((rank + world - root) % world, world);
        let parent = family.parent.map(|place| (place + root) % world);
        Rising { shape, slices: shape.slices(shape.count), parent, children: family.children }
    }

    pub(super) fn chain(shape: Shape, root: Rank) -> Self {
        let Shape { world, rank, .. } = shape;
        let place = (rank + world - root) % world;
        let parent = (place != 0).then_some((rank + world - 1) % world);
        let children = u32::from(place + 1 != world);
        Rising { shape, slices: shape.slices(shape.count), parent, children }
    }

    /// Steps of one slice: fold every child, send up.
    fn width(&self) -> u64 {
        u64::from(self.children) + u64::from(self.parent.is_some())
    }
}

impl Plan for Rising {
    fn len(&self) -> u64 {
        self.slices * self.width()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let (slice, column) = (index / self.width(), (index % self.width()) as u32);
        let piece = self.shape.whole(self.slices, slice)?;
        let partial = match self.parent {
            None => piece.output(),
            Some(_) => piece.scratch((slice % SCRATCH_SLICES) * self.shape.slice_bytes()),
        };
        let current = if column == 0 { piece.input() } else { partial };
        if column == self.children {
            return Some(Step::Send { peer: self.parent?, source: current });
        }
        Some(Step::RecvReduce {
            peer: (rank + (1 << column)) % world,
            with: current,
            into: partial,
            finish: self.shape.finish(self.parent.is_none() && column + 1 == self.children),
            wire: Wire::Plain,
        })
    }

    fn scratch_len(&self) -> u64 {
        if self.parent.is_none() || self.children == 0 {
            return 0;
        }
        self.slices.min(SCRATCH_SLICES) * self.shape.slice_bytes()
    }
}
