//! What is said over the control links, from the first word to the goodbye, and who is lost when
//! one of them ends.

use crossbeam_channel::Sender;

use super::connect::Needs;
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
    pub(super) fn control_up(&mut self, peer: Rank, fd: Fd) {
        if self.controls.contains_key(&peer) || self.leaving.is_some() {
            return;
        }
        self.next_turn = self.next_turn.wrapping_add(1);
        let link = ControlLink::new(peer, self.next_turn, fd, now_ns());
        self.watch(link.descriptor(), token::of(token::CONTROL, link.id()), Needs::Readable);
        self.controls.insert(peer, link);
        self.probes.retain(|(_, rank)| *rank != peer);
        self.facts.roll.mark(peer);
    }

    pub(super) fn read_control(&mut self, peer: Rank) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        let mut messages = Vec::new();
        let reading = link.read(now_ns(), &mut |message| messages.push(message));
        link.goodbye |= messages.iter().any(|message| matches!(message, Message::Goodbye { .. }));
        let (goodbye, descriptor, id) = (link.goodbye, link.descriptor(), link.id());
        for message in messages {
            self.hear(message);
        }
        match reading {
            Reading::Open => {
                self.watch(descriptor, token::of(token::CONTROL, id), Needs::Readable);
            }
            Reading::Ended(cause) => {
                self.drop_control(peer);
                if goodbye {
                    let text = format!("rank {peer} has left the job: its process said goodbye");
                    let cause = Error::new(ErrorKind::PeerLost, text).with_peer(peer);
                    self.departed.push((now_ns().saturating_add(DEPART_NS), peer, cause));
                } else {
                    self.lose(peer, cause);
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

    /// A peer's process is gone: every communicator hears of it.
    pub(super) fn lose(&mut self, peer: Rank, cause: Error) {
        self.gone.insert(peer, cause.clone());
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
            answered && !self.lanes.any_held()
        })
    }
}
