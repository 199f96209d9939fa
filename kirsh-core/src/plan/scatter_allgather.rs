//! Scatter-allgather broadcast: halves down a binomial tree, then all parts around a ring.
//!
//! Source: van de Geijn's broadcast as in Barnett et al., "Interprocessor collective communication
//! library (InterCom)" (SHPCC 1994), and Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005). Around
//! the ring nobody is sent what it got for its subtree before: Zhou et al., "A bandwidth-saving
//! optimization for MPI broadcast collective operation" (ICPP Workshops 2015).
//!
//! The array is cut into one chunk per place, places counted from the root. Place `v` gets the
//! chunks of its subtree and sends each child its own; then in turn `t` it sends chunk `v - t` to
//! its right and receives chunk `v - t - 1`, but those that the receiver has. Turns: `log2(world)`
//! rounded up, then `world - 1`. Bytes sent per rank: with subtrees of `s(v)` places (all of them
//! for the root), `s(v) - 1` chunks down the tree and `world - s(v + 1)` around the ring, none of
//! the latter by the last place.

use super::binomial::Family;
use super::cut::{Shape, cut};
use super::{Plan, Step};
use crate::types::Rank;

pub(super) struct ScatterAllgather {
    shape: Shape,
    place: Rank,
    /// Down the tree: from the parent, then to each child, the largest subtree first.
    legs: Vec<Leg>,
    /// Steps down the tree.
    scattered: u64,
    /// Slices of the largest chunk; a smaller one may leave the last empty.
    slices: u64,
}

/// A run of elements over one edge of the tree.
struct Leg {
    peer: Rank,
    receives: bool,
    elements: (u64, u64),
    slices: u64,
}

impl ScatterAllgather {
    pub(super) fn new(shape: Shape, root: Rank) -> Self {
        let Shape { world, rank, count, .. } = shape;
        let place = (rank + world - root) % world;
        let family = Family::new(place, world);
        let leg = |peer: Rank, receives, top: Rank| {
            let chunks = (u64::from(top), u64::from(top + subtree(top, world)));
            let elements = (cut(count, world.into(), chunks.0), cut(count, world.into(), chunks.1));
            let slices = shape.slices(elements.1 - elements.0);
            Leg { peer: (peer + root) % world, receives, elements, slices }
        };
        let mut legs = Vec::with_capacity(family.children as usize + 1);
        legs.extend(family.parent.map(|parent| leg(parent, true, place)));
        legs.extend((0..family.children).rev().map(|j| {
            let child = family.child(j);
            leg(child, false, child)
        }));
        let scattered = legs.iter().map(|leg| leg.slices).sum();
        let slices = shape.slices(count.div_ceil(world.into()));
        ScatterAllgather { shape, place, legs, scattered, slices }
    }

    // The last slices of a run go first: they are what its receiver has to send on first.
    fn scatter(&self, mut index: u64) -> Option<Step> {
        for leg in &self.legs {
            if index < leg.slices {
                let piece = self.shape.piece(leg.elements, leg.slices, leg.slices - 1 - index)?;
                let (peer, span) = (leg.peer, piece.output());
                return Some(if leg.receives {
                    Step::Recv { peer, target: span }
                } else {
                    Step::Send { peer, source: span }
                });
            }
            index -= leg.slices;
        }
        None
    }
}

impl Plan for ScatterAllgather {
    fn len(&self) -> u64 {
        self.scattered + 2 * (u64::from(self.shape.world) - 1) * self.slices
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Some(index) = index.checked_sub(self.scattered) else { return self.scatter(index) };
        let Shape { world, rank, count, .. } = self.shape;
        let (pair, receives) = (index / 2, index % 2 == 1);
        let (turn, slice) = ((pair / self.slices) as Rank, pair % self.slices);
        let receiver = if receives { self.place } else { (self.place + 1) % world };
        // What the receiver gets in turn `t` lies `t + 1` places before it.
        let chunk = (receiver + world - turn - 1) % world;
        if (receiver..receiver + subtree(receiver, world)).contains(&chunk) {
            return None;
        }
        let (parts, part) = (u64::from(world), u64::from(chunk));
        let elements = (cut(count, parts, part), cut(count, parts, part + 1));
        let span = self.shape.piece(elements, self.slices, slice)?.output();
        Some(if receives {
            Step::Recv { peer: (rank + world - 1) % world, target: span }
        } else {
            Step::Send { peer: (rank + 1) % world, source: span }
        })
    }
}

/// How many places hang from this one, itself among them.
fn subtree(place: Rank, world: Rank) -> Rank {
    match place {
        0 => world,
        _ => (world - place).min(1 << place.trailing_zeros()),
    }
}
