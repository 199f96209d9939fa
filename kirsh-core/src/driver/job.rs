//! The memory of one operation and the arithmetic on it.

use std::sync::Arc;

use super::array::{Array, Place, in_step};
use super::completion::Completion;
use super::sums::{Sums, in_blocks};
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
    /// Where in it this one begins: parts of a call share a region.
    begin: usize,
    len: usize,
}

impl Staged {
    /// For an input of so many bytes.
    ///
    /// # Errors
    /// Where there is no memory for that.
    pub fn new(len: usize) -> Result<Self> {
        Ok(Staged { region: Arc::new(Region::new(len)?), begin: 0, len })
    }
}

impl Staged {
    fn as_ptr(&self) -> *mut u8 {
        self.region.as_ptr().wrapping_add(self.begin)
    }
}

// SAFETY: the pointers are to memory lent to the operation, which whoever enqueued it promised to
// leave alone, from any thread, until the outcome is delivered, and to memory of the lane; only the
// lane's holder uses them.
unsafe impl Send for Buffers {}
// SAFETY: as above; a shared reference only clones.
unsafe impl Sync for Buffers {}

/// What a part of an operation has of its arrays: the bytes `begin..begin + len` of each block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Blocks of the input, and of the output.
    pub(crate) blocks: (u64, u64),
    /// Bytes of a block.
    pub(crate) block: u64,
    pub(crate) begin: u64,
    pub(crate) len: u64,
}

impl Buffers {
    /// # Safety
    /// `input` is readable, and `output` writable, for the bytes that the operation's plan names,
    /// and nobody else writes the former or touches the latter, until the outcome is delivered.
    pub unsafe fn new(input: Array, output: Array, staged: Option<Staged>) -> Self {
        let nowhere = std::ptr::null_mut();
        Buffers { input, output, staged, scratch: nowhere, encoded: nowhere }
    }

    /// Those of a part of the operation, which a channel of its own carries out.
    pub(crate) fn part(&self, cut: &Cut) -> Buffers {
        let Cut { blocks: (inputs, outputs), block, begin, len } = *cut;
        Buffers {
            input: self.input.part(inputs, block, begin, len),
            output: self.output.part(outputs, block, begin, len),
            staged: self.staged.as_ref().map(|staged| Staged {
                region: Arc::clone(&staged.region),
                begin: staged.begin + (inputs * begin) as usize,
                len: (inputs * len) as usize,
            }),
            ..self.clone()
        }
    }

