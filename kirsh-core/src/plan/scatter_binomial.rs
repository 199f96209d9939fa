//! Binomial tree scatter.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005); the tree is the one of MPICH.
//!
//! Counted from the root, place `v` gets the blocks of its subtree from `v` without its lowest set
//! bit and hands the halves of them on, the farther first. The root sends straight from its array.
//! A place with a subtree receives into scratch and copies its own block from there, so that one
//! frame carries a small subtree; who has large blocks takes the linear scatter, which copies
//! nothing.
//!
//! Rounds: `log2(world)`, rounded up. Bytes sent: the array but one block by the root, the blocks
//! of its subtree but its own by another rank.

use super::cut::{Blocks, Shape, doublings};
use super::gather_binomial::Subtree;
use super::rounds::{NONE, Round, Rounded, Rounds, Side};
use crate::types::Rank;

pub(super) struct ScatterBinomial(Subtree);

impl ScatterBinomial {
    pub(super) fn plan(shape: Shape, root: Rank) -> Rounded<Self> {
        let rounds = ScatterBinomial(Subtree::new(shape, root));
        Rounded::new(rounds, shape)
    }
}

impl Rounds for ScatterBinomial {
    /// One for each length of edges, and one for the own block.
    fn count(&self) -> u64 {
        u64::from(doublings(self.0.shape.world)) + 1
    }

    fn round(&self, index: u64) -> Round {
        let tree = &self.0;
        let own = tree.shape.output((0, tree.shape.count));
        let mut round = Round::default();
        let Some(bits) = (self.count() - 1).checked_sub(index + 1) else {
            if tree.family.parent.is_none() {
                let block = Blocks::Even(tree.shape.count).of(tree.shape.rank);
                round.copy = Some((tree.shape.input(block), own));
            } else if !tree.is_leaf() {
                round.copy = Some((tree.in_scratch(tree.place, 1)[0], own));
            }
            return round;
        };
        let bits = bits as u32;
        if let Some(parent) = tree.family.parent
            && tree.place.trailing_zeros() == bits
        {
            let runs = match tree.is_leaf() {
                true => [own, NONE, NONE],
                false => tree.in_scratch(tree.place, tree.own_places()),
            };
            round.receive = Some(Side { peer: tree.rank_at(parent), runs });
        } else if bits < tree.family.children {
            let child = tree.family.child(bits);
            let places = tree.places(child, bits);
            let runs = match tree.family.parent {
                None => tree.at_root(child, places, Shape::input),
                Some(_) => tree.in_scratch(child, places),
            };
            round.send = Some(Side { peer: tree.rank_at(child), runs });
        }
        round
    }

    fn scratch_len(&self) -> u64 {
        self.0.scratch_len()
    }
}
