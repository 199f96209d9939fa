//! Random calls, headers and messages for the property tests of this layer.

use proptest::prelude::*;
use proptest::sample::select;

use super::control::{GOODBYE_ENTRIES_MAX, Message};
use super::header::{FrameKind, Header};
use crate::error::ErrorKind;
use crate::limits::{CALL_BYTES_MAX, REASON_BYTES_MAX, WORLD_SIZE_MAX};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// Any call that can be in progress.
pub(super) fn call() -> impl Strategy<Value = Call> {
    (
        select(Collective::ALL),
        select(Algorithm::ALL),
        select(DataType::ALL),
        select(ReduceOp::ALL),
        any::<u32>(),
        any::<u64>(),
        select(Wire::ALL),
    )
        .prop_map(|(collective, algorithm, dtype, op, root, count, wire)| Call {
            collective,
            algorithm,
            dtype,
            op,
            root,
            count: count % (CALL_BYTES_MAX / dtype.size() as u64 + 1),
            wire,
        })
}

pub(super) fn header() -> impl Strategy<Value = Header> {
    let numbers = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    (proptest::option::of(call()), numbers, any::<u32>(), any::<bool>()).prop_map(
        |(call, (communicator, epoch, step, sequence, key), length, checksummed)| {
            let kind = if call.is_some() { FrameKind::Collective } else { FrameKind::Control };
            Header {
                kind,
                communicator,
                epoch,
                step,
                sequence,
                key,
                length: length % (kind.length_max() as u32 + 1),
                checksummed: checksummed || kind == FrameKind::Control,
                call,
            }
        },
    )
}

pub(super) fn kind() -> impl Strategy<Value = ErrorKind> {
    (0..=u8::MAX).prop_filter_map("no such kind", ErrorKind::from_u8)
}

fn reason() -> impl Strategy<Value = String> {
    "\\PC{0,60}".prop_filter("too long", |text| text.len() <= REASON_BYTES_MAX)
}

fn rank() -> std::ops::Range<u32> {
    0..WORLD_SIZE_MAX
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let id = || (any::<u64>(), any::<u32>(), rank());
    prop_oneof![
        Just(Message::Heartbeat),
        (id(), rank(), any::<u64>(), any::<u64>(), call(), rank()).prop_map(
            |((communicator, epoch, origin), to, sequence, key, call, blame)| Message::Stalled {
                communicator,
                epoch,
                origin,
                to,
                sequence,
                key,
                call,
                blame,
            }
        ),
        (id(), any::<u64>(), call(), any::<u64>(), kind(), reason()).prop_map(
            |((communicator, epoch, origin), sequence, call, count, kind, reason)| {
                let call = Call { count, ..call };
                Message::Refused { communicator, epoch, origin, sequence, call, kind, reason }
            }
        ),
        (id(), proptest::option::of(any::<u64>()), proptest::option::of(rank()), kind(), reason())
            .prop_map(|((communicator, epoch, origin), sequence, about, kind, reason)| {
                Message::Abort { communicator, epoch, origin, sequence, about, kind, reason }
            }),
        (rank(), proptest::collection::vec(any::<(u64, u32, u64)>(), 0..=GOODBYE_ENTRIES_MAX))
            .prop_map(|(origin, finished)| Message::Goodbye { origin, finished }),
    ]
}
