//! Any allreduce over a scaled input: scale into the output first, then work there.
//!
//! The factor is the rank's own, so no fold could apply it on behalf of another. The inner plan
//! runs as if input and output were one.

use super::local::Local;
use super::{Plan, Step};
use crate::types::{Space, Span};

pub(super) struct Staged<P> {
    scale: Local,
    inner: P,
}

impl<P: Plan> Staged<P> {
    pub(super) fn new(scale: Local, inner: P) -> Self {
        Staged { scale, inner }
    }
}

impl<P: Plan> Plan for Staged<P> {
    fn len(&self) -> u64 {
        self.scale.len() + self.inner.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Some(index) = index.checked_sub(self.scale.len()) else {
            return self.scale.step(index);
        };
        Some(match self.inner.step(index)? {
            Step::Send { peer, source } => Step::Send { peer, source: onto_output(source) },
            Step::Recv { peer, target } => Step::Recv { peer, target: onto_output(target) },
            Step::RecvReduce { peer, with, into, finish } => {
                Step::RecvReduce { peer, with: onto_output(with), into: onto_output(into), finish }
            }
            Step::Reduce { with, into, finish } => {
                Step::Reduce { with: onto_output(with), into: onto_output(into), finish }
            }
            Step::Map { source, target, map } => {
                Step::Map { source: onto_output(source), target: onto_output(target), map }
            }
        })
    }

    fn scratch_len(&self) -> u64 {
        self.inner.scratch_len()
    }
}

fn onto_output(span: Span) -> Span {
    match span.space {
        Space::Input => Span { space: Space::Output, ..span },
        Space::Output | Space::Scratch => span,
    }
}
