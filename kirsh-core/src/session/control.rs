//! What the other ranks say besides data: being stuck, having refused, having failed.

use std::collections::VecDeque;

use super::action::{Action, Audience};
use super::links::Report;
use super::{Session, State};
use crate::error::{Error, ErrorKind};
use crate::limits::CALL_HISTORY;
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;

/// News of operations that do not fit the one that runs.
#[derive(Default)]
pub(super) struct News {
    /// Of operations that this rank has not begun.
    early: VecDeque<Early>,
    /// This rank's own refusals, kept so that they can be told again. P-24
    refused: VecDeque<(Sequence, Call, Error)>,
    /// Refusals of others, so that each is passed on once. P-24
    heard: VecDeque<(Rank, Sequence)>,
}

enum Early {
    Stalled { origin: Rank, sequence: Sequence, key: u64, call: Call },
    Refused { origin: Rank, sequence: Sequence, call: Call, reason: String },
}

impl Early {
    fn sequence(&self) -> Sequence {
        match self {
            Early::Stalled { sequence, .. } | Early::Refused { sequence, .. } => *sequence,
        }
    }
}

/// Puts a value at the end, dropping the oldest where it would grow beyond what is remembered.
fn remember<T>(list: &mut VecDeque<T>, value: T) {
    if list.len() == CALL_HISTORY {
        list.pop_front();
    }
    list.push_back(value);
}

impl Session {
    /// A control message about this communicator has come. Messages of another one, and those
    /// from or blaming a rank that does not exist, are ignored. P-22
    pub fn handle_message(&mut self, message: &Message) {
        if !matches!(self.state, State::Open) {
            return;
        }
        match message {
            Message::Stalled {
                communicator, epoch, origin, sequence, key, call, blame, ..
            } => {
                if self.concerns(*communicator, *epoch, *origin) && *blame < self.settings.world {
                    self.hear_stalled(*origin, *sequence, *key, *call, *blame);
                }
            }
            Message::Refused { communicator, epoch, origin, sequence, call, reason, .. } => {
                if self.concerns(*communicator, *epoch, *origin) {
                    self.hear_refused(message, *origin, *sequence, *call, reason);
                }
            }
            Message::Abort { communicator, epoch, origin, sequence, about, kind, reason } => {
                if self.concerns(*communicator, *epoch, *origin) {
                    self.hear_abort(*origin, *sequence, *about, *kind, reason);
                }
            }
            Message::Heartbeat | Message::Goodbye { .. } => {}
        }
    }

    /// The process of a peer is gone. Whatever still waits for a link to it fails; what waits for
    /// bytes on a link that is up reads on, since they may be there already. P-28, P-29
    pub fn handle_peer_gone(&mut self, peer: Rank, cause: Error) {
        let waits = self.links.of(peer).any(|link| {
            self.links[link].state != super::LinkState::Up && self.window.uses_link(link)
        });
        if waits {
            self.fail(self.while_in_current(cause, None));
        }
    }

    /// Another channel of the communicator has failed. What comes before that call may still end well:
    /// whoever is through with it has sent all of its part. Not so where this rank itself has ended the
    /// communicator, which is to end whatever runs.
    pub fn handle_channel_failed(&mut self, cause: Error) {
        let by_choice = matches!(
            cause.kind(),
            ErrorKind::Aborted | ErrorKind::Interrupted | ErrorKind::Internal
        );
        if by_choice && cause.peer().is_none_or(|peer| peer == self.settings.rank) {
            return self.fail(self.while_in_current(cause, None));
        }
        let ours = self.current.as_ref().map(|current| current.sequence);
        match cause.sequence() {
            // This one may know better what that call is.
            Some(theirs) if ours.is_none_or(|ours| theirs >= ours) => {
                self.fail_with_others(Some(theirs), cause);
            }
            _ => self.fail(cause),
        }
    }

    /// The process of a peer has fallen silent. Whatever still waits for it fails. P-28
    pub fn handle_peer_silent(&mut self, peer: Rank, cause: Error) {
        let waits = self.links.of(peer).any(|link| self.window.uses_link(link));
        if waits {
            self.fail(self.while_in_current(cause, None));
        }
    }

    pub(super) fn announce_refusal(&mut self, sequence: Sequence, call: Call, reason: &Error) {
        let message = self.refusal(sequence, call, reason);
        remember(&mut self.news.refused, (sequence, call, reason.clone()));
        self.outbox.push_back(Action::Control { to: Audience::Everyone, message });
    }

