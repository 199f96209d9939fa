//! What processes tell one another beside the data: liveness, trouble, leaving.

use super::WireError;
use super::checksum::crc32c;
use super::header::{
    FrameKind, HEADER_BYTES, Header, check_call_bytes, parse_call, reserved, unknown,
};
use super::reader::{Reader, put_text};
use crate::error::ErrorKind;
use crate::limits::{CONTROL_BODY_MAX, REASON_BYTES_MAX};
use crate::types::{Call, Rank, Sequence};

pub use super::stream::ControlReader;

/// Communicators in one goodbye; a longer list goes out as several. P-26
pub const GOODBYE_ENTRIES_MAX: usize =
    (CONTROL_BODY_MAX - GOODBYE_FIXED_BYTES) / GOODBYE_ENTRY_BYTES;

/// Type, origin and number of entries.
const GOODBYE_FIXED_BYTES: usize = 7;
/// Communicator, epoch and sequences finished.
const GOODBYE_ENTRY_BYTES: usize = 20;

/// One control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "I live." Says nothing about any communicator.
    Heartbeat,
    /// "I am stuck in this operation", so that ranks that were called differently find out.
    Stalled {
        communicator: u64,
        epoch: u32,
        /// The stuck rank. Another may have relayed its message.
        origin: Rank,
        /// Who should read it.
        to: Rank,
        /// What `origin` is doing.
        sequence: Sequence,
        key: u64,
        call: Call,
        /// The rank that `origin` believes it waits for.
        blame: Rank,
    },
    /// `origin` refused its own call before touching a buffer; goes to all members.
    Refused {
        communicator: u64,
        epoch: u32,
        origin: Rank,
        sequence: Sequence,
        /// The call as it was made. It may be refused just for its count, so the count may be
        /// anything: do not compute with it.
        call: Call,
        kind: ErrorKind,
        reason: String,
    },
    /// The communicator is over; each member says so to all others once.
    Abort {
        communicator: u64,
        epoch: u32,
        origin: Rank,
        /// The operation that failed, where it was one.
        sequence: Option<Sequence>,
        /// The rank at fault, where there is one.
        about: Option<Rank>,
        kind: ErrorKind,
        reason: String,
    },
    /// `origin`'s process leaves in peace.
    Goodbye {
        origin: Rank,
        /// For each communicator: id, epoch, and how many operations `origin` has finished in it.
        /// A process with many communicators sends several goodbyes; the end of the stream, not
        /// the first goodbye, says that the list is whole.
        finished: Vec<(u64, u32, u64)>,
    },
}

/// The first byte of a body. P-20
mod number {
    pub(super) const HEARTBEAT: u8 = 1;
    pub(super) const STALLED: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const ABORT: u8 = 4;
    pub(super) const GOODBYE: u8 = 5;
}

/// Bits that say which optional fields of an abort are there. P-25
const HAS_SEQUENCE: u8 = 1;
const HAS_ABOUT: u8 = 2;

