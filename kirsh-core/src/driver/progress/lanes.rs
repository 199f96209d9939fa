//! The lanes of this process, by number and by communicator: which of them this thread drives, and
//! what has come for those that are not there yet.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::loss::Loss;
use crate::driver::channel;
use crate::driver::clock::{Stretch, now_ns};
use crate::driver::fork::Fd;
use crate::driver::io::Completion;
use crate::driver::lane::{Key, Lane};
use crate::driver::link::Port;
use crate::driver::mail::Mail;
use crate::driver::members::Members;
use crate::driver::thread::ThreadIo;
use crate::limits::{CALL_HISTORY, EARLY_LINKS_MAX, RETIRED_MAX};
use crate::types::{Rank, Sequence};
use crate::wire::control::Message;

pub(super) struct Tracked {
    pub(super) lane: Arc<Lane>,
    /// This thread has the lane's baton.
    pub(super) held: bool,
    /// Somebody has asked for it to be driven.
    called: bool,
    /// To be forgotten once it is let go.
    retired: bool,
    deadline_ns: u64,
    /// Members, by world rank, that have closed this communicator while their process goes on.
    parted: HashMap<Rank, Loss>,
}

/// A communicator that was closed here, for members that have not heard of it. P-26
struct Retired {
    key: Key,
    /// Its further channels, made or not.
    channels: Vec<Key>,
    members: Arc<Members>,
    finished: Sequence,
}

/// Every lane that has been registered, until it is retired.
#[derive(Default)]
pub(super) struct Lanes {
    tracked: HashMap<u32, Tracked>,
    numbers: HashMap<Key, u32>,
    /// Links and messages for communicators that this process has not registered yet.
    early_links: VecDeque<(Key, (Port, Fd))>,
    early_messages: VecDeque<(Key, Message)>,
    /// Members that have closed a communicator that this process has not registered yet.
    early_parted: VecDeque<(Key, (Rank, Loss))>,
    /// The communicators closed last.
    retired: VecDeque<Retired>,
}

impl Lanes {
    /// Takes a lane in, without driving it.
    pub(super) fn insert(&mut self, lane: Arc<Lane>) {
        let tracked = Tracked {
            held: false,
            // A thread of its own drives every channel but the first.
            called: lane.channel == 0,
            lane,
            retired: false,
            deadline_ns: u64::MAX,
            parted: HashMap::new(),
        };
        self.tracked.insert(tracked.lane.number, tracked);
    }

    /// Takes a lane in, with what has come for it already.
    pub(super) fn register(&mut self, lane: Arc<Lane>) {
        let key = lane.key;
        self.numbers.insert(key, lane.number);
        self.insert(lane);
        for (port, fd) in take_of(&mut self.early_links, key) {
            self.deliver_up(key, port, fd);
        }
        for message in take_of(&mut self.early_messages, key) {
            self.deliver_known(key, message);
        }
        for (peer, loss) in take_of(&mut self.early_parted, key) {
            self.part(key, peer, loss);
        }
    }

    /// Forgets a lane, but not before the kernel has given back what it has of it, and gives it.
    pub(super) fn retire(&mut self, number: u32, finished: Sequence) -> Option<Arc<Lane>> {
        let tracked = self.tracked.get_mut(&number)?;
        let lane = Arc::clone(&tracked.lane);
        self.numbers.remove(&lane.key);
        tracked.retired = true;
        if !tracked.held && !tracked.called {
            self.tracked.remove(&number);
        }
        let (key, members) = (lane.key, Arc::clone(&lane.members));
        let channels: Vec<Key> = match lane.channel {
            0 => channel::keys_of(key).collect(),
            _ => Vec::new(),
        };
        self.early_links.retain(|(early, _)| !channels.contains(early));
        self.early_messages.retain(|(early, _)| !channels.contains(early));
        self.early_parted.retain(|(early, _)| !channels.contains(early));
        keep(&mut self.retired, Retired { key, channels, members, finished }, RETIRED_MAX);
        Some(lane)
    }

    /// Whether a communicator has been closed here, as far as this process remembers.
    pub(super) fn is_retired(&self, key: Key) -> bool {
        self.retired.iter().any(|retired| retired.key == key || retired.channels.contains(&key))
    }

    /// Whether a communicator is open here.
    pub(super) fn is_open(&self, key: Key) -> bool {
        self.numbers.contains_key(&key)
    }

    /// What a goodbye to a peer says of the communicators with it that were closed. P-26
    pub(super) fn closed_with(&self, peer: Rank) -> Vec<(u64, u32, Sequence)> {
        let with_it = self.retired.iter().filter(|retired| retired.members.contains(peer));
        with_it.map(|Retired { key, finished, .. }| (key.0, key.1, *finished)).collect()
    }

    // What comes for them. Peers are named by their world ranks here.

    /// Mail about a peer, which `mail` is told by its rank there.
    pub(super) fn deliver(&self, key: Key, peer: Rank, mail: impl FnOnce(Rank) -> Mail) {
        if let Some(lane) = self.lane(key)
            && let Some(peer) = lane.members.rank_of(peer)
        {
            lane.post(mail(peer));
        }
    }

    /// The same for every lane that the peer is in.
    pub(super) fn deliver_to_all(&self, peer: Rank, mail: impl Fn(Rank) -> Mail) {
        for Tracked { lane, .. } in self.tracked.values() {
            if let Some(peer) = lane.members.rank_of(peer) {
                lane.post(mail(peer));
            }
        }
    }

