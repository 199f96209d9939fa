//! The settings that must be equal on all ranks, as rank 0 hands them out in the table that joining
//! ends with.

use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CHANNELS_MAX, STRIPES_MAX};
use crate::model::choice::Selection;
use crate::rendezvous::settings::Switch;
use crate::types::Wire;

/// What rank 0's settings decide for everybody.
pub(super) struct Handout {
    pub(super) checksum: Switch,
    pub(super) slice: Option<u32>,
    /// Sockets between two ranks, where they are not chosen.
    pub(super) stripes: Option<u8>,
    /// Whether several networks between the hosts are used together.
    pub(super) rails: bool,
    /// For calls that say nothing of it.
    pub(super) wire: Wire,
    /// Heartbeats must come more often than anybody's patience ends, so it is one for all.
    pub(super) liveness_ns: u64,
    pub(super) selection: Selection,
    /// Of every call that can be cut; the costs decide where nothing is said.
    pub(super) channels: Option<u16>,
}

/// The first byte's bits from here on are the wire format.
const WIRE_SHIFT: u32 = 4;

impl Handout {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let checksum = match self.checksum {
            Switch::Auto => 0,
            Switch::On => 1,
            Switch::Off => 2,
        };
        let mut bytes = vec![checksum | (self.wire as u8) << WIRE_SHIFT];
        bytes.extend(self.slice.unwrap_or(0).to_le_bytes());
        bytes.push(self.stripes.unwrap_or(0));
        bytes.push(self.rails.into());
        bytes.extend(self.liveness_ns.to_le_bytes());
        bytes.extend(self.channels.unwrap_or(0).to_le_bytes());
        bytes.extend(self.selection.to_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed =
            || Error::new(ErrorKind::Protocol, "rank 0 handed out settings that cannot be read");
        let (&[first, a, b, c, d], rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
        let wire = Wire::from_u8(first >> WIRE_SHIFT).ok_or_else(malformed)?;
        let checksum = match first & ((1 << WIRE_SHIFT) - 1) {
            0 => Switch::Auto,
            1 => Switch::On,
            2 => Switch::Off,
            _ => return Err(malformed()),
        };
        let slice = Some(u32::from_le_bytes([a, b, c, d])).filter(|slice| *slice != 0);
        let (&stripes, rest) = rest.split_first().ok_or_else(malformed)?;
        let stripes = match stripes {
            0 => None,
            1..=STRIPES_MAX => Some(stripes),
            _ => return Err(malformed()),
        };
        let (&rails, rest) = rest.split_first().ok_or_else(malformed)?;
        let rails = match rails {
            0 => false,
            1 => true,
            _ => return Err(malformed()),
        };
        let (liveness, rest) = rest.split_first_chunk().ok_or_else(malformed)?;
        let liveness_ns = u64::from_le_bytes(*liveness);
        let (channels, selection) = rest.split_first_chunk().ok_or_else(malformed)?;
        let channels = Some(u16::from_le_bytes(*channels)).filter(|channels| *channels != 0);
        if channels.is_some_and(|channels| channels > CHANNELS_MAX) {
            return Err(malformed());
        }
        let selection = Selection::from_bytes(selection)?;
        Ok(Handout { checksum, slice, stripes, rails, wire, liveness_ns, selection, channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    #[test]
    fn what_rank_0_decides_arrives_and_what_nobody_can_mean_does_not() {
        for wire in Wire::ALL {
            let selection = Selection::built_in(Class::Gbit10, 4);
            let (checksum, slice, liveness_ns) = (Switch::Off, Some(4096), 77);
            let (stripes, rails, channels) = (Some(3), true, Some(8));
            let wire = *wire;
            let given =
                Handout { checksum, slice, stripes, rails, wire, liveness_ns, selection, channels };
            let mut bytes = given.to_bytes();
            let read = Handout::from_bytes(&bytes).expect("what was written");
            assert_eq!((read.wire, read.checksum, read.slice), (wire, checksum, slice));
            assert_eq!((read.stripes, read.rails), (stripes, rails));
            bytes[6] = 2;
            assert!(Handout::from_bytes(&bytes).is_err(), "neither with rails nor without");
            bytes[6] = 0;
            assert_eq!((read.liveness_ns, &read.selection), (77, &given.selection));
            assert_eq!(read.channels, channels);
            for (at, most, what) in
                [(5, STRIPES_MAX, "sockets"), (15, CHANNELS_MAX as u8, "channels")]
            {
                bytes[at] = most + 1;
                assert!(Handout::from_bytes(&bytes).is_err(), "more {what} than there may be");
                bytes[at] = most;
                assert!(Handout::from_bytes(&bytes).is_ok());
            }
            bytes[0] = 4 << WIRE_SHIFT;
            assert!(Handout::from_bytes(&bytes).is_err(), "a wire format that there is not");
            bytes[0] = 3;
            assert!(Handout::from_bytes(&bytes).is_err(), "a checksum that there is not");
        }
    }
}
