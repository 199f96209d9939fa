//! Several communicators of one process: whom news is for, and who comes first.

use super::*;

/// How nobody is reached.
fn nowhere(progress: &Progress) -> Handle {
    let (requests, _) = crossbeam_channel::unbounded();
    Handle { requests, bell: Arc::clone(&progress.own.bell) }
}

/// What has been said over this link so far.
fn heard(far: &mut UnixStream) -> Vec<Message> {
    let mut said = vec![0; 4096];
    let bytes = far.read(&mut said).unwrap();
    let mut reader = crate::wire::control::ControlReader::default();
    reader.feed(&said[..bytes]);
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

#[test]
fn of_the_lanes_that_are_due_the_highest_priority_comes_first_and_then_the_oldest() {
    let (mut progress, _lane) = progress();
    for (number, priority) in [(4, 5), (1, -1), (3, 0), (2, 5)] {
        let key = (u64::from(number), 0);
        let handle = nowhere(&progress);
        progress.lanes.register(lane(1, key, number, Members::everyone(2), priority, handle));
    }
    let due = |progress: &Progress| -> Vec<u32> {
        progress.lanes.due().into_iter().map(|(_, number)| number).collect()
    };
    assert_eq!(due(&progress), [2, 4, 0, 3, 1]);
    progress.lanes.drive_due(&mut progress.own);
    assert!(due(&progress).is_empty(), "nothing is left to do");
    for number in [1, 3, 2] {
        progress.lanes.call(number);
    }
    assert_eq!(due(&progress), [2, 3, 1]);
}

// P-25
#[test]
fn rank_0_passes_on_once_what_is_about_a_communicator_that_it_is_not_in() {
    let peers = (0..4).map(peer).collect();
    let (mut progress, _lane) = progress_of(0, DriverKind::Poll, peers, Vec::new());
    let mut fars: Vec<UnixStream> = (1..4)
        .map(|rank| {
            let (near, far) = UnixStream::pair().unwrap();
            progress.control_up(rank, Fd::new(OwnedFd::from(near)).unwrap(), true);
            far
        })
        .collect();
    let abort = |communicator, origin| Message::Abort {
        communicator,
        epoch: 0,
        origin,
        sequence: None,
        about: None,
        kind: ErrorKind::Aborted,
        reason: "over".to_owned(),
    };
    // Two members tell of one that rank 0 does not know, and of one that it is in.
    for (from, communicator) in [(1, 8), (2, 8), (1, 7)] {
        fars[from as usize - 1].write_all(&frame(&abort(communicator, from))).unwrap();
        progress.read_control(from);
    }
    for (rank, far) in (1..).zip(&mut fars) {
        let mut expected = vec![Message::Heartbeat];
        if rank != 1 {
            expected.push(abort(8, 1));
        }
        assert_eq!(heard(far), expected, "rank {rank}");
    }
}

// P-28
#[test]
fn a_lost_process_fails_the_lanes_that_it_is_in_by_its_rank_there() {
    let peers = (0..3).map(peer).collect();
    let (mut progress, _lane) = progress_of(1, DriverKind::Poll, peers, Vec::new());
    // This one is rank 1 there, too, and rank 2 of the world is rank 0.
    let handle = nowhere(&progress);
    let lane = lane(1, (8, 0), 1, Members::new(vec![2, 1]), 0, handle);
    progress.lanes.register(Arc::clone(&lane));
    let (operation, job) = barrier();
    let (_, outcome) = lane.start(operation, job, None);
    progress.lanes.drive_due(&mut progress.own);
    let failure = |progress: &mut Progress, peer| {
        progress.lose(peer, Loss::new(ErrorKind::PeerLost, "", " is gone"));
        progress.lanes.call(1);
        progress.lanes.drive_due(&mut progress.own);
        lane.core().session.failure().cloned()
    };
    assert!(failure(&mut progress, 0).is_none() && outcome.get().is_none(), "0 is not in it");
    let error = failure(&mut progress, 2).expect("2 is in it");
    assert_eq!((error.peer(), error.message()), (Some(0), "rank 0 is gone"));
    assert!(outcome.get().is_some_and(|outcome| outcome.is_err()));
}

// P-26
#[test]
fn a_goodbye_from_a_communicator_is_heard_before_that_is_made_here_and_ignored_after() {
    let (mut progress, _lane) = progress();
    let mut far = linked(&mut progress, false);
    let goodbye = Message::Goodbye { origin: 0, finished: vec![(8, 0, 5)] };
    far.write_all(&frame(&goodbye)).unwrap();
    progress.read_control(0);
    let until = Instant::now() + Duration::from_secs(20);
    while !progress.departed.is_empty() {
        assert!(Instant::now() < until);
        look(&mut progress);
        progress.look_at_clock();
    }
    assert!(progress.gone.is_empty(), "its process goes on");
    let handle = nowhere(&progress);
    let closing = lane(1, (8, 0), 1, Members::everyone(2), 0, handle);
    progress.lanes.register(Arc::clone(&closing));
    let loss = progress.lanes.parted((8, 0), 0).expect("it has been kept");
    assert_eq!(loss.of(0).message(), "rank 0 has closed this communicator, after 5 operations");
    // From its closing on whoever connects is turned away, and once that is known nothing of it is kept.
    let turned_away = |progress: &mut Progress| {
        let (near, mut other) = UnixStream::pair().unwrap();
        other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        progress.lanes.deliver_link(
            1,
            (8, 0),
            super::FROM_0,
            Fd::new(OwnedFd::from(near)).unwrap(),
        );
        assert_eq!(other.read(&mut [0]).unwrap(), 0, "it is closed");
    };
    let _ = closing.close(Duration::ZERO);
    turned_away(&mut progress);
    progress.retire(1, 0);
    far.write_all(&frame(&goodbye)).unwrap();
    progress.read_control(0);
    assert!(progress.departed.is_empty());
    turned_away(&mut progress);
    // A link that comes about later is told.
    let mut second = linked(&mut progress, false);
    let closed = Message::Goodbye { origin: 1, finished: vec![(8, 0, 0)] };
    assert_eq!(heard(&mut second), [Message::Heartbeat, closed]);
}
