//! What can be wrong with bytes from a peer, one case per rule of `docs/PROTOCOL.md`.
//!
//! Every case is the peer's doing or the path's: what this process itself does wrong never ends up
//! here. A checksum that does not fit blames the path, anything behind a fitting one the peer.

use thiserror::Error;

use crate::error::{Error, ErrorKind, Scope};

/// Why bytes from a peer are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireError {
    /// P-2
    #[error(
        "the peer's frame begins with {found:#06x} instead of {expected:#06x}: it does not speak \
         kirsh's protocol, or the stream lost its place"
    )]
    Magic { found: u16, expected: u16 },
    /// P-3
    #[error("the peer's frame has protocol version {found}; this process speaks {expected}")]
    Version { found: u8, expected: u8 },
    /// P-4
    #[error(
        "the bytes of a frame header changed on the way: its checksum says {found:#010x}, its \
         bytes give {computed:#010x}"
    )]
    HeaderChecksum { found: u32, computed: u32 },
    /// P-6
    #[error(
        "the bytes of a {what} changed on the way: its checksum says {found:#010x}, its bytes \
         give {computed:#010x}"
    )]
    BodyChecksum { what: &'static str, found: u32, computed: u32 },
    /// P-5: a number that no value of this field has in this version.
    #[error("the peer sent {found} as {field}, which this version does not know")]
    Unknown { field: &'static str, found: u64 },
    /// P-5: bytes or bits that this version keeps at zero.
    #[error("the peer set {field} to {found:#x}, which this version keeps at zero")]
    Reserved { field: &'static str, found: u64 },
    /// P-7: a length or index above its limit.
    #[error("the peer sent {field} {found}, above the limit of {limit}")]
    Limit { field: &'static str, found: u64, limit: u64 },
    /// P-8: a control frame without the checksum that each one has.
    #[error("the peer sent a control frame without a checksum behind its body")]
    Unchecked,
    /// P-9: a frame of a kind that does not belong where it came.
    #[error("the peer sent a {found} frame on a {lane} link")]
    Misplaced { found: &'static str, lane: &'static str },
    /// P-31: a handshake message out of turn.
    #[error("the peer sent a {found} where a {expected} belongs")]
    Unexpected { found: &'static str, expected: &'static str },
    /// P-21: a body that ends before its message does.
    #[error("the peer's {what} ends within its {field}")]
    Truncated { what: &'static str, field: &'static str },
    /// P-21: a body that goes on behind its message.
    #[error("the peer's {what} goes on for {extra} bytes behind its end")]
    Surplus { what: &'static str, extra: usize },
    /// P-21: text that is not UTF-8.
    #[error("the peer's {field} is not UTF-8 text")]
    Text { field: &'static str },
    /// P-22: ranks or a world size that cannot be.
    #[error("the peer named {field} {found} in a world of {world}")]
    OutsideWorld { field: &'static str, found: u64, world: u64 },
}

impl WireError {
    /// `Corrupt` where a checksum did not fit, else `Protocol`.
    pub fn kind(&self) -> ErrorKind {
        match self {
            WireError::HeaderChecksum { .. } | WireError::BodyChecksum { .. } => ErrorKind::Corrupt,
            _ => ErrorKind::Protocol,
        }
    }
}

impl From<WireError> for Error {
    /// An error of the link; whether it ends the communicator too is for the session to say.
    fn from(error: WireError) -> Error {
        Error::new(error.kind(), error.to_string()).with_scope(Scope::Link)
    }
}
