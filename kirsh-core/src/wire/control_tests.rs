//! Control messages: round trips, splits, and both sides of every limit.

use proptest::prelude::*;

use super::super::{TRAILER_BYTES, strategies};
use super::*;
use crate::limits::{CALL_BYTES_MAX, WORLD_SIZE_MAX};
use crate::types::{Algorithm, Collective, DataType, ReduceOp, Wire};

const CALL: Call = Call {
    collective: Collective::Broadcast,
    algorithm: Algorithm::Chain,
    dtype: DataType::Float64,
    op: ReduceOp::Sum,
    root: 3,
    count: 9,
    wire: Wire::Plain,
};

fn abort(reason: &str) -> Message {
    Message::Abort {
        communicator: 1,
        epoch: 2,
        origin: 3,
        sequence: Some(4),
        about: Some(5),
        kind: ErrorKind::Timeout,
        reason: reason.to_owned(),
    }
}

fn stalled() -> Message {
    Message::Stalled {
        communicator: 1,
        epoch: 2,
        origin: 3,
        to: 4,
        sequence: 5,
        key: 6,
        call: CALL,
        blame: 7,
    }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn body(message: &Message) -> Vec<u8> {
    let bytes = encoded(message);
    bytes[HEADER_BYTES..bytes.len() - TRAILER_BYTES].to_vec()
}

fn header() -> Header {
    Header {
        kind: FrameKind::Control,
        communicator: 0,
        epoch: 0,
        step: 0,
        sequence: 0,
        key: 0,
        length: 0,
        call: None,
        checksummed: true,
    }
}

fn decode(body: &[u8]) -> Result<Message, WireError> {
    Message::decode(&header(), body)
}

/// Everything that a stream gives.
fn read_all(reader: &mut ControlReader) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    while let Some(message) = reader.next()? {
        messages.push(message);
    }
    Ok(messages)
}

fn read(bytes: &[u8]) -> Result<Vec<Message>, WireError> {
    let mut reader = ControlReader::new();
    reader.feed(bytes);
    read_all(&mut reader)
}

// P-21
#[test]
fn a_body_cut_anywhere_or_lengthened_is_refused() {
    let refused = Message::Refused {
        communicator: 1,
        epoch: 2,
        origin: 3,
        sequence: 4,
        call: CALL,
        kind: ErrorKind::InvalidArgument,
        reason: "because".to_owned(),
    };
    let goodbye = Message::Goodbye { origin: 3, finished: vec![(1, 2, 3), (4, 5, 6)] };
    for message in [Message::Heartbeat, stalled(), refused, abort("because"), goodbye] {
        let whole = body(&message);
        assert_eq!(decode(&whole), Ok(message));
        for len in 0..whole.len() {
            let error = decode(&whole[..len]);
            assert!(matches!(error, Err(WireError::Truncated { .. })), "{len}: {error:?}");
        }
        let error = decode(&[&whole[..], &[0]].concat());
        assert!(matches!(error, Err(WireError::Surplus { extra: 1, .. })), "{error:?}");
    }
}

// P-20
#[test]
fn types_are_known_up_to_the_last_and_refused_from_the_next() {
    for number in [0, number::GOODBYE + 1, u8::MAX] {
        assert_eq!(decode(&[number]), Err(unknown("a control message type", number)));
    }
    assert_eq!(decode(&[number::HEARTBEAT]), Ok(Message::Heartbeat));
}

// P-22
#[test]
fn ranks_pass_below_the_largest_world() {
    // Origin, addressee and blamed rank of a stall notice; rank at fault of an abort; origin of a
    // goodbye.
    let goodbye = Message::Goodbye { origin: 0, finished: vec![] };
    for (message, places) in
        [(stalled(), vec![13, 17, 53]), (abort(""), vec![13, 26]), (goodbye, vec![1])]
    {
        for at in places {
            let mut bytes = body(&message);
            bytes[at..at + 4].copy_from_slice(&(WORLD_SIZE_MAX - 1).to_le_bytes());
            assert!(decode(&bytes).is_ok(), "{at}");
            bytes[at..at + 4].copy_from_slice(&WORLD_SIZE_MAX.to_le_bytes());
            assert!(matches!(decode(&bytes), Err(WireError::OutsideWorld { .. })), "{at}");
        }
    }
}

