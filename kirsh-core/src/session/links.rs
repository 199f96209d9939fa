//! What a session knows of each peer: which links there are to it, whether each is up, whose turn it is
//! on it, its slabs.

use std::ops::{Index, IndexMut};

use super::action::{SlabId, Slot};
use crate::limits::STRIPES_MAX;
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

/// One connection to one peer, as far as this session has to do with it.
pub(super) struct Link {
    pub(super) peer: Rank,
    /// Which of the connections to this peer.
    pub(super) stripe: u8,
    pub(super) state: LinkState,
    /// The last step that wants to send and has not been accepted.
    pub(super) last_send: Option<Slot>,
    /// The last step that wants to receive and has not received.
    pub(super) last_receive: Option<Slot>,
    /// Slabs at hand, one bit each.
    slabs: u8,
}

/// One peer.
struct Pair {
    peer: Rank,
    /// The operation that the frame counts belong to.
    sequence: Sequence,
    sent: u32,
    received: u32,
    /// By stripe.
    links: [LinkIndex; STRIPES_MAX as usize],
    /// What the peer last said of being stuck.
    report: Option<Report>,
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
    pub(super) link: LinkIndex,
    /// How many frames of the operation go before it, between its two ranks.
    pub(super) number: u32,
    /// The live step right before it on its link.
    pub(super) behind: Option<Slot>,
}

pub(super) struct Links {
    of_peer: Vec<u32>,
    pairs: Vec<Pair>,
    links: Vec<Link>,
    all_slabs: u8,
}

impl Links {
    pub(super) fn new(world: u32, slabs_per_link: u8) -> Self {
        let all_slabs = ((1u16 << slabs_per_link) - 1) as u8;
        let of_peer = vec![NONE; world as usize];
        Links { of_peer, pairs: Vec::new(), links: Vec::new(), all_slabs }
    }

    /// The number of a peer among those that have been heard of.
    #[inline]
    fn pair(&mut self, peer: Rank) -> usize {
        let index = self.of_peer[peer as usize];
        if index != NONE { index as usize } else { self.meet(peer) }
    }

    #[cold]
    fn meet(&mut self, peer: Rank) -> usize {
        let index = self.pairs.len();
        self.of_peer[peer as usize] = index as u32;
        let links = [NONE; STRIPES_MAX as usize];
        self.pairs.push(Pair {
            peer,
            sequence: Sequence::MAX,
            sent: 0,
            received: 0,
            links,
            report: None,
        });
        index
    }

    /// A link to a peer, which need not be up.
    #[inline]
    pub(super) fn at(&mut self, peer: Rank, stripe: u8) -> LinkIndex {
        let pair = self.pair(peer);
        let index = self.pairs[pair].links[usize::from(stripe)];
        if index != NONE { index } else { self.add(pair, stripe) }
    }

    #[cold]
    fn add(&mut self, pair: usize, stripe: u8) -> LinkIndex {
        let index = self.links.len() as LinkIndex;
        let pair = &mut self.pairs[pair];
        pair.links[usize::from(stripe)] = index;
        self.links.push(Link {
            peer: pair.peer,
            stripe,
            state: LinkState::Down,
            last_send: None,
            last_receive: None,
            slabs: self.all_slabs,
        });
        index
    }

    /// The links to a peer that there are.
    pub(super) fn of(&self, peer: Rank) -> impl Iterator<Item = LinkIndex> + '_ {
        let pair = self.pairs.get(self.of_peer[peer as usize] as usize);
        pair.into_iter().flat_map(|pair| pair.links).filter(|link| *link != NONE)
    }

    /// Every peer that this session has had to do with.
    pub(super) fn peers(&self) -> impl Iterator<Item = Rank> + '_ {
        self.pairs.iter().map(|pair| pair.peer)
    }

    /// What a peer last said of being stuck.
    pub(super) fn report(&self, peer: Rank) -> Option<Report> {
        self.pairs.get(self.of_peer[peer as usize] as usize)?.report
    }

    pub(super) fn note(&mut self, peer: Rank, report: Report) {
        let pair = self.pair(peer);
        self.pairs[pair].report = Some(report);
    }

    /// Queues a step on the link that the number of its frame leads to. P-11
    #[inline]
    pub(super) fn take_turn(
        &mut self,
        peer: Rank,
        sequence: Sequence,
        slot: Slot,
        step: &Step,
        stripe_of: impl FnOnce(u32) -> u8,
    ) -> Turn {
        let index = self.pair(peer);
        let pair = &mut self.pairs[index];
        if pair.sequence != sequence {
            pair.sequence = sequence;
            pair.sent = 0;
            pair.received = 0;
        }
        let sends = matches!(step, Step::Send { .. });
        let count = if sends { &mut pair.sent } else { &mut pair.received };
        let number = *count;
        *count += 1;
        let link = self.at(peer, stripe_of(number));
        let Link { last_send, last_receive, .. } = &mut self[link];
        let last = if sends { last_send } else { last_receive };
        Turn { link, number, behind: last.replace(slot) }
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
