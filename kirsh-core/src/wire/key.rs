//! The plan key: one number that is equal where two ranks mean the same plan.

use crate::types::Call;

/// The version of the key's encoding, its first byte. P-15
const ENCODING: u8 = 1;
/// Bytes of the encoding. P-15
const ENCODED_BYTES: usize = 32;

/// The key of the plan that these make: everything its builder takes, except the rank.
///
/// `slice` is the longest slice in bytes. What is local to a rank (alignment, in place, driver,
/// scale) is no part of it, so ranks that agree on the call have equal keys.
#[inline]
pub fn plan_key(call: &Call, world: u32, slice: u32, channels: u16, stripes: u16) -> u64 {
    crc_fast::crc64_nvme(&encode(call, world, slice, channels, stripes))
}

/// P-15
fn encode(call: &Call, world: u32, slice: u32, channels: u16, stripes: u16) -> [u8; ENCODED_BYTES] {
    let mut bytes = [0; ENCODED_BYTES];
    bytes[0] = ENCODING;
    bytes[1] = call.collective as u8;
    bytes[2] = call.algorithm as u8;
    bytes[3] = call.dtype as u8;
    bytes[4] = call.op as u8;
    bytes[5] = super::header::WIRE_FORMAT_PLAIN;
    // Bytes 6 and 7 stay zero.
    bytes[8..12].copy_from_slice(&world.to_le_bytes());
    bytes[12..16].copy_from_slice(&call.root.to_le_bytes());
    bytes[16..24].copy_from_slice(&call.count.to_le_bytes());
    bytes[24..28].copy_from_slice(&slice.to_le_bytes());
    bytes[28..30].copy_from_slice(&channels.to_le_bytes());
    bytes[30..32].copy_from_slice(&stripes.to_le_bytes());
    bytes
}
