//! Halving and doubling with encoded elements.
//!
//! The plan is [`HalvingDoubling`]'s over the array's encoding blocks in place of its elements, so that
//! a run of them is a run of the array's encoding too, however it is cut later. The encoding of the
//! whole array has its place: a rank's halving leaves every part there that it sends, its own block
//! follows when that is complete, and the doubling passes on what lies there.

use super::image;
use crate::plan::cut::{Blocks, Shape};
use crate::plan::halving::HalvingDoubling;
use crate::plan::{Map, Plan, Step};
use crate::types::{Space, Span, Wire};

pub(in crate::plan) struct EncodedHalving {
    inner: HalvingDoubling,
    /// In encoding blocks for elements.
    shape: Shape,
    wire: Wire,
    /// Bytes of the array.
    len: u64,
    /// The rank's own block of the array, in encoding blocks, and its slices.
    own: (u64, u64),
    slices: u64,
}

impl EncodedHalving {
    pub(super) fn new(shape: Shape, wire: Wire) -> Self {
        let block = wire.block();
        let len = shape.bytes(shape.count);
        let shape = Shape {
            count: shape.count.div_ceil(block),
            size: shape.size * block,
            slice: (shape.slice / block).max(1),
            ..shape
        };
        let own = Blocks::balanced(shape.count, shape.world).of(shape.rank);
        let slices = shape.slices(own.1 - own.0);
        EncodedHalving { inner: HalvingDoubling::new(shape), shape, wire, len, own, slices }
    }

    /// The last encoding block may be short.
    fn clipped(&self, span: Span) -> Span {
        Span { len: span.len.min(self.len - span.offset), ..span }
    }

    fn encode(&self, source: Span) -> Step {
        Step::Map { source, target: image(self.wire, source), map: Map::Encode(self.wire) }
    }

    fn decode(&self, target: Span) -> Step {
        Step::Map { source: image(self.wire, target), target, map: Map::Decode(self.wire) }
    }

    /// Halving: the first of two encodes what the second sends.
    fn halving(&self, index: u64) -> Option<Step> {
        let first = index.is_multiple_of(2);
        match self.inner.step(index / 2)? {
            Step::Send { peer, source } => {
                let source = self.clipped(source);
                let send = Step::Send { peer, source: image(self.wire, source) };
                Some(if first { self.encode(source) } else { send })
            }
            Step::RecvReduce { peer, with, into, finish, .. } if first => {
                let (with, into) = (self.clipped(with), self.clipped(into));
                Some(Step::RecvReduce { peer, with, into, finish, wire: self.wire })
            }
            _ => None,
        }
    }

    /// The rank's own block, once it is complete.
    fn own(&self, index: u64) -> Option<Step> {
        let piece = self.shape.piece(self.own, self.slices, index / 2)?.output();
        let piece = self.clipped(piece);
        Some(if index.is_multiple_of(2) { self.encode(piece) } else { self.decode(piece) })
    }

    /// Doubling: the second of two decodes what the first receives.
    fn doubling(&self, index: u64) -> Option<Step> {
        let first = index.is_multiple_of(2);
        match self.inner.step(self.inner.len() / 2 + index / 2)? {
            Step::Send { peer, source } if first => {
                Some(Step::Send { peer, source: image(self.wire, self.clipped(source)) })
            }
            Step::Recv { peer, target } => {
                let target = self.clipped(target);
                debug_assert!(target.space == Space::Output);
                let receive = Step::Recv { peer, target: image(self.wire, target) };
                Some(if first { receive } else { self.decode(target) })
            }
            _ => None,
        }
    }
}

impl Plan for EncodedHalving {
    fn len(&self) -> u64 {
        2 * (self.inner.len() + self.slices)
    }

    fn step(&self, index: u64) -> Option<Step> {
        let half = self.inner.len();
        match index.checked_sub(half) {
            None => self.halving(index),
            Some(index) => match index.checked_sub(2 * self.slices) {
                None => self.own(index),
                Some(index) => self.doubling(index),
            },
        }
    }

    fn encoded_len(&self) -> u64 {
        self.wire.encoded(self.len)
    }
}
