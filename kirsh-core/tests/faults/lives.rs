//! Communicators that are made, used and put away.

use std::time::{Duration, Instant};

use kirsh_core::comm::RawCall;
use kirsh_core::{
    Collective, Communicator, Config, DataType, ErrorKind, Options, ReduceOp, Timeout,
};

use super::super::common::{comm, config, failed, said};
use super::reduce;

/// Only creates a communicator, which may fail.
pub(super) fn joins() {
    said("begins", "");
    match Communicator::create(&config()) {
        Ok(comm) => said("joined", comm.driver()),
        Err(error) => failed(&error),
    }
}

/// A wait that runs out leaves the operation alone.
pub(super) fn patience() {
    let comm = comm();
    if comm.rank() == 1 {
        std::thread::sleep(Duration::from_millis(500));
    }
    let value = vec![comm.rank() as f32 + 1.0; 100_000];
    let work = comm.start_allreduce(value, ReduceOp::Sum, &Options::default()).unwrap();
    let work = if comm.rank() == 0 {
        let brief = Timeout::After(Duration::from_millis(50));
        let work = work.wait_timeout(brief).expect_err("rank 1 is not there yet");
        assert!(!work.test());
        work
    } else {
        work
    };
    let sum = (1..=comm.size()).sum::<u32>() as f32;
    assert!(work.wait().unwrap().iter().all(|value| *value == sum));
    reduce(&comm, 10, &Options::default()).unwrap();
    said("done", "");
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Creates and destroys communicators, also failed ones, and leaves nothing open.
pub(super) fn again() {
    let mut before = (0, 0);
    for turn in 0..6 {
        let comm = comm();
        reduce(&comm, 5000, &Options::default()).unwrap();
        let work = comm.start_allreduce(vec![1u8; 10], ReduceOp::Max, &Options::default()).unwrap();
        assert_eq!(work.wait().unwrap(), [1; 10]);
        if turn % 2 == 1 {
            // When rank 0 is through with this, the others are through with all before it.
            let outcome = reduce(&comm, 10, &Options::default());
            if comm.rank() == 0 {
                outcome.unwrap();
                comm.abort("over");
            }
            let error = comm.barrier(&Options::default()).expect_err("an abort");
            assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
        }
        let other = comm.clone();
        other.close().unwrap();
        let error = comm.barrier(&Options::default()).expect_err("a closed communicator");
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        drop((other, comm));
        // Threads take a moment from their last word to their end.
        let until = Instant::now() + Duration::from_secs(5);
        loop {
            let now = (descriptors(), threads());
            if turn == 0 {
                std::thread::sleep(Duration::from_millis(500));
                before = (descriptors(), threads());
                break;
            }
            if now <= before {
                break;
            }
            assert!(Instant::now() < until, "descriptors, threads: {before:?} before, {now:?} now");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    said("done", "");
}

/// A world of one.
pub(super) fn alone() {
    let config = Config { rank: Some(0), world_size: Some(1), ..config() };
    let comm = Communicator::create(&config).unwrap();
    let mut data = [1.5f32, -0.0, f32::NAN];
    comm.allreduce(&mut data, ReduceOp::Sum, &Options::default()).unwrap();
    assert_eq!(data.map(f32::to_bits), [1.5f32, -0.0, f32::NAN].map(f32::to_bits));
    let options = Options { scale: Some(3.0), ..Options::default() };
    let mut tripled = [0.0f64; 2];
    comm.allreduce_into(&[1.0, 2.0], &mut tripled, ReduceOp::PremulSum, &options).unwrap();
    assert_eq!(tripled, [3.0, 6.0]);
    let mut copy = [0i16; 4];
    comm.allreduce_into(&[1, 2, 3, 4], &mut copy, ReduceOp::Min, &Options::default()).unwrap();
    assert_eq!(copy, [1, 2, 3, 4]);
    comm.broadcast(&mut data, 0, &Options::default()).unwrap();
    comm.barrier(&Options::default()).unwrap();
    let work = comm.start_allreduce(vec![7u8], ReduceOp::Bor, &Options::default()).unwrap();
    assert_eq!(work.wait().unwrap(), [7]);
    // SAFETY: no elements, so no pointer is followed.
    let refusal = unsafe {
        let call = RawCall::new(Collective::Allreduce, DataType::Byte, 0);
        comm.call_raw(&call.both(std::ptr::null_mut()), &Options::default())
    };
    assert_eq!(refusal.expect_err("bytes do not reduce").kind(), ErrorKind::Unsupported);
    comm.barrier(&Options::default()).unwrap();
    said("done", "");
}

/// Two communicators at once, with operations of both under way.
pub(super) fn two() {
    let (first, second) = (comm(), comm());
    let value = |comm: &Communicator, count| vec![comm.rank() as f32 + 1.0; count];
    for round in 0..30 {
        let count = 1 + round * 977;
        let options = Options::default();
        let mut works = Vec::new();
        // Across communicators they may also start in whatever order.
        let turned = (round + first.rank() as usize).is_multiple_of(2);
        for comm in if turned { [&first, &second] } else { [&second, &first] } {
            works.push(comm.start_allreduce(value(comm, count), ReduceOp::Sum, &options).unwrap());
            works.push(comm.start_allreduce(value(comm, 3), ReduceOp::Sum, &options).unwrap());
        }
        reduce(&first, count, &options).unwrap();
        reduce(&second, count, &options).unwrap();
        // Ranks may wait in whatever order.
        if first.rank() % 2 == 0 {
            works.reverse();
        }
        let sum = (1..=first.size()).sum::<u32>() as f32;
        for work in works {
            assert!(work.wait().unwrap().iter().all(|value| *value == sum));
        }
    }
    // The end of one is not the end of the other.
    first.abort("only this one");
    let error = first.barrier(&Options::default()).expect_err("an abort");
    assert_eq!(error.kind(), ErrorKind::Aborted);
    reduce(&second, 1000, &Options::default()).unwrap();
    said("done", "");
}
