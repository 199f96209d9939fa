//! The frames of direct links: messages from one rank to another, and the talk about when their
//! payload may come.
//!
//! They share the 64 bytes of [`Header`](super::Header), its magic, version and checksum; what the
//! other fields mean here is in P-51.

use super::header::{Raw, reserved, unknown};
use super::{FrameKind, HEADER_BYTES, WireError};
use crate::limits::CALL_BYTES_MAX;
use crate::types::DataType;

/// A frame of a direct link, without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectFrame {
    /// One of the kinds of direct links.
    pub kind: FrameKind,
    pub communicator: u64,
    pub epoch: u32,
    /// The number of a slice within its message; 0 in all but data frames.
    pub step: u32,
    /// The message's number on its link, from 0; in a credit, the eager messages consumed so far.
    pub sequence: u64,
    /// Bytes of payload. The trailer does not count.
    pub length: u32,
    /// What the message is called; 0 in all but eager frames and announcements.
    pub tag: u32,
    /// Elements of the message, or that the receiver takes of it; in a credit, the bytes of eager
    /// messages consumed so far.
    pub count: u64,
    /// `Byte` in all but eager frames and announcements.
    pub dtype: DataType,
    /// Whether a checksum of the payload follows it, also behind an empty one.
    pub checksummed: bool,
}

impl DirectFrame {
    /// A frame that says nothing yet but what it is for.
    pub fn new(kind: FrameKind, communicator: u64, epoch: u32, checksummed: bool) -> Self {
        DirectFrame {
            kind,
            communicator,
            epoch,
            step: 0,
            sequence: 0,
            length: 0,
            tag: 0,
            count: 0,
            dtype: DataType::Byte,
            checksummed,
        }
    }

