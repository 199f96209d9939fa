//! The 64 bytes in front of every frame, and their parsed form.
//!
//! The header has a checksum of its own, so that its lengths and numbers can be trusted before the
//! payload has come. `Header::decode` lets nothing through that this version cannot mean.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::WireError;
use super::checksum::crc32c;
use crate::limits::{CALL_BYTES_MAX, CONTROL_BODY_MAX, EAGER_BYTES_MAX, SLICE_BYTES_MAX};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// Bytes of the header, fixed. One cache line.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the checksum behind a checksummed payload.
pub const TRAILER_BYTES: usize = 4;
/// "KR" as the first two bytes on the wire. P-2
pub const MAGIC: u16 = u16::from_le_bytes(*b"KR");
/// The version of everything in `docs/PROTOCOL.md`. P-3
pub const VERSION: u8 = 1;

/// Bit 0 of the flags: a checksum of the payload follows it.
const FLAG_CHECKSUMMED: u8 = 1;

/// What a frame is for. Numbers are append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// A slice of a collective's data, on a collective link.
    Collective = 1,
    /// A [`Message`](super::Message), on a control link.
    Control = 2,
    /// A short message with its payload, on a direct link, as are all below. P-50
    Eager = 3,
    /// A message whose payload waits until it is asked for.
    Announce = 4,
    /// Asks for an announced message's payload.
    Clear = 5,
    /// A slice of an announced message.
    Data = 6,
    /// Takes an announcement back.
    Withdraw = 7,
    /// Gives room for short messages back.
    Credit = 8,
}

impl FrameKind {
    /// The kind with this number, if there is one.
    pub const fn from_u8(number: u8) -> Option<Self> {
        match number {
            1 => Some(FrameKind::Collective),
            2 => Some(FrameKind::Control),
            3 => Some(FrameKind::Eager),
            4 => Some(FrameKind::Announce),
            5 => Some(FrameKind::Clear),
            6 => Some(FrameKind::Data),
            7 => Some(FrameKind::Withdraw),
            8 => Some(FrameKind::Credit),
            _ => None,
        }
    }

    /// A short lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            FrameKind::Collective => "collective",
            FrameKind::Control => "control",
            FrameKind::Eager => "eager",
            FrameKind::Announce => "announce",
            FrameKind::Clear => "clear",
            FrameKind::Data => "data",
            FrameKind::Withdraw => "withdraw",
            FrameKind::Credit => "credit",
        }
    }

    /// The longest payload of a frame of this kind, in bytes. P-7
    pub const fn length_max(self) -> usize {
        match self {
            FrameKind::Collective | FrameKind::Data => SLICE_BYTES_MAX,
            FrameKind::Control => CONTROL_BODY_MAX,
            FrameKind::Eager => EAGER_BYTES_MAX,
            FrameKind::Announce | FrameKind::Clear | FrameKind::Withdraw | FrameKind::Credit => 0,
        }
    }
}

/// What the header of a frame on a collective or control link says; for direct links see
/// [`DirectFrame`](super::DirectFrame).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub kind: FrameKind,
    pub communicator: u64,
    /// Which of the communicators that had this id in turn.
    pub epoch: u32,
    /// The number of this frame among those of its operation, on its link, in its direction.
    pub step: u32,
    /// The number of the operation within the communicator.
    pub sequence: u64,
    /// The [plan key](super::plan_key) of the operation.
    pub key: u64,
    /// Bytes of payload. The trailer does not count.
    pub length: u32,
    /// What the sender was called to do; `None` in control frames, and only there.
    pub call: Option<Call>,
    /// Whether a checksum of the payload follows it, also behind an empty one.
    pub checksummed: bool,
}

