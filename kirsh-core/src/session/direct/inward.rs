//! The receiving end: what comes from a peer, where it goes, and what the peer is told.

use std::collections::{BTreeMap, VecDeque};

use super::matching::{Body, Waiting};
use super::{Action, Direct, HeldSlab, Landing, Link, Phase, Side, Ticket, breach};
use crate::error::{Error, Result};
use crate::limits::{ANNOUNCED_MAX, EAGER_WINDOW_BYTES, EAGER_WINDOW_MESSAGES, SLICE_BYTES_MAX};
use crate::types::Rank;
use crate::wire::{DirectFrame, FrameKind};

/// The payload that comes just now.
#[derive(Clone, Copy, Debug)]
enum Landed {
    /// A short message into its receive's buffer.
    Place { ticket: Ticket, bytes: u64 },
    /// A short message into a slab; the entry of `waiting` has the rest.
    Slab { arrival: u64 },
    /// A short message that nobody takes.
    Dropped { bytes: u64 },
    /// A slice of an announced message.
    Slice { number: u64, bytes: u64 },
}

/// An announced message that has been asked for.
#[derive(Debug)]
pub(super) struct Arriving {
    /// `None` when its receive has been given up: then it is dropped as it comes.
    pub(super) receive: Option<Ticket>,
    tag: u32,
    count: u64,
    bytes: u64,
    received: u64,
    step: u32,
}

/// One peer's messages to this rank.
#[derive(Default)]
pub(super) struct Inward {
    pub(super) link: Link,
    /// A frame is on its way out.
    pub(super) busy: bool,
    /// Announced messages to ask for, and how many elements of each to take.
    clears: VecDeque<(u64, u64)>,
    next_number: u64,
    /// Eager messages and their bytes: received so far, of those consumed, and of those told.
    taken: (u64, u64),
    consumed: (u64, u64),
    told: (u64, u64),
    pub(super) arriving: BTreeMap<u64, Arriving>,
    /// Announced messages that wait for their receive.
    pub(super) announced: usize,
    landing: Option<Landed>,
}

impl Inward {
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Whether a message has come in part, and somebody waits for the rest.
    pub(super) fn is_needed(&self) -> bool {
        let promised = self.arriving.values().any(|arriving| arriving.receive.is_some());
        promised || self.landing.is_some()
    }

    fn owes_credit(&self) -> bool {
        // Half a window at a time: a word for each message would double the frames.
        self.consumed.0 - self.told.0 >= EAGER_WINDOW_MESSAGES / 2
            || self.consumed.1 - self.told.1 >= EAGER_WINDOW_BYTES / 2
    }
}

impl Direct {
    /// P-53, P-54
    pub(super) fn pump_inward(&mut self, from: Rank) {
        let closing = self.closing;
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let inward = &mut peer.inward;
        if inward.busy || closing || !matches!(inward.link, Link::Up) {
            return;
        }
        let (kind, sequence, count) = if let Some((number, count)) = inward.clears.pop_front() {
            (FrameKind::Clear, number, count)
        } else if inward.owes_credit() {
            inward.told = inward.consumed;
            (FrameKind::Credit, inward.told.0, inward.told.1)
        } else {
            return;
        };
        inward.busy = true;
        let frame = DirectFrame { sequence, count, ..self.frame(kind) };
        let side = Side::Inward;
        self.outbox.push_back(Action::Send { peer: from, side, frame, payload: None });
    }

    /// What a sender says: where the payload goes, if there is any.
    pub(super) fn frame_inward(&mut self, from: Rank, frame: &DirectFrame) -> Result<Landing> {
        self.check_frame(from, frame)?;
        let peer = self.peers.entry(from).or_default();
        let inward = &mut peer.inward;
        match frame.kind {
            FrameKind::Eager | FrameKind::Announce => {
                // P-53: in order, none missing, and no number given twice.
                if frame.sequence != inward.next_number {
                    return Err(breach(from, "a message out of turn"));
                }
                inward.next_number += 1;
                if frame.kind == FrameKind::Eager {
                    self.eager(from, frame)
                } else {
                    self.announced(from, frame)
                }
            }
            FrameKind::Data => self.slice(from, frame),
            FrameKind::Withdraw => {
                if frame.sequence >= inward.next_number {
                    return Err(breach(from, "a withdrawal of what it never announced"));
                }
                self.withdrawn(from, frame.sequence);
                Ok(Landing::Nothing)
            }
            other => {
                let what = format!("a frame of kind {} on a link that it sends on", other.name());
                Err(breach(from, &what))
            }
        }
    }

