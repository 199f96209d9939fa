//! The progress thread's own steps, one at a time, without the thread.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::driver::choose::{DriverKind, choose};
use crate::driver::job::{Buffers, Job};
use crate::memory::Pool;
use crate::plan::{Params, build};
use crate::rendezvous::Member;
use crate::session::{Operation, Settings};
use crate::types::{Call, Collective, DataType, ReduceOp};
use crate::wire::auth::Token;

fn member(rank: Rank) -> Member {
    Member {
        rank,
        process_id: u64::from(rank),
        host_id: 1,
        pid: 1,
        host_name: "here".to_owned(),
        addresses: Vec::new(),
    }
}

/// A progress thread of rank 1 of 2, which rank 0 is to dial, and a lane of it.
fn progress() -> (Progress, Arc<Lane>) {
    let driver = choose(Some(DriverKind::Poll)).unwrap();
    let facts = Facts {
        rank: 1,
        job: "test".to_owned(),
        secret: Token::new(b"0123456789abcdef".to_vec()),
        members: vec![member(0), member(1)],
        checksums: false,
        liveness_ns: u64::MAX,
        user_timeout_ms: 0,
        roll: Roll::new(2),
    };
    let settings = Settings {
        rank: 1,
        world: 2,
        communicator: 7,
        epoch: 0,
        look_ahead: 8,
        slabs_per_link: 1,
        checksums: false,
        warn_after_ns: u64::MAX,
    };
    let own = ThreadIo::new(&driver).unwrap();
    let (requests, queue) = crossbeam_channel::unbounded();
    let handle = Handle { requests, bell: Arc::clone(&own.bell) };
    let mut progress = Progress::new(own, queue, Arc::new(facts), Vec::new());
    let lane = Arc::new(Lane::new(settings, 0, Pool::new(64, 2), handle, Arc::new(driver), 0));
    progress.register(Arc::clone(&lane));
    (progress, lane)
}

fn barrier() -> (Operation, Job) {
    let call = Call {
        collective: Collective::Barrier,
        algorithm: crate::plan::algorithms(Collective::Barrier)[0],
        dtype: DataType::Byte,
        op: ReduceOp::Sum,
        root: 0,
        count: 0,
    };
    let plan = build(&Params::new(call, 2, 64), 1).unwrap();
    let operation =
        Operation { call, plan, key: 1, alias: crate::session::Alias::None, deadline_ns: u64::MAX };
    let nowhere = crate::driver::array::Array::One(std::ptr::null_mut());
    // SAFETY: a barrier has no memory.
    let buffers = unsafe { Buffers::new(nowhere.clone(), nowhere, None) };
    let job = Job {
        sequence: 0,
        buffers,
        scratch_len: 0,
        seated: false,
        kernel: None,
        dtype: DataType::Byte,
        scale: 1.0,
        contributions: 2,
        completion: None,
    };
    (operation, job)
}

#[test]
fn a_request_to_drive_that_comes_while_the_lane_is_held_does_not_swallow_the_next() {
    let (mut progress, lane) = progress();
    let (operation, job) = barrier();
    let (_, first) = lane.start(operation, job);
    progress.read_requests();
    assert!(progress.lanes[&0].held, "the barrier waits for rank 0");
    // Somebody who found the lane free just before, and says so only now.
    lane.call_progress();
    progress.read_requests();
    lane.abort(Error::new(ErrorKind::Aborted, "for the test"));
    progress.drive_all();
    progress.drive_all();
    assert!(first.get().is_some_and(|outcome| outcome.is_err()));
    assert!(!progress.lanes[&0].held);
    progress.read_requests();

    let (operation, job) = barrier();
    let (_, second) = lane.start(operation, job);
    progress.read_requests();
    assert!(second.get().is_some(), "nobody has come for it");
}

/// A control link to rank 0, and rank 0's end of it.
fn controlled(progress: &mut Progress) -> UnixStream {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    progress.control_up(0, Fd::new(OwnedFd::from(near)).unwrap());
    far
}

#[test]
fn a_goodbye_goes_out_whole_before_the_end_although_the_peer_reads_late() {
    let (mut progress, _lane) = progress();
    let mut far = controlled(&mut progress);
    // Until the socket takes no more and some wait here.
    let mut said = 0;
    while !progress.controls[&0].awaits_writable {
        progress.tell_directly(0, &Message::Heartbeat);
        said += 1;
    }
    let (done, _gone) = crossbeam_channel::bounded(1);
    progress.leave(vec![(7, 0, 3)], done);
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        bytes
    });
    while !reading.is_finished() {
        progress.flush_control(0);
    }
    let mut reader = crate::wire::control::ControlReader::default();
    reader.feed(&reading.join().unwrap());
    for _ in 0..said {
        assert_eq!(reader.next().unwrap(), Some(Message::Heartbeat));
    }
    let goodbye = Message::Goodbye { origin: 1, finished: vec![(7, 0, 3)] };
    assert_eq!(reader.next().unwrap(), Some(goodbye));
    assert_eq!(reader.pending(), 0);
}

#[test]
fn a_peer_that_never_stops_talking_does_not_keep_the_thread() {
    let (mut progress, _lane) = progress();
    let mut far = controlled(&mut progress);
    let mut words = Vec::new();
    while words.len() < 8192 {
        Message::Goodbye { origin: 0, finished: vec![(1, 1, 1)] }.encode(&mut words);
    }
    // It talks until nobody listens any more.
    let talking = std::thread::spawn(move || while far.write_all(&words).is_ok() {});
    for _ in 0..100 {
        progress.read_control(0);
        assert!(progress.controls.contains_key(&0));
    }
    drop(progress);
    talking.join().unwrap();
}
