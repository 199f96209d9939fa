//! Walks plans: completions in, actions out. No clock, no socket, no pointer.
//!
//! A [`Session`] is one rank's side of one communicator's collectives. Its owner (a driver's lane,
//! or the simulator) tells it what happened through the `handle_*` methods, and asks
//! [`Session::poll`] for what to do until that answers `None`. Operations run one at a time in
//! the order in which they were enqueued.
//!
//! Within an operation the session looks at a bounded number of steps together. A step that sends
//! or receives waits for its turn on the link; a step that reads or writes memory waits for the
//! earlier steps it conflicts with. A `RecvReduce` is two things: its receive lands in a slab and
//! waits for nothing but its turn, its fold waits for conflicts. Whoever folds checks on the way
//! whether the payload is what was sent, and nothing that waits for the fold begins before it is.

#![forbid(unsafe_code)]

mod action;
mod alias;
mod control;
pub mod direct;
mod failing;
mod links;
mod walk;
mod watch;
mod window;

use std::collections::VecDeque;
use std::sync::Arc;

pub use action::{Action, Audience, SlabId, Slot, Target};
pub use alias::Alias;
use control::News;
use links::{LinkState, Links};
use watch::Watch;
use window::{Phase, Window};

use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::plan::{Pattern, Plan, Step};
use crate::types::{Call, Rank, Sequence, Span};
use crate::wire::header::Header;

/// What stays the same for the life of a session.
#[derive(Clone, Debug)]
pub struct Settings {
    pub rank: Rank,
    pub world: u32,
    /// The communicator's number in every frame.
    pub communicator: u64,
    pub epoch: u32,
    /// Steps looked at together, at most [`limits::LOOK_AHEAD_MAX`].
    pub look_ahead: usize,
    /// Slabs that each link owns, 1 to 8.
    pub slabs_per_link: u8,
    /// Whether every payload is followed by its checksum.
    pub checksums: bool,
    /// How long an operation may run before a warning names the ranks it waits for.
    pub warn_after_ns: u64,
    pub dealing: Dealing,
}

/// How frames are dealt out to sockets; the same at both ends of each pair of ranks. P-60
#[derive(Clone, Debug)]
pub struct Dealing {
    pub pattern: Pattern,
    /// By rank, with whom one socket has to do; those that are not named here have what the operation says.
    pub single: Arc<[bool]>,
}

impl Dealing {
    /// Without rails, and with all stripes to everybody.
    pub fn even() -> Self {
        Dealing { pattern: Pattern::EVEN, single: Arc::default() }
    }

    fn stripes(&self, peer: Rank, of_operation: u8) -> u8 {
        if self.single.get(peer as usize).is_some_and(|single| *single) { 1 } else { of_operation }
    }
}

/// One operation, ready to be walked.
#[derive(Clone)]
pub struct Operation {
    pub call: Call,
    pub plan: Arc<dyn Plan>,
    /// The number that stands for everything the plan was built from.
    pub key: u64,
    /// Sockets between ranks of different hosts, 1 to [`limits::STRIPES_MAX`].
    pub stripes: u8,
    /// Which array is a part of the other.
    pub alias: Alias,
    /// When to give up, on the clock of [`Session::handle_tick`]; `u64::MAX` is never.
    pub deadline_ns: u64,
}

struct Current {
    sequence: Sequence,
    operation: Operation,
    cursor: u64,
    plan_len: u64,
}

enum State {
    Open,
    /// Something failed; the owner is draining what the kernel still holds.
    Draining(Error),
    /// Drained. Every call gets this error.
    Over(Error),
}

/// One rank's side of one communicator's collectives.
pub struct Session {
    settings: Settings,
    now_ns: u64,
    state: State,
    next_sequence: Sequence,
    current: Option<Current>,
    queue: VecDeque<(Sequence, Operation)>,
    window: Window,
    links: Links,
    watch: Watch,
    news: News,
    outbox: VecDeque<Action>,
}

