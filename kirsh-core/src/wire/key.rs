//! The plan key: one number that is equal where two ranks mean the same plan.

use crate::types::Call;

/// The version of the key's encoding, its first byte. P-15
const ENCODING: u8 = 1;
/// Bytes of the encoding. P-15
const ENCODED_BYTES: usize = 32;

/// The key of the plan that these make: everything its builder takes, except the rank.
///
/// `slice` is the longest slice in bytes; `counts` are each rank's, where the collective has such
/// and all ranks know them, else empty. What is local to a rank (alignment, in place, driver,
/// scale) is no part of it, so ranks that agree on the call have equal keys.
#[inline]
pub fn plan_key(
    call: &Call,
    world: u32,
    slice: u32,
    channels: u16,
    stripes: u16,
    counts: &[u64],
) -> u64 {
    let fixed = encode(call, world, slice, channels, stripes);
    if counts.is_empty() {
        return crc_fast::crc64_nvme(&fixed);
    }
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64Nvme);
    digest.update(&fixed);
    for count in counts {
        digest.update(&count.to_le_bytes());
    }
    digest.finalize()
}

/// P-15
fn encode(call: &Call, world: u32, slice: u32, channels: u16, stripes: u16) -> [u8; ENCODED_BYTES] {
    let mut bytes = [0; ENCODED_BYTES];
    bytes[0] = ENCODING;
    bytes[1] = call.collective as u8;
    bytes[2] = call.algorithm as u8;
    bytes[3] = call.dtype as u8;
    bytes[4] = call.in_common().op as u8;
    bytes[5] = call.wire as u8;
    // Bytes 6 and 7 stay zero.
    bytes[8..12].copy_from_slice(&world.to_le_bytes());
    bytes[12..16].copy_from_slice(&call.root.to_le_bytes());
    bytes[16..24].copy_from_slice(&call.count.to_le_bytes());
    bytes[24..28].copy_from_slice(&slice.to_le_bytes());
    bytes[28..30].copy_from_slice(&channels.to_le_bytes());
    bytes[30..32].copy_from_slice(&stripes.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::strategies;
    use super::*;
    use crate::types::{Algorithm, Collective, DataType, ReduceOp, Wire};

    const CALL: Call = Call {
        collective: Collective::Allreduce,
        algorithm: Algorithm::Ring,
        dtype: DataType::Float32,
        op: ReduceOp::Sum,
        root: 0,
        count: 1000,
        wire: Wire::Plain,
    };

    // P-15
    #[test]
    fn every_field_lies_where_the_table_says() {
        let wire = Wire::Int8;
        let call = Call { root: 0x0403_0201, count: 0x0807_0605_0403_0201, wire, ..CALL };
        let bytes = encode(&call, 0x1413_1211, 0x2423_2221, 0x3231, 0x4241);
        let expected: [u8; 32] = [
            1, 3, 1, 12, 0, 3, 0, 0, //
            0x11, 0x12, 0x13, 0x14, 1, 2, 3, 4, //
            1, 2, 3, 4, 5, 6, 7, 8, //
            0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x41, 0x42,
        ];
        assert_eq!(bytes, expected);
    }

    // P-15
    #[test]
    fn each_field_alone_changes_the_key() {
        let key = plan_key(&CALL, 4, 1 << 20, 1, 1, &[]);
        for other in [
            plan_key(&Call { collective: Collective::Broadcast, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { algorithm: Algorithm::Tree, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { dtype: DataType::Int32, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { op: ReduceOp::Max, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { root: 1, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { count: 1001, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&Call { wire: Wire::Bf16, ..CALL }, 4, 1 << 20, 1, 1, &[]),
            plan_key(&CALL, 5, 1 << 20, 1, 1, &[]),
            plan_key(&CALL, 4, 1 << 19, 1, 1, &[]),
            plan_key(&CALL, 4, 1 << 20, 2, 1, &[]),
            plan_key(&CALL, 4, 1 << 20, 1, 2, &[]),
            plan_key(&CALL, 4, 1 << 20, 1, 1, &[0, 1000, 0, 0]),
            plan_key(&CALL, 4, 1 << 20, 1, 1, &[0, 0, 1000, 0]),
        ] {
            assert_ne!(key, other);
        }
        assert_eq!(key, plan_key(&CALL, 4, 1 << 20, 1, 1, &[]));
    }

    // P-15
    #[test]
    fn counts_of_each_rank_follow_the_fixed_part() {
        let mut bytes = encode(&CALL, 2, 1 << 20, 1, 1).to_vec();
        bytes.extend(0x0807_0605_0403_0201_u64.to_le_bytes());
        bytes.extend(9_u64.to_le_bytes());
        let key = plan_key(&CALL, 2, 1 << 20, 1, 1, &[0x0807_0605_0403_0201, 9]);
        assert_eq!(key, crc_fast::crc64_nvme(&bytes));
    }

    proptest! {
        // P-15
        #[test]
        fn calls_are_equal_where_their_keys_are(a in strategies::call(), b in strategies::call()) {
            let keys = [&a, &b].map(|call| plan_key(call, 8, 1 << 18, 1, 1, &[]));
            prop_assert_eq!(a == b, keys[0] == keys[1]);
        }
    }
}
