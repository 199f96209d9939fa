//! Handshake messages in their envelope: framing, bounds and checksums of both machines. P-30

use super::message::Message;
use crate::error::Error;
use crate::limits::HANDSHAKE_BYTES_MAX;
use crate::wire::WireError;
use crate::wire::checksum::crc32c;
use crate::wire::header::{reserved, unknown};

/// Magic, type, a reserved byte and the body's length.
pub(super) const ENVELOPE_BYTES: usize = 6;
/// Checksum of envelope and body.
pub(super) const CHECK_BYTES: usize = 4;
/// Bytes of the longest body.
pub(super) const BODY_BYTES_MAX: usize = HANDSHAKE_BYTES_MAX - ENVELOPE_BYTES - CHECK_BYTES;
/// "KH": no message can be taken for the beginning of a frame.
const MAGIC: u16 = u16::from_le_bytes(*b"KH");

/// A whole message: envelope, body, checksum.
pub(super) fn seal(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HANDSHAKE_BYTES_MAX);
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    bytes.extend_from_slice(&[message.number(), 0, 0, 0]);
    message.put_body(&mut bytes);
    let length = bytes.len() - ENVELOPE_BYTES;
    debug_assert!(length <= BODY_BYTES_MAX, "a body of {length} bytes");
    bytes[4..6].copy_from_slice(&(length as u16).to_le_bytes());
    let check = crc32c(&bytes);
    bytes.extend_from_slice(&check.to_le_bytes());
    bytes
}

/// A message from the peer.
pub(super) struct Received {
    pub(super) message: Message,
    /// All of it as it travelled, which is what proofs cover.
    pub(super) bytes: Vec<u8>,
}

/// The two directions of one machine.
#[derive(Debug, Default)]
pub(super) struct Transport {
    /// The message that is coming in; never more than one.
    incoming: Vec<u8>,
    /// Messages not yet fetched. A handshake says a handful of things, so neither does this grow.
    outgoing: Vec<u8>,
}

impl Transport {
    /// Puts a message out behind those not yet fetched, and gives its bytes.
    pub(super) fn send(&mut self, message: &Message) -> Vec<u8> {
        let bytes = seal(message);
        self.outgoing.extend_from_slice(&bytes);
        bytes
    }

    /// Tells the peer why there will be no link.
    pub(super) fn send_refusal(&mut self, error: &Error) {
        self.send(&Message::Refuse { kind: error.kind(), reason: error.message().to_owned() });
    }

    pub(super) fn take_output(&mut self) -> Option<Vec<u8>> {
        (!self.outgoing.is_empty()).then(|| std::mem::take(&mut self.outgoing))
    }

    /// How many bytes the message that is coming in still needs: of its envelope first, then of
    /// the rest. Never 0, and never beyond the message's end. P-31
    ///
    /// # Errors
    /// The rule that the envelope breaks; found out before any body is waited for.
    fn wants(&self) -> Result<usize, WireError> {
        let Some((envelope, rest)) = self.incoming.split_first_chunk::<ENVELOPE_BYTES>() else {
            return Ok(ENVELOPE_BYTES - self.incoming.len());
        };
        let length = envelope_length(envelope)?;
        Ok(length + CHECK_BYTES - rest.len())
    }

    /// How many bytes to read next; a broken envelope wants none.
    pub(super) fn wants_bytes(&self) -> usize {
        self.wants().unwrap_or(0)
    }

    /// Takes bytes up to the end of the current message. Gives how many were taken, and the whole
    /// message as it came once it is complete.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> (usize, Result<Option<Received>, WireError>) {
        let mut taken = 0;
        while taken < bytes.len() {
            let wants = match self.wants() {
                Ok(wants) => wants,
                Err(error) => return (taken, Err(error)),
            };
            let piece = &bytes[taken..][..wants.min(bytes.len() - taken)];
            self.incoming.extend_from_slice(piece);
            taken += piece.len();
            if piece.len() < wants {
                break;
            }
            match self.complete() {
                Ok(None) => {}
                other => return (taken, other),
            }
        }
        (taken, Ok(None))
    }

    /// The message, if the piece just taken ended it and not merely its envelope.
    fn complete(&mut self) -> Result<Option<Received>, WireError> {
        let Some((envelope, _)) = self.incoming.split_first_chunk::<ENVELOPE_BYTES>() else {
            return Ok(None);
        };
        let length = envelope_length(envelope)?;
        let whole = ENVELOPE_BYTES + length + CHECK_BYTES;
        if self.incoming.len() < whole {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.incoming);
        Ok(Some(Received { message: open(&bytes)?, bytes }))
    }
}

/// The body's length, from an envelope that keeps the rules. P-30
fn envelope_length(envelope: &[u8; ENVELOPE_BYTES]) -> Result<usize, WireError> {
    let [magic_0, magic_1, number, zero, length_0, length_1] = *envelope;
    let magic = u16::from_le_bytes([magic_0, magic_1]);
    if magic != MAGIC {
        return Err(WireError::Magic { found: magic, expected: MAGIC });
    }
    if !Message::NUMBERS.contains(&number) {
        return Err(unknown("a handshake message type", number));
    }
    reserved("the reserved byte of a handshake message", zero.into())?;
    let length = usize::from(u16::from_le_bytes([length_0, length_1]));
    if length > BODY_BYTES_MAX {
        return Err(WireError::Limit {
            field: "a handshake message with a body of",
            found: length as u64,
            limit: BODY_BYTES_MAX as u64,
        });
    }
    Ok(length)
}

/// Parses a whole message whose envelope has been looked at.
fn open(bytes: &[u8]) -> Result<Message, WireError> {
    let truncated = WireError::Truncated { what: "handshake message", field: "checksum" };
    let (covered, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(truncated)?;
    let (found, computed) = (u32::from_le_bytes(*check), crc32c(covered));
    if found != computed {
        return Err(WireError::BodyChecksum { what: "handshake message", found, computed });
    }
    Message::parse(covered[2], &covered[ENVELOPE_BYTES..])
}