impl Header {
    /// The header's bytes.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        self.write_to(&mut bytes);
        bytes
    }

    /// Writes the header's bytes over all of `target`.
    ///
    /// A value that breaks the protocol (a payload above the limit, a call in a control frame) is
    /// a defect of the caller; it is caught in debug builds, and by every receiver.
    #[inline]
    pub fn write_to(&self, target: &mut [u8; HEADER_BYTES]) {
        debug_assert!(self.length as usize <= self.kind.length_max(), "{self:?}");
        debug_assert_eq!(self.call.is_some(), self.kind == FrameKind::Collective, "{self:?}");
        let mut raw = Raw {
            communicator: self.communicator.into(),
            epoch: self.epoch.into(),
            step: self.step.into(),
            sequence: self.sequence.into(),
            key: self.key.into(),
            length: self.length.into(),
            ..Raw::new(self.kind, self.checksummed)
        };
        if let Some(call) = &self.call {
            raw.root = call.root.into();
            raw.count = call.count.into();
            raw.collective = call.collective as u8;
            raw.algorithm = call.algorithm as u8;
            raw.dtype = call.dtype as u8;
            raw.op = call.op as u8;
            raw.wire_format = call.wire as u8;
        }
        raw.seal(target);
    }

    /// Parses 64 bytes from a peer.
    ///
    /// # Errors
    /// The first rule that the bytes break, in the order of the rules' numbers.
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, WireError> {
        Raw::open(bytes)?.parse()
    }

    /// Bytes of the checksum behind the payload.
    #[inline]
    pub const fn trailer_bytes(&self) -> usize {
        if self.checksummed { TRAILER_BYTES } else { 0 }
    }
}

/// The checksum that these 64 bytes should carry: over all of them, their checksum read as zero.
pub fn header_checksum(bytes: &[u8; HEADER_BYTES]) -> u32 {
    let mut raw: Raw = zerocopy::transmute!(*bytes);
    raw.checksum = U32::ZERO;
    crc32c(raw.as_bytes())
}

/// The header as it travels. P-1
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Raw {
    pub(super) magic: U16,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) checksum: U32,
    pub(super) communicator: U64,
    pub(super) epoch: U32,
    pub(super) step: U32,
    pub(super) sequence: U64,
    pub(super) key: U64,
    pub(super) length: U32,
    pub(super) root: U32,
    pub(super) count: U64,
    pub(super) collective: u8,
    pub(super) algorithm: u8,
    pub(super) dtype: u8,
    pub(super) op: u8,
    pub(super) flags: u8,
    pub(super) wire_format: u8,
    pub(super) reserved: U16,
}

// P-1. `IntoBytes` refuses a struct with padding, so the size says that every byte has a field.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Raw>() == HEADER_BYTES);
    assert!(align_of::<Raw>() == 1);
    assert!(offset_of!(Raw, checksum) == 4);
    assert!(offset_of!(Raw, communicator) == 8);
    assert!(offset_of!(Raw, sequence) == 24);
    assert!(offset_of!(Raw, key) == 32);
    assert!(offset_of!(Raw, length) == 40);
    assert!(offset_of!(Raw, count) == 48);
    assert!(offset_of!(Raw, collective) == 56);
    assert!(offset_of!(Raw, reserved) == 62);
};

impl Raw {
    /// A header with nothing in it but what every one has.
    pub(super) fn new(kind: FrameKind, checksummed: bool) -> Raw {
        Raw {
            magic: MAGIC.into(),
            version: VERSION,
            kind: kind as u8,
            checksum: U32::ZERO,
            communicator: U64::ZERO,
            epoch: U32::ZERO,
            step: U32::ZERO,
            sequence: U64::ZERO,
            key: U64::ZERO,
            length: U32::ZERO,
            root: U32::ZERO,
            count: U64::ZERO,
            collective: 0,
            algorithm: 0,
            dtype: 0,
            op: 0,
            flags: if checksummed { FLAG_CHECKSUMMED } else { 0 },
            wire_format: Wire::Plain as u8,
            reserved: U16::ZERO,
        }
    }

    /// Adds the checksum and writes all of it to `target`.
    #[inline]
    pub(super) fn seal(mut self, target: &mut [u8; HEADER_BYTES]) {
        self.checksum = crc32c(self.as_bytes()).into();
        target.copy_from_slice(self.as_bytes());
    }

    /// The fields of 64 bytes from a peer that are a header of this version, unchanged on the way.
    #[inline]
    pub(super) fn open(bytes: &[u8; HEADER_BYTES]) -> Result<Raw, WireError> {
        let mut raw: Raw = zerocopy::transmute!(*bytes);
        // P-2
        if raw.magic.get() != MAGIC {
            return Err(WireError::Magic { found: raw.magic.get(), expected: MAGIC });
        }
        // P-3: before the checksum, whose place another version may have moved.
        if raw.version != VERSION {
            return Err(WireError::Version { found: raw.version, expected: VERSION });
        }
        // P-4
        let found = std::mem::replace(&mut raw.checksum, U32::ZERO).get();
        let computed = crc32c(raw.as_bytes());
        if found != computed {
            return Err(WireError::HeaderChecksum { found, computed });
        }
        Ok(raw)
    }

