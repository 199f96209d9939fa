//! Time: operations that stand still, take long, or take too long; and the memory of calls gone by.

use std::collections::VecDeque;

use super::Session;
use super::action::{Action, Audience};
use super::links::{self, LinkState};
use super::window::Phase;
use crate::error::{Error, ErrorKind};
use crate::limits::CALL_HISTORY;
use crate::plan::Step;
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;

/// How long an operation may stand still before the rank says what it is in (P-23). Long beside a round
/// trip and a scheduler's slice, short beside a second in which a mismatch should be known.
const STALL_NS: u64 = 100_000_000;
/// How often it says so again (P-23): the blame travels one rank further each time.
const STALL_AGAIN_NS: u64 = 500_000_000;
/// How long to wait for the cause of what is seen, before the sight is taken for the cause (P-10). Long
/// beside the time in which a busy host gets round to a progress thread, short beside a second.
const SUSPICION_NS: u64 = 300_000_000;
/// How long a peer's word of being stuck is believed: it may have gone on since, or be what stands
/// still now. Three times what it takes to say so again. P-23
const REPORT_VALID_NS: u64 = 3 * STALL_AGAIN_NS;

/// A call gone by, or one that a peer is in and this rank is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past {
    pub(super) sequence: Sequence,
    pub(super) key: u64,
    pub(super) call: Call,
}

pub(super) struct Watch {
    began_ns: u64,
    deadline_ns: u64,
    /// The earliest deadline of anything enqueued, or later than it.
    queued_deadline_ns: u64,
    warn_ns: u64,
    /// When to say that the operation stands still.
    stall_ns: u64,
    /// Whom it blamed when it last said so, since it last moved.
    told: Option<Rank>,
    /// What to fail with, and when, unless the true cause is heard of before.
    /// The first tick sets the time, for what is known of it in between is out of date.
    suspicion: Option<(Option<u64>, Error)>,
    /// What others have failed with in a later call than this rank is in.
    ahead: Option<(Sequence, Error)>,
    past: VecDeque<Past>,
}

impl Watch {
    pub(super) fn new() -> Self {
        Watch {
            began_ns: 0,
            deadline_ns: u64::MAX,
            queued_deadline_ns: u64::MAX,
            warn_ns: u64::MAX,
            stall_ns: u64::MAX,
            told: None,
            suspicion: None,
            ahead: None,
            past: VecDeque::with_capacity(CALL_HISTORY),
        }
    }

    pub(super) fn begin(&mut self, now_ns: u64, warn_after_ns: u64, deadline_ns: u64) {
        self.began_ns = now_ns;
        self.deadline_ns = deadline_ns;
        self.warn_ns = now_ns.saturating_add(warn_after_ns);
        self.progressed(now_ns);
    }

    pub(super) fn progressed(&mut self, now_ns: u64) {
        self.stall_ns = now_ns.saturating_add(STALL_NS);
        self.told = None;
    }

    /// Fails with this error a little later, unless something else fails first.
    pub(super) fn suspect(&mut self, error: Error) {
        self.suspicion.get_or_insert((None, error));
    }

    pub(super) fn note_deadline(&mut self, deadline_ns: u64) {
        self.queued_deadline_ns = self.queued_deadline_ns.min(deadline_ns);
    }

    pub(super) fn next_ns(&self) -> u64 {
        let suspicion_ns =
            self.suspicion.as_ref().map_or(u64::MAX, |(at_ns, _)| at_ns.unwrap_or(0));
        let due_ns = self.deadline_ns.min(self.queued_deadline_ns).min(suspicion_ns);
        due_ns.min(self.warn_ns).min(self.stall_ns)
    }

    pub(super) fn remember(&mut self, sequence: Sequence, key: u64, call: Call) {
        if self.past.len() == CALL_HISTORY {
            self.past.pop_front();
        }
        self.past.push_back(Past { sequence, key, call });
        self.deadline_ns = u64::MAX;
        self.warn_ns = u64::MAX;
        self.stall_ns = u64::MAX;
    }

    pub(super) fn recall(&self, sequence: Sequence) -> Option<&Past> {
        self.past.iter().find(|past| past.sequence == sequence)
    }
}

impl Session {
    /// Something is due: a deadline, a warning, or a word about standing still.
    pub(super) fn watch_time(&mut self) {
        let now_ns = self.now_ns;
        if now_ns >= self.watch.queued_deadline_ns {
            let earliest = self.queue.iter().map(|(_, operation)| operation.deadline_ns).min();
            self.watch.queued_deadline_ns = earliest.unwrap_or(u64::MAX);
        }
        if now_ns >= self.watch.deadline_ns.min(self.watch.queued_deadline_ns) {
            return self.give_up();
        }
        if let Some((at_ns, error)) = &mut self.watch.suspicion {
            let at_ns = *at_ns.get_or_insert(now_ns.saturating_add(SUSPICION_NS));
            if now_ns >= at_ns {
                let error = error.clone();
                return self.fail(error);
            }
        }
        if now_ns >= self.watch.warn_ns {
            self.watch.warn_ns = now_ns.saturating_add(self.settings.warn_after_ns);
            let text = self.describe_wait("still waiting");
            self.outbox.push_back(Action::Warn { text });
        }
        if now_ns >= self.watch.stall_ns {
            self.watch.stall_ns = now_ns.saturating_add(STALL_AGAIN_NS);
            self.tell_stalled();
        }
    }

    /// Others have failed, in this call of theirs where it is about one. What this rank has to do before
    /// that call, running or not begun, may yet end well: whoever is through with it has sent all of its
    /// part. Or it ends for a reason of its own, which was theirs in the first place. P-25
    pub(super) fn fail_with_others(&mut self, sequence: Option<Sequence>, cause: Error) {
        match sequence {
            Some(theirs) if theirs > self.finished() && self.watch.suspicion.is_none() => {
                self.watch.ahead.get_or_insert((theirs, cause));
            }
            _ => self.fail(self.while_in_current(cause, sequence)),
        }
    }

