//! Binomial tree broadcast, cut into slices.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005); the tree is the one of MPICH.
//!
//! Counted from the root, place `v` gets the array from `v` without its lowest set bit and sends
//! it on to `v + 2^j` for every `2^j` below that bit. Hops: `log2(world)`, rounded up. Bytes sent:
//! `log2(world)` arrays by the root, one per child by the others.

use super::cut::{Shape, doublings};
use super::{Plan, Step};
use crate::types::Rank;

/// A place's neighbours in the binomial tree that hangs from place 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    place: Rank,
    pub parent: Option<Rank>,
    /// How many children; the `j`-th is `2^j` places away.
    pub children: u32,
}

impl Family {
    pub(super) fn new(place: Rank, world: Rank) -> Self {
        // Place 0 has no lowest bit: only the size of the world bounds its children.
        let below_lowest_bit = place.trailing_zeros();
        let children = below_lowest_bit.min(doublings(world - place));
        let parent = (place != 0).then(|| place & (place - 1));
        Family { place, parent, children }
    }

    pub(super) fn child(&self, index: u32) -> Rank {
        self.place + (1 << index)
    }
}

pub(super) struct Binomial {
    shape: Shape,
    root: Rank,
    slices: u64,
    family: Family,
}

impl Binomial {
    pub(super) fn new(shape: Shape, root: Rank) -> Self {
        let Shape { world, rank, count, .. } = shape;
        let place = (rank + world - root) % world;
        Binomial { shape, root, slices: shape.slices(count), family: Family::new(place, world) }
    }

    /// The rank at a place counted from the root.
    fn rank_at(&self, place: Rank) -> Rank {
        (place + self.root) % self.shape.world
    }

    /// Steps of one slice: receive it, send it to every child.
    fn width(&self) -> u64 {
        u64::from(self.family.parent.is_some()) + u64::from(self.family.children)
    }
}

impl Plan for Binomial {
    fn len(&self) -> u64 {
        self.slices * self.width()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let (slice, column) = (index / self.width(), (index % self.width()) as u32);
        let span = self.shape.whole(self.slices, slice)?.output();
        Some(match (self.family.parent, column) {
            (Some(parent), 0) => Step::Recv { peer: self.rank_at(parent), target: span },
            (parent, column) => {
                // The largest subtree first: it has the longest way to go.
                let sent = column - u32::from(parent.is_some());
                let child = self.family.child(self.family.children - 1 - sent);
                Step::Send { peer: self.rank_at(child), source: span }
            }
        })
    }
}
