//! 64 bytes from a peer, as they come and with their checksum put right.

#![no_main]

use kirsh_core::limits::{CALL_BYTES_MAX, CONTROL_BODY_MAX, EAGER_BYTES_MAX, SLICE_BYTES_MAX};
use kirsh_core::wire::header::header_checksum;
use kirsh_core::wire::{DirectFrame, FrameKind, HEADER_BYTES, Header};
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
    look_at_direct(bytes);
    let Ok(header) = Header::decode(bytes) else {
        return;
    };
    // P-7: the payload fits where a receiver would put it.
    let room = match header.kind {
        FrameKind::Collective => SLICE_BYTES_MAX,
        FrameKind::Control => CONTROL_BODY_MAX,
        other => panic!("{} is for direct links, P-9", other.name()),
    };
    assert!(header.length as usize <= room, "{header:?} has a payload above {room} bytes");
    if let Some(call) = header.call {
        assert!(call.bytes() <= CALL_BYTES_MAX, "{header:?} speaks of an impossible array");
    }
    // P-5: one meaning, one encoding.
    assert_eq!(header.encode(), *bytes);
}

/// The same for a frame of a direct link: what passes can be received where it belongs.
fn look_at_direct(bytes: &[u8; HEADER_BYTES]) {
    let Ok(frame) = DirectFrame::decode(bytes) else {
        return;
    };
    let room = match frame.kind {
        FrameKind::Eager => EAGER_BYTES_MAX,
        FrameKind::Data => SLICE_BYTES_MAX,
        FrameKind::Collective | FrameKind::Control => panic!("not for direct links, P-9"),
        _ => 0,
    };
    assert!(frame.length as usize <= room, "{frame:?} has a payload above {room} bytes");
    if matches!(frame.kind, FrameKind::Eager | FrameKind::Announce) {
        assert!(frame.message_bytes() <= CALL_BYTES_MAX, "{frame:?} is an impossible message");
    }
    assert_eq!(frame.encode(), *bytes);
}