impl Session {
    pub fn new(settings: Settings) -> Self {
        assert!((1..=limits::LOOK_AHEAD_MAX).contains(&settings.look_ahead));
        assert!((1..=8).contains(&settings.slabs_per_link));
        assert!(settings.rank < settings.world && settings.world <= limits::WORLD_SIZE_MAX);
        Session {
            now_ns: 0,
            state: State::Open,
            next_sequence: 0,
            current: None,
            queue: VecDeque::with_capacity(64),
            window: Window::new(settings.look_ahead),
            links: Links::new(settings.world, settings.slabs_per_link),
            watch: Watch::new(),
            news: News::default(),
            outbox: VecDeque::with_capacity(64),
            settings,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Puts an operation at the end of the queue and gives it its sequence number.
    ///
    /// # Errors
    /// The first cause, when the communicator has failed before.
    pub fn enqueue(&mut self, operation: Operation) -> Result<Sequence> {
        self.usable()?;
        let sequence = self.take_sequence();
        self.watch.note_deadline(operation.deadline_ns);
        self.queue.push_back((sequence, operation));
        // A channel may have got to it past the call that others have failed in.
        self.meet_failure_ahead();
        Ok(sequence)
    }

    /// Deals frames out by another pattern from now on, with nothing enqueued or running.
    pub fn deal(&mut self, pattern: Pattern) {
        debug_assert!(self.is_idle());
        self.settings.dealing.pattern = pattern;
    }

    /// Takes a sequence number for a call that this rank refuses, and tells the others why. P-24
    pub fn refuse(&mut self, call: Call, reason: &Error) -> Result<Sequence> {
        self.usable()?;
        let sequence = self.take_sequence();
        self.announce_refusal(sequence, call, reason);
        self.meet_failure_ahead();
        Ok(sequence)
    }

    /// The next operation has this number, where it is not a lower one than is due: some were for
    /// other channels.
    pub fn skip_to(&mut self, sequence: Sequence) {
        self.next_sequence = self.next_sequence.max(sequence);
    }

    /// Ends the communicator from this side, with this error as the first cause.
    pub fn abort(&mut self, error: Error) {
        self.fail(error);
    }

    /// Ends an idle communicator in peace: nobody is told, and later calls get this error.
    pub fn close(&mut self, error: Error) {
        debug_assert!(self.is_idle());
        if matches!(self.state, State::Open) {
            self.state = State::Over(error);
        }
    }

    /// The first cause, once the communicator has failed.
    pub fn failure(&self) -> Option<&Error> {
        match &self.state {
            State::Open => None,
            State::Draining(error) | State::Over(error) => Some(error),
        }
    }

    /// Whether no operation runs or waits and there is nothing left to do.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.queue.is_empty() && self.outbox.is_empty()
    }

    /// How many sequence numbers have been given out; all of them are over when the session is idle.
    pub fn sequences(&self) -> Sequence {
        self.next_sequence
    }

    /// How many operations this rank is through with, from the first on.
    pub fn finished(&self) -> Sequence {
        match (&self.current, self.queue.front()) {
            (Some(current), _) => current.sequence,
            (None, Some((sequence, _))) => *sequence,
            (None, None) => self.next_sequence,
        }
    }

    /// When [`Session::handle_tick`] should be called next, even if nothing happens.
    pub fn next_deadline(&self) -> u64 {
        match (&self.state, &self.current) {
            (State::Open, Some(_)) => self.watch.next_ns(),
            (State::Open, None) if !self.queue.is_empty() => self.watch.next_ns(),
            _ => u64::MAX,
        }
    }

    // What the owner reports.

    /// The time, on a clock that never goes back.
    pub fn handle_tick(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        if matches!(self.state, State::Open) && self.now_ns >= self.next_deadline() {
            self.watch_time();
        }
    }

    /// A connection to the peer is ready, for the stripe of this number. P-60
    pub fn handle_link_up(&mut self, peer: Rank, stripe: u8) {
        let link = self.links.at(peer, stripe);
        if self.links[link].state == LinkState::Broken {
            return;
        }
        self.links[link].state = LinkState::Up;
        self.window.attend_link(link);
        self.progressed();
    }

    /// This connection to the peer could not be made, or broke. An operation that needs it fails,
    /// a little later: a rank that fails closes its links, and what it failed of is on its way
    /// over control, which may be slower.
    pub fn handle_link_down(&mut self, peer: Rank, stripe: u8, cause: Error) {
        let link = self.links.at(peer, stripe);
        if self.window.uses_link(link) {
            self.links[link].state = LinkState::Broken;
            self.suspect(self.while_in_current(cause, None));
        } else {
            self.links[link].state = LinkState::Down;
        }
    }

    /// The header of the frame that this slot receives has come. `false`: do not read on; the
    /// operation fails, now or when it is clear why. P-10, P-14
    pub fn handle_header(&mut self, slot: Slot, header: &Header) -> bool {
        if !matches!(self.state, State::Open) {
            return false;
        }
        let expected = self.expected_header(slot);
        let in_common = |header: &Header| header.call.map(Call::in_common);
        let agrees = in_common(header) == in_common(&expected);
        if agrees && (Header { call: expected.call, ..*header }) == expected {
            return true;
        }
        let peer = self.links[self.window[slot].link].peer;
        let error = self.describe_surprise(peer, header, &expected);
        if error.kind() == ErrorKind::Mismatch && header.sequence > expected.sequence {
            // P-10: the peer is through with this call without this rank. If it refused the call,
            // the reason is on its way, and says more than this.
            self.watch.suspect(error);
        } else {
            self.fail(error);
        }
        false
    }

    /// The frame that this slot receives has come whole; the link may go on.
    pub fn handle_received(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Receiving);
        self.window[slot].phase = Phase::Received;
        self.window.turn_over(slot);
        let link = self.window[slot].link;
        if self.links[link].last_receive == Some(slot) {
            self.links[link].last_receive = None;
        }
        if matches!(self.window[slot].step, Step::RecvReduce { .. }) {
            self.window.attend(slot);
        }
        self.progressed();
    }

