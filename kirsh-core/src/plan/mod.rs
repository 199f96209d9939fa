//! Who sends what to whom, as plain data.
//!
//! A plan is one rank's part in a collective: a list of steps over three address spaces. It holds
//! no pointer and touches no payload. A [`Session`](crate::session::Session) walks it.
//!
//! What gives a plan its meaning:
//! - On one link steps happen in plan order on both sides, so the n-th frame that rank *a*'s plan
//!   sends to *b* is the n-th that *b*'s plan receives from *a*, and both have the same length. Where two
//!   ranks have several links, a frame's number says which of them it has ([`Pattern`]).
//! - Other orders follow from spans alone: a step waits for an earlier one only where one of them
//!   writes bytes that the other reads or writes.
//! - A span of a step is at most one slice long, and whole elements.
//! - A frame without payload carries order and nothing else, and no span could say so: its send
//!   waits until every earlier receive of the plan has completed. The barrier stands on this.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;

pub use crate::types::{Finish, Map};
use crate::types::{Rank, Span, Wire};

mod allgather_bruck;
mod allgather_doubling;
mod allgather_ring;
mod alltoall_bruck;
mod alltoall_pairwise;
mod binomial;
mod build;
mod chain;
mod cut;
mod dissemination;
mod double_tree;
mod encoded;
mod gather_binomial;
mod halving;
mod linear;
mod local;
mod params;
mod parts;
mod pattern;
mod recursive_doubling;
mod reduce_pairwise;
mod reduce_ring;
mod ring;
mod rising;
mod rounds;
mod scan;
mod scatter_allgather;
mod scatter_binomial;
mod staged;
#[cfg(test)]
mod tests;
mod tree;

pub use build::build;
pub use params::{Counts, Params, algorithms, algorithms_with, can_encode, not_encoded};
pub use parts::{Part, can_be_cut};
pub use pattern::{PATTERN_MAX, Pattern};

/// One step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends the source to a peer. An empty span is a frame without payload.
    Send { peer: Rank, source: Span },
    /// Receives from a peer straight into the target.
    Recv { peer: Rank, target: Span },
    /// Receives from a peer and folds: `into = finish(with op received)`.
    /// `with` and `into` are of one length, and either the same span or without a common byte. What
    /// comes may be encoded.
    RecvReduce { peer: Rank, with: Span, into: Span, finish: Finish, wire: Wire },
    /// Folds locally: `into = finish(with op into)`.
    Reduce { with: Span, into: Span, finish: Finish },
    /// Moves locally: `target = map(source)`.
    Map { source: Span, target: Span, map: Map },
}

impl Step {
    /// The rank that a frame goes to or comes from.
    pub const fn peer(&self) -> Option<Rank> {
        match self {
            Step::Send { peer, .. } | Step::Recv { peer, .. } | Step::RecvReduce { peer, .. } => {
                Some(*peer)
            }
            Step::Reduce { .. } | Step::Map { .. } => None,
        }
    }

    /// Whether a frame comes from a peer in this step.
    pub const fn receives(&self) -> bool {
        matches!(self, Step::Recv { .. } | Step::RecvReduce { .. })
    }

    /// Bytes of the frame that is sent or comes in this step; 0 where there is none.
    pub const fn frame_len(&self) -> u64 {
        match self {
            Step::Send { source, .. } => source.len,
            Step::Recv { target, .. } => target.len,
            Step::RecvReduce { into, wire, .. } => wire.encoded(into.len),
            Step::Reduce { .. } | Step::Map { .. } => 0,
        }
    }
}

/// One rank's part in a collective.
///
/// Lazy: `step` is a pure function of its index, so a plan of millions of steps costs nothing to
/// hold. Plans are shared between calls and know nothing that is local to a call: not where the
/// buffers are, not whether input and output are one.
pub trait Plan: Send + Sync {
    /// How many indices there are.
    fn len(&self) -> u64;

    /// The step at an index below `len()`; `None` where this rank has nothing to do there.
    fn step(&self, index: u64) -> Option<Step>;

    /// Bytes of scratch the steps speak of.
    fn scratch_len(&self) -> u64 {
        0
    }

    /// Bytes of [`Space::Encoded`](crate::types::Space::Encoded) the steps speak of.
    fn encoded_len(&self) -> u64 {
        0
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How many bytes of payload the plan sends to each peer. Walks every step: for tests and tools.
pub fn bytes_sent(plan: &dyn Plan) -> BTreeMap<Rank, u64> {
    let mut totals = BTreeMap::new();
    for index in 0..plan.len() {
        if let Some(Step::Send { peer, source }) = plan.step(index) {
            *totals.entry(peer).or_insert(0) += source.len;
        }
    }
    totals
}