    /// The kind, and whether a trailer follows, where what is common to all kinds is as it must be.
    pub(super) fn common(&self) -> Result<(FrameKind, bool), WireError> {
        // P-5
        let kind = FrameKind::from_u8(self.kind).ok_or(unknown("a frame kind", self.kind))?;
        reserved("the reserved header bytes", self.reserved.get().into())?;
        reserved("unknown header flags", (self.flags & !FLAG_CHECKSUMMED).into())?;
        // P-46
        let wire = wire_format(self.wire_format)?;
        if wire != Wire::Plain && kind != FrameKind::Collective {
            return Err(unknown("a wire format", self.wire_format));
        }
        let length = self.length.get();
        // P-7
        if length as usize > kind.length_max() {
            return Err(WireError::Limit {
                field: "a payload length of",
                found: length.into(),
                limit: kind.length_max() as u64,
            });
        }
        Ok((kind, self.flags & FLAG_CHECKSUMMED != 0))
    }

    /// What comes behind a fitting checksum.
    fn parse(&self) -> Result<Header, WireError> {
        let (kind, checksummed) = self.common()?;
        let length = self.length.get();
        let call = match kind {
            FrameKind::Collective => Some(self.call()?),
            FrameKind::Control => {
                // P-8
                if !checksummed {
                    return Err(WireError::Unchecked);
                }
                self.no_call()?;
                None
            }
            // P-9
            direct => {
                let lane = "collective or control";
                return Err(WireError::Misplaced { found: direct.name(), lane });
            }
        };
        Ok(Header {
            kind,
            communicator: self.communicator.get(),
            epoch: self.epoch.get(),
            step: self.step.get(),
            sequence: self.sequence.get(),
            key: self.key.get(),
            length,
            call,
            checksummed,
        })
    }

    fn call(&self) -> Result<Call, WireError> {
        let call = parse_call(
            [self.collective, self.algorithm, self.dtype, self.op],
            self.root.get(),
            self.count.get(),
            self.wire_format,
        )?;
        check_call_bytes(&call)?;
        Ok(call)
    }

    /// P-8: a control frame speaks of calls in its body only.
    fn no_call(&self) -> Result<(), WireError> {
        reserved("the collective of a control frame", self.collective.into())?;
        reserved("the algorithm of a control frame", self.algorithm.into())?;
        reserved("the dtype of a control frame", self.dtype.into())?;
        reserved("the op of a control frame", self.op.into())?;
        reserved("the root of a control frame", self.root.get().into())?;
        reserved("the count of a control frame", self.count.get())
    }
}

/// A call from its numbers: collective, algorithm, dtype, op. P-5
///
/// The count may be anything; see [`check_call_bytes`].
pub(super) fn parse_call(
    numbers: [u8; 4],
    root: u32,
    count: u64,
    wire: u8,
) -> Result<Call, WireError> {
    let [collective, algorithm, dtype, op] = numbers;
    Ok(Call {
        collective: Collective::from_u8(collective).ok_or(unknown("a collective", collective))?,
        algorithm: Algorithm::from_u8(algorithm).ok_or(unknown("an algorithm", algorithm))?,
        dtype: DataType::from_u8(dtype).ok_or(unknown("a dtype", dtype))?,
        op: ReduceOp::from_u8(op).ok_or(unknown("an op", op))?,
        root,
        count,
        wire: wire_format(wire)?,
    })
}

fn wire_format(number: u8) -> Result<Wire, WireError> {
    Wire::from_u8(number).ok_or(unknown("a wire format", number))
}

/// P-7: a call in progress has a size that can be computed with.
pub(super) fn check_call_bytes(call: &Call) -> Result<(), WireError> {
    let limit = CALL_BYTES_MAX / call.dtype.size() as u64;
    if call.count > limit {
        return Err(WireError::Limit { field: "a call with a count of", found: call.count, limit });
    }
    Ok(())
}

pub(super) fn unknown(field: &'static str, found: u8) -> WireError {
    WireError::Unknown { field, found: found.into() }
}

pub(super) fn reserved(field: &'static str, found: u64) -> Result<(), WireError> {
    if found != 0 {
        return Err(WireError::Reserved { field, found });
    }
    Ok(())
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
