//! What a session knows of each peer: whether the link is up, whose turn it is on it, its slabs.

use std::ops::{Index, IndexMut};

use super::action::{SlabId, Slot};
use crate::plan::Step;
use crate::types::{Rank, Sequence};

/// A link's number, in order of first use.
pub(super) type LinkIndex = u32;

/// The link of a step that uses none.
pub(super) const NONE: LinkIndex = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Not asked for yet.
    Down,
    Dialing,
    Up,
    /// Lost while it was needed: the operation is about to fail.
    Broken,
}

/// One peer, as far as this session has to do with it.
pub(super) struct Link {
    pub(super) peer: Rank,
    pub(super) state: LinkState,
    /// The operation that the frame counts belong to.
    sequence: Sequence,
    sent: u32,
    received: u32,
    /// The last step that wants to send and has not been accepted.
    pub(super) last_send: Option<Slot>,
    /// The last step that wants to receive and has not received.
    pub(super) last_receive: Option<Slot>,
    /// Slabs at hand, one bit each.
    slabs: u8,
    /// What the peer last said of being stuck.
    pub(super) report: Option<Report>,
}

/// "I am stuck in this operation and wait for that rank."
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    pub(super) sequence: Sequence,
    pub(super) blame: Rank,
    pub(super) heard_ns: u64,
}

/// A step's place on its link.
pub(super) struct Turn {
    /// How many frames of the operation go before it.
    pub(super) number: u32,
    /// The live step right before it.
    pub(super) behind: Option<Slot>,
}

pub(super) struct Links {
    of_peer: Vec<LinkIndex>,
    links: Vec<Link>,
    all_slabs: u8,
}

impl Links {
    pub(super) fn new(world: u32, slabs_per_link: u8) -> Self {
        let all_slabs = ((1u16 << slabs_per_link) - 1) as u8;
        Links { of_peer: vec![NONE; world as usize], links: Vec::new(), all_slabs }
    }

    /// The link to a peer, which need not be up.
    #[inline]
    pub(super) fn of(&mut self, peer: Rank) -> LinkIndex {
        let index = self.of_peer[peer as usize];
        if index != NONE { index } else { self.add(peer) }
    }

    #[cold]
    fn add(&mut self, peer: Rank) -> LinkIndex {
        let index = self.links.len() as LinkIndex;
        self.of_peer[peer as usize] = index;
        self.links.push(Link {
            peer,
            state: LinkState::Down,
            sequence: Sequence::MAX,
            sent: 0,
            received: 0,
            last_send: None,
            last_receive: None,
            slabs: self.all_slabs,
            report: None,
        });
        index
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    /// Queues a step on its link.
    pub(super) fn take_turn(
        &mut self,
        index: LinkIndex,
        sequence: Sequence,
        slot: Slot,
        step: &Step,
    ) -> Turn {
        let link = &mut self[index];
        if link.sequence != sequence {
            link.sequence = sequence;
            link.sent = 0;
            link.received = 0;
        }
        let (count, last) = match step {
            Step::Send { .. } => (&mut link.sent, &mut link.last_send),
            _ => (&mut link.received, &mut link.last_receive),
        };
        let number = *count;
        *count += 1;
        Turn { number, behind: last.replace(slot) }
    }

    pub(super) fn take_slab(&mut self, index: LinkIndex) -> Option<SlabId> {
        let link = &mut self[index];
        if link.slabs == 0 {
            return None;
        }
        let slab = link.slabs.trailing_zeros() as u8;
        link.slabs &= link.slabs - 1;
        Some(SlabId { link: index, index: slab })
    }

    pub(super) fn return_slab(&mut self, index: LinkIndex, slab: SlabId) {
        self[index].slabs |= 1 << slab.index;
    }
}

impl Index<LinkIndex> for Links {
    type Output = Link;

    fn index(&self, index: LinkIndex) -> &Link {
        &self.links[index as usize]
    }
}

impl IndexMut<LinkIndex> for Links {
    fn index_mut(&mut self, index: LinkIndex) -> &mut Link {
        &mut self.links[index as usize]
    }
}
