//! Tree allreduce: a binomial tree folds towards rank 0, then hands the result back down.
//!
//! Source: Thakur, Rabenseifner and Gropp (IJHPCA 19, 2005) for the two halves; cut into slices
//! so that later slices rise while earlier ones fall.
//!
//! Hops a slice makes: `2 log2(world)` at most. Bytes sent per rank: an array to the parent and
//! one to each child, so `log2(world)` arrays by rank 0.
//!
//! Association: a rank folds its own array with the children's results, nearest child first,
//! `((x[r] + T[r+1]) + T[r+2]) + T[r+4] ...`, where `T` is the same for the child's subtree.

use super::binomial::Family;
use super::cut::Shape;
use super::{Plan, Step};
use crate::types::Wire;

pub(super) struct Tree {
    shape: Shape,
    slices: u64,
    family: Family,
    /// Rows that the falling half lags behind the rising one.
    lag: u64,
}

impl Tree {
    pub(super) fn new(shape: Shape) -> Self {
        let slices = shape.slices(shape.count);
        // A slice comes back after as many hops up as the rank has ancestors, and as many down.
        // Listing its return that much later keeps a session's bounded view ahead on steps that
        // can move. A parent lags less than its children, so nobody waits in a circle.
        let lag = 2 * u64::from(shape.rank.count_ones());
        Tree { shape, slices, family: Family::new(shape.rank, shape.world), lag }
    }

    /// Steps of one row: fold every child, send up, receive from above, send to every child.
    fn width(&self) -> u64 {
        2 * (u64::from(self.family.children) + u64::from(self.family.parent.is_some()))
    }
}

impl Plan for Tree {
    fn len(&self) -> u64 {
        if self.slices == 0 { 0 } else { self.width() * (self.slices + self.lag) }
    }

    fn step(&self, index: u64) -> Option<Step> {
        let (row, column) = (index / self.width(), index % self.width());
        let half = self.width() / 2;
        let family = &self.family;
        let slice = if column < half { row } else { row.checked_sub(self.lag)? };
        if slice >= self.slices {
            return None;
        }
        let piece = self.shape.whole(self.slices, slice)?;
        if column < half {
            let child = column as u32;
            if child == family.children {
                let source = piece.current(family.children == 0);
                return Some(Step::Send { peer: family.parent?, source });
            }
            return Some(Step::RecvReduce {
                peer: family.child(child),
                with: piece.current(child == 0),
                into: piece.output(),
                finish: self.shape.finish(family.parent.is_none() && child + 1 == family.children),
                wire: Wire::Plain,
            });
        }
        let column = (column - half) as u32;
        Some(match (family.parent, column) {
            (Some(peer), 0) => Step::Recv { peer, target: piece.output() },
            (parent, column) => {
                // The largest subtree first: it has the longest way to go.
                let sent = column - u32::from(parent.is_some());
                let peer = family.child(family.children - 1 - sent);
                Step::Send { peer, source: piece.output() }
            }
        })
    }
}
