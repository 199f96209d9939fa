//! What a session asks its owner to do.

use crate::error::{Error, Result};
use crate::plan::{Finish, Map};
use crate::types::{Rank, Sequence, Span, Wire};
use crate::wire::control::Message;
use crate::wire::header::Header;

/// The place of a live step in the session's window; names it in what the owner reports back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(pub u8);

/// A slab of one link. The owner maps it to memory on first use and keeps it for the link's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlabId {
    /// The link, numbered from 0 in order of first use.
    pub link: u32,
    /// Which of the link's slabs.
    pub index: u8,
}

/// Where a received payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Straight into place.
    Span(Span),
    /// Into a slab, to be folded from there.
    Slab(SlabId),
}

/// Who should read a control message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// One rank, over its own control link or relayed.
    Rank(Rank),
    /// Every other member, each of whom passes it on once.
    Everyone,
}

/// Something to do.
#[derive(Debug)]
pub enum Action {
    /// Open a link to a peer, its stripe of this number; report `handle_link_up` or `handle_link_down`.
    Dial { peer: Rank, stripe: u8 },
    /// Receive one frame. Report `handle_header` when its header is there, then `handle_received`; of
    /// a payload that goes into place also `handle_verified` or `handle_corrupt`.
    Receive { slot: Slot, peer: Rank, stripe: u8, expected: Header, target: Target },
    /// Send one frame. Report `handle_accepted`, then `handle_released`. After a `tail` the operation
    /// has little left to do but to wait for the latter.
    Send { slot: Slot, peer: Rank, stripe: u8, header: Header, source: Span, tail: bool },
    /// `into = finish(with op slab)`, where the slab holds elements in this wire format. Whether they
    /// are what was sent need not be known before. Report `handle_folded` if they are, or else
    /// `handle_corrupt`.
    Fold { slot: Slot, slab: SlabId, with: Span, into: Span, finish: Finish, wire: Wire },
    /// `into = finish(with op into)`. Report `handle_folded`.
    Reduce { slot: Slot, with: Span, into: Span, finish: Finish },
    /// `target = map(source)`. Report `handle_folded`.
    Map { slot: Slot, source: Span, target: Span, map: Map },
    /// Send a control message, if it can be sent; nothing is reported.
    Control { to: Audience, message: Message },
    /// The operation is over; its buffers go back to the caller.
    Finish { sequence: Sequence, result: Result<()> },
    /// Take everything back from the kernel, then report `handle_drained`.
    Abort { error: Error },
    /// Tell the user.
    Warn { text: String },
}
