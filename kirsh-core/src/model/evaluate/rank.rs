//! One rank on its way through its plan: which steps are live, and what each waits for.
//!
//! The rules are those of a session's window. Only how a conflict is found differs: a small table
//! says which slots may have touched a place, so that a step is compared with few of the others.

use std::sync::Arc;

use super::links::{Links, NONE};
use crate::limits::{LOOK_AHEAD_MAX, SLICE_BYTES_MAX};
use crate::model::network::Time;
use crate::plan::{Map, Params, Pattern, Plan, Step};
use crate::types::{Rank, Span, Wire};

/// What a live step does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Send,
    /// A send whose frame waits for the NIC that the ranks of its host share.
    Sending,
    Recv,
    /// A fold whose frame has not been received.
    RecvReduce,
    /// A fold whose frame lies in a slab.
    Fold,
    /// A local fold or move; whether it moves.
    Local {
        moves: bool,
    },
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) kind: Kind,
    pub(super) link: u32,
    pub(super) len: u64,
    /// Bytes of the elements that are folded, moved, encoded or decoded.
    pub(super) work: u64,
    /// Whether they are encoded or decoded on the way.
    pub(super) encoded: bool,
    /// The next step on its link and direction.
    pub(super) next: u8,
    /// The slab, of a fold.
    pub(super) slab: u8,
    /// When its slot was free for it.
    pub(super) admitted: Time,
    /// When all that it waited for was through.
    pub(super) ready: Time,
    /// When its frame had been received.
    pub(super) received: Time,
    /// The earlier steps that it waits for, and the later ones that wait for it.
    pub(super) waits: u64,
    blocks: u64,
    /// The places that it touches.
    places: u64,
    reads: [Span; 2],
    writes: Span,
}

const NOWHERE: Span = Span::scratch(0, 0);

/// Places of the table that says who may have touched what: a bit for each.
const PLACES: usize = 64;

pub(super) struct Walker {
    pub(super) rank: Rank,
    pub(super) host: u32,
    per_host: u32,
    stripes: u8,
    plan: Option<Arc<dyn Plan>>,
    cursor: u64,
    len: u64,
    used: u64,
    /// Slots that may be able to go on.
    pub(super) attention: u64,
    /// Slots that could go on, but for the processor.
    pub(super) deferred: u64,
    /// Of those, the ones that have not been looked at since the processor became free.
    pub(super) returning: u64,
    live: Vec<Live>,
    /// When each slot was last given back.
    freed: [Time; LOOK_AHEAD_MAX],
    /// Live steps that have a frame to receive.
    receiving: u64,
    /// Live steps that write.
    writing: u64,
    touched: [u64; PLACES],
    /// Bits by which an offset is shifted to become a place.
    shift: u32,
    pub(super) links: Links,
    pub(super) cpu_free: Time,
    /// Processor time used so far.
    pub(super) computed: Time,
    pub(super) finish: Time,
    pub(super) bytes_sent: u64,
}

impl Walker {
    pub(super) fn new() -> Self {
        Walker {
            rank: 0,
            host: 0,
            per_host: 1,
            stripes: 1,
            plan: None,
            cursor: 0,
            len: 0,
            used: 0,
            attention: 0,
            deferred: 0,
            returning: 0,
            live: Vec::new(),
            freed: [0; LOOK_AHEAD_MAX],
            receiving: 0,
            writing: 0,
            touched: [0; PLACES],
            shift: 0,
            links: Links::default(),
            cpu_free: 0,
            computed: 0,
            finish: 0,
            bytes_sent: 0,
        }
    }

