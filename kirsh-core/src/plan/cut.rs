//! How an array is cut into the slices that frames carry.

use super::{Counts, Finish};
use crate::types::{Rank, Space, Span};

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
}

impl Blocks {
    /// Blocks of `count` elements, or those that the counts say.
    pub(super) fn new(count: u64, counts: &Counts) -> Self {
        match counts {
            Counts::Known(counts) => Blocks::uneven(counts),
            Counts::Even | Counts::Own { .. } => Blocks::Even(count),
        }
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
        }
    }

    /// Elements of the largest block.
    pub(super) fn longest(&self) -> u64 {
        match self {
            Blocks::Even(count) => *count,
            Blocks::Uneven(begins) => {
                begins.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
            }
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

    /// In Input while nothing has been folded into it, afterwards in Output.
    pub(super) const fn current(self, untouched: bool) -> Span {
        if untouched { self.input() } else { self.output() }
    }
}

/// Where part `index` of `parts` balanced parts of `len` begins: `len * index / parts`.
pub(super) const fn cut(len: u64, parts: u64, index: u64) -> u64 {
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
