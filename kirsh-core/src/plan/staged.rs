//! Any reduction over a scaled input: scale first, then work with what came of it.
//!
//! The factor is the rank's own, so no fold could apply it on behalf of another. An allreduce
//! scales into its output, all at once, and runs as if input and output were one ([`Staged`]).
//! Where the output cannot hold the input, or is not there, every slice is scaled into scratch
//! just before it is needed ([`ScaledInput`]).

use super::local::Local;
use super::{Map, Plan, Step};
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
        let mut step = self.inner.step(index)?;
        replace_input(&mut step, |span| Span { space: Space::Output, ..span });
        Some(step)
    }

    fn scratch_len(&self) -> u64 {
        self.inner.scratch_len()
    }

    fn encoded_len(&self) -> u64 {
        self.inner.encoded_len()
    }
}

/// Slices of scaled input that are held at a time: each from being scaled until it was sent or
/// folded, and as many of those overlap as a session has in view of most plans.
const SCALED_SLICES_LOG: u32 = 3;

pub(super) struct ScaledInput<P> {
    inner: P,
    slice_bytes: u64,
    /// Where the scratch of the inner plan ends.
    begin: u64,
}

impl<P: Plan> ScaledInput<P> {
    pub(super) fn new(slice_bytes: u64, inner: P) -> Self {
        ScaledInput { begin: inner.scratch_len(), slice_bytes, inner }
    }

    /// The scaled bytes that a step of the inner plan reads. Plans read input in every second step,
    /// or every fifth: the places are mixed so that no such beat leaves one of them to do it all.
    fn place(&self, index: u64, len: u64) -> Span {
        let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = mixed >> (u64::BITS - SCALED_SLICES_LOG);
        Span::scratch(self.begin + slot * self.slice_bytes, len)
    }
}

impl<P: Plan> Plan for ScaledInput<P> {
    fn len(&self) -> u64 {
        2 * self.inner.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        let (index, scales) = (index / 2, index.is_multiple_of(2));
        let mut step = self.inner.step(index)?;
        if let Step::Map { source, target, map: Map::Copy } = step
            && source.space == Space::Input
        {
            return scales.then_some(Step::Map { source, target, map: Map::Scale });
        }
        let mut scaling = None;
        replace_input(&mut step, |source| {
            let target = self.place(index, source.len);
            scaling = Some(Step::Map { source, target, map: Map::Scale });
            target
        });
        if scales { scaling } else { Some(step) }
    }

    fn scratch_len(&self) -> u64 {
        self.begin + (self.slice_bytes << SCALED_SLICES_LOG)
    }
}

/// Puts another span in the place of every one that lies in Input.
fn replace_input(step: &mut Step, mut other: impl FnMut(Span) -> Span) {
    let mut replace = |span: &mut Span| {
        if span.space == Space::Input {
            *span = other(*span);
        }
    };
    match step {
        Step::Send { source, .. } => replace(source),
        Step::Recv { target, .. } => replace(target),
        Step::RecvReduce { with, into, .. } | Step::Reduce { with, into, .. } => {
            replace(with);
            replace(into);
        }
        Step::Map { source, target, .. } => {
            replace(source);
            replace(target);
        }
    }
}
