//! The memory of one operation and the arithmetic on it.

use std::sync::Arc;

use super::completion::Completion;
use crate::memory::{Counter, Region, copy};
use crate::plan::{Finish, Map};
use crate::reduce::{self, Kernel};
use crate::types::{DataType, Sequence, Space, Span};

/// Where an operation's address spaces are. The memory is the caller's, lent from the moment the
/// operation is enqueued until its outcome is delivered; scratch is the library's own.
pub struct Buffers {
    input: *const u8,
    output: *mut u8,
    scratch: Option<Region>,
}

// SAFETY: the pointers are to memory lent to the operation, which whoever enqueued it promised to
// leave alone, from any thread, until the outcome is delivered; only the lane's holder uses them.
unsafe impl Send for Buffers {}

impl Buffers {
    /// # Safety
    /// `input` is readable, and `output` writable, for the bytes that the operation's plan names,
    /// and nobody else writes the former or touches the latter, until the outcome is delivered.
    pub unsafe fn new(input: *const u8, output: *mut u8, scratch: Option<Region>) -> Self {
        Buffers { input, output, scratch }
    }

    /// The first byte of a span.
    pub(crate) fn at(&self, span: Span) -> *mut u8 {
        let base = match span.space {
            Space::Input => self.input.cast_mut(),
            Space::Output => self.output,
            Space::Scratch => {
                self.scratch.as_ref().map_or(std::ptr::null_mut(), |region| region.as_ptr())
            }
        };
        base.wrapping_add(span.offset as usize)
    }
}

/// One operation as the lane sees it: the session has its plan, the job its memory.
pub struct Job {
    pub sequence: Sequence,
    pub buffers: Buffers,
    /// `None` for an operation that does not reduce.
    pub kernel: Option<Kernel>,
    pub dtype: DataType,
    /// This rank's own factor, for `Map::Scale`.
    pub scale: f64,
    /// The world size, for averages.
    pub contributions: u32,
    /// Where the outcome goes; `None` if the thread that drives waits for it itself.
    pub completion: Option<Arc<Completion>>,
}

impl Job {
    /// `into = finish(with op received)`, where `received` is in a slab.
    pub(crate) fn fold(&self, received: *const u8, with: Span, into: Span, finish: Finish) {
        let Some(kernel) = &self.kernel else { return };
        // SAFETY: the plan's spans lie in the lent buffers, are of one length and whole elements,
        // and equal or disjoint (rules of `plan`); a slab is memory of the library that overlaps
        // neither; the session starts no fold while a conflicting step lives.
        unsafe {
            kernel.fold(
                self.buffers.at(with),
                received,
                self.buffers.at(into),
                into.len as usize,
                finish,
                self.contributions,
            );
        }
    }

    /// `into = finish(with op into)`.
    pub(crate) fn reduce(&self, with: Span, into: Span, finish: Finish) {
        let Some(kernel) = &self.kernel else { return };
        // SAFETY: as in `fold`; `with` and `into` are disjoint, and operators commute to the bit,
        // so `into` may stand for `with` and be overwritten in place.
        unsafe {
            kernel.fold(
                self.buffers.at(into),
                self.buffers.at(with),
                self.buffers.at(into),
                into.len as usize,
                finish,
                self.contributions,
            );
        }
    }

    /// `target = map(source)`.
    pub(crate) fn map(&self, source: Span, target: Span, map: Map, copied: &Counter) {
        let (from, to) = (self.buffers.at(source), self.buffers.at(target));
        match map {
            // SAFETY: both spans lie in the lent buffers and are of one length; the session sees
            // to it that no conflicting step lives; equal spans are elided, others are disjoint.
            Map::Copy => unsafe { copy(from, to, target.len as usize, copied) },
            Map::Scale => {
                // SAFETY: as above; scaling allows target and source to be one.
                let scaled =
                    unsafe { reduce::scale(self.dtype, from, to, target.len as usize, self.scale) };
                debug_assert!(scaled.is_ok(), "only floats are scaled; checked at the call");
            }
        }
    }
}
