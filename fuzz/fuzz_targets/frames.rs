//! A stream of frames as a control link and as a collective link read it, in any splits.
//!
//! Byte 0: bit 0 puts the checksums right, bit 1 makes the stream a collective one. Byte 1 chooses
//! the splits. The rest is the stream.

#![no_main]

use std::cell::RefCell;

use kirsh_core::limits::{CONTROL_BODY_MAX, SLICE_BYTES_MAX};
use kirsh_core::wire::checksum::{Checksum, crc32c};
use kirsh_core::wire::header::header_checksum;
use kirsh_core::wire::{
    ControlReader, FrameKind, HEADER_BYTES, Header, Message, TRAILER_BYTES, WireError,
};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// The slab of the collective link.
    static SLAB: RefCell<Vec<u8>> = RefCell::new(vec![0; SLICE_BYTES_MAX]);
}

fuzz_target!(|data: &[u8]| {
    let [mode, split, stream @ ..] = data else {
        return;
    };
    let mut stream = stream.to_vec();
    if mode & 1 != 0 {
        repair(&mut stream);
    }
    if mode & 2 == 0 {
        let whole = control(&stream, usize::MAX);
        assert_eq!(whole, control(&stream, usize::from(*split) + 1), "splits change the outcome");
    } else {
        assert_eq!(
            collective(&stream, usize::MAX),
            collective(&stream, usize::from(*split) + 1),
            "splits change the outcome"
        );
    }
});

/// Puts the checksums of the frames right, as far as frames can be made out.
fn repair(mut rest: &mut [u8]) {
    while let Some((header, behind)) = std::mem::take(&mut rest).split_first_chunk_mut() {
        let checksum = header_checksum(header);
        header[4..8].copy_from_slice(&checksum.to_le_bytes());
        let length = u32::from_le_bytes([header[40], header[41], header[42], header[43]]) as usize;
        if header[60] & 1 == 0 {
            rest = behind.get_mut(length..).unwrap_or_default();
            continue;
        }
        let Some((payload, behind)) = behind.split_at_mut_checked(length) else {
            return;
        };
        let Some((trailer, behind)) = behind.split_first_chunk_mut::<TRAILER_BYTES>() else {
            return;
        };
        *trailer = crc32c(payload).to_le_bytes();
        rest = behind;
    }
}

/// What a control link makes of the stream: its messages and how it ended.
fn control(stream: &[u8], piece: usize) -> (Vec<Message>, Result<usize, WireError>) {
    let mut reader = ControlReader::new();
    let mut messages = Vec::new();
    for bytes in stream.chunks(piece) {
        reader.feed(bytes);
        loop {
            match reader.next() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
        // Whatever a peer claims, less than one frame stays behind.
        let held = reader.pending();
        assert!(held < HEADER_BYTES + CONTROL_BODY_MAX + TRAILER_BYTES, "{held} bytes are held");
    }
    (messages, Ok(reader.pending()))
}

/// What a collective link makes of it: it knows where to put each payload before it comes.
fn collective(stream: &[u8], piece: usize) -> (Vec<Header>, Result<(), WireError>) {
    SLAB.with_borrow_mut(|slab| collective_into(slab, stream, piece))
}

fn collective_into(
    slab: &mut [u8],
    stream: &[u8],
    piece: usize,
) -> (Vec<Header>, Result<(), WireError>) {
    let mut headers = Vec::new();
    let mut rest = stream;
    while let Some((header, behind)) = rest.split_first_chunk() {
        let header = match Header::decode(header) {
            Ok(header) => header,
            Err(error) => return (headers, Err(error)),
        };
        // The peer's length decides where the slab is cut: it must lie within.
        let target = &mut slab[..header.length as usize];
        let whole = header.length as usize + header.trailer_bytes();
        if header.kind != FrameKind::Collective || behind.len() < whole {
            break;
        }
        let (payload, behind) = behind.split_at(target.len());
        let mut checksum = Checksum::new();
        for (target, bytes) in target.chunks_mut(piece).zip(payload.chunks(piece)) {
            target.copy_from_slice(bytes);
            checksum.update(bytes);
        }
        let (trailer, behind) = behind.split_at(header.trailer_bytes());
        if header.checksummed && checksum.trailer() != trailer {
            let found = trailer.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let computed = checksum.value();
            let what = "payload";
            return (headers, Err(WireError::BodyChecksum { what, found, computed }));
        }
        headers.push(header);
        rest = behind;
    }
    (headers, Ok(()))
}