// P-23, P-24
#[test]
fn only_a_refused_call_may_have_an_impossible_count() {
    let largest = CALL_BYTES_MAX / 8;
    for (count, passes) in [(largest, true), (largest + 1, false), (u64::MAX, false)] {
        let Message::Stalled { mut call, .. } = stalled() else { unreachable!() };
        call.count = count;
        let mut bytes = body(&stalled());
        bytes[45..53].copy_from_slice(&count.to_le_bytes());
        assert_eq!(decode(&bytes).is_ok(), passes, "{count}");
        let refused = Message::Refused {
            communicator: 1,
            epoch: 2,
            origin: 3,
            sequence: 4,
            call,
            kind: ErrorKind::InvalidArgument,
            reason: String::new(),
        };
        assert_eq!(decode(&body(&refused)), Ok(refused));
    }
}

// P-25
#[test]
fn an_abort_says_which_of_its_fields_are_there() {
    let bare = Message::Abort {
        communicator: 1,
        epoch: 2,
        origin: 3,
        sequence: None,
        about: None,
        kind: ErrorKind::Aborted,
        reason: String::new(),
    };
    let good = body(&bare);
    assert_eq!(decode(&good), Ok(bare));
    for (at, value) in [(17, 4), (17, 128), (18, 1), (25, 1), (26, 1)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert!(matches!(decode(&bytes), Err(WireError::Reserved { .. })), "byte {at}");
    }
    let mut bytes = good;
    bytes[30] = 1;
    assert_eq!(decode(&bytes), Err(unknown("a kind of error", 1)));
}

// P-27
#[test]
fn reasons_are_cut_at_a_whole_character_and_refused_beyond() {
    let fits = "x".repeat(REASON_BYTES_MAX);
    assert_eq!(decode(&body(&abort(&fits))), Ok(abort(&fits)));
    assert_eq!(decode(&body(&abort(&(fits.clone() + "y")))), Ok(abort(&fits)));
    // The last character has two bytes and would end one byte behind the limit.
    let split = format!("{}é", "x".repeat(REASON_BYTES_MAX - 1));
    let cut = "x".repeat(REASON_BYTES_MAX - 1);
    assert_eq!(decode(&body(&abort(&split))), Ok(abort(&cut)));

    let mut bytes = body(&abort(&fits));
    bytes[31..33].copy_from_slice(&(REASON_BYTES_MAX as u16 + 1).to_le_bytes());
    bytes.push(b'y');
    assert!(matches!(decode(&bytes), Err(WireError::Limit { field: "reason", .. })));
    let mut bytes = body(&abort("ab"));
    bytes[33] = 0xff;
    assert_eq!(decode(&bytes), Err(WireError::Text { field: "reason" }));
}

// P-26
#[test]
fn a_long_goodbye_becomes_several_full_ones() {
    let entries = |count| (0..count as u64).map(|id| (id, 7, id * 2)).collect::<Vec<_>>();
    let goodbye = |finished: &[_]| Message::Goodbye { origin: 5, finished: finished.to_vec() };
    let all = entries(2 * GOODBYE_ENTRIES_MAX + 1);
    for (count, sizes) in [
        (0, vec![0]),
        (GOODBYE_ENTRIES_MAX, vec![GOODBYE_ENTRIES_MAX]),
        (GOODBYE_ENTRIES_MAX + 1, vec![GOODBYE_ENTRIES_MAX, 1]),
        (all.len(), vec![GOODBYE_ENTRIES_MAX, GOODBYE_ENTRIES_MAX, 1]),
    ] {
        let mut expected = Vec::new();
        let mut at = 0;
        for size in sizes {
            expected.push(goodbye(&all[at..at + size]));
            at += size;
        }
        assert_eq!(read(&encoded(&goodbye(&all[..count]))), Ok(expected), "{count}");
    }
    // Another entry would not fit.
    let fullest = body(&goodbye(&all[..GOODBYE_ENTRIES_MAX])).len();
    assert!(fullest <= CONTROL_BODY_MAX && fullest + GOODBYE_ENTRY_BYTES > CONTROL_BODY_MAX);
}

