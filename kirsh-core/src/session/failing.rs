//! How a session ends in an error, and what that says of a frame that was not the one due.

use super::action::{Action, Audience};
use super::{Session, State};
use crate::error::{Error, ErrorKind, Scope};
use crate::types::{Call, Rank, Wire};
use crate::wire::control::Message;
use crate::wire::header::Header;

impl Session {
    /// Poisons the session with its first cause and tells everybody. P-25
    pub(super) fn fail(&mut self, error: Error) {
        if !matches!(self.state, State::Open) {
            return;
        }
        // Whatever the cause, what it broke is what runs now.
        let error = match (&self.current, error.operation()) {
            (Some(current), None) => {
                error.with_operation(current.operation.call.name(), Some(current.sequence))
            }
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
            Some(current) => {
                error.with_operation(current.operation.call.name(), Some(current.sequence))
            }
            None => error,
        }
    }

    /// Why a well-formed frame is not the one that the plan predicts. P-10
    pub(super) fn describe_surprise(&self, peer: Rank, got: &Header, expected: &Header) -> Error {
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
        let past = self.watch.recall(got.sequence);
        let has_own_counts =
            |call: Option<Call>| call.is_some_and(|call| call.collective.has_own_counts());
        let text = if let Some(past) = past.filter(|past| past.key != got.key) {
            // This rank is through with its own call of that number, which needed nobody else.
            self.describe_difference(peer, got.call, Some(past.call))
        } else if past.is_some() && has_own_counts(got.call) {
            format!(
                "rank {peer} sent more of call #{} {} than rank {} expected: their counts do not agree",
                got.sequence,
                named(got.call),
                self.settings.rank
            )
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
        } else if has_own_counts(expected.call) {
            format!(
                "in {} frame {} from rank {peer} has {} bytes where rank {} expected frame {} of {}: their counts do not agree",
                named(expected.call),
                got.step,
                got.length,
                self.settings.rank,
                expected.step,
                expected.length
            )
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
    pub(super) fn describe_difference(
        &self,
        peer: Rank,
        theirs: Option<Call>,
        own: Option<Call>,
    ) -> String {
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
        if let (Some(theirs), Some(own)) = (theirs, own)
            && (Call { wire: own.wire, algorithm: own.algorithm, ..theirs }) == own
            && theirs.wire != own.wire
        {
            let own_call = Call { wire: Wire::Plain, ..own };
            return format!(
                "ranks called {own_call} with different wire formats: rank {peer} with {}, rank {rank} with {}",
                theirs.wire, own.wire
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
}

fn named(call: Option<Call>) -> String {
    call.map_or_else(|| "nothing that has a name".to_owned(), |call| call.to_string())
}