    /// Looks at what was said of the operation that begins now. P-23, P-24
    pub(super) fn compare_with_early_news(&mut self) {
        if self.news.early.is_empty() {
            return;
        }
        let Some(current) = &self.current else { return };
        let (sequence, key, call) =
            (current.sequence, current.operation.key, current.operation.call);
        let (due, later): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut self.news.early)
            .into_iter()
            .filter(|news| news.sequence() >= sequence)
            .partition(|news| news.sequence() == sequence);
        self.news.early = later;
        for news in due {
            match news {
                Early::Stalled { origin, key: theirs, call: their_call, .. } => {
                    if theirs != key {
                        self.differ(origin, sequence, their_call, call);
                    }
                }
                Early::Refused { origin, call, reason, .. } => {
                    self.fail_refused(origin, sequence, call, &reason);
                }
            }
        }
    }

    fn concerns(&self, communicator: u64, epoch: u32, origin: Rank) -> bool {
        communicator == self.settings.communicator
            && epoch == self.settings.epoch
            && origin < self.settings.world
            && origin != self.settings.rank
    }

    /// P-23
    fn hear_stalled(
        &mut self,
        origin: Rank,
        sequence: Sequence,
        key: u64,
        call: Call,
        blame: Rank,
    ) {
        self.links.note(origin, Report { sequence, blame, heard_ns: self.now_ns });
        self.tell_changed_blame();
        let here = match &self.current {
            Some(current) if current.sequence == sequence => {
                Some((current.operation.key, current.operation.call))
            }
            _ => self.watch.recall(sequence).map(|past| (past.key, past.call)),
        };
        if let Some((own_key, own_call)) = here {
            if own_key != key {
                self.differ(origin, sequence, call, own_call);
            }
        } else if let Some((_, own_call, reason)) =
            // P-24: whoever waits for a call that was refused here has missed the word of it.
            self.news.refused.iter().find(|(refused, ..)| *refused == sequence)
        {
            let message = self.refusal(sequence, *own_call, reason);
            self.outbox.push_back(Action::Control { to: Audience::Rank(origin), message });
        } else if sequence >= self.finished() {
            let news = Early::Stalled { origin, sequence, key, call };
            // A peer that is stuck says so again and again; once is enough.
            let known = self.news.early.iter().any(|early| {
                matches!(early, Early::Stalled { origin: other, sequence: at, .. }
                    if (*other, *at) == (origin, sequence))
            });
            if !known {
                remember(&mut self.news.early, news);
            }
        }
    }

    /// P-24
    fn hear_refused(
        &mut self,
        message: &Message,
        origin: Rank,
        sequence: Sequence,
        call: Call,
        reason: &str,
    ) {
        if self.news.heard.contains(&(origin, sequence)) {
            return;
        }
        remember(&mut self.news.heard, (origin, sequence));
        self.outbox.push_back(Action::Control { to: Audience::Everyone, message: message.clone() });
        if self.news.refused.iter().any(|(refused, ..)| *refused == sequence) {
            // P-24: where all refuse, nothing fails.
            return;
        }
        let running = self.current.as_ref().is_some_and(|current| current.sequence == sequence);
        if running || sequence < self.finished() {
            self.fail_refused(origin, sequence, call, reason);
        } else {
            let reason = reason.to_owned();
            remember(&mut self.news.early, Early::Refused { origin, sequence, call, reason });
        }
    }

    /// P-25
    fn hear_abort(
        &mut self,
        origin: Rank,
        sequence: Option<Sequence>,
        about: Option<Rank>,
        kind: ErrorKind,
        reason: &str,
    ) {
        // P-25: interrupted is something that happens to a caller; to its peers it is an abort.
        let kind = if kind == ErrorKind::Interrupted { ErrorKind::Aborted } else { kind };
        // Each rank passes it on; who said it first is enough.
        let text = if reason.contains("(reported by rank ") {
            reason.to_owned()
        } else {
            format!("{reason} (reported by rank {origin})")
        };
        let about = about.filter(|rank| *rank < self.settings.world).unwrap_or(origin);
        self.fail_with_others(sequence, Error::new(kind, text).with_peer(about));
    }

    /// Why a peer that still is in this call waits in vain, if this rank refused it.
    pub(super) fn own_refusal(&self, sequence: Sequence) -> Option<Error> {
        let (_, call, reason) = self.news.refused.iter().find(|(at, ..)| *at == sequence)?;
        let rank = self.settings.rank;
        let text = format!("rank {rank} refused {call}: {}", reason.message());
        let error = Error::new(ErrorKind::Refused, text).with_peer(rank);
        Some(error.with_operation(call.name(), Some(sequence)))
    }

    fn fail_refused(&mut self, origin: Rank, sequence: Sequence, call: Call, reason: &str) {
        let error =
            Error::new(ErrorKind::Refused, format!("rank {origin} refused {call}: {reason}"))
                .with_operation(call.name(), Some(sequence));
        self.fail(error.with_peer(origin));
    }

    fn differ(&mut self, origin: Rank, sequence: Sequence, theirs: Call, own: Call) {
        let text = self.describe_difference(origin, Some(theirs), Some(own));
        let error =
            Error::new(ErrorKind::Mismatch, text).with_operation(own.name(), Some(sequence));
        self.fail(error.with_peer(origin));
    }

    fn refusal(&self, sequence: Sequence, call: Call, reason: &Error) -> Message {
        Message::Refused {
            communicator: self.settings.communicator,
            epoch: self.settings.epoch,
            origin: self.settings.rank,
            sequence,
            call,
            kind: reason.kind(),
            reason: reason.message().to_owned(),
        }
    }
}
