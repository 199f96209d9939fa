//! Point-to-point messages: which receive takes which message, and when payload may travel.
//!
//! A [`Direct`] is one rank's side of one communicator's messages. Like a session it knows no
//! clock, no socket and no pointer: its owner reports what happened through the `handle_*` methods
//! and does what [`Direct::poll`] says.
//!
//! Whoever sends opens a link of its own to the receiver. Over it go short messages with their
//! payload, as long as the receiver has room for them, and announcements of all others, whose
//! payload follows when a receive is there to take it. Back come credit and the asking for payload.
//! So a receiver reads always, holds no more than it said it would, and no message keeps another
//! from being seen. `matching` pairs messages with receives, `outward` is the sending end of a
//! link, `inward` the receiving one, `failing` says what becomes of operations that cannot end well.

mod action;
mod failing;
mod inward;
mod matching;
mod outward;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use action::{
    Action, HeldSlab, Landing, Received, Request, Settings, Side, Source, Tag, Ticket,
};
use inward::Inward;
use matching::Waiting;
use outward::Outward;

use crate::error::{Error, ErrorKind, Result};
use crate::types::Rank;
use crate::wire::{DirectFrame, FrameKind};

/// What came of an operation so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A receive without a message, or a send that has not been spoken of.
    Posted,
    /// A send whose payload goes out with its first frame.
    Eager,
    /// A send that waits to be asked for its payload.
    Announced(u64),
    /// A send of which so many bytes have gone, in so many slices.
    Cleared { number: u64, sent: u64, step: u32 },
    /// A receive whose short message comes straight into its buffer.
    Direct(Received),
    /// A receive whose message still comes into a slab.
    Slab(u64),
    /// A receive whose announced message has been asked for.
    Arriving(Rank, u64),
    /// A send to this very rank that waits for its receive.
    Own(u64),
}

struct Operation {
    request: Request,
    phase: Phase,
    /// A frame with this operation's memory is the kernel's.
    lent: bool,
    /// Its time is up, but for what the kernel still has.
    expired: bool,
    deadline_ns: u64,
    began_ns: u64,
}

enum State {
    Open,
    /// The communicator has been asked to end.
    Failing,
    /// It ends; the owner takes everything back from the kernel.
    Draining(Error),
    Over(Error),
}

/// A link, as far as it has come.
#[derive(Debug, Default)]
enum Link {
    #[default]
    None,
    Dialing,
    Up,
    /// The peer has closed it, or it broke.
    Down(Error),
}

#[derive(Default)]
struct Peer {
    outward: Outward,
    inward: Inward,
    /// Why its process is gone.
    lost: Option<Error>,
}

/// One rank's side of one communicator's messages.
pub struct Direct {
    settings: Settings,
    now_ns: u64,
    state: State,
    next_ticket: u64,
    next_slab: u64,
    operations: BTreeMap<Ticket, Operation>,
    /// Receives without a message, in the order in which they were posted.
    posted: BTreeSet<Ticket>,
    /// Messages without a receive, in the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    next_arrival: u64,
    peers: BTreeMap<Rank, Peer>,
    deadlines: BTreeSet<(u64, Ticket)>,
    /// When to look for operations that wait for long.
    warn_ns: u64,
    /// Fails then, unless something that explains more is heard before.
    suspicion: Option<(u64, Error)>,
    /// Messages and bytes that this rank has sent itself and not consumed.
    own: (u64, u64),
    /// The end is near: nothing more is said to senders.
    closing: bool,
    outbox: VecDeque<Action>,
}

impl Direct {
    pub fn new(settings: Settings) -> Self {
        Direct {
            settings,
            now_ns: 0,
            state: State::Open,
            next_ticket: 0,
            next_slab: 0,
            operations: BTreeMap::new(),
            posted: BTreeSet::new(),
            waiting: BTreeMap::new(),
            next_arrival: 0,
            peers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            warn_ns: u64::MAX,
            suspicion: None,
            own: (0, 0),
            closing: false,
            outbox: VecDeque::new(),
        }
    }

    /// The number of the next operation, for the owner to have its memory ready by.
    pub fn next_ticket(&self) -> Ticket {
        Ticket(self.next_ticket)
    }

    /// Takes an operation in, whose arguments have been checked.
    pub fn start(&mut self, request: Request) -> Ticket {
        let ticket = self.next_ticket();
        self.next_ticket += 1;
        if let State::Over(error) | State::Draining(error) = &self.state {
            let result = Err(error.clone());
            self.outbox.push_back(Action::Finish { ticket, result });
            return ticket;
        }
        let deadline_ns = request.deadline_ns();
        let (phase, began_ns) = (Phase::Posted, self.now_ns);
        let operation =
            Operation { request, phase, lent: false, expired: false, deadline_ns, began_ns };
        self.operations.insert(ticket, operation);
        self.warn_ns = self.warn_ns.min(began_ns.saturating_add(self.settings.warn_after_ns));
        if deadline_ns != u64::MAX {
            self.deadlines.insert((deadline_ns, ticket));
        }
        if !matches!(self.state, State::Open) {
            // It ends with all the others.
            return ticket;
        }
        match request {
            Request::Send { to, .. } if to == self.settings.rank => self.send_to_self(ticket),
            Request::Send { to, .. } => self.send_to(ticket, to),
            Request::Receive { .. } => self.post(ticket),
        }
        ticket
    }

    /// Whether no operation runs and no frame is on its way out.
    pub fn is_idle(&self) -> bool {
        let busy = |peer: &Peer| peer.outward.is_busy() || peer.inward.is_busy();
        self.operations.is_empty() && !self.peers.values().any(busy)
    }

