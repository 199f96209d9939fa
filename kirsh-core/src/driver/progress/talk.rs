//! What is said over the control links, from the first word to the goodbye, and who is lost when
//! one of them ends.

use crossbeam_channel::Sender;

use super::connect::{Needs, Wish};
use super::control::{ControlLink, Reading};
use super::{Progress, token};
use crate::driver::clock::now_ns;
use crate::driver::fork::Fd;
use crate::driver::mail::Mail;
use crate::error::{Error, ErrorKind};
use crate::session::Audience;
use crate::types::Rank;
use crate::wire::control::Message;

/// How long a goodbye may take before the process leaves without an answer.
const LEAVE_NS: u64 = 1_000_000_000;

/// How long after a peer's goodbye what it sent before may still be on its way: over a link that
/// it opened, used and closed, and that has not even been accepted here.
const DEPART_NS: u64 = 300_000_000;

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
    }

    /// Reads what has come over a control link, and says how that went and whether the peer has
    /// said anything, and goodbye.
    fn hear_out(&mut self, peer: Rank) -> Option<(Reading, bool, bool)> {
        let link = self.controls.get_mut(&peer)?;
        let mut messages = Vec::new();
        let reading = link.read(now_ns(), &mut |message| messages.push(message));
        link.goodbye |= messages.iter().any(|message| matches!(message, Message::Goodbye { .. }));
        let (heard, goodbye) = (link.heard, link.goodbye);
        if heard {
            self.doubts.remove(&peer);
        }
        for message in messages {
            self.hear(message);
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
                    let text = format!("rank {peer} has left the job: its process said goodbye");
                    let cause = Error::new(ErrorKind::PeerLost, text).with_peer(peer);
                    self.departed.push((now_ns().saturating_add(DEPART_NS), peer, cause));
                } else if heard || self.leaving.is_some() {
                    self.lose(peer, cause);
                } else {
                    self.doubt(peer, cause);
                }
            }
        }
    }

    /// A message for this process, or one to pass on. P-23
    fn hear(&mut self, message: Message) {
        let key = match &message {
            Message::Stalled { communicator, epoch, to, .. } => {
                if *to != self.facts.rank {
                    return self.tell_directly(*to, &message);
                }
                (*communicator, *epoch)
            }
            Message::Refused { communicator, epoch, .. }
            | Message::Abort { communicator, epoch, .. } => (*communicator, *epoch),
            Message::Heartbeat | Message::Goodbye { .. } => return,
        };
        self.lanes.deliver_message(key, message);
    }

    /// A control link has ended before the peer said anything over it: it may have given up the
    /// handshake that succeeded here, or have dropped this link for another. So that is no death,
    /// but another attempt finds out. The first comes at once, more of them in their time. P-43
    fn doubt(&mut self, peer: Rank, cause: Error) {
        let now = now_ns();
        let again = self.doubts.contains_key(&peer);
        let (since_ns, cause) = self.doubts.entry(peer).or_insert((now, cause)).clone();
        if now.saturating_sub(since_ns) >= self.facts.liveness_ns {
            self.lose(peer, cause);
        } else if again {
            self.try_control_later(peer);
        } else {
            self.dial(Wish { peer, lane: None, direct: false });
        }
    }

    /// A peer's process is gone: every communicator hears of it.
    pub(super) fn lose(&mut self, peer: Rank, cause: Error) {
        self.doubts.remove(&peer);
        self.gone.insert(peer, cause.clone());
        self.directs.lose(peer, &cause, false, &mut self.own.io);
        self.lanes.deliver_to_all(|| Mail::PeerGone { peer, cause: cause.clone() });
    }

    pub(super) fn tell(&mut self, to: Audience, message: &Message) {
        match to {
            Audience::Everyone => {
                let peers: Vec<Rank> = self.controls.keys().copied().collect();
                for peer in peers {
                    self.tell_directly(peer, message);
                }
            }
            Audience::Rank(peer) if self.controls.contains_key(&peer) => {
                self.tell_directly(peer, message);
            }
            // Rank 0 has a link to everybody, and passes it on.
            Audience::Rank(_) => self.tell_directly(0, message),
        }
    }

    pub(super) fn tell_directly(&mut self, peer: Rank, message: &Message) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        self.frame.clear();
        message.encode(&mut self.frame);
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

    /// P-26, P-29
    pub(super) fn leave(&mut self, finished: Vec<(u64, u32, u64)>, done: Sender<()>) {
        let message = Message::Goodbye { origin: self.facts.rank, finished };
        self.tell(Audience::Everyone, &message);
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
