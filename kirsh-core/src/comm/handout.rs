//! The settings that must be equal on all ranks, as rank 0 hands them out in the table that joining
//! ends with.

use crate::error::{Error, ErrorKind, Result};
use crate::model::choice::Selection;
use crate::rendezvous::settings::Switch;

/// What rank 0's settings decide for everybody.
pub(super) struct Handout {
    pub(super) checksum: Switch,
    pub(super) slice: Option<u32>,
    /// Heartbeats must come more often than anybody's patience ends, so it is one for all.
    pub(super) liveness_ns: u64,
    pub(super) selection: Selection,
}

impl Handout {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let checksum = match self.checksum {
            Switch::Auto => 0,
            Switch::On => 1,
            Switch::Off => 2,
        };
        let mut bytes = vec![checksum];
        bytes.extend(self.slice.unwrap_or(0).to_le_bytes());
        bytes.extend(self.liveness_ns.to_le_bytes());
        bytes.extend(self.selection.to_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed =
            || Error::new(ErrorKind::Protocol, "rank 0 handed out settings that cannot be read");
        let (&[checksum, a, b, c, d], rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
        let checksum = match checksum {
            0 => Switch::Auto,
            1 => Switch::On,
            2 => Switch::Off,
            _ => return Err(malformed()),
        };
        let slice = Some(u32::from_le_bytes([a, b, c, d])).filter(|slice| *slice != 0);
        let (liveness, selection) = rest.split_first_chunk().ok_or_else(malformed)?;
        let liveness_ns = u64::from_le_bytes(*liveness);
        Ok(Handout { checksum, slice, liveness_ns, selection: Selection::from_bytes(selection)? })
    }
}
