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
//! waits for nothing but its turn, its fold waits for conflicts.

#![forbid(unsafe_code)]

mod action;
mod alias;
mod control;
mod links;
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

use crate::error::{Error, ErrorKind, Result, Scope};
use crate::limits;
use crate::plan::{Map, Plan, Step};
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;
use crate::wire::header::{FrameKind, Header};

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
}

/// One operation, ready to be walked.
#[derive(Clone)]
pub struct Operation {
    pub call: Call,
    pub plan: Arc<dyn Plan>,
    /// The number that stands for everything the plan was built from.
    pub key: u64,
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
        Ok(sequence)
    }

    /// Takes a sequence number for a call that this rank refuses, and tells the others why. P-24
    pub fn refuse(&mut self, call: Call, reason: &Error) -> Result<Sequence> {
        self.usable()?;
        let sequence = self.take_sequence();
        self.announce_refusal(sequence, call, reason);
        Ok(sequence)
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

    /// A connection to the peer is ready.
    pub fn handle_link_up(&mut self, peer: Rank) {
        let link = self.links.of(peer);
        if self.links[link].state == LinkState::Broken {
            return;
        }
        self.links[link].state = LinkState::Up;
        self.window.attend_link(link);
        self.progressed();
    }

    /// The connection to the peer could not be made, or broke. An operation that needs it fails,
    /// a little later: a rank that fails closes its links, and what it failed of is on its way
    /// over control, which may be slower.
    pub fn handle_link_down(&mut self, peer: Rank, cause: Error) {
        let link = self.links.of(peer);
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
        if *header == expected {
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
        self.progressed();
    }

    /// The received payload is what was sent; only now may it be folded or sent on. P-17
    pub fn handle_verified(&mut self, slot: Slot) {
        debug_assert!(self.window[slot].phase == Phase::Received);
        match self.window[slot].step {
            Step::RecvReduce { .. } => {
                self.window[slot].phase = Phase::Verified;
                self.window.attend(slot);
            }
            _ => self.window.finish(slot),
        }
    }

    /// The received payload is not what was sent. P-17
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

    /// The fold, local reduction or map of this slot is done.
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

    // Walking.

    fn take_sequence(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }

    fn usable(&self) -> Result<()> {
        self.failure().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// P-12: the next operation, once the one before it is through.
    fn begin_next(&mut self) -> bool {
        let Some((sequence, operation)) = self.queue.pop_front() else { return false };
        self.watch.begin(self.now_ns, self.settings.warn_after_ns, operation.deadline_ns);
        let plan_len = operation.plan.len();
        self.current = Some(Current { sequence, operation, cursor: 0, plan_len });
        self.compare_with_early_news();
        matches!(self.state, State::Open) || !self.outbox.is_empty()
    }

    /// Takes steps into the window while there is room.
    fn admit(&mut self) {
        let Some(current) = &mut self.current else { return };
        while current.cursor < current.plan_len && self.window.has_room() {
            let step = current.operation.plan.step(current.cursor);
            current.cursor += 1;
            // P-13: an empty share is no step, and takes no number on its link.
            let Some(mut step) = step else { continue };
            current.operation.alias.rewrite(&mut step);
            if let Step::Map { source, target, map: Map::Copy } = step
                && source == target
            {
                continue;
            }
            let link = match step {
                Step::Send { peer, .. }
                | Step::Recv { peer, .. }
                | Step::RecvReduce { peer, .. } => self.links.of(peer),
                Step::Reduce { .. } | Step::Map { .. } => links::NONE,
            };
            let slot = self.window.admit(step, link);
            if link != links::NONE {
                // P-11
                let frame = self.links.take_turn(link, current.sequence, slot, &step);
                self.window.queue_behind(slot, frame.behind);
                self.window[slot].frame = frame.number;
            }
        }
    }

    /// The next action of a live step, if one can go on.
    fn issue(&mut self) -> Option<Action> {
        while let Some(slot) = self.window.next_attention() {
            if let Some(action) = self.issue_slot(slot) {
                return Some(action);
            }
        }
        None
    }

    fn issue_slot(&mut self, slot: Slot) -> Option<Action> {
        let live = &self.window[slot];
        let step = live.step;
        match (step, live.phase) {
            (Step::Send { peer, source }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) || !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot, peer) {
                    return self.dial(slot, peer);
                }
                self.window[slot].phase = Phase::Sending;
                let header = self.frame_header(slot, source.len);
                Some(Action::Send { slot, peer, header, source })
            }
            (Step::Recv { peer, target }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) || !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot, peer) {
                    return self.dial(slot, peer);
                }
                self.window[slot].phase = Phase::Receiving;
                let expected = self.frame_header(slot, target.len);
                Some(Action::Receive { slot, peer, expected, target: Target::Span(target) })
            }
            (Step::RecvReduce { peer, into, .. }, Phase::Waiting) => {
                if !self.window.has_turn(slot) {
                    return None;
                }
                if !self.link_is_up(slot, peer) {
                    return self.dial(slot, peer);
                }
                let link = self.window[slot].link;
                let slab = self.links.take_slab(link)?;
                self.window[slot].slab = Some(slab);
                self.window[slot].phase = Phase::Receiving;
                let expected = self.frame_header(slot, into.len);
                Some(Action::Receive { slot, peer, expected, target: Target::Slab(slab) })
            }
            (Step::RecvReduce { with, into, finish, .. }, Phase::Verified) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                let slab = self.window[slot].slab?;
                self.window[slot].phase = Phase::Folding;
                Some(Action::Fold { slot, slab, with, into, finish })
            }
            (Step::Reduce { with, into, finish }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                self.window[slot].phase = Phase::Folding;
                Some(Action::Reduce { slot, with, into, finish })
            }
            (Step::Map { source, target, map }, Phase::Waiting) => {
                if !self.window.free_of_conflicts(slot) {
                    return None;
                }
                self.window[slot].phase = Phase::Folding;
                Some(Action::Map { slot, source, target, map })
            }
            _ => None,
        }
    }

    fn link_is_up(&self, slot: Slot, _peer: Rank) -> bool {
        self.links[self.window[slot].link].state == LinkState::Up
    }

    /// Asks once for the link that this slot needs.
    fn dial(&mut self, slot: Slot, peer: Rank) -> Option<Action> {
        let link = self.window[slot].link;
        if self.links[link].state != LinkState::Down {
            return None;
        }
        self.links[link].state = LinkState::Dialing;
        Some(Action::Dial { peer })
    }

    /// What is sent, and what must come: a peer's frame equals what this rank would write. P-14
    fn frame_header(&self, slot: Slot, length: u64) -> Header {
        let current = self.current.as_ref().expect("a live step belongs to an operation");
        Header {
            kind: FrameKind::Collective,
            communicator: self.settings.communicator,
            epoch: self.settings.epoch,
            step: self.window[slot].frame,
            sequence: current.sequence,
            key: current.operation.key,
            length: length as u32,
            call: Some(current.operation.call),
            // P-16: with or without payload.
            checksummed: self.settings.checksums,
        }
    }

    fn expected_header(&self, slot: Slot) -> Header {
        let length = match self.window[slot].step {
            Step::Recv { target, .. } => target.len,
            Step::RecvReduce { into, .. } => into.len,
            _ => 0,
        };
        self.frame_header(slot, length)
    }

    fn finish_current(&mut self) -> bool {
        let done = self
            .current
            .as_ref()
            .is_some_and(|current| current.cursor == current.plan_len && self.window.is_empty());
        if done && let Some(current) = self.current.take() {
            self.watch.remember(current.sequence, current.operation.key, current.operation.call);
            self.outbox.push_back(Action::Finish { sequence: current.sequence, result: Ok(()) });
            self.meet_failure_ahead();
        }
        done
    }

    // Failing.

    /// Poisons the session with its first cause and tells everybody. P-25
    fn fail(&mut self, error: Error) {
        if !matches!(self.state, State::Open) {
            return;
        }
        // Whatever the cause, what it broke is what runs now.
        let error = match (&self.current, error.operation()) {
            (Some(current), None) => error
                .with_operation(current.operation.call.collective.name(), Some(current.sequence)),
            _ => error,
        };
        let error = error.with_scope(Scope::Communicator).with_rank(self.settings.rank);
        self.outbox.push_back(Action::Control {
            to: Audience::Everyone,
            message: Message::Abort {
                communicator: self.settings.communicator,
                epoch: self.settings.epoch,
                origin: self.settings.rank,
                sequence: error.sequence(),
                about: error.peer(),
                kind: error.kind(),
                reason: error.message().to_owned(),
            },
        });
        self.outbox.push_back(Action::Abort { error: error.clone() });
        self.state = State::Draining(error);
    }

    /// An error about the operation that runs now.
    pub(crate) fn about_current(&self, kind: ErrorKind, message: String) -> Error {
        let error = Error::new(kind, message);
        match &self.current {
            Some(current) => error
                .with_operation(current.operation.call.collective.name(), Some(current.sequence)),
            None => error,
        }
    }

    /// Why a well-formed frame is not the one that the plan predicts. P-10
    fn describe_surprise(&self, peer: Rank, got: &Header, expected: &Header) -> Error {
        let foreign = (got.communicator, got.epoch) != (expected.communicator, expected.epoch);
        if foreign || got.kind != expected.kind {
            return self
                .about_current(
                    ErrorKind::Protocol,
                    format!("rank {peer} sent a frame of another communicator on this one's link"),
                )
                .with_peer(peer);
        }
        if let Some(error) = self.own_refusal(got.sequence) {
            return error;
        }
        let past = self.watch.recall(got.sequence).filter(|past| past.key != got.key);
        let text = if let Some(past) = past {
            // This rank is through with its own call of that number, which needed nobody else.
            self.describe_difference(peer, got.call, Some(past.call))
        } else if got.sequence != expected.sequence {
            format!(
                "ranks are at different calls: rank {peer} is in its call #{} {}, rank {} in its call #{} {}; every rank must make the same calls in the same order",
                got.sequence,
                named(got.call),
                self.settings.rank,
                expected.sequence,
                named(expected.call)
            )
        } else if got.call != expected.call || got.key != expected.key {
            self.describe_difference(peer, got.call, expected.call)
        } else if got.checksummed != expected.checksummed {
            format!("rank {peer} and this rank do not agree whether payloads carry checksums")
        } else {
            let text = format!(
                "rank {peer} sent frame {} of {} bytes where frame {} of {} bytes was due",
                got.step, got.length, expected.step, expected.length
            );
            return self.about_current(ErrorKind::Protocol, text).with_peer(peer);
        };
        self.about_current(ErrorKind::Mismatch, text).with_peer(peer)
    }

    /// Who called what, where a peer's call of the same number is not this rank's.
    fn describe_difference(&self, peer: Rank, theirs: Option<Call>, own: Option<Call>) -> String {
        let rank = self.settings.rank;
        if let (Some(theirs), Some(own)) = (theirs, own)
            && (Call { algorithm: own.algorithm, ..theirs }) == own
            && theirs.algorithm != own.algorithm
        {
            return format!(
                "ranks called {own} with different algorithms: rank {peer} by {}, rank {rank} by {}",
                theirs.algorithm, own.algorithm
            );
        }
        if theirs != own {
            return format!(
                "ranks called different things: rank {peer} called {}, rank {rank} called {}",
                named(theirs),
                named(own)
            );
        }
        format!(
            "rank {peer} and rank {rank} both called {}, but would cut it differently: their builds of Kirsh differ",
            named(own)
        )
    }

    fn progressed(&mut self) {
        self.watch.progressed(self.now_ns);
    }
}

/// Where Input is a part of Output, the step speaks of Output alone.
fn named(call: Option<Call>) -> String {
    call.map_or_else(|| "nothing that has a name".to_owned(), |call| call.to_string())
}

#[cfg(test)]
mod tests;
