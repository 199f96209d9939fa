//! Memory without payload: each element remembers what was folded into it.

use super::queue::mix;
use crate::plan::{Finish, Map};
use crate::session::Alias;
use crate::types::{Rank, Space, Span, Wire};

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
/// Bits of a line's number. Those between it and [`LISTED`] say which byte of what is encoded it is,
/// from 1 on.
const LINE_BITS: u32 = 56;

impl Element {
    /// What lies in memory that nobody has written.
    pub(super) const NOTHING: Element = Element(u64::MAX);

    /// An element of the array that a rank gives.
    pub(super) const fn own(rank: Rank, index: u64) -> Self {
        Element((rank as u64) << INDEX_BITS | index)
    }

    /// The line of an element that is listed, and which of its bytes this is; 0 where it is whole.
    fn line(self) -> Option<(u64, u64)> {
        let listed = self != Element::NOTHING && self.0 & LISTED != 0;
        listed.then_some((self.0 & ((1 << LINE_BITS) - 1), (self.0 & !LISTED) >> LINE_BITS))
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
    /// Stands for the tree of folds, the order of a fold's two operands aside, and for how often it
    /// was encoded on the way, in which company.
    pub(super) order: u64,
    /// Stands for the block that it is encoded in, where it is.
    block: u64,
}

/// What [`Element::NOTHING`] stands for.
const NOTHING: Symbol = Symbol {
    members: Members([0; EXACT / 64]),
    sum: 0x6e6f_7468_696e_6721,
    count: 0,
    scaled: 0,
    averaged: 0,
    order: 0x6e6f_7468_696e_6721,
    block: 0,
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
        if let Some((line, byte)) = element.line() {
            // A byte of something encoded is no element.
            return if byte == 0 { self.0[line as usize] } else { NOTHING };
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
            block: 0,
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
            block: 0,
        })
    }

    /// What a run becomes.
    pub(super) fn map(&mut self, run: &[Element], map: Map) -> Vec<Element> {
        let mut scaled = |element: &Element| {
            let symbol = self.of(*element);
            self.list(Symbol { scaled: symbol.scaled + symbol.count, ..symbol })
        };
        match map {
            Map::Copy => run.to_vec(),
            Map::Scale => run.iter().map(&mut scaled).collect(),
            Map::Encode(wire) => self.encode(run, wire),
            Map::Decode(wire) => self.decode(run, wire),
        }
    }

    /// The bytes of a run's encoding. What an element becomes depends on the block that it is in, and
    /// is never again what it was.
    fn encode(&mut self, run: &[Element], wire: Wire) -> Vec<Element> {
        let mut encoding = Vec::new();
        let bytes_of = |line: Element, bytes: u64| {
            (1..=bytes).map(move |byte| Element(line.0 | byte << LINE_BITS))
        };
        let (each, scale) = widths(wire);
        for elements in run.chunks(wire.block() as usize) {
            let symbols = elements.iter().map(|element| self.of(*element));
            let block = symbols.fold(mix(wire as u64), |block, symbol| {
                mix(block ^ mix(symbol.order ^ symbol.sum))
            });
            if scale != 0 {
                let line = self.list(Symbol { block, ..NOTHING });
                encoding.extend(bytes_of(line, scale));
            }
            for element in elements {
                let symbol = self.of(*element);
                let line = self.list(Symbol { order: mix(symbol.order ^ block), block, ..symbol });
                encoding.extend(bytes_of(line, each));
            }
        }
        encoding
    }

    /// The elements of an encoding; nothing in the place of one whose bytes do not belong together,
    /// or to the scale before them.
    pub(super) fn decode(&self, encoding: &[Element], wire: Wire) -> Vec<Element> {
        let (each, scale) = widths(wire);
        let whole = |bytes: &[Element]| {
            let line = bytes.first()?.line()?.0;
            let fits = |(byte, at): (&Element, u64)| byte.line() == Some((line, at));
            bytes.iter().zip(1..).all(fits).then_some(Element(LISTED | line))
        };
        let block = (each * wire.block() + scale) as usize;
        let mut elements = Vec::new();
        for bytes in encoding.chunks(block) {
            let (head, bytes) = bytes.split_at(bytes.len().min(scale as usize));
            let scaled_by = whole(head).map(|scale| self.of(scale).block);
            elements.extend(bytes.chunks(each as usize).map(|bytes| {
                let of_block =
                    |element: &Element| scale == 0 || scaled_by == Some(self.of(*element).block);
                let element = whole(bytes).filter(|_| bytes.len() == each as usize);
                element.filter(of_block).unwrap_or(Element::NOTHING)
            }));
        }
        elements
    }
}

/// Bytes of an element's encoding, and of a block's scale.
const fn widths(wire: Wire) -> (u64, u64) {
    match wire {
        Wire::Plain => (4, 0),
        Wire::Bf16 | Wire::F16 => (2, 0),
        Wire::Int8 => (1, 4),
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
const ENCODED: usize = 3;

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
    size: u64,
    segments: [Vec<Element>; 4],
    /// Output, input, scratch, and what is encoded, of which every byte stands by itself.
    rooms: [Room; 4],
}

impl Memory {
    /// Both arrays as they are before the call, or the larger one where the other is a part of it,
    /// and bytes of scratch and of what is encoded.
    pub(super) fn new(
        size: u64,
        output: Vec<Element>,
        input: Vec<Element>,
        alias: Alias,
        [scratch_len, encoded_len]: [u64; 2],
    ) -> Self {
        let room = |segment, offset, array: &[Element]| Room {
            segment,
            offset,
            len: array.len() as u64 * size,
        };
        let own = |segment, len| Room { segment, offset: 0, len };
        let mut rooms = [
            room(OUTPUT, 0, &output),
            room(INPUT, 0, &input),
            own(SCRATCH, scratch_len),
            own(ENCODED, encoded_len),
        ];
        let scratch = vec![Element::NOTHING; scratch_len.div_ceil(size) as usize];
        let encoded = vec![Element::NOTHING; encoded_len as usize];
        let mut segments = [output, input, scratch, encoded];
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
            Space::Encoded => ENCODED,
        }];
        let size = self.unit(segment);
        let whole = span.offset.is_multiple_of(size) && span.len.is_multiple_of(size);
        let place = Place { segment, begin: offset + span.offset, end: offset + span.end() };
        (whole && span.end() <= len).then_some(place)
    }

    /// Bytes that stand for one element in a segment.
    fn unit(&self, segment: usize) -> u64 {
        if segment == ENCODED { 1 } else { self.size }
    }

    /// Bytes of what lies there.
    pub(super) fn bytes(&self, place: Place) -> u64 {
        self.at(place).len() as u64 * self.unit(place.segment)
    }

    pub(super) fn at(&self, place: Place) -> &[Element] {
        &self.segments[place.segment][self.elements(place.segment, place.begin, place.end)]
    }

    pub(super) fn at_mut(&mut self, place: Place) -> &mut [Element] {
        let elements = self.elements(place.segment, place.begin, place.end);
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
        &self.segments[segment][self.elements(segment, offset, offset + len)]
    }

    fn elements(&self, segment: usize, begin: u64, end: u64) -> std::ops::Range<usize> {
        let size = self.unit(segment);
        (begin / size) as usize..(end / size) as usize
    }
}
