//! Memory without payload: each element remembers what was folded into it.

use super::queue::mix;
use crate::plan::{Finish, Map};
use crate::session::Alias;
use crate::types::{Rank, Space, Span};

/// Ranks whose contributions are told apart one by one; beyond, their numbers' sum tells them.
const EXACT: usize = 192;

/// One element of an array: whose it is, or which line of [`Symbols`] says what it stands for.
///
/// Eight bytes, so that thousands of ranks with an array as long as the world fit in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element(u64);

/// Set where an element is a line of the table; else it is a rank's own.
const LISTED: u64 = 1 << 63;
/// Bits of an own element's index within its rank's array.
const INDEX_BITS: u32 = 40;

impl Element {
    /// What lies in memory that nobody has written.
    pub(super) const NOTHING: Element = Element(u64::MAX);

    /// An element of the array that a rank gives.
    pub(super) const fn own(rank: Rank, index: u64) -> Self {
        Element((rank as u64) << INDEX_BITS | index)
    }
}

/// The ranks whose contributions are in an element, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Members([u64; EXACT / 64]);

impl Members {
    pub(super) fn add(&mut self, rank: Rank) {
        let bit = rank as usize % EXACT;
        self.0[bit / 64] |= 1 << (bit % 64);
    }

    fn or(mut self, other: Members) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
        self
    }
}

/// What one element stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Exact in worlds of up to [`EXACT`] ranks.
    pub(super) members: Members,
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

/// What [`Element::NOTHING`] stands for.
const NOTHING: Symbol = Symbol {
    members: Members([0; EXACT / 64]),
    sum: 0x6e6f_7468_696e_6721,
    count: 0,
    scaled: 0,
    averaged: 0,
    order: 0x6e6f_7468_696e_6721,
};

/// Added to `averaged` when an average is folded on.
const AVERAGED_EARLY: u32 = 1 << 16;

/// What the elements stand for that are no rank's own.
#[derive(Default)]
pub(super) struct Symbols(Vec<Symbol>);

impl Symbols {
    pub(super) fn of(&self, element: Element) -> Symbol {
        if element == Element::NOTHING {
            return NOTHING;
        }
        if element.0 & LISTED != 0 {
            return self.0[(element.0 & !LISTED) as usize];
        }
        let (rank, index) =
            ((element.0 >> INDEX_BITS) as Rank, element.0 & ((1 << INDEX_BITS) - 1));
        let mut members = Members::default();
        members.add(rank);
        Symbol {
            members,
            sum: rank_number(rank).wrapping_add(element_number(index)),
            count: 1,
            scaled: 0,
            averaged: 0,
            order: mix(u64::from(rank) + 1),
        }
    }

    fn list(&mut self, symbol: Symbol) -> Element {
        self.0.push(symbol);
        Element(LISTED | (self.0.len() as u64 - 1))
    }

    pub(super) fn fold(&mut self, a: Element, b: Element, finish: Finish) -> Element {
        let (a, b) = (self.of(a), self.of(b));
        let mut averaged = a.averaged + b.averaged;
        if averaged > 0 {
            averaged = averaged.saturating_add(AVERAGED_EARLY);
        }
        if finish == Finish::Average {
            averaged += 1;
        }
        let (low, high) = (a.order.min(b.order), a.order.max(b.order));
        self.list(Symbol {
            members: a.members.or(b.members),
            sum: a.sum.wrapping_add(b.sum),
            count: a.count + b.count,
            scaled: a.scaled + b.scaled,
            averaged,
            order: mix(mix(low).wrapping_add(high)),
        })
    }

    pub(super) fn map(&mut self, element: Element, map: Map) -> Element {
        match map {
            Map::Copy => element,
            Map::Scale => {
                let symbol = self.of(element);
                self.list(Symbol { scaled: symbol.scaled + symbol.count, ..symbol })
            }
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

/// Where a space lies: a part of a segment, in bytes.
#[derive(Clone, Copy)]
struct Room {
    segment: usize,
    offset: u64,
    len: u64,
}

/// One rank's memory in one call.
pub(super) struct Memory {
    /// Bytes of one element.
    pub(super) size: u64,
    segments: [Vec<Element>; 3],
    /// Output, input and scratch.
    rooms: [Room; 3],
}

impl Memory {
    /// Both arrays as they are before the call, or the larger one where the other is a part of it,
    /// and bytes of scratch.
    pub(super) fn new(
        size: u64,
        output: Vec<Element>,
        input: Vec<Element>,
        alias: Alias,
        scratch_len: u64,
    ) -> Self {
        let room = |segment, offset, array: &[Element]| Room {
            segment,
            offset,
            len: array.len() as u64 * size,
        };
        let mut rooms = [room(OUTPUT, 0, &output), room(INPUT, 0, &input), room(SCRATCH, 0, &[])];
        rooms[SCRATCH].len = scratch_len;
        let scratch = vec![Element::NOTHING; scratch_len.div_ceil(size) as usize];
        let mut segments = [output, input, scratch];
        match alias {
            Alias::None => {}
            Alias::InputInOutput(offset) => {
                let input = std::mem::take(&mut segments[INPUT]);
                let at = (offset / size) as usize;
                segments[OUTPUT][at..at + input.len()].copy_from_slice(&input);
                rooms[INPUT] = Room { segment: OUTPUT, offset, ..rooms[INPUT] };
            }
            Alias::OutputInInput(offset) => {
                segments[OUTPUT] = Vec::new();
                rooms[OUTPUT] = Room { segment: INPUT, offset, ..rooms[OUTPUT] };
            }
        }
        Memory { size, segments, rooms }
    }

    /// Where a span lies, if it lies within its space and begins and ends with an element.
    pub(super) fn place(&self, span: Span) -> Option<Place> {
        let Room { segment, offset, len } = self.rooms[match span.space {
            Space::Output => OUTPUT,
            Space::Input => INPUT,
            Space::Scratch => SCRATCH,
        }];
        let whole = span.offset.is_multiple_of(self.size) && span.len.is_multiple_of(self.size);
        let place = Place { segment, begin: offset + span.offset, end: offset + span.end() };
        (whole && span.end() <= len).then_some(place)
    }

    pub(super) fn at(&self, place: Place) -> &[Element] {
        &self.segments[place.segment][self.elements(place.begin, place.end)]
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut [Element] {
        let elements = self.elements(place.begin, place.end);
        &mut self.segments[place.segment][elements]
    }

    pub(super) fn output(&self) -> &[Element] {
        self.room(OUTPUT)
    }

    pub(super) fn input(&self) -> &[Element] {
        self.room(INPUT)
    }

    fn room(&self, space: usize) -> &[Element] {
        let Room { segment, offset, len } = self.rooms[space];
        &self.segments[segment][self.elements(offset, offset + len)]
    }

    fn elements(&self, begin: u64, end: u64) -> std::ops::Range<usize> {
        (begin / self.size) as usize..(end / self.size) as usize
    }
}
