//! What is said over the control links, from the first word to the goodbye, and who is lost when
//! one of them ends.

use crossbeam_channel::Sender;

use super::connect::{Needs, Wish};
use super::control::{ControlLink, LEFT, Reading};
use super::loss::Loss;
use super::{Progress, token, unwatch};
use crate::driver::clock::now_ns;
use crate::driver::fork::Fd;
use crate::driver::lane::Key;
use crate::driver::mail::Mail;
use crate::driver::members::Members;
use crate::error::ErrorKind;
use crate::limits::{DEPARTURES_MAX, PASSED_ON_MAX};
use crate::session::Audience;
use crate::types::{Rank, Sequence};
use crate::wire::control::Message;

/// How long a goodbye may take before the process leaves without an answer.
const LEAVE_NS: u64 = 1_000_000_000;

/// How long after a peer's goodbye what it sent before may still be on its way: over a link that
/// it opened, used and closed, and that has not even been accepted here.
const DEPART_NS: u64 = 300_000_000;

/// Somebody who has said goodbye: a process that has ended its stream, or that has closed one
/// communicator.
pub(super) struct Departed {
    /// When to believe that nothing more of theirs comes.
    pub(super) when_ns: u64,
    pub(super) peer: Rank,
    /// Which communicator; none if it is the process.
    pub(super) lane: Option<Key>,
    pub(super) loss: Loss,
}

/// An abort, or the refusal of a rank's call of this number, as one to pass on once.
pub(super) type Passed = (Key, Option<(Rank, Sequence)>);

impl Progress {
    /// A control link has come about. Of two, the one that the lower process has dialled stays, and
    /// of two such the later: its dialer knows of no other. P-43
    pub(super) fn control_up(&mut self, peer: Rank, fd: Fd, dialled_here: bool) {
        if self.leaving.is_some() {
            return;
        }
        if dialled_here == self.facts.dials(peer) {
            // What came over the other one counts all the same.
            self.hear_out(peer);
            self.drop_control(peer);
        } else if self.controls.contains_key(&peer) || self.is_dialling(peer) {
            return;
        }
        self.next_turn = self.next_turn.wrapping_add(1);
        let link = ControlLink::new(peer, self.next_turn, fd, now_ns());
        self.watch(link.descriptor(), token::of(token::CONTROL, link.id()), Needs::Readable);
        self.controls.insert(peer, link);
        self.probes.retain(|(_, rank)| *rank != peer);
        self.facts.roll.mark(peer);
        self.tell_directly(peer, &Message::Heartbeat);
        // P-26: it may not have been there when these were closed.
        let closed = self.lanes.closed_with(peer);
        if !closed.is_empty() {
            self.tell_directly(
                peer,
                &Message::Goodbye { origin: self.facts.rank, finished: closed },
            );
        }
    }

    /// Reads what has come over a control link, and says how that went and whether the peer has
    /// said anything, and goodbye.
    fn hear_out(&mut self, peer: Rank) -> Option<(Reading, bool, bool)> {
        let link = self.controls.get_mut(&peer)?;
        let mut messages = Vec::new();
        let before = link.bytes_heard;
        let reading = link.read(now_ns(), &mut |message| messages.push(message));
        let traffic = &self.facts.observed.control[peer as usize];
        traffic.bytes_received.add(link.bytes_heard - before);
        traffic.frames_received.add(messages.len() as u64);
        // P-26
        link.goodbye |= messages.iter().any(
            |message| matches!(message, Message::Goodbye { finished, .. } if finished.is_empty()),
        );
        let (heard, goodbye) = (link.heard, link.goodbye);
        if heard {
            self.doubts.remove(&peer);
        }
        for message in messages {
            self.hear(peer, message);
        }
        Some((reading, heard, goodbye))
    }

    pub(super) fn read_control(&mut self, peer: Rank) {
        let Some((reading, heard, goodbye)) = self.hear_out(peer) else { return };
        match reading {
            Reading::Open => {
                let Some(link) = self.controls.get(&peer) else { return };
                let (descriptor, id) = (link.descriptor(), link.id());
                self.watch(descriptor, token::of(token::CONTROL, id), Needs::Readable);
            }
            Reading::Ended(cause) => {
                self.drop_control(peer);
                if goodbye {
                    let loss = Loss::new(ErrorKind::PeerLost, "", LEFT);
                    self.depart(peer, None, loss);
                } else if heard || self.leaving.is_some() {
                    self.lose(peer, cause);
                } else {
                    self.doubt(peer, cause);
                }
            }
        }
    }

    /// Believes a little later that a peer is gone.
    pub(super) fn depart(&mut self, peer: Rank, lane: Option<Key>, loss: Loss) {
        let when_ns = now_ns().saturating_add(DEPART_NS);
        self.departed.push(Departed { when_ns, peer, lane, loss });
    }

    /// A message for this process, or one to pass on. P-23
    fn hear(&mut self, from: Rank, message: Message) {
        let key = match &message {
            Message::Stalled { communicator, epoch, to, .. } => {
                if *to != self.facts.rank {
                    return self.tell_directly(*to, &message);
                }
                (*communicator, *epoch)
            }
            Message::Refused { communicator, epoch, .. }
            | Message::Abort { communicator, epoch, .. } => (*communicator, *epoch),
            Message::Goodbye { finished, .. } => return self.hear_closed(from, finished),
            Message::Heartbeat => return,
        };
        self.pass_on(from, key, &message);
        self.lanes.deliver_message(key, message);
    }

