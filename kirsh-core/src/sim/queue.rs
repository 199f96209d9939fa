//! What can happen next, and chance, which picks.

use std::hash::{BuildHasherDefault, Hasher};

use crate::session::Slot;
use crate::types::Rank;

/// Chance from a seed: SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// SplitMix64's finalizer: spreads every bit over all.
pub(super) const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Hashes the small keys of the simulator's own maps, which nobody feeds on purpose.
#[derive(Default)]
pub(super) struct QuickHasher(u64);

pub(super) type Quick = BuildHasherDefault<QuickHasher>;

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64((*byte).into()));
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0 ^ value);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Something that can happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The rank makes its next call.
    Call {
        rank: Rank,
    },
    LinkUp {
        rank: Rank,
        peer: Rank,
        stripe: u8,
    },
    LinkDown {
        rank: Rank,
        peer: Rank,
        stripe: u8,
    },
    /// The frame that both ends of this direction are ready for moves.
    Transfer {
        from: Rank,
        to: Rank,
        stripe: u8,
    },
    Accepted {
        rank: Rank,
        slot: Slot,
    },
    Released {
        rank: Rank,
        slot: Slot,
    },
    Received {
        rank: Rank,
        slot: Slot,
    },
    Verified {
        rank: Rank,
        slot: Slot,
    },
    /// A fold, local reduction or map comes to its end.
    Worked {
        rank: Rank,
        slot: Slot,
    },
    Control {
        to: Rank,
        frame: std::rc::Rc<[u8]>,
    },
    /// What the kernel held of a failed rank has come back.
    Drained {
        rank: Rank,
    },
    /// A rank learns that a peer's process is gone.
    Gone {
        rank: Rank,
        peer: Rank,
    },
    /// A rank looks at the clock.
    Tick {
        rank: Rank,
    },
}

impl Event {
    /// Its kind as a bit, and the rank it happens to.
    pub(super) const fn kind_and_rank(&self) -> (u32, Rank) {
        match *self {
            Event::Call { rank } => (1 << 0, rank),
            Event::LinkUp { rank, .. } => (1 << 1, rank),
            Event::LinkDown { rank, .. } => (1 << 2, rank),
            Event::Transfer { from, .. } => (1 << 3, from),
            Event::Accepted { rank, .. } => (1 << 4, rank),
            Event::Released { rank, .. } => (RELEASED, rank),
            Event::Received { rank, .. } => (1 << 6, rank),
            Event::Verified { rank, .. } => (1 << 7, rank),
            Event::Worked { rank, .. } => (1 << 8, rank),
            Event::Control { to, .. } => (1 << 9, to),
            Event::Drained { rank } => (1 << 10, rank),
            Event::Gone { rank, .. } => (1 << 11, rank),
            Event::Tick { rank } => (1 << 12, rank),
        }
    }
}

const RELEASED: u32 = 1 << 5;

/// The events that can happen. Late ones wait until nothing else can.
pub(super) struct Queue {
    ready: Vec<Event>,
    late: Vec<Event>,
    late_kinds: u32,
    late_rank: Option<Rank>,
}

impl Queue {
    /// Draws which kinds of event, and which rank's, are late in this run.
    pub(super) fn new(random: &mut Random, world: u32) -> Self {
        // Every second run lets go of sent bytes only when nothing else can move; a kind is late
        // in every fourth, and a rank in every third.
        let mut late_kinds = (random.next() & random.next()) as u32;
        if random.below(2) == 0 {
            late_kinds |= RELEASED;
        }
        let late_rank = (random.below(3) == 0).then(|| random.below(world as usize) as Rank);
        Queue { ready: Vec::new(), late: Vec::new(), late_kinds, late_rank }
    }

    pub(super) fn push(&mut self, event: Event) {
        let (kind, rank) = event.kind_and_rank();
        let late = self.late_kinds & kind != 0 || self.late_rank == Some(rank);
        if late { self.late.push(event) } else { self.ready.push(event) }
    }

    /// Takes one at random.
    pub(super) fn pop(&mut self, random: &mut Random) -> Option<Event> {
        let from = if self.ready.is_empty() { &mut self.late } else { &mut self.ready };
        if from.is_empty() {
            return None;
        }
        let index = random.below(from.len());
        Some(from.swap_remove(index))
    }
}