    /// What ended a link that is needed: something known, or to be known soon, or the end itself.
    pub(super) fn suspect(&mut self, cause: Error) {
        match self.watch.ahead.take() {
            Some((sequence, known)) => self.fail(self.while_in_current(known, Some(sequence))),
            None => self.watch.suspect(cause),
        }
    }

    /// A call has ended well; what others have failed with may be due.
    pub(super) fn meet_failure_ahead(&mut self) {
        let finished = self.finished();
        if let Some((sequence, cause)) = self.watch.ahead.take_if(|(at, _)| *at <= finished) {
            self.fail(self.while_in_current(cause, Some(sequence)));
        }
    }

    /// The same error, about the operation that runs now.
    pub(super) fn while_in_current(&self, error: Error, sequence: Option<Sequence>) -> Error {
        match &self.current {
            Some(current) => {
                error.with_operation(current.operation.call.name(), Some(current.sequence))
            }
            None => match sequence {
                Some(about) => error.with_operation(self.name_of(about), sequence),
                None => error,
            },
        }
    }

    /// What a call of this number is here, as far as that is known.
    fn name_of(&self, sequence: Sequence) -> &'static str {
        let waiting = self.queue.iter().find(|(number, _)| *number == sequence);
        let known = waiting.map(|(_, operation)| operation.call);
        let known = known.or_else(|| self.watch.recall(sequence).map(|past| past.call));
        known.map_or("communicator", |call| call.name())
    }

    fn give_up(&mut self) {
        let text = self.describe_wait("timed out");
        let mut error = self.about_current(ErrorKind::Timeout, text);
        if let Some(peer) = self.blame() {
            error = error.with_peer(peer);
        }
        self.fail(error);
    }

    fn describe_wait(&self, what: &str) -> String {
        let seconds = self.now_ns.saturating_sub(self.watch.began_ns) as f64 / 1e9;
        let call = self
            .current
            .as_ref()
            .map_or_else(String::new, |current| current.operation.call.to_string());
        let mut awaited: Vec<Rank> = self.awaited().map(|(_, peer)| peer).collect();
        awaited.sort_unstable();
        awaited.dedup();
        let awaited = awaited.iter().map(Rank::to_string).collect::<Vec<_>>().join(", ");
        let blame = self.blame().map_or_else(String::new, |rank| {
            format!("; the rank that holds everything up seems to be {rank}")
        });
        format!(
            "{what} after {seconds:.1} s in {call}: no progress from rank {awaited}{blame} (the timeout is set by the call, or by KIRSH_TIMEOUT in seconds)"
        )
    }

    /// The peers that a live step waits for, each with the step's place in the plan.
    fn awaited(&self) -> impl Iterator<Item = (u64, Rank)> + '_ {
        self.window.iter().filter_map(|live| match live.step {
            Step::Send { peer, .. } | Step::Recv { peer, .. } | Step::RecvReduce { peer, .. } => {
                let dialing = self.links[live.link].state != LinkState::Up;
                let moving = matches!(live.phase, Phase::Receiving | Phase::Sending);
                (dialing || moving).then_some((live.order, peer))
            }
            _ => None,
        })
    }

    /// The peer that the earliest live step of the running operation waits for: to send, to read, to give
    /// back memory that it was sent from, or to be connected. Not whom that peer waits for in turn.
    pub fn awaited_peer(&self) -> Option<Rank> {
        let awaited = self.window.iter().filter(|live| live.link != links::NONE);
        let awaited = awaited.filter(|live| {
            let link = &self.links[live.link];
            let moving = matches!(live.phase, Phase::Receiving | Phase::Sending | Phase::Accepted);
            moving || link.state != LinkState::Up
        });
        let earliest = awaited.min_by_key(|live| live.order)?;
        Some(self.links[earliest.link].peer)
    }

    /// The rank at the end of the chain of waits, as far as the peers' reports show: the one that
    /// the earliest waiting step waits for, or whom that one blames if it is stuck itself.
    ///
    /// P-23. The earliest, because the steps of a plan have one order over all ranks: such a chain leads
    /// to ever earlier steps and cannot close on itself, as hearsay about any of the peers can.
    pub(super) fn blame(&self) -> Option<Rank> {
        let sequence = self.current.as_ref()?.sequence;
        let (_, peer) = self.awaited().min()?;
        let report = self.links.report(peer);
        let believed = report.filter(|report| {
            report.sequence <= sequence
                && report.blame != self.settings.rank
                && self.now_ns.saturating_sub(report.heard_ns) <= REPORT_VALID_NS
        });
        Some(believed.map_or(peer, |report| report.blame))
    }

    /// After news of a peer: if this rank has said whom it blames, and blames another now, it says
    /// so again without waiting, so that the end of a long chain is known at once. P-23
    pub(super) fn tell_changed_blame(&mut self) {
        if self.watch.told.is_some() && self.watch.told != self.blame() {
            self.tell_stalled();
        }
    }

    /// P-23
    fn tell_stalled(&mut self) {
        let (Some(current), Some(blame)) = (&self.current, self.blame()) else { return };
        self.watch.told = Some(blame);
        for peer in self.links.peers() {
            self.outbox.push_back(Action::Control {
                to: Audience::Rank(peer),
                message: Message::Stalled {
                    communicator: self.settings.communicator,
                    epoch: self.settings.epoch,
                    origin: self.settings.rank,
                    to: peer,
                    sequence: current.sequence,
                    key: current.operation.key,
                    call: current.operation.call,
                    blame,
                },
            });
        }
    }
}
