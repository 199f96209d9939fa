//! What statistics say of what has been moved, by whom it was waited for, and what the kernel was asked.

mod common;

use std::time::{Duration, Instant};

use common::{Group, comm, for_each_driver, said};
use kirsh_core::{Communicator, LaneStats, Options, ReduceOp, Source, Stats, Tag};

#[test]
fn a_rank() {
    match common::scenario() {
        Some((scenario, _)) if scenario == "moved" => moved(),
        Some((scenario, _)) if scenario == "waited" => waited(),
        Some((scenario, _)) => panic!("no scenario {scenario}"),
        None => {}
    }
}

/// The figures of all peers on one class of links together.
fn all(comm: &Communicator, class: fn(&kirsh_core::PeerStats) -> LaneStats) -> LaneStats {
    let mut all = LaneStats::default();
    for peer in comm.stats_by_peer() {
        let of = class(&peer);
        all.bytes_sent += of.bytes_sent;
        all.bytes_received += of.bytes_received;
        all.frames_sent += of.frames_sent;
        all.frames_received += of.frames_received;
        all.waited_ns += of.waited_ns;
    }
    all
}

fn moved() {
    let comm = comm();
    let (rank, world) = (comm.rank(), comm.size());
    let options = Options::default();
    let (next, before) = ((rank + 1) % world, (rank + world - 1) % world);
    let mut large = vec![1.0f32; 300_000];
    for _ in 0..5 {
        comm.allreduce(&mut large, ReduceOp::Max, &options).unwrap();
        comm.barrier(&options).unwrap();
    }
    let (sent, mut got) = ([7u8; 100], [0u8; 100]);
    comm.sendrecv(&sent, next, &mut got, Source::Rank(before), 3, &options).unwrap();
    let mut long = vec![9u8; 200_000];
    let mut into = vec![0u8; 200_000];
    comm.sendrecv(&long, next, &mut into, Source::Rank(before), 4, &options).unwrap();
    long.fill(0);
    comm.barrier(&options).unwrap();

    let stats = comm.stats();
    let named = (stats.operations_allreduce, stats.operations_barrier);
    assert_eq!(named, (5, 6));
    assert_eq!((stats.operations_send, stats.operations_recv), (2, 2));
    assert_eq!(stats.operations, 15);
    assert_eq!(stats.operations_broadcast, 0);
    let (collective, direct) = (all(&comm, |peer| peer.collective), all(&comm, |peer| peer.direct));
    assert_eq!(stats.bytes_sent, collective.bytes_sent + direct.bytes_sent);
    assert_eq!(stats.bytes_received, collective.bytes_received + direct.bytes_received);
    assert_eq!(stats.frames_sent, collective.frames_sent + direct.frames_sent);
    assert_eq!(stats.frames_received, collective.frames_received + direct.frames_received);
    assert!(stats.waited_ns >= collective.waited_ns + direct.waited_ns);
    assert!(collective.bytes_sent > 0 && collective.frames_received > 0);
    // In place, every byte is sent from the caller's array, but for what is folded for another rank.
    assert!(stats.bytes_sent_direct <= stats.bytes_sent);
    assert!(stats.bytes_sent_direct >= direct.bytes_sent);
    if world == 2 {
        assert_eq!(stats.bytes_sent_direct, stats.bytes_sent);
    }

    let peers = comm.stats_by_peer();
    let ranks: Vec<_> = peers.iter().map(|peer| (peer.rank, peer.world_rank)).collect();
    assert_eq!(ranks, (0..world).map(|rank| (rank, rank)).collect::<Vec<_>>());
    let own = peers[rank as usize];
    assert_eq!([own.collective, own.direct, own.control], [LaneStats::default(); 3]);
    assert_eq!(peers[next as usize].direct.bytes_sent, 200_100);
    assert_eq!(peers[before as usize].direct.bytes_received, 200_100);
    // Rank 0 has a control link to everybody, over which each says a word at once.
    let towards_0: Vec<_> = if rank == 0 { (1..world).collect() } else { vec![0] };
    for peer in towards_0 {
        let control = peers[peer as usize].control;
        assert!(control.frames_sent > 0 && control.frames_received > 0, "{peers:?}");
        assert!(control.bytes_sent >= control.frames_sent);
        assert_eq!(control.waited_ns, 0);
    }

    let Stats { calls_enter, calls_ppoll, calls_sendmsg, calls_recvmsg, .. } = stats;
    let callers = [calls_enter, calls_ppoll, calls_sendmsg, calls_recvmsg];
    let progress = [
        stats.progress_calls_enter,
        stats.progress_calls_ppoll,
        stats.progress_calls_sendmsg,
        stats.progress_calls_recvmsg,
    ];
    let uring = comm.driver() == "uring";
    for (calls, what) in [(callers, "callers"), (progress, "progress")] {
        let [enter, ppoll, sendmsg, recvmsg] = calls.map(|calls| calls > 0);
        if uring {
            // Small messages do without the ring.
            assert!(enter && !ppoll && sendmsg, "{what}: {calls:?}");
        } else {
            assert!(!enter && sendmsg && recvmsg, "{what}: {calls:?}");
        }
    }
    assert!(uring || progress[1] > 0, "the progress thread sleeps in ppoll");

    // The group counts for itself; control is that of the processes.
    let half = comm.split(Some(rank / 2), 0, &options).unwrap().unwrap();
    assert_eq!(half.stats().operations, 0);
    half.barrier(&options).unwrap();
    let peers = half.stats_by_peer();
    let world_ranks: Vec<_> = peers.iter().map(|peer| peer.world_rank).collect();
    let first = rank / 2 * 2;
    assert_eq!(world_ranks, (first..world.min(first + 2)).collect::<Vec<_>>());
    assert_eq!(half.stats().operations_barrier, 1);
    said("done", "");
}

