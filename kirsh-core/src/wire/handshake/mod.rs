//! The first bytes of every connection: who is there, what the link is for, and proof of the token.
//!
//! Four messages make a link: the dialer's `Hello`, the acceptor's `Challenge`, the dialer's
//! `Proof`, the acceptor's `Welcome`. Instead of any of them comes `Refuse`, with a reason for the
//! other side's user. Both machines here are sans-io: bytes in, bytes out. P-30 ff.

mod acceptor;
mod dialer;
mod message;
mod terms;
mod transport;

use super::auth::Nonce;
use crate::error::Error;
use crate::types::Rank;

pub use acceptor::Acceptor;
pub use dialer::Dialer;

/// What a link is for. Numbers are append-only. P-32
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Lane {
    /// Liveness, abort, goodbye: one link per pair of processes.
    Control = 1,
    /// The frames of one communicator's collectives.
    Collective = 2,
    /// Point to point: send, recv, put, get.
    Direct = 3,
    /// Streams such as checkpoints.
    Bulk = 4,
}

impl Lane {
    /// The lane with this number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(Lane::Control),
            2 => Some(Lane::Collective),
            3 => Some(Lane::Direct),
            4 => Some(Lane::Bulk),
            _ => None,
        }
    }

    /// A short lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Lane::Control => "control",
            Lane::Collective => "collective",
            Lane::Direct => "direct",
            Lane::Bulk => "bulk",
        }
    }
}

/// What the dialer wants, and who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// At most `JOB_ID_MAX` bytes.
    pub job: String,
    pub world: u32,
    /// The dialer's random number, drawn once per process.
    pub process: u64,
    /// The process that the dialer expects to reach.
    pub peer_process: u64,
    /// The dialer's rank.
    pub rank: Rank,
    /// The rank that the dialer expects to reach.
    pub peer_rank: Rank,
    pub lane: Lane,
    pub channel: u16,
    pub stripe: u16,
    /// 0 on control links, which belong to no communicator.
    pub communicator: u64,
    pub epoch: u32,
    /// Bytes that the dialer has already received over earlier connections of this link.
    pub byte_position: u64,
    /// Whether frames on this link carry checksums of their payload.
    pub checksums: bool,
    /// Fresh for this connection.
    pub nonce: Nonce,
}

/// Who the acceptor is. Its owner finds out from the [`Hello`] which communicator is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    pub job: String,
    pub world: u32,
    pub process: u64,
    pub rank: Rank,
    /// Bytes that the acceptor has already received over earlier connections of this link.
    pub byte_position: u64,
    /// Whether frames on this link carry checksums of their payload.
    pub checksums: bool,
}

/// What both sides know once they have shaken hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Established {
    /// The dialer's wish, which the acceptor has agreed to.
    pub hello: Hello,
    /// The protocol version to be spoken.
    pub version: u8,
    pub peer_process: u64,
    pub peer_rank: Rank,
    /// Bytes that the peer has already received on this link: where this side's stream goes on.
    pub peer_byte_position: u64,
}

/// How far a handshake is.
#[derive(Clone, Debug)]
pub enum State {
    /// Wants bytes from the peer.
    InProgress,
    /// Only at the acceptor: its owner is to call `accept` or `refuse`. No bytes are taken before.
    Offered(Hello),
    /// Over. What `output` still gives is to be sent; bytes that come now belong to the link.
    Established(Established),
    /// Over. What `output` still gives is to be sent, so that the peer learns why; then close.
    Failed(Error),
}

#[cfg(test)]
mod tests;