    /// The payload that was received into place is what was sent; only now may it be used. P-17
    pub fn handle_verified(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Received);
        debug_assert!(matches!(self.window[slot].step, Step::Recv { .. }));
        self.window.finish(slot);
    }

    /// The received payload is not what was sent, as its check or its fold has shown. P-17
    pub fn handle_corrupt(&mut self, slot: Slot) {
        let peer = self.links[self.window[slot].link].peer;
        self.fail(
            self.about_current(
                ErrorKind::Corrupt,
                format!("the payload checksum of a frame from rank {peer} does not fit"),
            )
            .with_peer(peer),
        );
    }

    /// The link has taken the frame that this slot sends; the next may follow.
    pub fn handle_accepted(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Sending);
        self.window[slot].phase = Phase::Accepted;
        self.window.turn_over(slot);
        let link = self.window[slot].link;
        if self.links[link].last_send == Some(slot) {
            self.links[link].last_send = None;
        }
        self.progressed();
    }

    /// The bytes that this slot sent may be overwritten.
    pub fn handle_released(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Accepted);
        self.window.finish(slot);
    }

    /// What this slot writes, and how many of the live steps are yet to send just that: whoever writes
    /// it may note what such frames need.
    pub fn forwarded(&self, slot: Slot) -> (Span, u32) {
        self.window.forwarded(slot)
    }

    /// The fold, local reduction or map of this slot is done, and a fold's payload was what was sent.
    pub fn handle_folded(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Folding);
        if let Some(slab) = self.window[slot].slab.take() {
            let link = self.window[slot].link;
            self.links.return_slab(link, slab);
            self.window.attend_link(link);
        }
        self.window.finish(slot);
        self.watch.progressed(self.now_ns);
    }

    /// After [`Action::Abort`]: the kernel holds none of the operation's memory any more.
    pub fn handle_drained(&mut self) {
        let State::Draining(error) = &self.state else { return };
        let error = error.clone();
        self.window.clear();
        if let Some(current) = self.current.take() {
            self.outbox.push_back(Action::Finish {
                sequence: current.sequence,
                result: Err(error.clone()),
            });
        }
        for (sequence, _) in self.queue.drain(..) {
            self.outbox.push_back(Action::Finish { sequence, result: Err(error.clone()) });
        }
        self.state = State::Over(error);
    }

    /// What to do next; `None` when there is nothing to do until something is reported.
    #[inline]
    pub fn poll(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.outbox.pop_front() {
                return Some(action);
            }
            if !matches!(self.state, State::Open) {
                return None;
            }
            if self.current.is_none() && !self.begin_next() {
                return None;
            }
            self.admit();
            if let Some(action) = self.issue() {
                return Some(action);
            }
            if !self.outbox.is_empty() {
                continue;
            }
            if !self.finish_current() {
                return None;
            }
        }
    }

    fn take_sequence(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    fn usable(&self) -> Result<()> {
        self.failure().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn progressed(&mut self) {
        self.watch.progressed(self.now_ns);
    }
}

#[cfg(test)]
mod tests;