    /// A member has closed a communicator, and its process goes on.
    pub(super) fn part(&mut self, key: Key, peer: Rank, loss: Loss) {
        let number = self.numbers.get(&key);
        if let Some(tracked) = number.and_then(|number| self.tracked.get_mut(number)) {
            tracked.parted.insert(peer, loss.clone());
            self.deliver(key, peer, |peer| Mail::PeerGone { peer, cause: loss.of(peer) });
        } else if !self.is_retired(key) {
            keep(&mut self.early_parted, (key, (peer, loss)), RETIRED_MAX);
        }
    }

    /// Which channel of its communicator a lane is.
    pub(super) fn channel(&self, key: Key) -> u16 {
        self.lane(key).map_or(0, |lane| lane.channel)
    }

    /// What is known of a member that has closed a communicator.
    pub(super) fn parted(&self, key: Key, peer: Rank) -> Option<&Loss> {
        self.tracked.get(self.numbers.get(&key)?)?.parted.get(&peer)
    }

    fn lane(&self, key: Key) -> Option<&Arc<Lane>> {
        Some(&self.tracked.get(self.numbers.get(&key)?)?.lane)
    }

    fn deliver_known(&self, key: Key, message: Message) {
        if let Some(lane) = self.lane(key)
            && let Some(message) = lane.members.heard_from_world(message)
        {
            lane.post(Mail::Message(message));
        }
    }

    fn deliver_up(&self, key: Key, Port { peer, stripe }: Port, fd: Fd) {
        self.deliver(key, peer, |peer| Mail::LinkUp { port: Port { peer, stripe }, fd });
    }

    /// A link of a communicator, which may be one that this process will only know later. `rank`
    /// is this one, for the warning when so many of the peer's wait that this one is closed.
    pub(super) fn deliver_link(&mut self, rank: Rank, key: Key, port: Port, fd: Fd) {
        if self.is_open(key) {
            return self.deliver_up(key, port, fd);
        }
        if self.is_retired(key) {
            // Its end tells the peer that nobody is here any more.
            return;
        }
        let of_peer = self.early_links.iter().filter(|(_, (early, _))| early.peer == port.peer);
        if of_peer.count() < EARLY_LINKS_MAX {
            self.early_links.push_back((key, (port, fd)));
        } else {
            let ((communicator, epoch), peer) = (key, port.peer);
            tracing::warn!(
                rank,
                "closed a link from rank {peer} for communicator {communicator:016x}, epoch {epoch}: this rank has not made it yet, and holds at most {EARLY_LINKS_MAX} such links from one rank"
            );
        }
    }

    /// A message about a communicator, likewise.
    pub(super) fn deliver_message(&mut self, key: Key, message: Message) {
        if self.is_open(key) {
            self.deliver_known(key, message);
        } else if !self.is_retired(key) {
            keep(&mut self.early_messages, (key, message), CALL_HISTORY);
        }
    }

    // Driving.

    /// Somebody asks for a lane to be driven.
    pub(super) fn call(&mut self, number: u32) {
        if let Some(tracked) = self.tracked.get_mut(&number) {
            tracked.called = true;
        }
    }

    fn drive(&mut self, number: u32, own: &mut ThreadIo) {
        let Some(tracked) = self.tracked.get_mut(&number) else { return };
        tracked.called = false;
        tracked.lane.heed();
        if !tracked.held {
            tracked.held = tracked.lane.take(&own.bell);
        }
        while tracked.held {
            let mut core = tracked.lane.core();
            core.session.handle_tick(now_ns());
            tracked.lane.read_mail(&mut core);
            core.pump(&mut own.io, &tracked.lane, None);
            tracked.deadline_ns = core.next_deadline();
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

    /// Drives on whatever this thread holds or is asked for.
    pub(super) fn drive_due(&mut self, own: &mut ThreadIo) {
        for (_, number) in self.due() {
            self.drive(number, own);
        }
    }

    /// What is to be driven: the highest priority first, and among equals the oldest.
    pub(super) fn due(&self) -> Vec<(Reverse<i32>, u32)> {
        let due = self.tracked.values().filter(|tracked| tracked.held || tracked.called);
        let mut due: Vec<(Reverse<i32>, u32)> =
            due.map(|tracked| (Reverse(tracked.lane.priority), tracked.lane.number)).collect();
        due.sort_unstable();
        due
    }

    /// What the kernel has done for a lane, if this thread holds it.
    pub(super) fn complete(&self, number: u32, own: &mut ThreadIo, event: Completion) {
        if let Some(tracked) = self.tracked.get(&number).filter(|tracked| tracked.held) {
            let lane = &tracked.lane;
            lane.core().complete(&mut own.io, lane, event);
        }
    }

    /// This thread has waited for so long, with whatever lanes it holds.
    pub(super) fn waited(&self, stretch: Stretch) {
        for tracked in self.tracked.values().filter(|tracked| tracked.held) {
            tracked.lane.core().waited(&tracked.lane, stretch);
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

/// Puts an entry at the end, dropping the oldest where there would be too many.
fn keep<T>(list: &mut VecDeque<T>, entry: T, max: usize) {
    if list.len() >= max {
        list.pop_front();
    }
    list.push_back(entry);
}

/// Takes out what belongs to one communicator, in order.
fn take_of<T>(list: &mut VecDeque<(Key, T)>, key: Key) -> Vec<T> {
    let (mine, others): (VecDeque<_>, VecDeque<_>) =
        list.drain(..).partition(|(other, _)| *other == key);
    *list = others;
    mine.into_iter().map(|(_, entry)| entry).collect()
}