    fn eager(&mut self, from: Rank, frame: &DirectFrame) -> Result<Landing> {
        let bytes = u64::from(frame.length);
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(Landing::Drop) };
        let inward = &mut peer.inward;
        let taken = (inward.taken.0 + 1, inward.taken.1 + bytes);
        // P-54
        if taken.0 - inward.told.0 > EAGER_WINDOW_MESSAGES
            || taken.1 - inward.told.1 > EAGER_WINDOW_BYTES
        {
            return Err(breach(from, "more than this rank has given it room for"));
        }
        inward.taken = taken;
        let message = Waiting::new(from, frame, Body::Announced);
        let landed = match self.receiver_of(&message) {
            Some(ticket) => match self.fit(ticket, &message) {
                Ok(()) => {
                    self.posted.remove(&ticket);
                    self.set_phase(ticket, Phase::Direct(message.received()));
                    self.set_lent(ticket, true);
                    Landed::Place { ticket, bytes }
                }
                Err(error) => {
                    self.finish(ticket, Err(error));
                    Landed::Dropped { bytes }
                }
            },
            None => {
                let slab = if bytes == 0 { None } else { Some(self.take_slab()) };
                let body = Body::Held { slab, whole: false, taker: None, dropped: false };
                let arrival = self.wait_for_receive(Waiting { body, ..message });
                Landed::Slab { arrival }
            }
        };
        let place = match landed {
            _ if bytes == 0 => Landing::Nothing,
            Landed::Place { ticket, .. } => Landing::Place(ticket, 0),
            Landed::Slab { arrival } => self.slab_of(arrival).map_or(Landing::Drop, Landing::Slab),
            _ => Landing::Drop,
        };
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.inward.landing = Some(landed);
        }
        Ok(place)
    }

    fn slab_of(&self, arrival: u64) -> Option<HeldSlab> {
        match self.waiting.get(&arrival)?.body {
            Body::Held { slab, .. } => slab,
            _ => None,
        }
    }

    fn announced(&mut self, from: Rank, frame: &DirectFrame) -> Result<Landing> {
        let message = Waiting::new(from, frame, Body::Announced);
        match self.receiver_of(&message) {
            Some(ticket) => self.ask_for(ticket, &message),
            None => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    if peer.inward.announced >= ANNOUNCED_MAX {
                        return Err(breach(from, "more announcements than it may have open"));
                    }
                    peer.inward.announced += 1;
                }
                self.wait_for_receive(message);
            }
        }
        Ok(Landing::Nothing)
    }

    /// Pairs an announced message with a receive. P-55
    pub(super) fn ask_for(&mut self, ticket: Ticket, message: &Waiting) {
        let (from, number, count) = (message.peer, message.number, message.count);
        let fit = self.fit(ticket, message);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let taken = if fit.is_ok() { count } else { 0 };
        peer.inward.clears.push_back((number, taken));
        match fit {
            Ok(()) if count == 0 => self.finish(ticket, Ok(Some(message.received()))),
            Ok(()) => {
                let arriving = Arriving {
                    receive: Some(ticket),
                    tag: message.tag,
                    count,
                    bytes: message.bytes(),
                    received: 0,
                    step: 0,
                };
                peer.inward.arriving.insert(number, arriving);
                self.posted.remove(&ticket);
                self.set_phase(ticket, Phase::Arriving(from, number));
            }
            Err(error) => self.finish(ticket, Err(error)),
        }
        self.pump_inward(from);
    }

    /// P-55
    fn slice(&mut self, from: Rank, frame: &DirectFrame) -> Result<Landing> {
        let unasked = || breach(from, "payload that it was not asked for");
        let peer = self.peers.get_mut(&from).ok_or_else(unasked)?;
        let number = frame.sequence;
        let arriving = peer.inward.arriving.get(&number).ok_or_else(unasked)?;
        let due = (arriving.bytes - arriving.received).min(SLICE_BYTES_MAX as u64);
        if frame.step != arriving.step || u64::from(frame.length) != due {
            return Err(breach(from, "another slice than the one that was due"));
        }
        peer.inward.landing = Some(Landed::Slice { number, bytes: due });
        let (receive, offset) = (arriving.receive, arriving.received);
        Ok(match receive {
            Some(ticket) => {
                self.set_lent(ticket, true);
                Landing::Place(ticket, offset)
            }
            None => Landing::Drop,
        })
    }

    /// The frame that was coming is there.
    pub(super) fn landed(&mut self, from: Rank) {
        let landing = self.peers.get_mut(&from).and_then(|peer| peer.inward.landing.take());
        match landing {
            None => {}
            Some(Landed::Place { ticket, bytes }) => {
                self.consumed(from, bytes);
                let phase = self.operations.get(&ticket).map(|operation| operation.phase);
                if let Some(Phase::Direct(received)) = phase {
                    self.finish(ticket, Ok(Some(received)));
                }
            }
            Some(Landed::Dropped { bytes }) => self.consumed(from, bytes),
            Some(Landed::Slab { arrival }) => self.held(arrival),
            Some(Landed::Slice { number, bytes }) => self.landed_slice(from, number, bytes),
        }
        self.pump_inward(from);
    }

    fn landed_slice(&mut self, from: Rank, number: u64, bytes: u64) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(arriving) = peer.inward.arriving.get_mut(&number) else { return };
        arriving.received += bytes;
        arriving.step += 1;
        let whole = arriving.received == arriving.bytes;
        let (tag, count, receive) = (arriving.tag, arriving.count as usize, arriving.receive);
        let Some(ticket) = receive else {
            if whole {
                peer.inward.arriving.remove(&number);
            }
            return;
        };
        let expired = self.operations.get(&ticket).is_some_and(|operation| operation.expired);
        if whole {
            peer.inward.arriving.remove(&number);
            let received = super::Received { source: from, tag, count };
            self.finish(ticket, Ok(Some(received)));
        } else if expired {
            arriving.receive = None;
            let error = self.timed_out(ticket);
            self.finish(ticket, Err(error));
        } else {
            self.set_lent(ticket, false);
        }
    }

    /// A short message is out of the window. P-54
    pub(super) fn consumed(&mut self, from: Rank, bytes: u64) {
        if from == self.settings.rank {
            self.own = (self.own.0 - 1, self.own.1 - bytes);
        } else if let Some(peer) = self.peers.get_mut(&from) {
            let consumed = &mut peer.inward.consumed;
            *consumed = (consumed.0 + 1, consumed.1 + bytes);
            self.pump_inward(from);
        }
    }

    /// P-56
    fn withdrawn(&mut self, from: Rank, number: u64) {
        let open = |waiting: &Waiting| {
            waiting.peer == from
                && waiting.number == number
                && matches!(waiting.body, Body::Announced)
        };
        let arrival = self.waiting.iter().find(|(_, waiting)| open(waiting)).map(|(at, _)| *at);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if let Some(arrival) = arrival {
            peer.inward.announced -= 1;
            self.waiting.remove(&arrival);
        } else if let Some(arriving) = peer.inward.arriving.remove(&number)
            && let Some(ticket) = arriving.receive
        {
            // As if the message had never been: the receive waits for the next that fits.
            self.post(ticket);
        }
    }

    /// The inward link of a peer is at its end: what it announced never comes.
    pub(super) fn forget_announced(&mut self, from: Rank, cause: Error) {
        self.waiting.retain(|_, waiting| {
            let gone = match waiting.body {
                Body::Announced => true,
                Body::Held { whole, .. } => !whole,
                Body::Own(_) => false,
            };
            waiting.peer != from || !gone
        });
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.inward.announced = 0;
            peer.inward.clears.clear();
            peer.inward.link = Link::Down(cause);
        }
    }

    pub(super) fn give_up_arriving(&mut self, from: Rank, number: u64) {
        if let Some(peer) = self.peers.get_mut(&from)
            && let Some(arriving) = peer.inward.arriving.get_mut(&number)
        {
            arriving.receive = None;
        }
    }

    /// Lets go of a slab.
    pub(super) fn free(&mut self, slab: Option<HeldSlab>) {
        if let Some(slab) = slab {
            self.outbox.push_back(Action::Free { slab });
        }
    }
}
