//! The live steps of an operation and what each of them waits for.
//!
//! Every live step has a slot, and every slot a bit. What a step waits for is two masks of slots:
//! those it conflicts with in memory, and the one before it on its link. A step that is through
//! takes its bit out of all masks.

use std::ops::{Index, IndexMut};

use super::action::{SlabId, Slot};
use super::links::{LinkIndex, NONE};
use crate::limits::LOOK_AHEAD_MAX;
use crate::plan::{Finish, Step};
use crate::types::Span;

/// How far a live step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not begun.
    Waiting,
    /// The frame is being received.
    Receiving,
    /// The frame is here, not yet checked.
    Received,
    /// The owner folds, reduces or maps.
    Folding,
    /// The frame is being sent.
    Sending,
    /// Sent, but the bytes are still lent.
    Accepted,
}

/// One live step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    /// How many steps were taken in before it: the order of the plan.
    pub(super) order: u64,
    pub(super) step: Step,
    pub(super) link: LinkIndex,
    /// The frame's number between its two ranks, in its direction, within the operation.
    pub(super) frame: u32,
    pub(super) phase: Phase,
    pub(super) slab: Option<SlabId>,
    reads: [Span; 2],
    writes: Span,
    conflicts: u64,
    behind: u64,
}

const NOWHERE: Span = Span::scratch(0, 0);

pub(super) struct Window {
    slots: Box<[Live; LOOK_AHEAD_MAX]>,
    /// Slots taken.
    used: u64,
    /// Slots that may be able to go on.
    attention: u64,
    /// Steps taken in so far.
    admitted: u64,
    /// Slots there are, as a mask.
    room: u64,
}

impl Window {
    pub(super) fn new(look_ahead: usize) -> Self {
        let empty = Live {
            order: 0,
            step: Step::Reduce { with: NOWHERE, into: NOWHERE, finish: Finish::Keep },
            link: NONE,
            frame: 0,
            phase: Phase::Waiting,
            slab: None,
            reads: [NOWHERE; 2],
            writes: NOWHERE,
            conflicts: 0,
            behind: 0,
        };
        let room = if look_ahead >= 64 { u64::MAX } else { (1 << look_ahead) - 1 };
        Window {
            slots: Box::new([empty; LOOK_AHEAD_MAX]),
            used: 0,
            attention: 0,
            admitted: 0,
            room,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.used != self.room
    }

    /// How many steps have been taken in behind this one.
    pub(super) fn steps_behind(&self, slot: Slot) -> u64 {
        self.admitted - 1 - self[slot].order
    }

    pub(super) fn is_empty(&self) -> bool {
        self.used == 0
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.attention = 0;
    }

    /// Takes a step in; every slot in use belongs to an earlier step.
    pub(super) fn admit(&mut self, step: Step) -> Slot {
        let index = (!self.used & self.room).trailing_zeros() as usize;
        let (reads, writes) = effects(&step);
        let fence = matches!(step, Step::Send { source, .. } if source.len == 0);
        let mut conflicts = 0;
        for other in bits(self.used) {
            let earlier = &self.slots[other];
            // A frame without payload says "all before it has come": see the rules of plans.
            let conflict = (fence && earlier.step.receives())
                || reads.iter().any(|read| read.overlaps(&earlier.writes))
                || writes.overlaps(&earlier.writes)
                || earlier.reads.iter().any(|read| read.overlaps(&writes));
            if conflict {
                conflicts |= 1 << other;
            }
        }
        self.slots[index] = Live {
            order: self.admitted,
            step,
            link: NONE,
            frame: 0,
            phase: Phase::Waiting,
            slab: None,
            reads,
            writes,
            conflicts,
            behind: 0,
        };
        self.admitted += 1;
        self.used |= 1 << index;
        self.attention |= 1 << index;
        Slot(index as u8)
    }

    /// The step uses this link, and not before the other has.
    pub(super) fn queue_behind(&mut self, slot: Slot, link: LinkIndex, other: Option<Slot>) {
        self[slot].link = link;
        self[slot].behind = other.map_or(0, |other| 1 << other.0);
    }

    pub(super) fn free_of_conflicts(&self, slot: Slot) -> bool {
        self[slot].conflicts == 0
    }

    pub(super) fn has_turn(&self, slot: Slot) -> bool {
        self[slot].behind == 0
    }

    /// The link is done with this step; the next on it may go.
    pub(super) fn turn_over(&mut self, slot: Slot) {
        let bit = 1u64 << slot.0;
        for other in bits(self.used & !bit) {
            if self.slots[other].behind & bit != 0 {
                self.slots[other].behind = 0;
                self.attention |= 1 << other;
            }
        }
    }

    /// The step is through; those that conflicted with it may go, and its slot is free.
    pub(super) fn finish(&mut self, slot: Slot) {
        let bit = 1u64 << slot.0;
        self.used &= !bit;
        self.attention &= !bit;
        for other in bits(self.used) {
            if self.slots[other].conflicts & bit != 0 {
                self.slots[other].conflicts &= !bit;
                self.attention |= 1 << other;
            }
        }
    }

    pub(super) fn attend(&mut self, slot: Slot) {
        self.attention |= 1 << slot.0;
    }

    /// Every step on this link may be able to go on.
    pub(super) fn attend_link(&mut self, link: LinkIndex) {
        for slot in bits(self.used) {
            if self.slots[slot].link == link {
                self.attention |= 1 << slot;
            }
        }
    }

    pub(super) fn uses_link(&self, link: LinkIndex) -> bool {
        bits(self.used).any(|slot| self.slots[slot].link == link)
    }

    /// A slot that may be able to go on, forgotten by being returned.
    pub(super) fn next_attention(&mut self) -> Option<Slot> {
        if self.attention == 0 {
            return None;
        }
        let index = self.attention.trailing_zeros();
        self.attention &= self.attention - 1;
        Some(Slot(index as u8))
    }

    /// What a live step writes, and how many live steps are yet to send just that.
    pub(super) fn forwarded(&self, slot: Slot) -> (Span, u32) {
        let written = self[slot].writes;
        let sends = bits(self.used).filter(|&other| {
            let live = &self.slots[other];
            live.phase == Phase::Waiting
                && matches!(live.step, Step::Send { source, .. } if source == written)
        });
        (written, sends.count() as u32)
    }

    /// The live steps.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Live> {
        bits(self.used).map(|slot| &self.slots[slot])
    }
}

impl Index<Slot> for Window {
    type Output = Live;

    fn index(&self, slot: Slot) -> &Live {
        &self.slots[slot.0 as usize]
    }
}

impl IndexMut<Slot> for Window {
    fn index_mut(&mut self, slot: Slot) -> &mut Live {
        &mut self.slots[slot.0 as usize]
    }
}

/// What a step reads and what it writes, for as long as it lives.
fn effects(step: &Step) -> ([Span; 2], Span) {
    match *step {
        Step::Send { source, .. } => ([source, NOWHERE], NOWHERE),
        Step::Recv { target, .. } => ([NOWHERE; 2], target),
        Step::RecvReduce { with, into, .. } => ([with, NOWHERE], into),
        Step::Reduce { with, into, .. } => ([with, into], into),
        Step::Map { source, target, .. } => ([source, NOWHERE], target),
    }
}

fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if mask == 0 {
            return None;
        }
        let index = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        Some(index)
    })
}
