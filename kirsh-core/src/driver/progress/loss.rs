//! Why a process, or its part in one communicator, is gone. Each communicator that hears of it is
//! told in words that name the process by its rank there.

use crate::error::{Error, ErrorKind};
use crate::types::Rank;

/// A reason that a rank's name is put into.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    kind: ErrorKind,
    /// What stands before the rank, and behind it.
    before: &'static str,
    after: String,
}

impl Loss {
    /// "`before` rank 3 `after`".
    pub(super) fn new(kind: ErrorKind, before: &'static str, after: impl Into<String>) -> Self {
        Loss { kind, before, after: after.into() }
    }

    pub(super) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The error, about the process by this name.
    pub(super) fn of(&self, rank: Rank) -> Error {
        let text = format!("{}rank {rank}{}", self.before, self.after);
        Error::new(self.kind, text).with_peer(rank)
    }
}
