//! The sending end: what goes to a peer, in which order, and what the peer answers.

use std::collections::{BTreeMap, VecDeque};

use super::{Action, Direct, Link, Phase, Request, Side, Ticket, breach};
use crate::error::Result;
use crate::limits::{EAGER_BYTES_MAX, EAGER_WINDOW_BYTES, EAGER_WINDOW_MESSAGES, SLICE_BYTES_MAX};
use crate::types::Rank;
use crate::wire::{DirectFrame, FrameKind};

/// What is on its way out.
enum Busy {
    Eager(Ticket),
    /// A slice of so many bytes.
    Data(Ticket, u64),
    /// A frame without payload.
    Word,
}

/// One rank's messages to one peer.
#[derive(Default)]
pub(super) struct Outward {
    pub(super) link: Link,
    busy: Option<Busy>,
    /// Sends that have not been spoken of yet, in order.
    pub(super) queue: VecDeque<Ticket>,
    /// Sends whose payload is asked for, the first of them perhaps begun.
    pub(super) cleared: VecDeque<Ticket>,
    /// Announcements to be taken back.
    pub(super) withdrawn: VecDeque<u64>,
    /// Announced messages that have not been asked for.
    pub(super) announced: BTreeMap<u64, Ticket>,
    next_number: u64,
    /// Eager messages and their bytes: sent so far, and of those consumed.
    spent: (u64, u64),
    credited: (u64, u64),
    /// Payload goes next, if there is any: it takes turns with what is new.
    data_next: bool,
}

impl Outward {
    pub(super) fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// Whether somebody waits for this link or for what comes over it.
    pub(super) fn is_needed(&self) -> bool {
        let busy = matches!(self.busy, Some(Busy::Eager(_) | Busy::Data(..)));
        busy || !(self.queue.is_empty() && self.cleared.is_empty() && self.announced.is_empty())
    }

    /// Whether the window has room for such a message. P-54
    fn has_room(&self, bytes: u64) -> bool {
        let messages = self.spent.0 - self.credited.0;
        let held = self.spent.1 - self.credited.1;
        bytes <= EAGER_BYTES_MAX as u64
            && messages < EAGER_WINDOW_MESSAGES
            && held + bytes <= EAGER_WINDOW_BYTES
    }
}

impl Direct {
    /// Queues a send to another rank.
    pub(super) fn send_to(&mut self, ticket: Ticket, to: Rank) {
        let peer = self.peers.entry(to).or_default();
        peer.outward.queue.push_back(ticket);
        match &peer.outward.link {
            Link::None => match &peer.lost {
                Some(cause) => {
                    let cause = cause.clone();
                    self.fail(cause);
                }
                None => {
                    peer.outward.link = Link::Dialing;
                    self.outbox.push_back(Action::Dial { peer: to });
                }
            },
            Link::Dialing => {}
            Link::Up => self.pump_outward(to),
            Link::Down(cause) => {
                let cause = cause.clone();
                self.suspect(to, cause);
            }
        }
    }

