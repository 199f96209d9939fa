//! Which receive takes which message: MPI's rules, sized for this library.
//!
//! A message goes to the receive that was posted first of those that it fits by source and tag; a
//! receive takes the message that came first of those that fit it. So messages from one rank under
//! one tag are received in the order in which they were sent.

use super::{Action, Direct, HeldSlab, Link, Phase, Received, Request, Source, Tag, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{EAGER_BYTES_MAX, EAGER_WINDOW_BYTES, EAGER_WINDOW_MESSAGES};
use crate::types::{DataType, Rank};
use crate::wire::DirectFrame;

/// Where a message is that waits for its receive.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// In a slab of this rank (none for an empty message), if it is whole. One that still comes may
    /// have its receive already, or none to come.
    Held { slab: Option<HeldSlab>, whole: bool, taker: Option<Ticket>, dropped: bool },
    /// With its sender.
    Announced,
    /// In the buffer of a send of this very rank.
    Own(Ticket),
}

/// A message without a receive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) peer: Rank,
    pub(super) number: u64,
    pub(super) tag: u32,
    pub(super) dtype: DataType,
    pub(super) count: u64,
    pub(super) body: Body,
}

impl Waiting {
    pub(super) fn new(peer: Rank, frame: &DirectFrame, body: Body) -> Self {
        let DirectFrame { sequence: number, tag, dtype, count, .. } = *frame;
        Waiting { peer, number, tag, dtype, count, body }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.count * self.dtype.size() as u64
    }

    pub(super) fn received(&self) -> Received {
        Received { source: self.peer, tag: self.tag, count: self.count as usize }
    }

    fn is_for(&self, from: Source, tag: Tag) -> bool {
        let spoken_for = match self.body {
            Body::Held { taker, dropped, .. } => taker.is_some() || dropped,
            Body::Announced | Body::Own(_) => false,
        };
        !spoken_for
            && (from == Source::Any || from == Source::Rank(self.peer))
            && (tag == Tag::Any || tag == Tag::Is(self.tag))
    }
}

impl Direct {
    /// Gives a receive the first message that fits it, or has it wait.
    pub(super) fn post(&mut self, ticket: Ticket) {
        let Some(operation) = self.operations.get_mut(&ticket) else { return };
        let Request::Receive { from, tag, .. } = operation.request else { return };
        operation.phase = Phase::Posted;
        operation.lent = false;
        let fits = |(arrival, message): (&u64, &Waiting)| {
            message.is_for(from, tag).then_some((*arrival, *message))
        };
        if let Some((arrival, message)) = self.waiting.iter().find_map(fits) {
            return self.take(ticket, arrival, &message);
        }
        if operation.expired {
            let error = self.timed_out(ticket);
            return self.finish(ticket, Err(error));
        }
        self.posted.insert(ticket);
        self.look_for_sender(from);
    }

    /// The receive that a message goes to, if there is one.
    pub(super) fn receiver_of(&self, message: &Waiting) -> Option<Ticket> {
        let fits = |ticket: &&Ticket| match self.operations.get(ticket).map(|o| o.request) {
            Some(Request::Receive { from, tag, .. }) => message.is_for(from, tag),
            _ => false,
        };
        self.posted.iter().find(fits).copied()
    }

    /// Whether a message is what its receive can take.
    pub(super) fn fit(&self, ticket: Ticket, message: &Waiting) -> Result<()> {
        let Some(Request::Receive { dtype, count, .. }) =
            self.operations.get(&ticket).map(|operation| operation.request)
        else {
            return Ok(());
        };
        let Waiting { peer, tag, dtype: theirs, count: sent, .. } = *message;
        let what = if theirs != dtype {
            format!("{sent} x {theirs}, and the receive is for {dtype}")
        } else if sent > count {
            format!("{sent} x {theirs}, and the receive has room for {count}")
        } else {
            return Ok(());
        };
        let text = format!("the message with tag {tag} from rank {peer} is {what}: it was dropped");
        Err(Error::new(ErrorKind::Mismatch, text).with_peer(peer))
    }

    /// Puts a message behind those that wait.
    pub(super) fn wait_for_receive(&mut self, message: Waiting) -> u64 {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.waiting.insert(arrival, message);
        arrival
    }