    /// The operation's turn has come: takes the place for what is its own, and copies an input that
    /// is not to be read where it lies.
    fn seat(&mut self, scratch: *mut u8, encoded: *mut u8, copied: &Counter) {
        (self.scratch, self.encoded) = (scratch, encoded);
        let Some(staged) = &self.staged else { return };
        let (mut target, len) = (staged.as_ptr(), staged.len as u64);
        for (piece, len) in self.input.pieces(0, len) {
            // SAFETY: the input is readable for `len` bytes in all, as whoever staged it says; the
            // place for it is as long, and no other operation runs that would read it.
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
            (Space::Input, Some(staged)) => Array::One(staged.as_ptr()),
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

    /// `into = finish(with op received)`, where `received` is in a slab, in this wire format. Sums both
    /// in the same pass.
    pub(crate) fn fold(
        &self,
        received: *const u8,
        with: Span,
        into: Span,
        finish: Finish,
        wire: Wire,
        sums: &mut Sums,
    ) {
        let Some(kernel) = &self.kernel else { return };
        let (with, into) = (self.buffers.at(with), self.buffers.at(into));
        if let Some(codec) = Codec::choose(wire) {
            let (mut first, mut taken_in) = (0, 0);
            let pairs = in_step(with.pieces(), into.pieces());
            for (with, into, len) in in_blocks(pairs, sums.block()) {
                let run = (first, len / SIZE);
                let n = self.contributions;
                let until = wire.encoded(((first + run.1) * SIZE) as u64) as usize;
                // SAFETY: the slab holds the encoding of the whole span, which nobody writes.
                unsafe { sums.take_in(received.wrapping_add(taken_in), until - taken_in) };
                taken_in = until;
                // SAFETY: as below; the slab holds the encoding of the whole span, of which this
                // run begins with element `first`; the call's elements are float32.
                unsafe { codec.fold(kernel, with, received, into, run, finish, n) };
                // SAFETY: just written, and nobody else touches it.
                unsafe { sums.put_out(into, len) };
                first += run.1;
            }
            return;
        }
        let mut received = received;
        let pairs = in_step(with.pieces(), into.pieces());
        for (with, into, len) in in_blocks(pairs, sums.block()) {
            // SAFETY: as below; the slab holds as many bytes as the span, which nobody writes.
            unsafe { sums.take_in(received, len) };
            // SAFETY: the plan's spans lie in the lent buffers, are of one length and whole
            // elements, and so are the runs they are cut into; with and into are equal or disjoint
            // (rules of `plan`); a slab is memory of the library that overlaps neither; the
            // session starts no fold while a conflicting step lives.
            unsafe { kernel.fold(with, received, into, len, finish, self.contributions) };
            // SAFETY: just written, and nobody else touches it.
            unsafe { sums.put_out(into, len) };
            received = received.wrapping_add(len);
        }
    }

    /// `into = finish(with op into)`. Sums the result.
    pub(crate) fn reduce(&self, with: Span, into: Span, finish: Finish, sums: &mut Sums) {
        let Some(kernel) = &self.kernel else { return };
        let (with, into) = (self.buffers.at(with), self.buffers.at(into));
        let pairs = in_step(with.pieces(), into.pieces());
        for (with, into, len) in in_blocks(pairs, sums.block()) {
            // SAFETY: as in `fold`; `with` and `into` are disjoint, and operators commute to the
            // bit, so `into` may stand for `with` and be overwritten in place.
            unsafe { kernel.fold(into, with, into, len, finish, self.contributions) };
            // SAFETY: just written, and nobody else touches it.
            unsafe { sums.put_out(into, len) };
        }
    }

    /// `target = map(source)`. Sums the target.
    pub(crate) fn map(
        &self,
        source: Span,
        target: Span,
        map: Map,
        copied: &Counter,
        sums: &mut Sums,
    ) {
        let (source, target) = (self.buffers.at(source), self.buffers.at(target));
        match map {
            Map::Encode(wire) => return encode(wire, &source, &target, copied, sums),
            Map::Decode(wire) => return decode(wire, &source, &target, sums),
            Map::Copy | Map::Scale => {}
        }
        let pairs = in_step(source.pieces(), target.pieces());
        for (from, to, len) in in_blocks(pairs, sums.block()) {
            if map == Map::Copy {
                // SAFETY: both runs lie in the lent buffers or in scratch and are of one length;
                // the session sees to it that no conflicting step lives; equal spans are elided,
                // others are disjoint.
                unsafe { copy(from, to, len, copied) };
            } else {
                // SAFETY: as above; scaling allows target and source to be one.
                let scaled = unsafe { reduce::scale(self.dtype, from, to, len, self.scale) };
                debug_assert!(scaled.is_ok(), "only floats are scaled; checked at the call");
            }
            // SAFETY: just written, and nobody else touches it.
            unsafe { sums.put_out(to, len) };
        }
    }
}

const SIZE: usize = size_of::<f32>();

/// Bytes of a block of elements that are encoded together, at most.
const ENCODED_TOGETHER_MAX: usize = Wire::BLOCK as usize * SIZE;

/// Encodes an array, run by run. A block that lies in several runs is copied together first.
fn encode(wire: Wire, source: &Place, target: &Place, copied: &Counter, sums: &mut Sums) {
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
        let encoded = |elements: usize| wire.encoded((elements * SIZE) as u64) as usize;
        if whole > 0 {
            let whole = whole.min(sums.block() / SIZE);
            // SAFETY: the plan's spans lie in the lent buffers and in the job's own memory, which is
            // apart, and the target is as long as the source's encoding (rules of `plan`); the
            // session sees to it that no conflicting step lives. Blocks before this one are whole.
            unsafe { codec.encode(from, to, whole) };
            // SAFETY: just written, and nobody else touches it.
            unsafe { sums.put_out(to, encoded(whole)) };
            done += whole;
            continue;
        }
        let count = block.min(left);
        let mut gathered = [0u8; ENCODED_TOGETHER_MAX];
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
        // SAFETY: just written, and nobody else touches it.
        unsafe { sums.put_out(to, encoded(count)) };
        done += count;
    }
}

/// Decodes an array, run by run.
fn decode(wire: Wire, source: &Place, target: &Place, sums: &mut Sums) {
    let Some(codec) = Codec::choose(wire) else { return };
    let Some((source, _)) = source.pieces().next() else { return };
    let mut first = 0;
    for (to, len) in target.pieces() {
        let count = len / SIZE;
        // SAFETY: as in `encode`, the other way round; the source is the encoding of the whole span.
        unsafe { codec.decode(source, to, first, count) };
        // SAFETY: just written, and nobody else touches it.
        unsafe { sums.put_out(to, len) };
        first += count;
    }
}
