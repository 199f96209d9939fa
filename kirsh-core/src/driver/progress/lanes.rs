//! The lanes of this process, by number and by communicator: which of them this thread drives, and
//! what has come for those that are not there yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::driver::clock::now_ns;
use crate::driver::fork::Fd;
use crate::driver::io::Completion;
use crate::driver::lane::{Key, Lane};
use crate::driver::mail::Mail;
use crate::driver::thread::ThreadIo;
use crate::limits::{CALL_HISTORY, HANDSHAKES_PENDING_MAX};
use crate::types::Rank;
use crate::wire::control::Message;

pub(super) struct Tracked {
    pub(super) lane: Arc<Lane>,
    /// This thread has the lane's baton.
    pub(super) held: bool,
    /// To be forgotten once it is let go.
    retired: bool,
    deadline_ns: u64,
}

/// Every lane that has been registered, until it is retired.
#[derive(Default)]
pub(super) struct Lanes {
    tracked: HashMap<u32, Tracked>,
    numbers: HashMap<Key, u32>,
    /// Links and messages for communicators that this process has not registered yet.
    early_links: VecDeque<(Key, (Rank, Fd))>,
    early_messages: VecDeque<(Key, Message)>,
}

impl Lanes {
    /// Takes a lane in, without driving it.
    pub(super) fn insert(&mut self, lane: Arc<Lane>) {
        let tracked = Tracked { held: false, retired: false, deadline_ns: u64::MAX, lane };
        self.tracked.insert(tracked.lane.number, tracked);
    }

    /// Takes a lane in, with what has come for it already.
    pub(super) fn register(&mut self, lane: Arc<Lane>, own: &mut ThreadIo) {
        let (key, number) = (lane.key, lane.number);
        for (peer, fd) in take_of(&mut self.early_links, key) {
            lane.post(Mail::LinkUp { peer, fd });
        }
        for message in take_of(&mut self.early_messages, key) {
            lane.post(Mail::Message(message));
        }
        self.numbers.insert(key, number);
        self.insert(lane);
        self.drive(number, own);
    }

    /// Forgets a lane, but not before the kernel has given back what it has of it.
    pub(super) fn retire(&mut self, number: u32) {
        let Some(tracked) = self.tracked.get_mut(&number) else { return };
        self.numbers.remove(&tracked.lane.key);
        tracked.retired = true;
        if !tracked.held {
            self.tracked.remove(&number);
        }
    }

    // What comes for them.

    pub(super) fn deliver(&self, key: Key, mail: Mail) {
        if let Some(tracked) = self.numbers.get(&key).and_then(|number| self.tracked.get(number)) {
            tracked.lane.post(mail);
        }
    }

    /// The same for every lane.
    pub(super) fn deliver_to_all(&self, mail: impl Fn() -> Mail) {
        for tracked in self.tracked.values() {
            tracked.lane.post(mail());
        }
    }

    /// A link of a communicator, which may be one that this process will only know later. `rank`
    /// is this one, for the warning when so many of those wait that this one is closed.
    pub(super) fn deliver_link(&mut self, rank: Rank, key: Key, peer: Rank, fd: Fd) {
        if self.numbers.contains_key(&key) {
            self.deliver(key, Mail::LinkUp { peer, fd });
        } else if self.early_links.len() < HANDSHAKES_PENDING_MAX {
            self.early_links.push_back((key, (peer, fd)));
        } else {
            let (communicator, epoch) = key;
            tracing::warn!(
                rank,
                "closed a link from rank {peer} for communicator {communicator:016x}, epoch {epoch}: this rank has not made it yet, and holds at most {HANDSHAKES_PENDING_MAX} such links"
            );
        }
    }

    /// A message about a communicator, likewise.
    pub(super) fn deliver_message(&mut self, key: Key, message: Message) {
        if self.numbers.contains_key(&key) {
            self.deliver(key, Mail::Message(message));
        } else {
            if self.early_messages.len() == CALL_HISTORY {
                self.early_messages.pop_front();
            }
            self.early_messages.push_back((key, message));
        }
    }

    // Driving.

    pub(super) fn drive(&mut self, number: u32, own: &mut ThreadIo) {
        let Some(tracked) = self.tracked.get_mut(&number) else { return };
        tracked.lane.heed();
        if !tracked.held {
            tracked.held = tracked.lane.take(&own.bell);
        }
        while tracked.held {
            let mut core = tracked.lane.core();
            core.session.handle_tick(now_ns());
            tracked.lane.read_mail(&mut core);
            core.pump(&mut own.io, &tracked.lane, None);
            tracked.deadline_ns = core.session.next_deadline();
            if !core.session.is_idle() || core.in_flight() != 0 {
                return;
            }
            drop(core);
            tracked.held = !tracked.lane.let_go();
        }
        tracked.deadline_ns = u64::MAX;
        if tracked.retired {
            self.tracked.remove(&number);
        }
    }

    /// Drives on whatever this thread holds.
    pub(super) fn drive_held(&mut self, own: &mut ThreadIo) {
        let held: Vec<u32> = self
            .tracked
            .iter()
            .filter(|(_, tracked)| tracked.held)
            .map(|(number, _)| *number)
            .collect();
        for number in held {
            self.drive(number, own);
        }
    }

    /// What the kernel has done for a lane, if this thread holds it.
    pub(super) fn complete(&self, number: u32, own: &mut ThreadIo, event: Completion) {
        if let Some(tracked) = self.tracked.get(&number).filter(|tracked| tracked.held) {
            let lane = &tracked.lane;
            lane.core().complete(&mut own.io, lane, event);
        }
    }

    /// Whether the kernel may have memory of any lane through this thread.
    pub(super) fn any_held(&self) -> bool {
        self.tracked.values().any(|tracked| tracked.held)
    }

    pub(super) fn next_deadline(&self) -> u64 {
        let deadlines = self.tracked.values().map(|tracked| tracked.deadline_ns);
        deadlines.min().unwrap_or(u64::MAX)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.tracked.values()
    }
}

/// Takes out what belongs to one communicator, in order.
fn take_of<T>(list: &mut VecDeque<(Key, T)>, key: Key) -> Vec<T> {
    let (mine, others): (VecDeque<_>, VecDeque<_>) =
        list.drain(..).partition(|(other, _)| *other == key);
    *list = others;
    mine.into_iter().map(|(_, entry)| entry).collect()
}
