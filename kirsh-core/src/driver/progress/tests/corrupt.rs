//! Two lanes with somebody between them who changes a bit.

use std::net::Shutdown;

use super::*;
use crate::driver::array::Array;
use crate::driver::mail::Mail;
use crate::reduce::Kernel;
use crate::session::Alias;
use crate::types::Algorithm;
use crate::wire::header::{HEADER_BYTES, Header, TRAILER_BYTES};

/// A lane of a world of two whose payloads carry checksums, and who is asked when it asks the progress
/// thread: nobody.
fn checked_lane(rank: Rank, kind: DriverKind) -> Arc<Lane> {
    let settings = Settings {
        rank,
        world: 2,
        communicator: 7,
        epoch: 0,
        look_ahead: 64,
        slabs_per_link: 2,
        checksums: true,
        warn_after_ns: u64::MAX,
        dealing: Dealing::even(),
    };
    let driver = choose(Some(kind)).unwrap();
    let bell = ThreadIo::new(&driver).unwrap().bell;
    let handle = Handle { requests: crossbeam_channel::unbounded().0, bell };
    let zero_copy = ZeroCopy::Off;
    let sending = Sending { near: vec![true; 2].into(), zero_copy, limiter: None };
    let (members, pool) = (Members::everyone(2), Pool::new(1 << 20, 8));
    let (priority, stripes_near, rails, spin_ns, further) = (0, false, None, 0, None);
    let makings =
        Makings { members, pool, priority, stripes_near, rails, spin_ns, zero_copy, further };
    let observed = Arc::new(Observed::new(2, None));
    Arc::new(Lane::new(settings, rank, makings, sending, observed, handle, Arc::new(driver)))
}

/// What is called: an all-reduce in place.
#[derive(Clone, Copy, Debug)]
struct Calling {
    kind: DriverKind,
    algorithm: Algorithm,
    wire: Wire,
    count: u64,
    slice: u32,
}

impl Calling {
    /// Makes the call on one rank and gives its outcome and the result.
    fn run(self, lane: &Lane, rank: Rank) -> (Result<()>, Vec<f32>) {
        let call = Call {
            collective: Collective::Allreduce,
            algorithm: self.algorithm,
            dtype: DataType::Float32,
            op: ReduceOp::Sum,
            root: 0,
            count: self.count,
            wire: self.wire,
        };
        let plan = build(&Params::new(call, 2, self.slice), rank).unwrap();
        let mut values: Vec<f32> =
            (0..self.count).map(|n| (n % 7 + u64::from(rank)) as f32).collect();
        let memory = Array::One(values.as_mut_ptr().cast());
        let job = Job {
            call,
            label: None,
            enqueued_ns: 0,
            sequence: 0,
            // SAFETY: the array is there until the call is over, and nobody else touches it.
            buffers: unsafe { Buffers::new(memory.clone(), memory, None) },
            scratch_len: plan.scratch_len(),
            encoded_len: plan.encoded_len(),
            seated: false,
            kernel: Some(Kernel::choose(DataType::Float32, ReduceOp::Sum).unwrap()),
            dtype: DataType::Float32,
            scale: 1.0,
            contributions: 2,
            completion: None,
        };
        let alias = Alias::InputInOutput(0);
        let operation = Operation { call, plan, key: 1, stripes: 1, alias, deadline_ns: u64::MAX };
        (lane.run(operation, job, None), values)
    }

