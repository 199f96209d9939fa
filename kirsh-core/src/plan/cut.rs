//! How an array is cut into the slices that frames carry.

use super::{Counts, Finish};
use crate::types::{Rank, Space, Span};

/// Slices of partial results that a rank holds where it may not keep them in Output: it folds into
/// one while those before it are on their way, and their release may come late.
pub(super) const SCRATCH_SLICES: u64 = 8;

/// What every algorithm is built from: who this rank is, and how the array is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub world: Rank,
    pub rank: Rank,
    /// Elements of the whole array.
    pub count: u64,
    /// Bytes of one element.
    pub size: u64,
    /// Elements of a slice, at most.
    pub slice: u64,
    /// What the last fold of an element does.
    pub finish: Finish,
}

impl Shape {
    /// Slices that a run of this many elements needs.
    pub(super) const fn slices(&self, elements: u64) -> u64 {
        elements.div_ceil(self.slice)
    }

    /// One slice out of `slices` of the elements `begin..end`; `None` where it is empty. The
    /// slices of a run differ by at most an element, so that a pipeline has no short last turn.
    pub(super) const fn piece(
        &self,
        (begin, end): (u64, u64),
        slices: u64,
        slice: u64,
    ) -> Option<Piece> {
        let from = begin + cut(end - begin, slices, slice);
        let to = begin + cut(end - begin, slices, slice + 1);
        if from == to {
            return None;
        }
        Some(Piece { offset: from * self.size, len: (to - from) * self.size })
    }

    /// One slice of the whole array.
    pub(super) const fn whole(&self, slices: u64, slice: u64) -> Option<Piece> {
        self.piece((0, self.count), slices, slice)
    }

    /// What a run of elements is in bytes.
    pub(super) const fn bytes(&self, elements: u64) -> u64 {
        elements * self.size
    }

    /// The same, where no run has more elements than this: then no slice has.
    pub(super) fn with_slices_below(self, elements: u64) -> Self {
        Shape { slice: self.slice.min(elements.max(1)), ..self }
    }

    /// Bytes of a slice, at most.
    pub(super) const fn slice_bytes(&self) -> u64 {
        self.slice * self.size
    }

    /// A run of elements, `begin..end`, of one of the arrays.
    pub(super) const fn span(&self, space: Space, (begin, end): (u64, u64)) -> Span {
        Span::new(space, begin * self.size, (end - begin) * self.size)
    }

    pub(super) const fn input(&self, run: (u64, u64)) -> Span {
        self.span(Space::Input, run)
    }

    pub(super) const fn output(&self, run: (u64, u64)) -> Span {
        self.span(Space::Output, run)
    }

    /// The finish of a fold: the call's own where it is the last one of its elements.
    pub(super) const fn finish(&self, last: bool) -> Finish {
        if last { self.finish } else { Finish::Keep }
    }
}

/// Which run of an array is which rank's: one block for each, in the order of ranks.
#[derive(Clone, Debug)]
pub(super) enum Blocks {
    /// As many elements for each rank.
    Even(u64),
    /// Where each block begins, and last where the array ends.
    Uneven(Box<[u64]>),
    /// An array of so many elements in so many parts, of which none is more than one element longer
    /// than another.
    Balanced(u64, Rank),
}

impl Blocks {
    /// Blocks of `count` elements, or those that the counts say.
    pub(super) fn new(count: u64, counts: &Counts) -> Self {
        match counts {
            Counts::Known(counts) => Blocks::uneven(counts),
            Counts::Even | Counts::Own { .. } => Blocks::Even(count),
        }
    }

    pub(super) const fn balanced(count: u64, world: Rank) -> Self {
        Blocks::Balanced(count, world)
    }

    pub(super) fn uneven(counts: &[u64]) -> Self {
        let mut begins = Vec::with_capacity(counts.len() + 1);
        let mut end = 0;
        begins.push(0);
        begins.extend(counts.iter().map(|count| {
            end += count;
            end
        }));
        Blocks::Uneven(begins.into())
    }