    /// The header's bytes.
    ///
    /// A value that breaks the protocol is a defect of the caller; it is caught in debug builds,
    /// and by every receiver.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let raw = Raw {
            communicator: self.communicator.into(),
            epoch: self.epoch.into(),
            step: self.step.into(),
            sequence: self.sequence.into(),
            length: self.length.into(),
            root: self.tag.into(),
            count: self.count.into(),
            dtype: self.dtype as u8,
            ..Raw::new(self.kind, self.checksummed)
        };
        raw.seal(&mut bytes);
        debug_assert_eq!(DirectFrame::decode(&bytes), Ok(*self));
        bytes
    }

    /// Parses 64 bytes from a peer.
    ///
    /// # Errors
    /// The first rule that the bytes break.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<DirectFrame, WireError> {
        let raw = Raw::open(bytes)?;
        let (kind, checksummed) = raw.common()?;
        // P-9
        if matches!(kind, FrameKind::Collective | FrameKind::Control) {
            return Err(WireError::Misplaced { found: kind.name(), lane: "direct" });
        }
        // P-51
        reserved("the plan key of a direct frame", raw.key.get())?;
        reserved("the collective of a direct frame", raw.collective.into())?;
        reserved("the algorithm of a direct frame", raw.algorithm.into())?;
        reserved("the op of a direct frame", raw.op.into())?;
        let dtype = DataType::from_u8(raw.dtype).ok_or(unknown("a dtype", raw.dtype))?;
        let frame = DirectFrame {
            kind,
            communicator: raw.communicator.get(),
            epoch: raw.epoch.get(),
            step: raw.step.get(),
            sequence: raw.sequence.get(),
            length: raw.length.get(),
            tag: raw.root.get(),
            count: raw.count.get(),
            dtype,
            checksummed,
        };
        frame.check()?;
        Ok(frame)
    }

    /// P-52: each kind has its own fields, and the others are zero.
    fn check(&self) -> Result<(), WireError> {
        let speaks = matches!(self.kind, FrameKind::Eager | FrameKind::Announce);
        if !speaks {
            reserved("the tag of a frame that has none", self.tag.into())?;
            reserved("the dtype of a frame that has none", self.dtype as u64)?;
        }
        if self.kind != FrameKind::Data {
            reserved("the step of a frame that has none", self.step.into())?;
        }
        if matches!(self.kind, FrameKind::Data | FrameKind::Withdraw) {
            reserved("the count of a frame that has none", self.count)?;
        }
        let size = self.dtype.size() as u64;
        // P-7
        let limit = CALL_BYTES_MAX / size;
        if speaks && self.count > limit {
            return Err(WireError::Limit {
                field: "a message with a count of",
                found: self.count,
                limit,
            });
        }
        let length = u64::from(self.length);
        match self.kind {
            FrameKind::Eager if length != self.count * size => Err(WireError::Unknown {
                field: "the length of a message of another",
                found: length,
            }),
            FrameKind::Data if length == 0 => {
                Err(WireError::Unknown { field: "the length of a slice", found: 0 })
            }
            _ => Ok(()),
        }
    }

    /// Bytes of the whole message that an eager frame or an announcement is about.
    pub const fn message_bytes(&self) -> u64 {
        self.count * self.dtype.size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{EAGER_BYTES_MAX, SLICE_BYTES_MAX};
    use crate::wire::Header;
    use crate::wire::header::header_checksum;

    const KINDS: [FrameKind; 6] = [
        FrameKind::Eager,
        FrameKind::Announce,
        FrameKind::Clear,
        FrameKind::Data,
        FrameKind::Withdraw,
        FrameKind::Credit,
    ];

    fn frame(kind: FrameKind) -> DirectFrame {
        let length = if kind == FrameKind::Data { 1 } else { 0 };
        DirectFrame { sequence: 7, length, ..DirectFrame::new(kind, 5, 6, true) }
    }

    /// The frame with bytes changed, and a checksum that fits.
    fn changed(frame: &DirectFrame, at: usize, bytes: &[u8]) -> Result<DirectFrame, WireError> {
        let mut raw = frame.encode();
        raw[at..at + bytes.len()].copy_from_slice(bytes);
        let checksum = header_checksum(&raw);
        raw[4..8].copy_from_slice(&checksum.to_le_bytes());
        DirectFrame::decode(&raw)
    }

    #[test]
    fn every_kind_comes_back_as_it_went() {
        for kind in KINDS {
            let frame = frame(kind);
            assert_eq!(DirectFrame::decode(&frame.encode()), Ok(frame));
        }
    }

    // P-9
    #[test]
    fn each_link_takes_its_own_kinds_only() {
        for kind in KINDS {
            let bytes = frame(kind).encode();
            assert!(matches!(Header::decode(&bytes), Err(WireError::Misplaced { .. })));
        }
        for kind in [1u8, 2] {
            let found = changed(&frame(FrameKind::Eager), 3, &[kind]);
            assert!(matches!(found, Err(WireError::Misplaced { .. })), "{found:?}");
        }
        assert!(matches!(
            changed(&frame(FrameKind::Eager), 3, &[9]),
            Err(WireError::Unknown { .. })
        ));
    }

    // P-51, P-52
    #[test]
    fn a_field_that_a_kind_does_not_have_is_zero() {
        use FrameKind::*;
        // Where, how wide, and the kinds that may have it.
        let fields: [(usize, usize, &[FrameKind]); 8] = [
            (20, 4, &[Data]),
            (32, 8, &[]),
            (44, 4, &[Eager, Announce]),
            (48, 8, &[Announce, Clear, Credit]),
            (56, 1, &[]),
            (57, 1, &[]),
            (58, 1, &[Eager, Announce]),
            (59, 1, &[]),
        ];
        for (at, width, of) in fields {
            for kind in KINDS {
                let mut one = vec![0; width];
                one[0] = 1;
                let found = changed(&frame(kind), at, &one);
                assert_eq!(found.is_ok(), of.contains(&kind), "{kind:?}, byte {at}: {found:?}");
            }
        }
    }

    // P-7, P-52
    #[test]
    fn lengths_are_bounded_and_fit_the_count() {
        let eager = |length: u32, count: u64| {
            let raw = frame(FrameKind::Eager);
            let mut fields = length.to_le_bytes().to_vec();
            fields.extend([0; 4]);
            fields.extend(count.to_le_bytes());
            changed(&raw, 40, &fields)
        };
        let max = EAGER_BYTES_MAX as u32;
        assert!(eager(max, max.into()).is_ok());
        assert!(eager(max + 1, u64::from(max) + 1).is_err());
        assert!(eager(max, u64::from(max) - 1).is_err());
        let announce = |count: u64| changed(&frame(FrameKind::Announce), 48, &count.to_le_bytes());
        assert!(announce(CALL_BYTES_MAX).is_ok());
        assert!(announce(CALL_BYTES_MAX + 1).is_err());
        let data = |length: u32| changed(&frame(FrameKind::Data), 40, &length.to_le_bytes());
        assert!(data(SLICE_BYTES_MAX as u32).is_ok());
        assert!(data(SLICE_BYTES_MAX as u32 + 1).is_err());
        assert!(data(0).is_err());
        for kind in [FrameKind::Announce, FrameKind::Clear, FrameKind::Withdraw, FrameKind::Credit]
        {
            assert!(changed(&frame(kind), 40, &[1]).is_err(), "{kind:?}");
        }
    }
}
