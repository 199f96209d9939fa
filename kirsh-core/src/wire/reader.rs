//! Takes fields off a message's bytes, none beyond their end.

use super::WireError;
use crate::limits::WORLD_SIZE_MAX;
use crate::types::Rank;

/// What is left of a message. Every `take` names its field, for the error.
pub(super) struct Reader<'a> {
    what: &'static str,
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `what` names the message in errors.
    pub(super) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, left: bytes }
    }

    /// The next `len` bytes. P-21
    pub(super) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], WireError> {
        if len > self.left.len() {
            return Err(WireError::Truncated { what: self.what, field });
        }
        let (taken, left) = self.left.split_at(len);
        self.left = left;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], WireError> {
        let (taken, left) =
            self.left.split_first_chunk().ok_or(WireError::Truncated { what: self.what, field })?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        self.array(field).map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, WireError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, WireError> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, WireError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A rank of some world. P-22
    pub(super) fn rank(&mut self, field: &'static str) -> Result<Rank, WireError> {
        self.rank_of(field, WORLD_SIZE_MAX)
    }

    /// A rank of a world of this size. P-22
    pub(super) fn rank_of(&mut self, field: &'static str, world: u32) -> Result<Rank, WireError> {
        let rank = self.u32(field)?;
        if rank >= world {
            return Err(WireError::OutsideWorld { field, found: rank.into(), world: world.into() });
        }
        Ok(rank)
    }

    /// The size of a world. P-22
    pub(super) fn world(&mut self, field: &'static str) -> Result<u32, WireError> {
        match self.u32(field)? {
            0 => Err(WireError::Unknown { field, found: 0 }),
            world if world > WORLD_SIZE_MAX => {
                Err(WireError::Limit { field, found: world.into(), limit: WORLD_SIZE_MAX.into() })
            }
            world => Ok(world),
        }
    }

    /// Text behind its 16-bit length, of at most `limit` bytes. P-21
    pub(super) fn text(&mut self, field: &'static str, limit: usize) -> Result<&'a str, WireError> {
        let len = self.u16(field)?.into();
        if len > limit {
            return Err(WireError::Limit { field, found: len as u64, limit: limit as u64 });
        }
        std::str::from_utf8(self.bytes(field, len)?).map_err(|_| WireError::Text { field })
    }

    /// Ends the message: nothing may be left. P-21
    pub(super) fn end(self) -> Result<(), WireError> {
        match self.left.len() {
            0 => Ok(()),
            extra => Err(WireError::Surplus { what: self.what, extra }),
        }
    }
}

/// Text as [`Reader::text`] reads it, cut at the last whole character within the limit.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    let text = &text[..text.floor_char_boundary(limit)];
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}
