//! What callers get when the library itself fails.

use std::time::{Duration, Instant};

use super::*;
use crate::error::Scope;

/// Two ranks in this process that meet in a directory, each in a thread of its own.
fn in_a_world_of_two(play: impl Fn(Communicator) + Sync) {
    let meeting = std::env::temp_dir().join(format!("kirsh-comm-{}", std::process::id()));
    std::fs::create_dir_all(&meeting).unwrap();
    let rendezvous = format!("file://{}", meeting.display());
    std::thread::scope(|scope| {
        for rank in 0..2 {
            let config = Config {
                rank: Some(rank),
                world_size: Some(2),
                rendezvous: Some(rendezvous.clone()),
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
    in_a_world_of_two(|comm| {
        let options = Options::default();
        comm.barrier(&options).unwrap();
        if comm.rank() == 1 {
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
    });
}
