//! Memory without payload: each element remembers what was folded into it.

use super::queue::mix;
use crate::plan::{Finish, Map};
use crate::types::{Rank, Space, Span};

/// What one element stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// The ranks whose contributions are in it, a bit each: exact in worlds of up to 64.
    pub(super) members: u64,
    /// The sum of all contributions' own numbers, which also tell elements apart.
    pub(super) sum: u64,
    /// How many contributions.
    pub(super) count: u32,
    /// How many of them were scaled.
    pub(super) scaled: u32,
    /// How often it was divided; far more than once if it was folded afterwards.
    pub(super) averaged: u32,
    /// Stands for the tree of folds, the order of a fold's two operands aside.
    pub(super) order: u64,
}

/// What lies in memory that nobody has written.
pub(super) const NOTHING: Symbol = Symbol {
    members: 0,
    sum: 0x6e6f_7468_696e_6721,
    count: 0,
    scaled: 0,
    averaged: 0,
    order: 0x6e6f_7468_696e_6721,
};

/// Added to `averaged` when an average is folded on.
const AVERAGED_EARLY: u32 = 1 << 16;

impl Symbol {
    /// One element of a rank's own array.
    pub(super) const fn own(rank: Rank, element: u64) -> Self {
        Symbol {
            members: 1 << (rank % 64),
            sum: rank_number(rank).wrapping_add(element_number(element)),
            count: 1,
            scaled: 0,
            averaged: 0,
            order: mix(rank as u64 + 1),
        }
    }

    pub(super) fn fold(self, other: Symbol, finish: Finish) -> Self {
        let mut averaged = self.averaged + other.averaged;
        if averaged > 0 {
            averaged = averaged.saturating_add(AVERAGED_EARLY);
        }
        if finish == Finish::Average {
            averaged += 1;
        }
        let (low, high) = (self.order.min(other.order), self.order.max(other.order));
        Symbol {
            members: self.members | other.members,
            sum: self.sum.wrapping_add(other.sum),
            count: self.count + other.count,
            scaled: self.scaled + other.scaled,
            averaged,
            order: mix(mix(low).wrapping_add(high)),
        }
    }

    pub(super) fn map(self, map: Map) -> Self {
        match map {
            Map::Copy => self,
            Map::Scale => Symbol { scaled: self.scaled + self.count, ..self },
        }
    }
}

pub(super) const fn rank_number(rank: Rank) -> u64 {
    mix(0x7261_6e6b ^ ((rank as u64) << 32))
}

pub(super) const fn element_number(element: u64) -> u64 {
    mix(element.wrapping_add(1) << 1)
}

/// A run of bytes as they lie in memory, whichever space they were called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    segment: usize,
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Place {
    pub(super) const NOWHERE: Place = Place { segment: 0, begin: 0, end: 0 };

    pub(super) const fn overlaps(&self, other: &Place) -> bool {
        self.segment == other.segment && self.begin < other.end && other.begin < self.end
    }
}

const OUTPUT: usize = 0;
const INPUT: usize = 1;
const SCRATCH: usize = 2;

/// One rank's memory in one call.
pub(super) struct Memory {
    /// Bytes of one element.
    size: u64,
    segments: [Vec<Symbol>; 3],
    /// Where the input lies.
    input: usize,
}

impl Memory {
    /// Output, input (or `None` where it is the output), and bytes of scratch.
    pub(super) fn new(
        size: u64,
        output: Vec<Symbol>,
        input: Option<Vec<Symbol>>,
        scratch_len: u64,
    ) -> Self {
        let place = if input.is_some() { INPUT } else { OUTPUT };
        let scratch = vec![NOTHING; scratch_len.div_ceil(size) as usize];
        Memory { size, segments: [output, input.unwrap_or_default(), scratch], input: place }
    }

    /// Where a span lies, if it lies within its space and begins and ends with an element.
    pub(super) fn place(&self, span: Span) -> Option<Place> {
        let segment = match span.space {
            Space::Input => self.input,
            Space::Output => OUTPUT,
            Space::Scratch => SCRATCH,
        };
        let len = self.segments[segment].len() as u64 * self.size;
        let whole = span.offset.is_multiple_of(self.size) && span.len.is_multiple_of(self.size);
        let place = Place { segment, begin: span.offset, end: span.end() };
        (whole && place.end <= len).then_some(place)
    }

    pub(super) fn at(&self, place: Place) -> &[Symbol] {
        &self.segments[place.segment][self.elements(place)]
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut [Symbol] {
        let elements = self.elements(place);
        &mut self.segments[place.segment][elements]
    }

    pub(super) fn output(&self) -> &[Symbol] {
        &self.segments[OUTPUT]
    }

    fn elements(&self, place: Place) -> std::ops::Range<usize> {
        (place.begin / self.size) as usize..(place.end / self.size) as usize
    }
}
