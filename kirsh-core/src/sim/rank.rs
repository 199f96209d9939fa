//! One rank: its session, what it has in hand for it, and whom its memory is lent to.

use std::collections::HashMap;

use super::memory::{Element, Memory, Place, Symbols};
use super::queue::Quick;
use super::{Failure, Violation};
use crate::error::Error;
use crate::limits::LOOK_AHEAD_MAX;
use crate::plan::{Finish, Map};
use crate::session::{Session, SlabId, Slot};
use crate::types::{Rank, Sequence, Wire};
use crate::wire::header::Header;

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Landing {
    Place(Place),
    Slab(SlabId),
}

/// What a slot of the session has asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    Send { header: Header, source: Place },
    Receive { peer: Rank, expected: Header, landing: Landing, here: bool },
    Fold { slab: SlabId, with: Place, into: Place, finish: Finish, wire: Wire },
    Reduce { with: Place, into: Place, finish: Finish },
    Map { source: Place, target: Place, map: Map },
}

impl Work {
    fn reads(&self) -> [Place; 2] {
        match *self {
            Work::Send { source, .. } | Work::Map { source, .. } => [source, Place::NOWHERE],
            Work::Receive { .. } => [Place::NOWHERE; 2],
            Work::Fold { with, .. } => [with, Place::NOWHERE],
            Work::Reduce { with, into, .. } => [with, into],
        }
    }

    fn writes(&self) -> Place {
        match *self {
            Work::Receive { landing: Landing::Place(place), .. } => place,
            Work::Send { .. } | Work::Receive { .. } => Place::NOWHERE,
            Work::Fold { into, .. } | Work::Reduce { into, .. } => into,
            Work::Map { target, .. } => target,
        }
    }
}

pub(super) struct Member {
    pub(super) session: Session,
    /// Bytes of scratch, and of what is encoded, that the plan of each call made so far speaks of.
    pub(super) own_lens: Vec<[u64; 2]>,
    /// What came of each call of the scenario, once it is over.
    pub(super) outcomes: Vec<Option<Result<(), Error>>>,
    works: [Option<Work>; LOOK_AHEAD_MAX],
    /// The slots that have something in hand, a bit each.
    used: u64,
    /// The memory of the call that runs.
    pub(super) memory: Option<(Sequence, Memory)>,
    /// Slabs in use, with what was received into them.
    slabs: HashMap<SlabId, Vec<Element>, Quick>,
    /// Whom a slab's link leads to.
    slab_peers: HashMap<u32, Rank, Quick>,
    /// It failed; what the kernel holds comes back in one event.
    pub(super) aborting: bool,
    pub(super) drained: bool,
    /// It crashed or froze: nothing happens to it any more.
    pub(super) dead: bool,
    pub(super) bytes_sent: u64,
}

impl Member {
    pub(super) fn new(session: Session, calls: usize) -> Self {
        Member {
            session,
            own_lens: Vec::new(),
            outcomes: vec![None; calls],
            works: [None; LOOK_AHEAD_MAX],
            used: 0,
            memory: None,
            slabs: HashMap::default(),
            slab_peers: HashMap::default(),
            aborting: false,
            drained: false,
            dead: false,
            bytes_sent: 0,
        }
    }

    pub(super) fn rank(&self) -> Rank {
        self.session.settings().rank
    }

    /// Calls made so far.
    pub(super) fn called(&self) -> u64 {
        self.own_lens.len() as u64
    }

    /// Whether it has made this call and is through with all before it.
    pub(super) fn is_in(&self, sequence: Sequence) -> bool {
        self.called() > sequence && self.is_through(sequence as usize)
    }

    /// Whether the first calls are over.
    pub(super) fn is_through(&self, calls: usize) -> bool {
        self.outcomes[..calls].iter().all(Option::is_some)
    }

    pub(super) fn broken(&self, violation: Violation, text: impl AsRef<str>) -> Failure {
        let text =
            format!("rank {} in call {}: {}", self.rank(), self.session.finished(), text.as_ref());
        Failure { violation, text }
    }

    /// Begins what a slot asks for, if nobody else has the memory.
    pub(super) fn begin(&mut self, slot: Slot, work: Work) -> Result<(), Failure> {
        let index = usize::from(slot.0);
        let follows = match (&self.works[index], &work) {
            (None, Work::Fold { .. }) => false,
            (None, _) => true,
            (Some(Work::Receive { landing, here, .. }), Work::Fold { slab, .. }) => {
                *landing == Landing::Slab(*slab) && *here
            }
            _ => false,
        };
        if !follows {
            let text = format!("{work:?} where slot {index} has {:?}", self.works[index]);
            return Err(self.broken(Violation::Frame, text));
        }
        let (reads, writes) = (work.reads(), work.writes());
        let mut others = self.used & !(1 << index);
        while others != 0 {
            let other = others.trailing_zeros() as usize;
            others &= others - 1;
            let Some(held) = &self.works[other] else { continue };
            let held_writes = held.writes();
            let lent = held_writes.overlaps(&writes)
                || held.reads().iter().any(|read| read.overlaps(&writes));
            if lent || reads.iter().any(|read| read.overlaps(&held_writes)) {
                let violation = if lent { Violation::LentWrite } else { Violation::TornRead };
                return Err(self.broken(violation, format!("{work:?} while {held:?}")));
            }
        }
        if let Work::Receive { peer, landing: Landing::Slab(slab), .. } = work {
            self.lease(slab, peer)?;
        }
        self.works[index] = Some(work);
        self.used |= 1 << index;
        Ok(())
    }

