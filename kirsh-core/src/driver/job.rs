//! The memory of one operation and the arithmetic on it.

use std::sync::Arc;

use super::array::{Array, Place, in_step};
use super::completion::Completion;
use crate::error::Result;
use crate::limits::SLAB_ALIGNMENT;
use crate::memory::{Counter, Region, copy};
use crate::plan::{Finish, Map};
use crate::reduce::{self, Codec, Kernel};
use crate::types::{Call, DataType, Sequence, Space, Span, Wire};

/// Where an operation's address spaces are. Input and output are the caller's, lent from the moment
/// the operation is enqueued until its outcome is delivered; scratch is the library's own.
#[derive(Clone)]
pub struct Buffers {
    input: Array,
    output: Array,
    staged: Option<Staged>,
    /// The lane's, from the moment the operation is the first.
    scratch: *mut u8,
    /// Behind it, also the lane's.
    encoded: *mut u8,
}

/// A place for a copy of the input, where the caller's own is overwritten before it has been read.
#[derive(Clone)]
pub struct Staged {
    region: Arc<Region>,
    len: usize,
}

impl Staged {
    /// For an input of so many bytes.
    ///
    /// # Errors
    /// Where there is no memory for that.
    pub fn new(len: usize) -> Result<Self> {
        Ok(Staged { region: Arc::new(Region::new(len)?), len })
    }
}

// SAFETY: the pointers are to memory lent to the operation, which whoever enqueued it promised to
// leave alone, from any thread, until the outcome is delivered, and to memory of the lane; only the
// lane's holder uses them.
unsafe impl Send for Buffers {}
// SAFETY: as above; a shared reference only clones.
unsafe impl Sync for Buffers {}

impl Buffers {
    /// # Safety
    /// `input` is readable, and `output` writable, for the bytes that the operation's plan names,
    /// and nobody else writes the former or touches the latter, until the outcome is delivered.
    pub unsafe fn new(input: Array, output: Array, staged: Option<Staged>) -> Self {
        let nowhere = std::ptr::null_mut();
        Buffers { input, output, staged, scratch: nowhere, encoded: nowhere }
    }

    /// The operation's turn has come: takes the place for what is its own, and copies an input that
    /// is not to be read where it lies.
    fn seat(&mut self, scratch: *mut u8, encoded: *mut u8, copied: &Counter) {
        (self.scratch, self.encoded) = (scratch, encoded);
        let Some(Staged { region, len }) = &self.staged else { return };
        let mut target = region.as_ptr();
        for (piece, len) in self.input.pieces(0, *len as u64) {
            // SAFETY: the input is readable for `len` bytes in all, as whoever staged it says; the
            // region is as long, and no other operation runs that would read it.
            unsafe { copy(piece, target, len, copied) };
            target = target.wrapping_add(len);
        }
    }

    /// Whether a span lies in an array of the caller's.
    #[inline]
    pub(crate) fn is_callers(&self, span: Span) -> bool {
        match span.space {
            Space::Input => self.staged.is_none(),
            Space::Output => true,
            Space::Scratch | Space::Encoded => false,
        }
    }

    /// Where a span lies.
    #[inline]
    pub(crate) fn at(&self, span: Span) -> Place {
        let array = match (span.space, &self.staged) {
            (Space::Input, Some(staged)) => Array::One(staged.region.as_ptr()),
            (Space::Input, None) => self.input.clone(),
            (Space::Output, _) => self.output.clone(),
            (Space::Scratch, _) => Array::One(self.scratch),
            (Space::Encoded, _) => Array::One(self.encoded),
        };
        Place::new(array, span.offset, span.len)
    }
}

/// One operation as the lane sees it: the session has its plan, the job its memory.
#[derive(Clone)]
pub struct Job {
    pub sequence: Sequence,
    pub call: Call,
    /// What the caller calls it, where that is traced.
    pub label: Option<Arc<str>>,
    /// When it was enqueued.
    pub enqueued_ns: u64,
    pub buffers: Buffers,
    /// Bytes of scratch that the plan speaks of.
    pub scratch_len: u64,
    /// Bytes of encoded elements that the plan speaks of.
    pub encoded_len: u64,
    /// Its turn has come.
    pub seated: bool,
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
    /// The job's turn has come, with so much scratch as it asked for.
    pub(crate) fn seat(&mut self, scratch: *mut u8, copied: &Counter) {
        self.buffers.seat(scratch, scratch.wrapping_add(self.encoded_begin()), copied);
        self.seated = true;
    }

    /// Bytes of its own memory, of both kinds.
    pub(crate) fn memory_len(&self) -> usize {
        self.encoded_begin() + self.encoded_len as usize
    }

    /// Where in its own memory what is encoded begins: on a cache line.
    fn encoded_begin(&self) -> usize {
        (self.scratch_len as usize).next_multiple_of(SLAB_ALIGNMENT)
    }