    /// The elements of a rank's block, begin and end.
    pub(super) fn of(&self, rank: Rank) -> (u64, u64) {
        self.run(rank, rank + 1)
    }

    /// The elements of the blocks of the ranks `from..to`.
    pub(super) fn run(&self, from: Rank, to: Rank) -> (u64, u64) {
        match self {
            Blocks::Even(count) => (u64::from(from) * count, u64::from(to) * count),
            Blocks::Uneven(begins) => (begins[from as usize], begins[to as usize]),
            Blocks::Balanced(count, world) => {
                let begin = |block: Rank| cut(*count, u64::from(*world), u64::from(block));
                (begin(from), begin(to))
            }
        }
    }

    /// Elements of the largest block.
    pub(super) fn longest(&self) -> u64 {
        match self {
            Blocks::Even(count) => *count,
            Blocks::Uneven(begins) => {
                begins.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
            }
            Blocks::Balanced(count, world) => count.div_ceil(u64::from(*world)),
        }
    }
}

/// The same bytes in whichever space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    offset: u64,
    len: u64,
}

impl Piece {
    pub(super) const fn input(self) -> Span {
        Span::new(Space::Input, self.offset, self.len)
    }

    pub(super) const fn output(self) -> Span {
        Span::new(Space::Output, self.offset, self.len)
    }

    /// As many bytes of scratch.
    pub(super) const fn scratch(self, offset: u64) -> Span {
        Span::new(Space::Scratch, offset, self.len)
    }

    /// The same bytes seen from a later origin.
    pub(super) const fn behind(self, origin: u64) -> Piece {
        Piece { offset: self.offset - origin, len: self.len }
    }

    /// How far its first byte lies ahead of an origin, where what ends at `end` begins anew at 0.
    pub(super) const fn ahead_of(self, origin: u64, end: u64) -> u64 {
        if self.offset >= origin { self.offset - origin } else { self.offset + end - origin }
    }

    /// In Input while nothing has been folded into it, afterwards in Output.
    pub(super) const fn current(self, untouched: bool) -> Span {
        if untouched { self.input() } else { self.output() }
    }
}

/// Slices that go through all turns of an algorithm a few at a time, so that what they leave in
/// scratch on the way is bounded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batches {
    pub slices: u64,
    /// Steps that one slice takes in all.
    steps: u64,
}

/// Which batch an index falls into, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    /// The first of its slices.
    pub first: u64,
    /// How many it has.
    pub slices: u64,
    /// The index among the batch's own.
    pub index: u64,
}

impl Batches {
    pub(super) const fn new(slices: u64, steps: u64) -> Self {
        Batches { slices, steps }
    }

    /// Slices of a batch, at most.
    pub(super) fn depth(&self) -> u64 {
        self.slices.min(SCRATCH_SLICES)
    }

    pub(super) const fn len(&self) -> u64 {
        self.slices * self.steps
    }

    pub(super) fn at(&self, index: u64) -> Batch {
        let whole = self.depth() * self.steps;
        let first = index / whole * self.depth();
        Batch { first, slices: self.depth().min(self.slices - first), index: index % whole }
    }
}

/// Where part `index` of `parts` balanced parts of `len` begins: `len * index / parts`.
pub(super) const fn cut(len: u64, parts: u64, index: u64) -> u64 {
    // Both ends are asked for most often, and plans are looked at by the thousand.
    if index == 0 {
        return 0;
    }
    if index == parts {
        return len;
    }
    match len.checked_mul(index) {
        Some(product) => product / parts,
        None => (len as u128 * index as u128 / parts as u128) as u64,
    }
}

/// The smallest number of doublings that reach `size` from one.
pub(super) const fn doublings(size: u32) -> u32 {
    match size.checked_sub(1) {
        Some(below) => u32::BITS - below.leading_zeros(),
        None => 0,
    }
}