    /// Makes the call on both ranks. Byte `flipped` of all that rank 1 sends changes on its way; gives
    /// what rank 0 has in the end, and what rank 1 had sent.
    fn meet(self, flipped: Option<usize>) -> ((Result<()>, Vec<f32>), Vec<u8>) {
        let [first, second] = [0, 1].map(|rank| checked_lane(rank, self.kind));
        let far = [(&first, 1), (&second, 0)].map(|(lane, peer)| {
            let (near, far) = UnixStream::pair().unwrap();
            let fd = Fd::new(OwnedFd::from(near)).unwrap();
            lane.post(Mail::LinkUp { port: Port { peer, stripe: 0 }, fd });
            far
        });
        std::thread::scope(|scope| {
            scope.spawn(|| carry(&far[0], &far[1], None));
            let carried = scope.spawn(|| carry(&far[1], &far[0], flipped));
            let of_second = Arc::clone(&second);
            let other = scope.spawn(move || self.run(&of_second, 1).0);
            let outcome = self.run(&first, 0);
            if outcome.0.is_err() {
                // What control says elsewhere.
                second.abort(Error::new(ErrorKind::Aborted, "for the test"));
            }
            // One that has sent all may be through.
            let _ = other.join().unwrap();
            // With the last of their owners go the links, and those in between see the end.
            drop((first, second));
            (outcome, carried.join().unwrap())
        })
    }
}

/// Passes on what comes, with a bit of one byte changed, and gives all of it as it came.
fn carry(mut from: &UnixStream, mut to: &UnixStream, flipped: Option<usize>) -> Vec<u8> {
    let (mut all, mut bytes) = (Vec::new(), vec![0; 4096]);
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        let at = all.len();
        all.extend_from_slice(&bytes[..len]);
        if let Some(flipped) = flipped.filter(|flipped| (at..at + len).contains(flipped)) {
            bytes[flipped - at] ^= 1 << (flipped % 8);
        }
        // One that has failed reads no more.
        let _ = to.write_all(&bytes[..len]);
    }
    let _ = to.shutdown(Shutdown::Write);
    all
}

/// Where in a stream of frames each payload and its trailer are.
fn behind_headers(stream: &[u8]) -> Vec<std::ops::Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < stream.len() {
        let header = Header::decode(stream[at..at + HEADER_BYTES].try_into().unwrap()).unwrap();
        let end = at + HEADER_BYTES + header.length as usize + TRAILER_BYTES;
        found.push(at + HEADER_BYTES..end);
        at = end;
    }
    found
}

fn kinds() -> impl Iterator<Item = DriverKind> {
    [DriverKind::Poll, DriverKind::Uring].into_iter().filter(|kind| choose(Some(*kind)).is_ok())
}

/// Lets one byte after the other be another, every `step`th of each frame and its last five.
fn is_found_wherever_it_is(calling: Calling, step: usize) {
    let ((outcome, values), stream) = calling.meet(None);
    outcome.unwrap();
    let expected: Vec<f32> = (0..calling.count).map(|n| (n % 7 * 2 + 1) as f32).collect();
    let off = if calling.wire == Wire::Plain { 0.0 } else { 0.2 };
    assert!(values.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= off), "{calling:?}");
    for frame in behind_headers(&stream) {
        let tail = frame.end.saturating_sub(TRAILER_BYTES + 1).max(frame.start);
        for flipped in frame.clone().step_by(step).chain(tail..frame.end) {
            let ((outcome, _), _) = calling.meet(Some(flipped));
            let error = outcome.expect_err("a bit has changed");
            let found = (error.kind(), error.peer());
            assert_eq!(found, (ErrorKind::Corrupt, Some(1)), "{calling:?} at {flipped}: {error}");
        }
    }
}

// P-6, P-17
#[test]
fn a_changed_bit_is_found_in_every_byte_of_every_payload_and_trailer() {
    for kind in kinds() {
        for &algorithm in crate::plan::algorithms(Collective::Allreduce) {
            let calling = Calling { kind, algorithm, wire: Wire::Plain, count: 12, slice: 16 };
            is_found_wherever_it_is(calling, 1);
        }
    }
}

// P-6, P-17
#[test]
fn a_changed_bit_is_found_in_every_block_of_a_long_payload_and_of_an_encoded_one() {
    let kind = DriverKind::Poll;
    let algorithm = crate::plan::algorithms(Collective::Allreduce)[0];
    for &wire in Wire::ALL {
        // Longer than three blocks of a pass, and not a multiple of anything.
        let calling = Calling { kind, algorithm, wire, count: 13_001, slice: 1 << 20 };
        is_found_wherever_it_is(calling, 4099);
    }
}