    /// A peer has closed these communicators; where none is named, its process leaves. P-26
    fn hear_closed(&mut self, peer: Rank, finished: &[(u64, u32, Sequence)]) {
        if finished.is_empty() {
            // This says more than that it closed the last one right before.
            for departed in self.departed.iter_mut().filter(|departed| departed.peer == peer) {
                departed.loss = Loss::new(ErrorKind::PeerLost, "", LEFT);
            }
        }
        for (communicator, epoch, finished) in finished {
            let key = (*communicator, *epoch);
            if !self.lanes.is_retired(key) && self.departed.len() < DEPARTURES_MAX {
                let text = format!(" has closed this communicator, after {finished} operations");
                self.depart(peer, Some(key), Loss::new(ErrorKind::PeerLost, "", text));
            }
        }
    }

    /// Rank 0 alone has a link to everybody. What is said of a communicator that it is not in, it
    /// passes on for those who have no link to all their members. P-25
    fn pass_on(&mut self, from: Rank, key: Key, message: &Message) {
        let passed: Passed = match message {
            Message::Abort { .. } => (key, None),
            Message::Refused { origin, sequence, .. } => (key, Some((*origin, *sequence))),
            _ => return,
        };
        if self.facts.rank != 0 || self.lanes.is_open(key) || self.passed.contains(&passed) {
            return;
        }
        if self.passed.len() == PASSED_ON_MAX {
            self.passed.pop_front();
        }
        self.passed.push_back(passed);
        self.tell_all(message, |peer| peer != from);
    }

    /// A control link has ended before the peer said anything over it: it may have given up the
    /// handshake that succeeded here, or have dropped this link for another. So that is no death,
    /// but another attempt finds out. The first comes at once, more of them in their time. P-43
    fn doubt(&mut self, peer: Rank, loss: Loss) {
        let now = now_ns();
        let again = self.doubts.contains_key(&peer);
        let (since_ns, loss) = self.doubts.entry(peer).or_insert((now, loss)).clone();
        if now.saturating_sub(since_ns) >= self.facts.liveness_ns {
            self.lose(peer, loss);
        } else if again {
            self.try_control_later(peer);
        } else {
            self.dial(Wish::control(peer));
        }
    }

    /// A peer's process is gone: every communicator that it is in hears of it.
    pub(super) fn lose(&mut self, peer: Rank, loss: Loss) {
        self.doubts.remove(&peer);
        self.gone.insert(peer, loss.clone());
        self.directs.lose(peer, &loss, false, &mut self.own.io);
        self.lanes.deliver_to_all(peer, |peer| Mail::PeerGone { peer, cause: loss.of(peer) });
    }

    /// Tells members of a communicator, all of them by way of rank 0 if need be. P-25
    pub(super) fn tell(&mut self, members: &Members, to: Audience, message: &Message) {
        match to {
            Audience::Everyone => {
                self.tell_all(message, |peer| peer == 0 || members.contains(peer));
            }
            Audience::Rank(peer) if self.controls.contains_key(&peer) => {
                self.tell_directly(peer, message);
            }
            // Rank 0 has a link to everybody, and passes it on.
            Audience::Rank(_) => self.tell_directly(0, message),
        }
    }

    fn tell_all(&mut self, message: &Message, who: impl Fn(Rank) -> bool) {
        let peers: Vec<Rank> = self.controls.keys().copied().filter(|peer| who(*peer)).collect();
        for peer in peers {
            self.tell_directly(peer, message);
        }
    }

    pub(super) fn tell_directly(&mut self, peer: Rank, message: &Message) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        self.frame.clear();
        message.encode(&mut self.frame);
        self.facts.observed.control[peer as usize].sent(self.frame.len() as u64);
        let full = link.write(&self.frame, now_ns());
        self.await_writable(peer, full);
    }

    pub(super) fn flush_control(&mut self, peer: Rank) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        link.awaits_writable = false;
        let full = link.flush();
        self.await_writable(peer, full);
    }

    fn await_writable(&mut self, peer: Rank, full: bool) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        if full && !link.awaits_writable {
            link.awaits_writable = true;
            let (descriptor, id) = (link.descriptor(), link.id());
            self.watch(descriptor, token::of(token::CONTROL_WRITABLE, id), Needs::Writable);
        }
    }

    /// A communicator is closed here, while the process goes on. P-26
    pub(super) fn retire(&mut self, number: u32, finished: Sequence) {
        let Some(lane) = self.lanes.retire(number, finished) else { return };
        self.directs.retire(number);
        let io = &mut self.own.io;
        self.dials.retain(|_, dial| {
            let keep = dial.wish.lane != Some(lane.key);
            if !keep && let Some(connection) = dial.connection() {
                unwatch(io, connection);
            }
            keep
        });
        self.departed.retain(|departed| departed.lane != Some(lane.key));
        let (communicator, epoch) = lane.key;
        let finished = vec![(communicator, epoch, finished)];
        let message = Message::Goodbye { origin: self.facts.rank, finished };
        self.tell_all(&message, |peer| lane.members.contains(peer));
    }

    /// P-26, P-29
    pub(super) fn leave(&mut self, done: Sender<()>) {
        let message = Message::Goodbye { origin: self.facts.rank, finished: Vec::new() };
        self.tell_all(&message, |_| true);
        for link in self.controls.values_mut() {
            link.end_sending();
        }
        self.listeners.clear();
        self.leaving = Some((now_ns().saturating_add(LEAVE_NS), done));
    }

    /// Whether everybody has answered the goodbye by ending, or the time for it is up. Never while
    /// the kernel has memory of a lane.
    pub(super) fn has_left(&self) -> bool {
        self.leaving.as_ref().is_some_and(|(until_ns, _)| {
            let answered = self.controls.is_empty() || now_ns() >= *until_ns;
            answered && !self.lanes.any_held() && self.directs_have_left(*until_ns)
        })
    }
}