    /// Pairs a receive with a message that waits.
    fn take(&mut self, ticket: Ticket, arrival: u64, message: &Waiting) {
        match message.body {
            Body::Held { slab, whole: true, .. } => {
                self.waiting.remove(&arrival);
                self.deliver(ticket, slab, message);
            }
            Body::Held { slab, whole: false, .. } => {
                let fit = self.fit(ticket, message);
                let taker = fit.is_ok().then_some(ticket);
                let body = Body::Held { slab, whole: false, taker, dropped: taker.is_none() };
                self.waiting.insert(arrival, Waiting { body, ..*message });
                match fit {
                    Ok(()) => {
                        self.posted.remove(&ticket);
                        self.set_phase(ticket, Phase::Slab(arrival));
                    }
                    Err(error) => self.finish(ticket, Err(error)),
                }
            }
            Body::Announced => {
                self.waiting.remove(&arrival);
                if let Some(peer) = self.peers.get_mut(&message.peer) {
                    peer.inward.announced -= 1;
                }
                self.ask_for(ticket, message);
            }
            Body::Own(send) => {
                self.waiting.remove(&arrival);
                self.move_own(send, ticket, message);
            }
        }
    }

    /// Hands over a message that is whole, from its slab.
    fn deliver(&mut self, ticket: Ticket, slab: Option<HeldSlab>, message: &Waiting) {
        let fit = self.fit(ticket, message);
        if let (Ok(()), Some(slab)) = (&fit, slab) {
            let len = message.bytes();
            self.outbox.push_back(Action::Deliver { slab, to: ticket, len });
        }
        self.free(slab);
        self.consumed(message.peer, message.bytes());
        self.finish(ticket, fit.map(|()| Some(message.received())));
    }

    /// A short message is whole in its slab.
    pub(super) fn held(&mut self, arrival: u64) {
        let Some(message) = self.waiting.get_mut(&arrival) else { return };
        let Body::Held { slab, whole, taker, dropped } = &mut message.body else { return };
        *whole = true;
        let (slab, taker, dropped) = (*slab, *taker, *dropped);
        let message = *message;
        if dropped {
            self.waiting.remove(&arrival);
            self.free(slab);
            self.consumed(message.peer, message.bytes());
        } else if let Some(ticket) = taker {
            self.waiting.remove(&arrival);
            self.deliver(ticket, slab, &message);
        }
    }

    /// A message that lost its receive goes to the next, if there is one.
    pub(super) fn offer(&mut self, arrival: u64) {
        if let Some(message) = self.waiting.get_mut(&arrival)
            && let Body::Held { taker, .. } = &mut message.body
        {
            *taker = None;
            let message = *message;
            if let Some(ticket) = self.receiver_of(&message) {
                self.take(ticket, arrival, &message);
            }
        }
    }

    // To this very rank.

    /// A send to oneself: to its receive, into a slab while there is room, or it waits.
    pub(super) fn send_to_self(&mut self, ticket: Ticket) {
        let Some(operation) = self.operations.get(&ticket) else { return };
        let Request::Send { to, tag, dtype, count, .. } = operation.request else { return };
        let body = Body::Own(ticket);
        let message = Waiting { peer: to, number: 0, tag, dtype, count, body };
        let bytes = message.bytes();
        if let Some(receive) = self.receiver_of(&message) {
            return self.move_own(ticket, receive, &message);
        }
        let has_room = self.own.0 < EAGER_WINDOW_MESSAGES
            && self.own.1 + bytes <= EAGER_WINDOW_BYTES
            && bytes <= EAGER_BYTES_MAX as u64;
        if has_room {
            self.own = (self.own.0 + 1, self.own.1 + bytes);
            let slab = if bytes == 0 { None } else { Some(self.take_slab()) };
            if let Some(slab) = slab {
                self.outbox.push_back(Action::Hold { from: ticket, slab, len: bytes });
            }
            self.finish(ticket, Ok(None));
            let body = Body::Held { slab, whole: true, taker: None, dropped: false };
            self.wait_for_receive(Waiting { body, ..message });
        } else {
            let arrival = self.wait_for_receive(message);
            self.set_phase(ticket, Phase::Own(arrival));
        }
    }

    fn move_own(&mut self, send: Ticket, receive: Ticket, message: &Waiting) {
        let fit = self.fit(receive, message);
        if fit.is_ok() && message.count > 0 {
            let (from, to, len) = (send, receive, message.bytes());
            self.outbox.push_back(Action::Move { from, to, len });
        }
        self.finish(send, Ok(None));
        self.finish(receive, fit.map(|()| Some(message.received())));
    }

    /// Whether somebody is there to send what a receive waits for.
    fn look_for_sender(&mut self, from: Source) {
        match from {
            Source::Rank(rank) if rank == self.settings.rank => {}
            Source::Rank(rank) => {
                let peer = self.peers.entry(rank).or_default();
                match (&peer.inward.link, &peer.lost) {
                    (Link::Down(cause), _) => {
                        let cause = cause.clone();
                        self.suspect(rank, cause);
                    }
                    // What it sent before may still be there. P-28
                    (Link::Up, _) => {}
                    (_, Some(cause)) => {
                        let cause = cause.clone();
                        self.fail(cause);
                    }
                    (_, None) => self.outbox.push_back(Action::Watch { peer: rank }),
                }
            }
            Source::Any => self.look_for_anybody(),
        }
    }
}
