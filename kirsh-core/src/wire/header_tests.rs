//! The header's rules, each side of each limit.

use proptest::prelude::*;

use super::super::strategies;
use super::*;
use crate::error::ErrorKind;

fn sample() -> Header {
    Header {
        kind: FrameKind::Collective,
        communicator: 1,
        epoch: 2,
        step: 3,
        sequence: 4,
        key: 5,
        length: 6,
        call: Some(Call {
            collective: Collective::Allreduce,
            algorithm: Algorithm::Ring,
            dtype: DataType::Float32,
            op: ReduceOp::Sum,
            root: 0,
            count: 7,
            wire: Wire::Plain,
        }),
        checksummed: false,
    }
}

fn control() -> Header {
    Header { kind: FrameKind::Control, call: None, checksummed: true, ..sample() }
}

/// The sample with some bytes overwritten and the checksum put right.
fn with(header: Header, at: usize, bytes: &[u8]) -> Result<Header, WireError> {
    let mut encoded = header.encode();
    encoded[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = header_checksum(&encoded);
    encoded[4..8].copy_from_slice(&checksum.to_le_bytes());
    Header::decode(&encoded)
}

// P-1
#[test]
fn every_field_lies_where_the_table_says() {
    let header = Header {
        kind: FrameKind::Collective,
        communicator: 0x0807_0605_0403_0201,
        epoch: 0x0c0b_0a09,
        step: 0x100f_0e0d,
        sequence: 0x1817_1615_1413_1211,
        key: 0x201f_1e1d_1c1b_1a19,
        length: 0x0002_2221,
        call: Some(Call {
            collective: Collective::Broadcast,
            algorithm: Algorithm::Chain,
            dtype: DataType::Int16,
            op: ReduceOp::Max,
            root: 0x2827_2625,
            count: 0x0000_2e2d_2c2b_2a29,
            wire: Wire::Plain,
        }),
        checksummed: true,
    };
    let bytes = header.encode();
    assert_eq!(&bytes[0..4], b"KR\x01\x01");
    assert_eq!(bytes[4..8], header_checksum(&bytes).to_le_bytes());
    assert_eq!(bytes[8..16], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(bytes[16..20], [9, 10, 11, 12]);
    assert_eq!(bytes[20..24], [13, 14, 15, 16]);
    assert_eq!(bytes[24..32], [17, 18, 19, 20, 21, 22, 23, 24]);
    assert_eq!(bytes[32..40], [25, 26, 27, 28, 29, 30, 31, 32]);
    assert_eq!(bytes[40..44], [0x21, 0x22, 2, 0]);
    assert_eq!(bytes[44..48], [0x25, 0x26, 0x27, 0x28]);
    assert_eq!(bytes[48..56], [0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0, 0]);
    assert_eq!(bytes[56..64], [2, 5, 4, 3, 1, 0, 0, 0]);
}

// P-2, P-3
#[test]
fn magic_and_version_are_looked_at_before_the_checksum() {
    let mut bytes = sample().encode();
    bytes[0] = b'k';
    let found = u16::from_le_bytes(*b"kR");
    assert_eq!(Header::decode(&bytes), Err(WireError::Magic { found, expected: MAGIC }));
    let mut bytes = sample().encode();
    bytes[2] = 2;
    assert_eq!(Header::decode(&bytes), Err(WireError::Version { found: 2, expected: 1 }));
}

// P-4
#[test]
fn each_single_flipped_bit_is_found() {
    let good = sample().encode();
    for bit in 0..HEADER_BYTES * 8 {
        let mut bytes = good;
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = Header::decode(&bytes).expect_err("a flipped bit must not pass");
        match bit / 8 {
            0..2 => assert!(matches!(error, WireError::Magic { .. })),
            2 => assert!(matches!(error, WireError::Version { .. })),
            _ => {
                assert!(matches!(error, WireError::HeaderChecksum { .. }));
                assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }
}

// P-5
#[test]
fn numbers_are_known_up_to_the_last_and_refused_from_the_next() {
    for (at, field, last) in [
        (3, "a frame kind", 1),
        (56, "a collective", Collective::ALL.last().map_or(0, |value| *value as u8)),
        (57, "an algorithm", Algorithm::ALL.last().map_or(0, |value| *value as u8)),
        (58, "a dtype", DataType::ALL.last().map_or(0, |value| *value as u8)),
        (59, "an op", ReduceOp::ALL.last().map_or(0, |value| *value as u8)),
        (61, "a wire format", Wire::ALL.last().map_or(0, |value| *value as u8)),
    ] {
        assert!(with(sample(), at, &[last]).is_ok(), "{field}");
        let next = if at == 3 { 9 } else { last + 1 };
        assert_eq!(with(sample(), at, &[next]), Err(unknown(field, next)));
        assert_eq!(with(sample(), at, &[255]), Err(unknown(field, 255)));
    }
    for at in [3, 56, 57] {
        assert!(matches!(with(sample(), at, &[0]), Err(WireError::Unknown { found: 0, .. })));
    }
}

// P-5
#[test]
fn reserved_bits_and_bytes_must_be_zero() {
    assert!(with(sample(), 60, &[0]).is_ok());
    assert!(with(sample(), 60, &[1]).is_ok_and(|header| header.checksummed));
    for bit in 1..8 {
        let found = with(sample(), 60, &[1 << bit]);
        assert!(matches!(found, Err(WireError::Reserved { .. })), "flag bit {bit}");
    }
    for at in [62, 63] {
        assert!(matches!(with(sample(), at, &[1]), Err(WireError::Reserved { .. })), "byte {at}");
    }
}

// P-7
#[test]
fn payload_lengths_pass_up_to_their_limit() {
    for (header, limit) in [(sample(), SLICE_BYTES_MAX), (control(), CONTROL_BODY_MAX)] {
        let limit = limit as u32;
        let longest = with(header, 40, &limit.to_le_bytes());
        assert_eq!(longest, Ok(Header { length: limit, ..header }));
        for length in [limit + 1, u32::MAX] {
            assert_eq!(
                with(header, 40, &length.to_le_bytes()),
                Err(WireError::Limit {
                    field: "a payload length of",
                    found: length.into(),
                    limit: limit.into()
                })
            );
        }
    }
}

// P-7
#[test]
fn counts_pass_up_to_the_largest_array() {
    for dtype in DataType::ALL {
        let call = Call { dtype: *dtype, ..sample().call.expect("the sample has a call") };
        let header = Header { call: Some(call), ..sample() };
        let limit = CALL_BYTES_MAX / dtype.size() as u64;
        let decoded = with(header, 48, &limit.to_le_bytes()).expect("the largest count passes");
        assert_eq!(decoded.call.map(|call| call.bytes()), Some(CALL_BYTES_MAX));
        for count in [limit + 1, u64::MAX] {
            let error = with(header, 48, &count.to_le_bytes());
            assert!(matches!(error, Err(WireError::Limit { found, .. }) if found == count));
        }
    }
}

// P-8
#[test]
fn a_control_header_carries_no_call_and_always_a_checksum() {
    assert_eq!(with(control(), 0, &[]), Ok(control()));
    assert_eq!(with(control(), 60, &[0]), Err(WireError::Unchecked));
    for at in (44..60).filter(|at| !(45..48).contains(at)) {
        let found = with(control(), at, &[1]);
        assert!(matches!(found, Err(WireError::Reserved { .. })), "byte {at}");
    }
}

#[test]
fn a_broken_rule_blames_the_peer_and_the_link() {
    let error: crate::Error = WireError::Unchecked.into();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::Protocol, crate::Scope::Link));
    let error: crate::Error = WireError::HeaderChecksum { found: 1, computed: 2 }.into();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::Corrupt, crate::Scope::Link));
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(header in strategies::header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    /// With the checksum put right, so that what lies behind it is reached.
    #[test]
    fn what_passes_is_what_would_have_been_sent(
        mut bytes in proptest::array::uniform32(any::<[u8; 2]>()).prop_map(|pairs| {
            let mut bytes = [0; HEADER_BYTES];
            bytes.copy_from_slice(pairs.as_flattened());
            bytes
        }),
        base in strategies::header(),
        kept in proptest::collection::vec(0..HEADER_BYTES, 40..300),
    ) {
        let good = base.encode();
        for at in kept {
            bytes[at] = good[at];
        }
        bytes[..3].copy_from_slice(&good[..3]);
        let checksum = header_checksum(&bytes);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(header) = Header::decode(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }
}
