//! Messages out of the bytes of a control link, however they were split on the way.

use super::checksum::crc32c;
use super::{FrameKind, HEADER_BYTES, Header, Message, TRAILER_BYTES, WireError};

/// Makes messages of a control link's bytes.
///
/// Holds the bytes fed and not yet made into messages: `feed` what one receive brought, then call
/// `next` until it gives none, and no more than one unfinished frame stays behind.
#[derive(Debug, Default)]
pub struct ControlReader {
    bytes: Vec<u8>,
    /// How many of `bytes` have been made into messages.
    done: usize,
    /// The first error. A stream that lost its place does not find it again.
    failed: Option<WireError>,
}

impl ControlReader {
    /// A reader at the beginning of a stream.
    pub fn new() -> Self {
        ControlReader::default()
    }

    /// Takes in what came next. Behind an error it is dropped.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.done > 0 {
            self.bytes.drain(..self.done);
            self.done = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes are fed.
    ///
    /// # Errors
    /// The rule that the stream breaks. Every later call gives the same error.
    #[allow(clippy::should_implement_trait, reason = "an iterator would end at the first None")]
    pub fn next(&mut self) -> Result<Option<Message>, WireError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.parse().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.bytes = Vec::new();
            self.done = 0;
        })
    }

    /// Bytes fed that are not yet part of a message. More than none at the end of the stream
    /// means that the peer broke off within a frame.
    pub fn pending(&self) -> usize {
        self.bytes.len() - self.done
    }

    fn parse(&mut self) -> Result<Option<Message>, WireError> {
        let Some((header, rest)) = self.bytes[self.done..].split_first_chunk() else {
            return Ok(None);
        };
        // Before the body has come: a bad header is found out at once, and bounds the body.
        let header = Header::decode(header)?;
        // P-9
        if header.kind != FrameKind::Control {
            return Err(WireError::Misplaced { found: header.kind.name(), lane: "control" });
        }
        let length = header.length as usize;
        let Some((body, trailer)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let Some(trailer) = trailer.first_chunk() else {
            return Ok(None);
        };
        // P-6
        let (found, computed) = (u32::from_le_bytes(*trailer), crc32c(body));
        if found != computed {
            return Err(WireError::BodyChecksum { what: "control message", found, computed });
        }
        let message = Message::decode(&header, body)?;
        self.done += HEADER_BYTES + length + TRAILER_BYTES;
        Ok(Some(message))
    }
}