impl Message {
    /// Appends the whole frame: header, body and checksum.
    ///
    /// A reason above `REASON_BYTES_MAX` is cut at a whole character; a goodbye above
    /// [`GOODBYE_ENTRIES_MAX`] becomes several frames.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Message::Heartbeat => frame(out, number::HEARTBEAT, |_| {}),
            Message::Stalled { communicator, epoch, origin, to, sequence, key, call, blame } => {
                frame(out, number::STALLED, |out| {
                    out.extend_from_slice(&communicator.to_le_bytes());
                    out.extend_from_slice(&epoch.to_le_bytes());
                    out.extend_from_slice(&origin.to_le_bytes());
                    out.extend_from_slice(&to.to_le_bytes());
                    out.extend_from_slice(&sequence.to_le_bytes());
                    out.extend_from_slice(&key.to_le_bytes());
                    put_call(out, call);
                    out.extend_from_slice(&blame.to_le_bytes());
                })
            }
            Message::Refused { communicator, epoch, origin, sequence, call, kind, reason } => {
                frame(out, number::REFUSED, |out| {
                    out.extend_from_slice(&communicator.to_le_bytes());
                    out.extend_from_slice(&epoch.to_le_bytes());
                    out.extend_from_slice(&origin.to_le_bytes());
                    out.extend_from_slice(&sequence.to_le_bytes());
                    put_call(out, call);
                    out.push(*kind as u8);
                    put_text(out, reason, REASON_BYTES_MAX);
                });
            }
            Message::Abort { communicator, epoch, origin, sequence, about, kind, reason } => {
                frame(out, number::ABORT, |out| {
                    out.extend_from_slice(&communicator.to_le_bytes());
                    out.extend_from_slice(&epoch.to_le_bytes());
                    out.extend_from_slice(&origin.to_le_bytes());
                    out.push(
                        if sequence.is_some() { HAS_SEQUENCE } else { 0 }
                            | if about.is_some() { HAS_ABOUT } else { 0 },
                    );
                    out.extend_from_slice(&sequence.unwrap_or(0).to_le_bytes());
                    out.extend_from_slice(&about.unwrap_or(0).to_le_bytes());
                    out.push(*kind as u8);
                    put_text(out, reason, REASON_BYTES_MAX);
                });
            }
            Message::Goodbye { origin, finished } => {
                // `chunks` gives nothing for an empty list, which is still a goodbye.
                let mut chunks = finished.chunks(GOODBYE_ENTRIES_MAX);
                put_goodbye(out, *origin, chunks.next().unwrap_or(&[]));
                chunks.for_each(|entries| put_goodbye(out, *origin, entries));
            }
        }
    }

    /// Parses the body of a control frame whose checksum fitted.
    ///
    /// # Errors
    /// The rule that the body breaks.
    pub fn decode(header: &Header, body: &[u8]) -> Result<Message, WireError> {
        // P-9
        if header.kind != FrameKind::Control {
            return Err(WireError::Misplaced { found: header.kind.name(), lane: "control" });
        }
        // P-8
        reserved("the communicator of a control header", header.communicator)?;
        reserved("the epoch of a control header", header.epoch.into())?;
        reserved("the step of a control header", header.step.into())?;
        reserved("the sequence number of a control header", header.sequence)?;
        reserved("the plan key of a control header", header.key)?;

        let (&first, rest) = body
            .split_first()
            .ok_or(WireError::Truncated { what: "control message", field: "type" })?;
        match first {
            number::HEARTBEAT => {
                Reader::new("heartbeat", rest).end()?;
                Ok(Message::Heartbeat)
            }
            number::STALLED => stalled(Reader::new("stall notice", rest)),
            number::REFUSED => refused(Reader::new("refusal", rest)),
            number::ABORT => abort(Reader::new("abort", rest)),
            number::GOODBYE => goodbye(Reader::new("goodbye", rest)),
            other => Err(unknown("a control message type", other)),
        }
    }
}

/// P-23
fn stalled(mut body: Reader<'_>) -> Result<Message, WireError> {
    let message = Message::Stalled {
        communicator: body.u64("communicator")?,
        epoch: body.u32("epoch")?,
        origin: body.rank("origin")?,
        to: body.rank("addressee")?,
        sequence: body.u64("sequence number")?,
        key: body.u64("plan key")?,
        call: {
            let call = take_call(&mut body)?;
            check_call_bytes(&call)?;
            call
        },
        blame: body.rank("blamed rank")?,
    };
    body.end()?;
    Ok(message)
}

/// P-24
fn refused(mut body: Reader<'_>) -> Result<Message, WireError> {
    let message = Message::Refused {
        communicator: body.u64("communicator")?,
        epoch: body.u32("epoch")?,
        origin: body.rank("origin")?,
        sequence: body.u64("sequence number")?,
        call: take_call(&mut body)?,
        kind: take_kind(&mut body)?,
        reason: body.text("reason", REASON_BYTES_MAX)?.to_owned(),
    };
    body.end()?;
    Ok(message)
}