    /// `into = finish(with op received)`, where `received` is in a slab, in this wire format.
    pub(crate) fn fold(
        &self,
        received: *const u8,
        with: Span,
        into: Span,
        finish: Finish,
        wire: Wire,
    ) {
        let Some(kernel) = &self.kernel else { return };
        let (with, into) = (self.buffers.at(with), self.buffers.at(into));
        if let Some(codec) = Codec::choose(wire) {
            let mut first = 0;
            for (with, into, len) in in_step(with.pieces(), into.pieces()) {
                let run = (first, len / size_of::<f32>());
                let n = self.contributions;
                // SAFETY: as below; the slab holds the encoding of the whole span, of which this
                // run begins with element `first`; the call's elements are float32.
                unsafe { codec.fold(kernel, with, received, into, run, finish, n) };
                first += run.1;
            }
            return;
        }
        let mut received = received;
        for (with, into, len) in in_step(with.pieces(), into.pieces()) {
            // SAFETY: the plan's spans lie in the lent buffers, are of one length and whole
            // elements, and so are the runs they are cut into; with and into are equal or disjoint
            // (rules of `plan`); a slab is memory of the library that overlaps neither; the
            // session starts no fold while a conflicting step lives.
            unsafe { kernel.fold(with, received, into, len, finish, self.contributions) };
            received = received.wrapping_add(len);
        }
    }

    /// `into = finish(with op into)`.
    pub(crate) fn reduce(&self, with: Span, into: Span, finish: Finish) {
        let Some(kernel) = &self.kernel else { return };
        let (with, into) = (self.buffers.at(with), self.buffers.at(into));
        for (with, into, len) in in_step(with.pieces(), into.pieces()) {
            // SAFETY: as in `fold`; `with` and `into` are disjoint, and operators commute to the
            // bit, so `into` may stand for `with` and be overwritten in place.
            unsafe { kernel.fold(into, with, into, len, finish, self.contributions) };
        }
    }

    /// `target = map(source)`.
    pub(crate) fn map(&self, source: Span, target: Span, map: Map, copied: &Counter) {
        let (source, target) = (self.buffers.at(source), self.buffers.at(target));
        match map {
            Map::Encode(wire) => return encode(wire, &source, &target, copied),
            Map::Decode(wire) => return decode(wire, &source, &target),
            Map::Copy | Map::Scale => {}
        }
        for (from, to, len) in in_step(source.pieces(), target.pieces()) {
            if map == Map::Copy {
                // SAFETY: both runs lie in the lent buffers or in scratch and are of one length;
                // the session sees to it that no conflicting step lives; equal spans are elided,
                // others are disjoint.
                unsafe { copy(from, to, len, copied) };
                continue;
            }
            // SAFETY: as above; scaling allows target and source to be one.
            let scaled = unsafe { reduce::scale(self.dtype, from, to, len, self.scale) };
            debug_assert!(scaled.is_ok(), "only floats are scaled; checked at the call");
        }
    }
}

const SIZE: usize = size_of::<f32>();

/// Bytes of a block of elements that are encoded together, at most.
const BLOCK_BYTES: usize = Wire::BLOCK as usize * SIZE;

/// Encodes an array, run by run. A block that lies in several runs is copied together first.
fn encode(wire: Wire, source: &Place, target: &Place, copied: &Counter) {
    let Some(codec) = Codec::choose(wire) else { return };
    // What is encoded is one run.
    let Some((target, _)) = target.pieces().next() else { return };
    let (block, all) = (wire.block() as usize, source.len() as usize / SIZE);
    let mut done = 0;
    while done < all {
        let to = target.wrapping_add(wire.encoded((done * SIZE) as u64) as usize);
        let mut pieces = source.pieces_from((done * SIZE) as u64);
        let Some((from, len)) = pieces.next() else { return };
        let (here, left) = (len / SIZE, all - done);
        let whole = if here < left { here / block * block } else { left };
        if whole > 0 {
            // SAFETY: the plan's spans lie in the lent buffers and in the job's own memory, which is
            // apart, and the target is as long as the source's encoding (rules of `plan`); the
            // session sees to it that no conflicting step lives. Blocks before this one are whole.
            unsafe { codec.encode(from, to, whole) };
            done += whole;
            continue;
        }
        let count = block.min(left);
        let mut gathered = [0u8; BLOCK_BYTES];
        let mut at = 0;
        for (from, len) in source.pieces_from((done * SIZE) as u64) {
            let len = len.min(count * SIZE - at);
            // SAFETY: the run may be read as above; the array has room for a block, of which `at`
            // bytes are taken.
            unsafe { copy(from, gathered.as_mut_ptr().wrapping_add(at), len, copied) };
            at += len;
            if at == count * SIZE {
                break;
            }
        }
        // SAFETY: as above; the elements were gathered here.
        unsafe { codec.encode(gathered.as_ptr(), to, count) };
        done += count;
    }
}

/// Decodes an array, run by run.
fn decode(wire: Wire, source: &Place, target: &Place) {
    let Some(codec) = Codec::choose(wire) else { return };
    let Some((source, _)) = source.pieces().next() else { return };
    let mut first = 0;
    for (to, len) in target.pieces() {
        let count = len / SIZE;
        // SAFETY: as in `encode`, the other way round; the source is the encoding of the whole span.
        unsafe { codec.decode(source, to, first, count) };
        first += count;
    }
}
