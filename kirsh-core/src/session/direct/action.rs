//! What a [`Direct`](super::Direct) and its owner say to one another.

use crate::error::{Error, Result};
use crate::types::{DataType, Rank};
use crate::wire::DirectFrame;

/// From whom a receive takes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Rank(Rank),
    /// From whoever's message is there first.
    Any,
}

/// Which messages a receive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Is(u32),
    Any,
}

/// What a receive has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    pub source: Rank,
    pub tag: u32,
    /// In elements.
    pub count: usize,
}

/// Names an operation in what goes to and fro between a [`Direct`] and its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A slab that the owner leases when it is first named and returns at [`Action::Free`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeldSlab(pub u64);

/// Which of the two links between this rank and a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Opened by this rank, for its messages to the peer.
    Outward,
    /// Opened by the peer.
    Inward,
}

/// A send or a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Send { to: Rank, tag: u32, dtype: DataType, count: u64, deadline_ns: u64 },
    Receive { from: Source, tag: Tag, dtype: DataType, count: u64, deadline_ns: u64 },
}

impl Request {
    pub(super) fn deadline_ns(&self) -> u64 {
        match self {
            Request::Send { deadline_ns, .. } | Request::Receive { deadline_ns, .. } => {
                *deadline_ns
            }
        }
    }
}

/// Where the payload of the frame that comes goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// There is none.
    Nothing,
    /// Into a receive's buffer, from this byte on.
    Place(Ticket, u64),
    Slab(HeldSlab),
    /// Nobody takes it.
    Drop,
    /// The frame must not be: read no further.
    Refused,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Open the outward link to a peer; report `handle_link_up` or `handle_link_down`.
    Dial { peer: Rank },
    /// Something is expected of this peer: see that its end is noticed.
    Watch { peer: Rank },
    /// Send a frame, with as many bytes as it says from a send's buffer. Report `handle_sent`.
    Send { peer: Rank, side: Side, frame: DirectFrame, payload: Option<(Ticket, u64)> },
    /// Copy so many bytes from a send's buffer to a slab.
    Hold { from: Ticket, slab: HeldSlab, len: u64 },
    /// Copy so many bytes from a slab to a receive's buffer.
    Deliver { slab: HeldSlab, to: Ticket, len: u64 },
    /// Copy so many bytes from a send's buffer to a receive's.
    Move { from: Ticket, to: Ticket, len: u64 },
    /// The slab is not needed any more.
    Free { slab: HeldSlab },
    /// The operation is over; its buffer goes back to the caller.
    Finish { ticket: Ticket, result: Result<Option<Received>> },
    /// Tell people that something takes long.
    Warn { text: String },
    /// The communicator is to end for this reason. Report `handle_over` when it does.
    Fail { error: Error },
}

/// What stays the same for the life of a [`Direct`].
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub rank: Rank,
    pub world: u32,
    pub communicator: u64,
    pub epoch: u32,
    pub checksums: bool,
    /// How long an operation may wait before that is said, and said again.
    pub warn_after_ns: u64,
}