/// Rank 0 is in a barrier that rank 1 comes to only when rank 0 has been seen to wait for it.
fn waited() {
    let comm = comm();
    let options = Options::default();
    comm.barrier(&options).unwrap();
    let waited = |peer: usize| {
        let peer = comm.stats_by_peer()[peer];
        (peer.collective.waited_ns, peer.direct.waited_ns)
    };
    if comm.rank() == 0 {
        let before = (comm.stats().waited_ns, waited(1).0);
        std::thread::scope(|scope| {
            scope.spawn(|| comm.barrier(&options).unwrap());
            let give_up = Instant::now() + Duration::from_secs(8);
            // A wait is counted when it ends, which it does at the latest when the rank says that
            // it stands still.
            while waited(1).0 == before.1 {
                assert!(Instant::now() < give_up, "nobody was seen to wait");
                std::thread::yield_now();
            }
            let added = (comm.stats().waited_ns - before.0, waited(1).0 - before.1);
            assert!(added.0 >= added.1);
            comm.send(&[1u8], 1, 0, &options).unwrap();
        });
    } else {
        let mut word = [0u8];
        comm.recv(&mut word, Source::Rank(0), Tag::Is(0), &options).unwrap();
        assert!(waited(0).1 > 0, "the word was waited for");
        comm.barrier(&options).unwrap();
    }
    said("done", "");
}

#[test]
fn what_is_moved_adds_up_over_peers_and_lanes_and_system_calls_are_those_of_the_driver() {
    for_each_driver(|driver| {
        for world in [2, 4] {
            for outcome in Group::new("moved", world).driver(driver).succeed() {
                outcome.must_have_said("done");
            }
        }
    });
}

#[test]
fn a_rank_that_is_late_is_the_one_that_was_waited_for() {
    for_each_driver(|driver| {
        for outcome in Group::new("waited", 2).driver(driver).succeed() {
            outcome.must_have_said("done");
        }
    });
}