    /// Begins a plan at time 0, on hosts of so many ranks.
    pub(super) fn begin(
        &mut self,
        rank: Rank,
        per_host: u32,
        plan: Arc<dyn Plan>,
        params: &Params,
    ) {
        self.rank = rank;
        self.host = rank / per_host;
        self.per_host = per_host;
        self.stripes = params.stripes as u8;
        self.cursor = 0;
        self.len = plan.len();
        self.plan = Some(plan);
        self.used = 0;
        self.attention = 0;
        self.deferred = 0;
        self.returning = 0;
        self.live.clear();
        self.freed = [0; LOOK_AHEAD_MAX];
        self.receiving = 0;
        self.writing = 0;
        self.touched = [0; PLACES];
        // The longest span is a slice.
        self.shift = (params.slice.clamp(1, SLICE_BYTES_MAX as u32)).ilog2();
        self.links.clear();
        self.cpu_free = 0;
        self.computed = 0;
        self.finish = 0;
        self.bytes_sent = 0;
    }

    /// Whether every step is through.
    pub(super) fn is_over(&self) -> bool {
        self.cursor == self.len && self.used == 0
    }

    /// Where it stands, for whoever looks for the reason.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.cursor, self.len)
    }

    pub(super) fn step(&self, slot: u8) -> &Live {
        &self.live[slot as usize]
    }

    pub(super) fn step_mut(&mut self, slot: u8) -> &mut Live {
        &mut self.live[slot as usize]
    }

    /// The next slot that may be able to go on.
    pub(super) fn next_to_attend(&mut self) -> Option<u8> {
        if self.attention == 0 {
            return None;
        }
        let slot = self.attention.trailing_zeros() as u8;
        self.attention &= self.attention - 1;
        Some(slot)
    }

    pub(super) fn attend(&mut self, slot: u8) {
        if slot != NONE {
            self.attention |= 1 << slot;
        }
    }

    /// Takes steps in while there is room. Whether there were any.
    pub(super) fn admit(&mut self) -> bool {
        let before = self.cursor;
        while self.cursor < self.len && self.used != u64::MAX {
            let step = self.plan.as_ref().and_then(|plan| plan.step(self.cursor));
            self.cursor += 1;
            if let Some(step) = step {
                self.take_in(step);
            }
        }
        self.cursor != before
    }

    fn take_in(&mut self, step: Step) {
        let slot = (!self.used).trailing_zeros() as u8;
        let (kind, peer, reads, writes) = match step {
            Step::Send { peer, source } => (Kind::Send, peer, [source, NOWHERE], NOWHERE),
            Step::Recv { peer, target } => (Kind::Recv, peer, [NOWHERE; 2], target),
            Step::RecvReduce { peer, with, into, .. } => {
                (Kind::RecvReduce, peer, [with, NOWHERE], into)
            }
            Step::Reduce { with, into, .. } => {
                (Kind::Local { moves: false }, 0, [with, into], into)
            }
            Step::Map { source, target, .. } => {
                (Kind::Local { moves: true }, 0, [source, NOWHERE], target)
            }
        };
        let receives = matches!(kind, Kind::Recv | Kind::RecvReduce);
        let (len, work) = (step.frame_len(), writes.len.max(reads[0].len));
        let encoded = match step {
            Step::RecvReduce { wire, .. } => wire != Wire::Plain,
            Step::Map { map, .. } => matches!(map, Map::Encode(_) | Map::Decode(_)),
            _ => false,
        };
        let bit = 1 << slot;
        let places = self.places(&reads[0]) | self.places(&reads[1]) | self.places(&writes);
        let mut waits = self.conflicts(places, &reads, &writes);
        if kind == Kind::Send && len == 0 {
            waits |= self.receiving;
        }
        for other in bits(waits) {
            self.live[other as usize].blocks |= bit;
        }
        let link = if matches!(kind, Kind::Local { .. }) { 0 } else { self.link(peer, receives) };
        let admitted = self.freed[slot as usize];
        let step = Live {
            kind,
            link,
            len,
            work,
            encoded,
            next: NONE,
            slab: 0,
            admitted,
            ready: admitted,
            received: 0,
            waits,
            blocks: 0,
            places,
            reads,
            writes,
        };
        match self.live.get_mut(slot as usize) {
            Some(place) => *place = step,
            None => self.live.push(step),
        }
        self.used |= bit;
        self.attention |= bit;
        if receives {
            self.receiving |= bit;
        }
        if writes.len != 0 {
            self.writing |= bit;
        }
        for place in bits(places) {
            self.touched[place as usize] |= bit;
        }
        if !matches!(kind, Kind::Local { .. }) {
            self.queue_up(slot, link, receives);
        }
    }

    /// The link that the next frame to or from a peer travels on.
    fn link(&mut self, peer: Rank, receives: bool) -> u32 {
        let first = self.links.to(peer, 0);
        let near = peer / self.per_host == self.rank / self.per_host;
        if self.stripes <= 1 || near {
            return first;
        }
        let frames = &mut self.links[first].frames[usize::from(receives)];
        let frame = *frames;
        *frames += 1;
        self.links.to(peer, Pattern::EVEN.stripe(frame, self.stripes))
    }

    fn queue_up(&mut self, slot: u8, link: u32, receives: bool) {
        let link = &mut self.links[link];
        let queue = if receives { &mut link.receives } else { &mut link.sends };
        let last = std::mem::replace(&mut queue.tail, slot);
        if last == NONE {
            queue.head = slot;
        } else {
            self.live[last as usize].next = slot;
        }
    }

    /// The step at the head of its link and direction is done with it; the next one may go.
    pub(super) fn turn_over(&mut self, slot: u8) {
        let Live { link, next, kind, .. } = self.live[slot as usize];
        let link = &mut self.links[link];
        let sends = matches!(kind, Kind::Send | Kind::Sending);
        let queue = if sends { &mut link.sends } else { &mut link.receives };
        queue.head = next;
        if next == NONE {
            queue.tail = NONE;
        }
        self.attend(next);
    }

    /// The step is through at this time.
    pub(super) fn end(&mut self, slot: u8, at: Time) {
        let bit = 1 << slot;
        let Live { blocks, places, .. } = self.live[slot as usize];
        for place in bits(places) {
            self.touched[place as usize] &= !bit;
        }
        self.used &= !bit;
        self.attention &= !bit;
        self.deferred &= !bit;
        self.returning &= !bit;
        self.receiving &= !bit;
        self.writing &= !bit;
        self.freed[slot as usize] = at;
        self.finish = self.finish.max(at);
        for other in bits(blocks) {
            let later = &mut self.live[other as usize];
            later.waits &= !bit;
            later.ready = later.ready.max(at);
            if later.waits == 0 {
                self.attention |= 1 << other;
            }
        }
    }

    /// The live steps with which one that reads and writes these spans would conflict.
    fn conflicts(&self, places: u64, reads: &[Span; 2], writes: &Span) -> u64 {
        // Two that only read never conflict.
        let possible = if writes.len == 0 { self.writing } else { self.used };
        let near = bits(places).fold(0, |near, place| near | self.touched[place as usize]);
        let mut conflicts = 0;
        for other in bits(near & possible) {
            let earlier = &self.live[other as usize];
            let conflict = reads.iter().any(|read| read.overlaps(&earlier.writes))
                || writes.overlaps(&earlier.writes)
                || earlier.reads.iter().any(|read| read.overlaps(writes));
            if conflict {
                conflicts |= 1 << other;
            }
        }
        conflicts
    }

    /// The places that a span touches: never one too few.
    fn places(&self, span: &Span) -> u64 {
        if span.len == 0 {
            return 0;
        }
        let first = span.offset >> self.shift;
        let last = (span.end() - 1) >> self.shift;
        // Beyond that many they would only be the same again.
        let count = (last - first + 1).min(PLACES as u64) as u32;
        // Input and Output lie alike, and would share every place.
        let space = span.space as u64 * 21;
        let turn = ((first % PLACES as u64 + space) % PLACES as u64) as u32;
        (u64::MAX >> (PLACES as u32 - count)).rotate_left(turn)
    }
}

/// The numbers of the bits that are set.
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let index = mask.trailing_zeros() as u8;
        mask &= mask - 1;
        Some(index)
    })
}