    /// Gives the link its next frame, if it has none. P-53
    pub(super) fn pump_outward(&mut self, to: Rank) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let out = &mut peer.outward;
        if out.busy.is_some() || !matches!(out.link, Link::Up) {
            return;
        }
        if let Some(number) = out.withdrawn.pop_front() {
            out.busy = Some(Busy::Word);
            let frame = DirectFrame { sequence: number, ..self.frame(FrameKind::Withdraw) };
            self.emit(to, frame, None);
        } else if !out.cleared.is_empty() && (out.data_next || out.queue.is_empty()) {
            out.data_next = false;
            let ticket = out.cleared[0];
            self.send_slice(to, ticket);
        } else if let Some(ticket) = out.queue.pop_front() {
            out.data_next = true;
            self.send_first(to, ticket);
        }
    }

    /// The first frame of a message: all of it, or word of it.
    fn send_first(&mut self, to: Rank, ticket: Ticket) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        let Request::Send { tag, dtype, count, .. } = operation.request else { return };
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let out = &mut peer.outward;
        let bytes = count * dtype.size() as u64;
        let number = out.next_number;
        out.next_number += 1;
        let (kind, length) = if out.has_room(bytes) {
            out.spent = (out.spent.0 + 1, out.spent.1 + bytes);
            out.busy = Some(Busy::Eager(ticket));
            operation.phase = Phase::Eager;
            operation.lent = true;
            (FrameKind::Eager, bytes as u32)
        } else {
            out.busy = Some(Busy::Word);
            out.announced.insert(number, ticket);
            operation.phase = Phase::Announced(number);
            (FrameKind::Announce, 0)
        };
        let frame = DirectFrame { sequence: number, length, tag, count, dtype, ..self.frame(kind) };
        self.emit(to, frame, (kind == FrameKind::Eager).then_some((ticket, 0)));
    }

    fn send_slice(&mut self, to: Rank, ticket: Ticket) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        let Request::Send { dtype, count, .. } = operation.request else { return };
        let Phase::Cleared { number, sent, step } = operation.phase else { return };
        let left = count * dtype.size() as u64 - sent;
        let length = left.min(SLICE_BYTES_MAX as u64);
        operation.lent = true;
        if let Some(peer) = self.peers.get_mut(&to) {
            peer.outward.busy = Some(Busy::Data(ticket, length));
        }
        let length = length as u32;
        let frame = DirectFrame { sequence: number, step, length, ..self.frame(FrameKind::Data) };
        self.emit(to, frame, Some((ticket, sent)));
    }

    fn emit(&mut self, peer: Rank, frame: DirectFrame, payload: Option<(Ticket, u64)>) {
        let side = Side::Outward;
        self.outbox.push_back(Action::Send { peer, side, frame, payload });
    }

    /// The frame on its way has been taken, and its bytes are the caller's again.
    pub(super) fn sent_outward(&mut self, to: Rank) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        match peer.outward.busy.take() {
            Some(Busy::Eager(ticket)) => self.finish(ticket, Ok(None)),
            Some(Busy::Data(ticket, moved)) => self.sent_slice(to, ticket, moved),
            Some(Busy::Word) | None => {}
        }
    }

    fn sent_slice(&mut self, to: Rank, ticket: Ticket, moved: u64) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        let Request::Send { dtype, count, .. } = operation.request else { return };
        let Phase::Cleared { number, sent, step } = operation.phase else { return };
        operation.lent = false;
        let sent = sent + moved;
        operation.phase = Phase::Cleared { number, sent, step: step + 1 };
        let expired = operation.expired;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if sent == count * dtype.size() as u64 {
            peer.outward.cleared.pop_front();
            self.finish(ticket, Ok(None));
        } else if expired {
            peer.outward.cleared.pop_front();
            peer.outward.withdrawn.push_back(number);
            let error = self.timed_out(ticket);
            self.finish(ticket, Err(error));
        }
    }

    /// What the receiver says.
    pub(super) fn frame_outward(&mut self, from: Rank, frame: &DirectFrame) -> Result<()> {
        self.check_frame(from, frame)?;
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        let out = &mut peer.outward;
        match frame.kind {
            FrameKind::Credit => {
                // P-54: both only grow, and never beyond what was spent.
                let (old, new) = (out.credited, (frame.sequence, frame.count));
                let sane = |old, new, spent| old <= new && new <= spent;
                if !(sane(old.0, new.0, out.spent.0) && sane(old.1, new.1, out.spent.1)) {
                    return Err(breach(from, "credit for messages that it was never sent"));
                }
                out.credited = new;
            }
            FrameKind::Clear => {
                let number = frame.sequence;
                if number >= out.next_number {
                    return Err(breach(from, "a clear for a message that it was never sent"));
                }
                // One that was withdrawn meanwhile is none any more. P-56
                if let Some(ticket) = out.announced.remove(&number) {
                    self.cleared(from, ticket, number, frame.count)?;
                }
            }
            other => {
                let what = format!("a frame of kind {} on a link that it answers on", other.name());
                return Err(breach(from, &what));
            }
        }
        self.pump_outward(from);
        Ok(())
    }

    /// P-55
    fn cleared(&mut self, from: Rank, ticket: Ticket, number: u64, taken: u64) -> Result<()> {
        let Some(operation) = self.operations.get_mut(&ticket) else { return Ok(()) };
        let Request::Send { count, .. } = operation.request else { return Ok(()) };
        if taken == 0 {
            // There is nothing to send, or its receive has failed: as with a short message, that
            // is the receiver's affair.
            self.finish(ticket, Ok(None));
        } else if taken == count {
            operation.phase = Phase::Cleared { number, sent: 0, step: 0 };
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.outward.cleared.push_back(ticket);
            }
        } else {
            return Err(breach(from, "a clear for another length than the message has"));
        }
        Ok(())
    }
}