/// P-25
fn abort(mut body: Reader<'_>) -> Result<Message, WireError> {
    let communicator = body.u64("communicator")?;
    let epoch = body.u32("epoch")?;
    let origin = body.rank("origin")?;
    let present = body.u8("presence bits")?;
    reserved("unknown presence bits", (present & !(HAS_SEQUENCE | HAS_ABOUT)).into())?;
    let sequence = body.u64("sequence number")?;
    let about = body.rank("rank at fault")?;
    let message = Message::Abort {
        communicator,
        epoch,
        origin,
        sequence: if present & HAS_SEQUENCE != 0 {
            Some(sequence)
        } else {
            reserved("an absent sequence number", sequence)?;
            None
        },
        about: if present & HAS_ABOUT != 0 {
            Some(about)
        } else {
            reserved("an absent rank at fault", about.into())?;
            None
        },
        kind: take_kind(&mut body)?,
        reason: body.text("reason", REASON_BYTES_MAX)?.to_owned(),
    };
    body.end()?;
    Ok(message)
}

/// P-26
fn goodbye(mut body: Reader<'_>) -> Result<Message, WireError> {
    let origin = body.rank("origin")?;
    let entries: usize = body.u16("number of entries")?.into();
    // The length is that of the bytes that came, so what is allocated is never a mere claim.
    let mut list = Reader::new("goodbye", body.bytes("entries", entries * GOODBYE_ENTRY_BYTES)?);
    body.end()?;
    let mut finished = Vec::with_capacity(entries);
    for _ in 0..entries {
        finished.push((list.u64("communicator")?, list.u32("epoch")?, list.u64("entry")?));
    }
    Ok(Message::Goodbye { origin, finished })
}

fn put_goodbye(out: &mut Vec<u8>, origin: Rank, finished: &[(u64, u32, u64)]) {
    frame(out, number::GOODBYE, |out| {
        out.extend_from_slice(&origin.to_le_bytes());
        out.extend_from_slice(&(finished.len() as u16).to_le_bytes());
        for (communicator, epoch, sequences) in finished {
            out.extend_from_slice(&communicator.to_le_bytes());
            out.extend_from_slice(&epoch.to_le_bytes());
            out.extend_from_slice(&sequences.to_le_bytes());
        }
    });
}

/// Bits of a body's dtype byte that are the dtype; those above are the wire format. P-46
const DTYPE_BITS: u32 = 6;

/// A call in a body: its four numbers, root, count. P-23
fn put_call(out: &mut Vec<u8>, call: &Call) {
    out.extend_from_slice(&[
        call.collective as u8,
        call.algorithm as u8,
        call.dtype as u8 | (call.wire as u8) << DTYPE_BITS,
        call.op as u8,
    ]);
    out.extend_from_slice(&call.root.to_le_bytes());
    out.extend_from_slice(&call.count.to_le_bytes());
}

fn take_call(body: &mut Reader<'_>) -> Result<Call, WireError> {
    let mut numbers: [u8; 4] = body.array("call")?;
    let wire = numbers[2] >> DTYPE_BITS;
    numbers[2] &= (1 << DTYPE_BITS) - 1;
    let root = body.u32("root")?;
    let count = body.u64("count")?;
    parse_call(numbers, root, count, wire)
}

fn take_kind(body: &mut Reader<'_>) -> Result<ErrorKind, WireError> {
    let number = body.u8("kind of error")?;
    ErrorKind::from_u8(number).ok_or(unknown("a kind of error", number))
}

/// Appends a frame with the body that `fill` writes behind its type. P-8
fn frame(out: &mut Vec<u8>, number: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + HEADER_BYTES, 0);
    out.push(number);
    fill(out);
    let (header, body) = out[start..]
        .split_first_chunk_mut::<HEADER_BYTES>()
        .expect("room for the header was made above");
    Header {
        kind: FrameKind::Control,
        communicator: 0,
        epoch: 0,
        step: 0,
        sequence: 0,
        key: 0,
        length: body.len() as u32,
        call: None,
        checksummed: true,
    }
    .write_to(header);
    let trailer = crc32c(body).to_le_bytes();
    out.extend_from_slice(&trailer);
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
