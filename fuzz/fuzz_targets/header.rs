//! 64 bytes from a peer, as they come and with their checksum put right.

#![no_main]

use kirsh_core::limits::{CALL_BYTES_MAX, CONTROL_BODY_MAX, SLICE_BYTES_MAX};
use kirsh_core::wire::header::header_checksum;
use kirsh_core::wire::{FrameKind, HEADER_BYTES, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(bytes) = data.first_chunk::<HEADER_BYTES>() else {
        return;
    };
    look(bytes);
    let mut repaired = *bytes;
    repaired[..3].copy_from_slice(b"KR\x01");
    let checksum = header_checksum(&repaired);
    repaired[4..8].copy_from_slice(&checksum.to_le_bytes());
    look(&repaired);
});

/// What passes must be safe to act upon: to receive its payload, to compute with its call.
fn look(bytes: &[u8; HEADER_BYTES]) {
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    // P-7: the payload fits where a receiver would put it.
    let room = match header.kind {
        FrameKind::Collective => SLICE_BYTES_MAX,
        FrameKind::Control => CONTROL_BODY_MAX,
    };
    assert!(header.length as usize <= room, "{header:?} has a payload above {room} bytes");
    if let Some(call) = header.call {
        assert!(call.bytes() <= CALL_BYTES_MAX, "{header:?} speaks of an impossible array");
    }
    // P-5: one meaning, one encoding.
    assert_eq!(header.encode(), *bytes);
}
