//! The allreduce of a world of one: the input is the result.
//!
//! Steps: one local move per slice, none over the wire. In place the copy is a move onto itself,
//! which the walker leaves out.

use super::cut::Shape;
use super::{Map, Plan, Step};

pub(super) struct Local {
    shape: Shape,
    slices: u64,
    map: Map,
}

impl Local {
    pub(super) fn new(shape: Shape, map: Map) -> Self {
        Local { shape, slices: shape.slices(shape.count), map }
    }
}

impl Plan for Local {
    fn len(&self) -> u64 {
        self.slices
    }

    fn step(&self, index: u64) -> Option<Step> {
        let piece = self.shape.whole(self.slices, index)?;
        Some(Step::Map { source: piece.input(), target: piece.output(), map: self.map })
    }
}
