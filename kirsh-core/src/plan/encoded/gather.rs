//! An allgather with encoded elements, for algorithms of few rounds: the rank's own block is encoded,
//! the encodings of all are gathered as bytes, and decoded.
//!
//! Frames are cut where it suits the bytes, also within a block of the encoding, so that nothing is
//! decoded before the last round is under way. The encodings of all lie one behind the other.

use crate::plan::allgather_bruck::AllgatherBruck;
use crate::plan::allgather_doubling::AllgatherDoubling;
use crate::plan::cut::{Blocks, Shape};
use crate::plan::{Map, Plan, Step};
use crate::types::{Rank, Space, Span, Wire};

pub(in crate::plan) struct EncodedGather<P> {
    inner: P,
    shape: Shape,
    blocks: Blocks,
    /// The blocks' encodings, in bytes.
    encodings: Blocks,
    wire: Wire,
    /// Elements that are encoded or decoded in one step: whole encoding blocks.
    run: u64,
}

impl EncodedGather<()> {
    pub(super) fn bruck(shape: Shape, blocks: Blocks, wire: Wire) -> impl Plan {
        EncodedGather::of(shape, blocks, wire, AllgatherBruck::plan)
    }

    pub(super) fn doubling(shape: Shape, blocks: Blocks, wire: Wire) -> impl Plan {
        EncodedGather::of(shape, blocks, wire, AllgatherDoubling::plan)
    }

    fn of<P: Plan>(
        shape: Shape,
        blocks: Blocks,
        wire: Wire,
        plan: impl FnOnce(Shape, Blocks) -> P,
    ) -> EncodedGather<P> {
        let encoded = |(begin, end): (u64, u64)| wire.encoded(shape.bytes(end - begin));
        let encodings = match blocks {
            Blocks::Even(count) => Blocks::Even(wire.encoded(shape.bytes(count))),
            _ => {
                let each = (0..shape.world).map(|rank| encoded(blocks.of(rank)));
                Blocks::uneven(&each.collect::<Vec<_>>())
            }
        };
        let count = encodings.run(0, shape.world).1;
        let bytes = Shape { count, size: 1, slice: shape.slice_bytes(), ..shape };
        let run = (shape.slice / wire.block()).max(1) * wire.block();
        EncodedGather { inner: plan(bytes, encodings.clone()), shape, blocks, encodings, wire, run }
    }
}

impl<P> EncodedGather<P> {
    /// Runs of a block, the longest one's if there is none.
    fn runs(&self, rank: Option<Rank>) -> u64 {
        let elements = rank.map(|rank| self.blocks.of(rank)).map(|(begin, end)| end - begin);
        elements.unwrap_or_else(|| self.blocks.longest()).div_ceil(self.run)
    }

    /// A run of a rank's block: in the block, in the array, and encoded.
    fn place(&self, rank: Rank, run: u64) -> Option<[Span; 3]> {
        let (begin, end) = self.blocks.of(rank);
        let from = run * self.run;
        let len = (end - begin).checked_sub(from).filter(|left| *left > 0)?.min(self.run);
        let (offset, len) = (self.shape.bytes(from), self.shape.bytes(len));
        let at = self.encodings.of(rank).0 + self.wire.encoded(offset);
        Some([
            Span::input(offset, len),
            Span::output(self.shape.bytes(begin) + offset, len),
            Span::encoded(at, self.wire.encoded(len)),
        ])
    }

    /// Where the bytes of the inner plan's arrays lie.
    fn image(&self, span: Span) -> Span {
        let begin = match span.space {
            Space::Input => self.encodings.of(self.shape.rank).0,
            _ => 0,
        };
        Span::encoded(begin + span.offset, span.len)
    }
}

impl<P: Plan> Plan for EncodedGather<P> {
    fn len(&self) -> u64 {
        let all = u64::from(self.shape.world) * self.runs(None);
        self.runs(Some(self.shape.rank)) + self.inner.len() + all
    }

    fn step(&self, index: u64) -> Option<Step> {
        let Shape { world, rank, .. } = self.shape;
        let own = self.runs(Some(rank));
        let Some(index) = index.checked_sub(own) else {
            let [source, _, target] = self.place(rank, index)?;
            return Some(Step::Map { source, target, map: Map::Encode(self.wire) });
        };
        let Some(index) = index.checked_sub(self.inner.len()) else {
            return match self.inner.step(index)? {
                Step::Send { peer, source } => {
                    Some(Step::Send { peer, source: self.image(source) })
                }
                Step::Recv { peer, target } => {
                    Some(Step::Recv { peer, target: self.image(target) })
                }
                // The own block comes to its place decoded, as all others do.
                Step::Map { .. } | Step::RecvReduce { .. } | Step::Reduce { .. } => None,
            };
        };
        // From the own block on, which is there first.
        let (ahead, run) = (index / self.runs(None), index % self.runs(None));
        let of = (u64::from(rank) + ahead) % u64::from(world);
        let [_, target, source] = self.place(of as Rank, run)?;
        Some(Step::Map { source, target, map: Map::Decode(self.wire) })
    }

    fn scratch_len(&self) -> u64 {
        self.inner.scratch_len()
    }

    fn encoded_len(&self) -> u64 {
        self.encodings.run(0, self.shape.world).1
    }
}