    fn lease(&mut self, slab: SlabId, peer: Rank) -> Result<(), Failure> {
        let leads_to = *self.slab_peers.entry(slab.link).or_insert(peer);
        if leads_to != peer {
            let text = format!("{slab:?} of the link to rank {leads_to} for rank {peer}");
            return Err(self.broken(Violation::Slab, text));
        }
        if slab.index >= self.session.settings().slabs_per_link {
            return Err(self.broken(Violation::Slab, format!("{slab:?} does not exist")));
        }
        if self.slabs.insert(slab, Vec::new()).is_some() {
            return Err(self.broken(Violation::Slab, format!("{slab:?} is in use")));
        }
        Ok(())
    }

    /// Everything in hand, by slot.
    pub(super) fn works(&self) -> impl Iterator<Item = (usize, &Work)> {
        let works = self.works.iter().enumerate();
        works.filter_map(|(slot, work)| work.as_ref().map(|work| (slot, work)))
    }

    pub(super) fn work(&self, slot: Slot) -> Option<&Work> {
        self.works[usize::from(slot.0)].as_ref()
    }

    /// The payload of a send, as it lies in memory now.
    pub(super) fn payload(&self, source: Place) -> Vec<Element> {
        self.memory.as_ref().map_or_else(Vec::new, |(_, memory)| memory.at(source).to_vec())
    }

    /// A payload arrives.
    pub(super) fn land(&mut self, landing: Landing, payload: Vec<Element>) {
        match landing {
            Landing::Place(place) => {
                if let Some((_, memory)) = &mut self.memory {
                    memory.at_mut(place).copy_from_slice(&payload);
                }
            }
            Landing::Slab(slab) => {
                self.slabs.insert(slab, payload);
            }
        }
    }

    /// Does a fold, reduction or map, and takes it out of its slot.
    pub(super) fn do_work(&mut self, slot: Slot, symbols: &mut Symbols) -> Result<(), Failure> {
        let work = self.works[usize::from(slot.0)].take();
        self.used &= !(1 << slot.0);
        let Some((_, memory)) = &mut self.memory else {
            return Err(self.broken(Violation::Frame, "work without memory"));
        };
        let (operand, into, finish) = match work {
            Some(Work::Fold { slab, with, into, finish, wire }) => {
                let mut received = self.slabs.remove(&slab).unwrap_or_default();
                if wire != Wire::Plain {
                    received = symbols.decode(&received, wire);
                }
                let with = memory.at(with);
                if received.len() != with.len() {
                    return Err(self.broken(Violation::Frame, "a fold of unequal lengths"));
                }
                let operand: Vec<_> = with.iter().copied().zip(received).collect();
                (operand, into, finish)
            }
            Some(Work::Reduce { with, into, finish }) => {
                let (a, b) = (memory.at(with).iter(), memory.at(into).iter());
                (a.copied().zip(b.copied()).collect(), into, finish)
            }
            Some(Work::Map { source, target, map }) => {
                let moved = symbols.map(memory.at(source), map);
                if moved.len() != memory.at(target).len() {
                    return Err(self.broken(Violation::Frame, "a move of unequal lengths"));
                }
                memory.at_mut(target).copy_from_slice(&moved);
                return Ok(());
            }
            other => {
                let text = format!("work done where there is {other:?}");
                return Err(self.broken(Violation::Frame, text));
            }
        };
        for (into, (a, b)) in memory.at_mut(into).iter_mut().zip(operand) {
            *into = symbols.fold(a, b, finish);
        }
        Ok(())
    }

    /// A payload is here whole. Whether it may be folded now; else it is to be checked first.
    pub(super) fn receive(&mut self, slot: Slot) -> bool {
        match &mut self.works[usize::from(slot.0)] {
            Some(Work::Receive { landing: Landing::Slab(_), here, .. }) => {
                *here = true;
                true
            }
            _ => false,
        }
    }

    /// The slot has nothing in hand any more.
    pub(super) fn clear(&mut self, slot: Slot) {
        self.works[usize::from(slot.0)] = None;
        self.used &= !(1 << slot.0);
    }

    /// Everything comes back at once.
    pub(super) fn clear_all(&mut self) {
        self.works = [None; LOOK_AHEAD_MAX];
        self.used = 0;
        self.slabs.clear();
    }

    /// Whether anything is still lent or in use.
    pub(super) fn holds_nothing(&self) -> bool {
        self.used == 0 && self.slabs.is_empty()
    }
}