// P-8, P-9
#[test]
fn a_control_stream_takes_control_frames_only() {
    let collective = Header { kind: FrameKind::Collective, call: Some(CALL), ..header() };
    let misplaced = WireError::Misplaced { found: "collective", lane: "control" };
    assert_eq!(read(&collective.encode()), Err(misplaced.clone()));
    assert_eq!(Message::decode(&collective, &[number::HEARTBEAT]), Err(misplaced));
    for header in [
        Header { communicator: 1, ..header() },
        Header { epoch: 1, ..header() },
        Header { step: 1, ..header() },
        Header { sequence: 1, ..header() },
        Header { key: 1, ..header() },
    ] {
        let error = Message::decode(&header, &[number::HEARTBEAT]);
        assert!(matches!(error, Err(WireError::Reserved { .. })), "{error:?}");
    }
}

// P-6
#[test]
fn each_flipped_bit_of_body_and_trailer_is_found() {
    let good = encoded(&stalled());
    for bit in HEADER_BYTES * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(read(&bytes), Err(WireError::BodyChecksum { .. })), "bit {bit}");
    }
}

#[test]
fn a_reader_that_failed_stays_failed_and_holds_nothing() {
    let mut reader = ControlReader::new();
    reader.feed(&[0; HEADER_BYTES]);
    let error = reader.next().expect_err("zeros are no header");
    reader.feed(&encoded(&Message::Heartbeat));
    assert_eq!(reader.next(), Err(error));
    assert_eq!(reader.pending(), 0);
}

#[test]
fn a_header_is_judged_before_its_body_has_come() {
    let mut reader = ControlReader::new();
    let mut bytes = encoded(&Message::Heartbeat);
    bytes[8] ^= 1;
    reader.feed(&bytes[..HEADER_BYTES]);
    assert!(matches!(reader.next(), Err(WireError::HeaderChecksum { .. })));
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(message in strategies::message()) {
        prop_assert_eq!(decode(&body(&message)), Ok(message));
    }

    #[test]
    fn however_a_stream_is_split_the_messages_are_the_same(
        messages in proptest::collection::vec(strategies::message(), 0..5),
        sizes in proptest::collection::vec(1..300usize, 1..40),
        tail in 0..HEADER_BYTES,
    ) {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.encode(&mut bytes));
        // And the beginning of one more, which must stay pending.
        bytes.extend_from_slice(&encoded(&Message::Heartbeat)[..tail]);
        let (mut reader, mut got, mut rest) = (ControlReader::new(), Vec::new(), &bytes[..]);
        for size in sizes.iter().cycle() {
            let (piece, left) = rest.split_at(rest.len().min(*size));
            reader.feed(piece);
            got.extend(read_all(&mut reader).expect("the stream is good"));
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(got, messages);
        prop_assert_eq!(reader.pending(), tail);
    }

    #[test]
    fn no_body_panics_and_what_passes_is_what_would_have_been_sent(
        number in 0..8u8,
        rest in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..80),
    ) {
        let bytes = [&[number][..], &rest].concat();
        if let Ok(message) = decode(&bytes) {
            prop_assert_eq!(body(&message), bytes);
        }
    }

    #[test]
    fn no_stream_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
    }
}
