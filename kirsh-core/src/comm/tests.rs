//! What callers get when the library itself fails.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Scope;
use crate::types::ReduceOp;

/// Two ranks in this process that meet in a directory, each in a thread of its own.
fn in_a_world_of_two(play: impl Fn(Communicator) + Sync) {
    // Tests run side by side in one process: each world is a job of its own.
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let job = format!("world-{}", WORLDS.fetch_add(1, Ordering::Relaxed));
    let meeting = std::env::temp_dir().join(format!("kirsh-comm-{}-{job}", std::process::id()));
    std::fs::create_dir_all(&meeting).unwrap();
    let rendezvous = format!("file://{}", meeting.display());
    std::thread::scope(|scope| {
        for rank in 0..2 {
            let config = Config {
                rank: Some(rank),
                world_size: Some(2),
                rendezvous: Some(rendezvous.clone()),
                job_id: Some(job.clone()),
                timeout: Timeout::After(Duration::from_secs(20)),
                ..Config::default()
            };
            let play = &play;
            scope.spawn(move || play(Communicator::create(&config).unwrap()));
        }
    });
    std::fs::remove_dir_all(&meeting).unwrap();
}

#[test]
fn a_progress_thread_that_panics_is_an_error_for_all_and_no_silence() {
    in_a_world_of_two(|comm| {
        let began = Instant::now();
        let options = Options::default();
        comm.barrier(&options).unwrap();
        let work = comm.start_allreduce(vec![1.0f32; 100], ReduceOp::Sum, &options).unwrap();
        assert_eq!(work.wait().unwrap(), [2.0; 100]);
        if comm.rank() == 1 {
            // Rank 0 has a call under way that needs rank 1.
            let text = "which is a defect of Kirsh: asked to";
            comm.0.process.break_progress();
            let late = |error: Error| {
                assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
                assert!(error.message().contains(text), "{error}");
                assert_eq!(error.scope(), Scope::Communicator);
            };
            // Started before or after the end of the thread, driven by nobody else.
            while let Ok(work) = comm.start_broadcast(vec![0u8; 1 << 20], 0, &options) {
                if let Err((error, _)) = work.wait() {
                    late(error);
                    break;
                }
            }
            late(comm.barrier(&options).unwrap_err());
            let (error, buffer) = comm
                .start_allreduce(vec![1u8; 9], ReduceOp::Max, &options)
                .unwrap()
                .wait()
                .unwrap_err();
            late(error);
            assert_eq!(buffer.len(), 9);
        } else {
            let error = loop {
                if let Err(error) = comm.broadcast(&mut vec![1u8; 1 << 20], 0, &options) {
                    break error;
                }
            };
            assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(1)), "{error}");
        }
        drop(comm);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn a_call_that_waits_when_the_progress_thread_panics_fails() {
    let failed = std::sync::Barrier::new(2);
    in_a_world_of_two(|comm| {
        let options = Options::default();
        comm.barrier(&options).unwrap();
        if comm.rank() == 1 {
            // Not before rank 0 has failed: this call does not match, which it would hear of.
            failed.wait();
            let error = comm.broadcast(&mut [1u8; 100], 0, &options).unwrap_err();
            // Whichever comes first: the frame of rank 0's call or the end of its links.
            let kinds = [ErrorKind::PeerLost, ErrorKind::Mismatch];
            assert!(kinds.contains(&error.kind()), "{error}");
            return;
        }
        // Rank 1 never makes this call, so both wait: one in the kernel, one behind it.
        let wait = || comm.allreduce(&mut [1.0f32], ReduceOp::Sum, &options).unwrap_err();
        std::thread::scope(|scope| {
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            comm.0.process.break_progress();
            for thread in waiting {
                let error = thread.join().unwrap();
                assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
            }
        });
        failed.wait();
    });
}

fn alone() -> Communicator {
    let config = Config { rank: Some(0), world_size: Some(1), ..Config::default() };
    Communicator::create(&config).unwrap()
}

#[test]
fn a_call_started_while_the_communicator_closes_gets_an_outcome() {
    let comm = alone();
    // As if another thread closed between the look at `closed` and the start.
    let inner = &comm.0;
    let (_, outcome) = inner.lane.close(CLOSE_PATIENCE);
    outcome.unwrap();
    inner.process.close_lane(&inner.lane, 0);
    let work = comm.start_barrier(&Options::default()).unwrap();
    let patience = Timeout::After(Duration::from_secs(20));
    let error = work.wait(patience).expect_err("it must not be left without an outcome");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(inner.lane.waiting(), 0);
    inner.closed.store(true, Ordering::Release);
}

#[test]
fn showing_a_work_does_not_look_into_its_buffer() {
    let comm = alone();
    let work =
        comm.start_allreduce(vec![123_456_789u32], ReduceOp::Sum, &Options::default()).unwrap();
    assert!(!format!("{work:?}").contains("123456789"), "{work:?}");
    assert_eq!(work.wait().unwrap(), [123_456_789]);
}
