//! Frames and handshakes as bytes. Pure: no socket, no clock, no payload.
//!
//! `docs/PROTOCOL.md` numbers the rules; `// P-12` in this layer cites one of them.

#![forbid(unsafe_code)]

pub mod auth;
pub mod checksum;
pub mod control;
pub mod direct;
pub mod error;
pub mod handshake;
pub mod header;
pub mod key;
mod reader;
#[cfg(test)]
mod strategies;
mod stream;

pub use control::Message;
pub use direct::DirectFrame;
pub use error::WireError;
pub use header::{FrameKind, HEADER_BYTES, Header, TRAILER_BYTES};
pub use key::plan_key;
pub use stream::ControlReader;
