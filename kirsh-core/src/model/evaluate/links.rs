//! The links of a rank: what passes between it and each of the others that it talks to.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Index, IndexMut};

use crate::model::network::Time;
use crate::types::Rank;

/// No slot.
pub(super) const NONE: u8 = u8::MAX;

/// Slabs that each link owns, as a communicator has it: one is folded from while the next fills.
const SLABS_PER_LINK: usize = 2;

/// What passes between this rank and one other.
pub(super) struct Link {
    pub(super) peer: Rank,
    /// Which of the links to this peer.
    stripe: u8,
    /// Of the first link to a peer: how many frames have gone to it and come from it, by whatever link.
    pub(super) frames: [u32; 2],
    /// The peer's walker, and this link's number there, once they are known.
    pub(super) far: Option<(u32, u32)>,
    pub(super) local: bool,
    /// Between hosts of different switches.
    pub(super) crosses: bool,
    pub(super) sends: Queue,
    pub(super) receives: Queue,
    /// When frames came that nobody has received yet.
    pub(super) inbox: VecDeque<Time>,
    /// When each slab was last given back.
    pub(super) slabs: [Time; SLABS_PER_LINK],
    pub(super) slabs_used: u8,
}

impl Link {
    /// What it is known by among the links of its rank.
    pub(super) const fn key(&self) -> (Rank, u8) {
        (self.peer, self.stripe)
    }

    /// The slab that has been free for longest.
    pub(super) fn free_slab(&self) -> Option<usize> {
        let free = (0..SLABS_PER_LINK).filter(|slab| self.slabs_used & (1 << slab) == 0);
        free.min_by_key(|slab| self.slabs[*slab])
    }
}

/// The live steps of one link and direction, in the order of the plan.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    pub(super) head: u8,
    pub(super) tail: u8,
}

const EMPTY: Queue = Queue { head: NONE, tail: NONE };

/// A rank's links, each with a number.
#[derive(Default)]
pub(super) struct Links {
    all: Vec<Link>,
    /// Links of an earlier plan, for their memory.
    spare: Vec<Link>,
    /// The links by peer and stripe, where they are more than a glance takes in.
    of_peer: HashMap<(Rank, u8), u32, BuildHasherDefault<ByNumber>>,
}

/// Links that are looked through one by one.
const GLANCE: usize = 12;

impl Links {
    pub(super) fn clear(&mut self) {
        self.spare.append(&mut self.all);
        self.of_peer.clear();
    }

    /// A link to a peer, made where there is none yet.
    pub(super) fn to(&mut self, peer: Rank, stripe: u8) -> u32 {
        let key = (peer, stripe);
        let found = if self.all.len() <= GLANCE {
            self.all.iter().position(|link| link.key() == key).map(|index| index as u32)
        } else {
            self.of_peer.get(&key).copied()
        };
        found.unwrap_or_else(|| self.add(peer, stripe))
    }

    fn add(&mut self, peer: Rank, stripe: u8) -> u32 {
        let index = self.all.len() as u32;
        let mut inbox = self.spare.pop().map_or_else(VecDeque::new, |link| link.inbox);
        inbox.clear();
        self.all.push(Link {
            peer,
            stripe,
            frames: [0; 2],
            far: None,
            local: false,
            crosses: false,
            sends: EMPTY,
            receives: EMPTY,
            inbox,
            slabs: [0; SLABS_PER_LINK],
            slabs_used: 0,
        });
        if self.all.len() == GLANCE + 1 {
            self.of_peer.extend((0..).zip(&self.all).map(|(index, link)| (link.key(), index)));
        } else if self.all.len() > GLANCE {
            self.of_peer.insert((peer, stripe), index);
        }
        index
    }
}

impl Index<u32> for Links {
    type Output = Link;

    fn index(&self, link: u32) -> &Link {
        &self.all[link as usize]
    }
}

impl IndexMut<u32> for Links {
    fn index_mut(&mut self, link: u32) -> &mut Link {
        &mut self.all[link as usize]
    }
}

/// Ranks are no secret and lie close together: a multiplication spreads them well enough.
#[derive(Default)]
struct ByNumber(u64);

impl Hasher for ByNumber {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u32(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        // The golden ratio's bits: both ends of the product depend on all of the number.
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