    /// From here on no link is used for anything but reading it to its end.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// When [`Direct::handle_tick`] should be called next, even if nothing happens.
    pub fn next_deadline(&self) -> u64 {
        if !matches!(self.state, State::Open) {
            return u64::MAX;
        }
        let first = self.deadlines.first().map_or(u64::MAX, |(at_ns, _)| *at_ns);
        first.min(self.warn_ns).min(self.suspicion.as_ref().map_or(u64::MAX, |(at_ns, _)| *at_ns))
    }

    /// What to do next; `None` when there is nothing to do until something is reported.
    pub fn poll(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    // What the owner reports; more in `inward`, `outward` and `failing`.

    /// The time, on a clock that never goes back.
    pub fn handle_tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while matches!(self.state, State::Open)
            && let Some(&(at_ns, ticket)) = self.deadlines.first()
            && at_ns <= self.now_ns
        {
            self.deadlines.pop_first();
            self.expire(ticket);
        }
        if matches!(self.state, State::Open) && self.warn_ns <= self.now_ns {
            self.warn();
        }
        if let Some((at_ns, error)) = &self.suspicion
            && *at_ns <= self.now_ns
        {
            let error = error.clone();
            self.fail(error);
        }
    }

    /// The peer that the operation which was posted first waits for, if it is one; `None` where no
    /// operation is under way.
    pub fn awaited_peer(&self) -> Option<Option<Rank>> {
        let (_, operation) = self.operations.first_key_value()?;
        Some(match operation.request {
            Request::Send { to, .. } => Some(to),
            Request::Receive { from: Source::Rank(from), .. } => Some(from),
            Request::Receive { from: Source::Any, .. } => None,
        })
    }

    /// A connection is ready.
    pub fn handle_link_up(&mut self, peer: Rank, side: Side) {
        let state = self.peers.entry(peer).or_default();
        match side {
            Side::Outward => state.outward.link = Link::Up,
            Side::Inward => state.inward.link = Link::Up,
        }
        self.pump(peer, side);
    }

    /// The link has taken the frame that it was given.
    pub fn handle_sent(&mut self, peer: Rank, side: Side) {
        match side {
            Side::Outward => self.sent_outward(peer),
            Side::Inward => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.inward.busy = false;
                }
            }
        }
        self.pump(peer, side);
    }

    /// A frame has begun to come: says where its payload goes. When all of it is there, or at once
    /// where there is none, [`Direct::handle_payload`] is called.
    pub fn handle_frame(&mut self, peer: Rank, side: Side, frame: &DirectFrame) -> Landing {
        if !matches!(self.state, State::Open) {
            return Landing::Refused;
        }
        let landing = match side {
            Side::Outward => self.frame_outward(peer, frame).map(|()| Landing::Nothing),
            Side::Inward => self.frame_inward(peer, frame),
        };
        landing.unwrap_or_else(|error| {
            self.fail(error.with_peer(peer));
            Landing::Refused
        })
    }

    /// The payload and trailer of the frame are there. `intact`: the trailer, if any, fits.
    pub fn handle_payload(&mut self, peer: Rank, side: Side, intact: bool) {
        if !intact {
            let text = format!("the payload checksum of a message from rank {peer} does not fit");
            self.fail(Error::new(ErrorKind::Corrupt, text).with_peer(peer));
        }
        if side == Side::Inward && matches!(self.state, State::Open) {
            self.landed(peer);
        }
    }

    fn pump(&mut self, peer: Rank, side: Side) {
        if matches!(self.state, State::Open) {
            match side {
                Side::Outward => self.pump_outward(peer),
                Side::Inward => self.pump_inward(peer),
            }
        }
    }

    fn frame(&self, kind: FrameKind) -> DirectFrame {
        let Settings { communicator, epoch, checksums, .. } = self.settings;
        DirectFrame::new(kind, communicator, epoch, checksums)
    }

    /// What holds for every frame of this communicator. P-10, P-16
    fn check_frame(&self, peer: Rank, frame: &DirectFrame) -> Result<()> {
        let Settings { communicator, epoch, checksums, .. } = self.settings;
        let what = if (frame.communicator, frame.epoch) != (communicator, epoch) {
            "a frame of another communicator on this one's direct link"
        } else if frame.checksummed != checksums {
            "a frame whose trailer flag is not the link's"
        } else {
            return Ok(());
        };
        Err(breach(peer, what))
    }

    /// Ends an operation, whose memory nobody uses any more.
    fn finish(&mut self, ticket: Ticket, result: Result<Option<Received>>) {
        if let Some(operation) = self.operations.remove(&ticket) {
            self.deadlines.remove(&(operation.deadline_ns, ticket));
            self.posted.remove(&ticket);
            self.outbox.push_back(Action::Finish { ticket, result });
        }
    }

    fn set_phase(&mut self, ticket: Ticket, phase: Phase) {
        if let Some(operation) = self.operations.get_mut(&ticket) {
            operation.phase = phase;
        }
    }

    fn set_lent(&mut self, ticket: Ticket, lent: bool) {
        if let Some(operation) = self.operations.get_mut(&ticket) {
            operation.lent = lent;
        }
    }

    fn take_slab(&mut self) -> HeldSlab {
        self.next_slab += 1;
        HeldSlab(self.next_slab)
    }
}

/// What a peer did that the protocol does not allow.
fn breach(peer: Rank, what: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("rank {peer} sent {what}")).with_peer(peer)
}
