//! The one error type: what went wrong, how far it reaches, and who was involved.

use std::fmt;
use std::sync::Arc;

use crate::types::{Rank, Sequence};

/// What went wrong, in one word. Numbers are those of the C status codes: append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument that could never have worked: null, overlapping, out of range.
    InvalidArgument = 2,
    /// A valid wish that this build, machine or type cannot fulfil.
    Unsupported = 3,
    /// A deadline passed.
    Timeout = 4,
    /// A peer died, left while it was needed, or fell silent.
    PeerLost = 5,
    /// Ranks called different things.
    Mismatch = 6,
    /// A peer refused the call that this rank made; its reason is in the message.
    Refused = 7,
    /// A checksum did not fit.
    Corrupt = 8,
    /// A peer sent what the protocol does not allow.
    Protocol = 9,
    /// Somebody called abort.
    Aborted = 10,
    /// A signal asked the blocking call to stop.
    Interrupted = 11,
    /// The ranks did not find together.
    Rendezvous = 12,
    /// A token or job id did not fit.
    Authentication = 13,
    /// The operating system refused: memory, descriptors, a forbidden call.
    System = 14,
    /// A handle was used in a forked child.
    Forked = 15,
    /// A handle was used after it was closed.
    Closed = 16,
    /// A setting in the environment or the configuration is missing or malformed.
    Configuration = 17,
    /// A defect of the library itself.
    Internal = 18,
}

impl ErrorKind {
    /// A short lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            ErrorKind::InvalidArgument => "invalid argument",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Timeout => "timeout",
            ErrorKind::PeerLost => "peer lost",
            ErrorKind::Mismatch => "mismatch",
            ErrorKind::Refused => "refused",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Protocol => "protocol violation",
            ErrorKind::Aborted => "aborted",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::Rendezvous => "rendezvous",
            ErrorKind::Authentication => "authentication",
            ErrorKind::System => "system",
            ErrorKind::Forked => "forked",
            ErrorKind::Closed => "closed",
            ErrorKind::Configuration => "configuration",
            ErrorKind::Internal => "internal",
        }
    }

    /// The kind with this number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        use ErrorKind::*;
        Some(match number {
            2 => InvalidArgument,
            3 => Unsupported,
            4 => Timeout,
            5 => PeerLost,
            6 => Mismatch,
            7 => Refused,
            8 => Corrupt,
            9 => Protocol,
            10 => Aborted,
            11 => Interrupted,
            12 => Rendezvous,
            13 => Authentication,
            14 => System,
            15 => Forked,
            16 => Closed,
            17 => Configuration,
            18 => Internal,
            _ => return None,
        })
    }
}

/// What an error leaves unusable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Scope {
    /// Only this call; the communicator goes on.
    Call = 0,
    /// One connection; the communicator may open another.
    Link = 1,
    /// The communicator: later calls return this same error.
    Communicator = 2,
}

/// Why a call failed. Cheap to clone, since every later call on a poisoned communicator gets it.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    scope: Scope,
    message: String,
    rank: Option<Rank>,
    peer: Option<Rank>,
    operation: Option<&'static str>,
    sequence: Option<Sequence>,
}

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind that reaches no further than the call.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            scope: Scope::Call,
            message: message.into(),
            rank: None,
            peer: None,
            operation: None,
            sequence: None,
        }))
    }

    /// The last error of the operating system, with what was being tried.
    pub fn system(doing: impl fmt::Display, cause: &std::io::Error) -> Self {
        Error::new(ErrorKind::System, format!("{doing}: {cause}"))
    }

    pub fn with_scope(mut self, scope: Scope) -> Self {
        Arc::make_mut(&mut self.0).scope = scope;
        self
    }

    /// The same error in other words.
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).message = message.into();
        self
    }

    /// Names the rank that reports the error.
    pub fn with_rank(mut self, rank: Rank) -> Self {
        Arc::make_mut(&mut self.0).rank = Some(rank);
        self
    }

    /// Names the rank that the error is about.
    pub fn with_peer(mut self, peer: Rank) -> Self {
        Arc::make_mut(&mut self.0).peer = Some(peer);
        self
    }

    /// Puts something behind the text.
    pub(crate) fn with_note(mut self, note: impl fmt::Display) -> Self {
        let message = &mut Arc::make_mut(&mut self.0).message;
        message.push_str(&note.to_string());
        self
    }

    /// Names the operation that failed.
    pub fn with_operation(mut self, operation: &'static str, sequence: Option<Sequence>) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        inner.operation = Some(operation);
        inner.sequence = sequence;
        self
    }

    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    pub fn scope(&self) -> Scope {
        self.0.scope
    }

    /// The text without the rank and operation that `Display` puts in front of it.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The rank that reports the error, where it is known.
    pub fn rank(&self) -> Option<Rank> {
        self.0.rank
    }

    /// The rank that the error is about, where there is one.
    pub fn peer(&self) -> Option<Rank> {
        self.0.peer
    }

    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    pub fn sequence(&self) -> Option<Sequence> {
        self.0.sequence
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rank) = self.0.rank {
            write!(f, "rank {rank}: ")?;
        }
        match (self.0.operation, self.0.sequence) {
            (Some(operation), Some(sequence)) => write!(f, "{operation} #{sequence}: ")?,
            (Some(operation), None) => write!(f, "{operation}: ")?,
            _ => {}
        }
        write!(f, "{}", self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({}, {:?}, \"{self}\")", self.0.kind.name(), self.0.scope)
    }
}

impl std::error::Error for Error {}
