//! Binomial tree gather.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005); the tree is the one of MPICH.
//!
//! Counted from the root, place `v` collects the blocks of the places behind it, as many as its
//! lowest set bit says, in scratch, and hands them with its own to `v` without that bit. The root
//! receives straight into place: a subtree's blocks are one run of its array, or two around the
//! end. A place with a subtree copies its own block into scratch, so that one frame carries a small
//! subtree; who has large blocks takes the linear gather, which copies nothing.
//!
//! Rounds: `log2(world)`, rounded up; in round `j` the edges of `2^j` places. Bytes sent per rank:
//! the blocks of its subtree, half of the array at most.

use super::binomial::Family;
use super::cut::{Blocks, Shape, doublings};
use super::rounds::{NONE, Round, Rounded, Rounds, Side};
use crate::types::{Rank, Span};

/// A rank's place in the tree that hangs from the root, and its array's blocks in order of places.
#[derive(Clone, Copy)]
pub(super) struct Subtree {
    pub shape: Shape,
    pub root: Rank,
    pub place: Rank,
    pub family: Family,
}

impl Subtree {
    pub(super) fn new(shape: Shape, root: Rank) -> Self {
        let place = (shape.rank + shape.world - root) % shape.world;
        Subtree { shape, root, place, family: Family::new(place, shape.world) }
    }

    pub(super) fn rank_at(&self, place: Rank) -> Rank {
        (place + self.root) % self.shape.world
    }

    /// Places below and with one that is `2^bits` places away from its parent.
    pub(super) fn places(&self, place: Rank, bits: u32) -> Rank {
        (1 << bits).min(self.shape.world - place)
    }

    /// Places below this one and with it.
    pub(super) fn own_places(&self) -> Rank {
        match self.family.parent {
            Some(_) => self.places(self.place, self.place.trailing_zeros()),
            None => self.shape.world,
        }
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.own_places() == 1
    }

    /// The blocks of some places, cut where the ranks begin again from 0, so that both ends cut
    /// them alike: in the root's array they may lie around its end.
    pub(super) fn cut(&self, first: Rank, places: Rank) -> (Rank, Rank) {
        let until_end = self.shape.world - self.rank_at(first);
        let before = places.min(until_end);
        (before, places - before)
    }

    /// The runs of some places in the root's array, which is in this space.
    pub(super) fn at_root(
        &self,
        first: Rank,
        places: Rank,
        array: fn(&Shape, (u64, u64)) -> Span,
    ) -> [Span; 3] {
        let blocks = Blocks::Even(self.shape.count);
        let (before, after) = self.cut(first, places);
        let rank = self.rank_at(first);
        [
            array(&self.shape, blocks.run(rank, rank + before)),
            array(&self.shape, blocks.run(0, after)),
            NONE,
        ]
    }

    /// The runs of some places in scratch, where this place's block lies first.
    pub(super) fn in_scratch(&self, first: Rank, places: Rank) -> [Span; 3] {
        let block = self.shape.bytes(self.shape.count);
        let (before, after) = self.cut(first, places);
        let (offset, middle) = (u64::from(first - self.place), u64::from(before));
        [
            Span::scratch(offset * block, middle * block),
            Span::scratch((offset + middle) * block, u64::from(after) * block),
            NONE,
        ]
    }

    /// Bytes of scratch: the subtree, where it is more than a block and not at the root.
    pub(super) fn scratch_len(&self) -> u64 {
        match self.family.parent {
            Some(_) if !self.is_leaf() => {
                u64::from(self.own_places()) * self.shape.bytes(self.shape.count)
            }
            _ => 0,
        }
    }
}

pub(super) struct GatherBinomial(Subtree);

impl GatherBinomial {
    pub(super) fn plan(shape: Shape, root: Rank) -> Rounded<Self> {
        let rounds = GatherBinomial(Subtree::new(shape, root));
        Rounded::new(rounds, shape)
    }
}

impl Rounds for GatherBinomial {
    fn count(&self) -> u64 {
        u64::from(doublings(self.0.shape.world)).max(1)
    }

    fn round(&self, index: u64) -> Round {
        let tree = &self.0;
        let Shape { rank, .. } = tree.shape;
        let bits = index as u32;
        let own = tree.shape.input((0, tree.shape.count));
        let mut round = Round::default();
        if bits == 0 && tree.family.parent.is_none() {
            let block = Blocks::Even(tree.shape.count).of(rank);
            round.copy = Some((own, tree.shape.output(block)));
        } else if bits == 0 && !tree.is_leaf() {
            round.copy = Some((own, tree.in_scratch(tree.place, 1)[0]));
        }
        if let Some(parent) = tree.family.parent
            && tree.place.trailing_zeros() == bits
        {
            let runs = match tree.is_leaf() {
                true => [own, NONE, NONE],
                false => tree.in_scratch(tree.place, tree.own_places()),
            };
            round.send = Some(Side { peer: tree.rank_at(parent), runs });
        } else if bits < tree.family.children {
            let child = tree.family.child(bits);
            let places = tree.places(child, bits);
            let runs = match tree.family.parent {
                None => tree.at_root(child, places, Shape::output),
                Some(_) => tree.in_scratch(child, places),
            };
            round.receive = Some(Side { peer: tree.rank_at(child), runs });
        }
        round
    }

    fn scratch_len(&self) -> u64 {
        self.0.scratch_len()
    }
}
