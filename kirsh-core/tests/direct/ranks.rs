//! What the ranks of the message tests do.

use std::time::Duration;

use kirsh_core::{ErrorKind, Options, ReduceOp, Scope, Source, Tag, Timeout};

use super::common::{comm, failed, said};

const NONE: &Options<'static> = &Options {
    timeout: Timeout::Default,
    scale: None,
    algorithm: None,
    name: None,
    weight: None,
    wire: None,
};

fn brief() -> Options<'static> {
    Options { timeout: Timeout::After(Duration::from_millis(30)), ..Options::default() }
}

pub(crate) fn play(scenario: &str, detail: &str) {
    match scenario {
        "lengths" => lengths(),
        "order" => order(),
        "anybody" => anybody(),
        "behind" => behind(),
        "exchange" => exchange(),
        "oneself" => oneself(),
        "misfits" => misfits(),
        "expires" => expires(),
        "both" => both(),
        "leaves" => leaves(),
        "killed" => killed(detail),
        "aborts" => aborts(),
        "split" => split(),
        "forks" => forks(),
        other => panic!("no scenario {other}"),
    }
}

/// Numbers that differ from message to message.
fn made(seed: usize, count: usize) -> Vec<u32> {
    (0..count).map(|i| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed as u32)).collect()
}

fn lengths() {
    let comm = comm();
    // Around the longest short message (4096 numbers) and the slices (262,144).
    let counts = [0, 1, 2, 4095, 4096, 4097, 262_143, 262_144, 262_145, 1_000_003];
    for (seed, count) in counts.into_iter().enumerate() {
        if comm.rank() == 0 {
            comm.send(&made(seed, count), 1, 7, NONE).unwrap();
        } else {
            let mut data = vec![0xffff_ffffu32; count + 1];
            let before = comm.stats();
            let received = comm.recv(&mut data, Source::Rank(0), Tag::Is(7), NONE).unwrap();
            assert_eq!((received.source, received.tag, received.count), (0, 7, count));
            assert_eq!(data[..count], made(seed, count));
            assert_eq!(data[count], 0xffff_ffff, "nothing is written behind the message");
            let after = comm.stats();
            if count > 4096 {
                assert_eq!(after.bytes_copied, before.bytes_copied);
                let direct = after.bytes_received_direct - before.bytes_received_direct;
                assert_eq!(direct, 4 * count as u64);
            }
        }
    }
    comm.close().unwrap();
}

fn order() {
    const MESSAGES: usize = 500;
    let comm = comm();
    let length = |tag: usize, n: usize| (n * 37 + tag * 11) % 6000;
    if comm.rank() == 0 {
        // Tags from the last to the first, ranks in turn.
        for tag in (0..3).rev() {
            for n in 0..MESSAGES {
                for from in [1, 2] {
                    let mut data = vec![0u32; 6000];
                    let of = (Source::Rank(from), Tag::Is(tag as u32));
                    let received = comm.recv(&mut data, of.0, of.1, NONE).unwrap();
                    assert_eq!(received.count, length(tag, n), "tag {tag}, message {n}");
                    let seed = tag * 1000 + n + from as usize;
                    assert_eq!(data[..received.count], made(seed, received.count));
                }
            }
        }
    } else {
        let mut works = Vec::new();
        for n in 0..MESSAGES {
            for tag in 0..3 {
                let data = made(tag * 1000 + n + comm.rank() as usize, length(tag, n));
                works.push(comm.start_send(data, 0, tag as u32, NONE).unwrap());
            }
        }
        works.into_iter().for_each(|work| drop(work.wait().unwrap()));
    }
    comm.barrier(NONE).unwrap();
}

fn anybody() {
    const EACH: u32 = 200;
    let comm = comm();
    if comm.rank() == 0 {
        let mut next = [0u32; 4];
        for _ in 0..3 * EACH {
            let mut data = [0u32; 1];
            let received = comm.recv(&mut data, Source::Any, Tag::Any, NONE).unwrap();
            let due = &mut next[received.source as usize];
            assert_eq!((data[0], received.tag), (*due, *due % 5), "from {}", received.source);
            *due += 1;
        }
        assert_eq!(next, [0, EACH, EACH, EACH]);
    } else {
        for n in 0..EACH {
            comm.send(&[n], 0, n % 5, NONE).unwrap();
        }
    }
    comm.barrier(NONE).unwrap();
}

fn behind() {
    const SHORT: usize = 3000;
    let comm = comm();
    for length in [0usize, 10, 4096, 5000] {
        if comm.rank() == 0 {
            let works: Vec<_> =
                (0..SHORT).map(|n| comm.start_send(made(n, length), 1, 1, NONE).unwrap()).collect();
            comm.send(&made(9, 100), 1, 2, NONE).unwrap();
            comm.send(&made(10, 50_000), 1, 2, NONE).unwrap();
            works.into_iter().for_each(|work| drop(work.wait().unwrap()));
        } else {
            let mut data = vec![0u32; 50_000];
            comm.recv(&mut data[..100], Source::Rank(0), Tag::Is(2), NONE).unwrap();
            assert_eq!(data[..100], made(9, 100));
            comm.recv(&mut data, Source::Any, Tag::Is(2), NONE).unwrap();
            assert_eq!(data, made(10, 50_000));
            for n in 0..SHORT {
                let received = comm.recv(&mut data, Source::Rank(0), Tag::Any, NONE).unwrap();
                assert_eq!((received.tag, received.count), (1, length));
                assert_eq!(data[..length], made(n, length));
            }
        }
    }
}

fn exchange() {
    let comm = comm();
    let (rank, size) = (comm.rank(), comm.size());
    let (next, last) = ((rank + 1) % size, (rank + size - 1) % size);
    for count in [0, 3, 5000, 700_000] {
        for turn in 0..5 {
            let mut data = vec![0u32; count];
            let own = made(rank as usize + turn, count);
            let received =
                comm.sendrecv(&own, next, &mut data, Source::Rank(last), 3, NONE).unwrap();
            assert_eq!((received.source, received.count), (last, count));
            assert_eq!(data, made(last as usize + turn, count));
        }
    }
    // Both ways at once, several at a time.
    let partner = rank ^ 1;
    let sends: Vec<_> = (0..6)
        .map(|n| comm.start_send(made(n, 600_000), partner, n as u32, NONE).unwrap())
        .collect();
    let receives: Vec<_> = (0..6)
        .rev()
        .map(|n| {
            let data = vec![0u32; 600_000];
            let of = (Source::Rank(partner), Tag::Is(n));
            (n as usize, comm.start_recv(data, of.0, of.1, NONE).unwrap())
        })
        .collect();
    for (n, work) in receives {
        let (data, received) = work.wait().unwrap();
        assert_eq!((received.source, data), (partner, made(n, 600_000)));
    }
    sends.into_iter().for_each(|work| drop(work.wait().unwrap()));
}

fn oneself() {
    let comm = comm();
    for count in [0, 5, 100_000] {
        let receive = comm.start_recv(vec![0u32; count], Source::Any, Tag::Any, NONE).unwrap();
        comm.send(&made(1, count), 0, 5, NONE).unwrap();
        let (data, received) = receive.wait().unwrap();
        assert_eq!((received.source, received.tag, data), (0, 5, made(1, count)));
        let mut data = vec![0u32; count];
        comm.sendrecv(&made(2, count), 0, &mut data, Source::Rank(0), 6, NONE).unwrap();
        assert_eq!(data, made(2, count));
    }
    // Short ones need not have their receive yet; long ones wait for it.
    comm.send(&[1u32, 2, 3], 0, 1, NONE).unwrap();
    let error = comm.send(&made(0, 5000), 0, 2, &brief()).unwrap_err();
    assert_eq!((error.kind(), error.scope()), (ErrorKind::Timeout, Scope::Call), "{error}");
    let mut data = [0u32; 3];
    comm.recv(&mut data, Source::Rank(0), Tag::Any, NONE).unwrap();
    assert_eq!(data, [1, 2, 3]);
    comm.close().unwrap();
}

fn misfits() {
    let comm = comm();
    for count in [100usize, 50_000] {
        if comm.rank() == 0 {
            comm.send(&made(1, count), 1, 1, NONE).unwrap();
            comm.send(&made(2, count), 1, 1, NONE).unwrap();
            comm.send(&made(3, count), 1, 1, NONE).unwrap();
            let error = comm.send(&[1u8], 2, 0, NONE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        } else {
            let mut short = vec![0u32; count - 1];
            let error = comm.recv(&mut short, Source::Any, Tag::Any, NONE).unwrap_err();
            assert_eq!((error.kind(), error.scope()), (ErrorKind::Mismatch, Scope::Call));
            let text = error.to_string();
            assert!(text.contains(&format!("{count} x uint32")), "{text}");
            assert!(text.contains(&format!("room for {}", count - 1)), "{text}");
            assert!(text.contains("from rank 0"), "{text}");
            let mut other = vec![0f32; count];
            let error = comm.recv(&mut other, Source::Any, Tag::Any, NONE).unwrap_err();
            assert_eq!((error.kind(), error.peer()), (ErrorKind::Mismatch, Some(0)));
            assert!(error.to_string().contains("float32"), "{error}");
            let mut data = vec![0u32; count];
            comm.recv(&mut data, Source::Any, Tag::Any, NONE).unwrap();
            assert_eq!(data, made(3, count));
        }
    }
    comm.barrier(NONE).unwrap();
}

fn expires() {
    let comm = comm();
    for count in [10, 100_000] {
        if comm.rank() == 0 {
            let mut data = vec![7u32; count];
            let error = comm.recv(&mut data, Source::Rank(1), Tag::Is(1), &brief()).unwrap_err();
            assert_eq!((error.kind(), error.scope()), (ErrorKind::Timeout, Scope::Call));
            assert_eq!(error.peer(), Some(1));
            assert!(error.to_string().contains("tag 1 from rank 1"), "{error}");
            assert!(data.iter().all(|value| *value == 7));
            comm.barrier(NONE).unwrap();
            comm.recv(&mut data, Source::Rank(1), Tag::Is(1), NONE).unwrap();
            assert_eq!(data, made(1, count));
            // Rank 1 has given up the first one under tag 2.
            comm.barrier(NONE).unwrap();
            // Word of that may come when the receive has asked for it.
            let mut room = vec![0u32; 20_000];
            let received = comm.recv(&mut room, Source::Rank(1), Tag::Is(2), NONE).unwrap();
            assert_eq!(room[..received.count], made(3, 5));
        } else {
            comm.barrier(NONE).unwrap();
            comm.send(&made(1, count), 0, 1, NONE).unwrap();
            let outcome = comm.send(&made(2, 20_000), 0, 2, &brief());
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Timeout);
            comm.barrier(NONE).unwrap();
            comm.send(&made(3, 5), 0, 2, NONE).unwrap();
        }
    }
    comm.barrier(NONE).unwrap();
}

fn both() {
    let comm = comm();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in [1, 3000, 200_000] {
                for _ in 0..10 {
                    let mut data = vec![1.0f32; count];
                    comm.allreduce(&mut data, ReduceOp::Sum, NONE).unwrap();
                    assert!(data.iter().all(|value| *value == 3.0));
                }
            }
        });
        let (rank, size) = (comm.rank(), comm.size());
        let (next, last) = ((rank + 1) % size, (rank + size - 1) % size);
        for turn in 0..40 {
            let count = [1, 4000, 90_000][turn % 3];
            let mut data = vec![0u32; count];
            let own = made(rank as usize, count);
            comm.sendrecv(&own, next, &mut data, Source::Rank(last), 0, NONE).unwrap();
            assert_eq!(data, made(last as usize, count));
        }
    });
}

fn leaves() {
    let comm = comm();
    if comm.rank() == 0 {
        for n in 0..50 {
            comm.send(&made(n, 1000), 1, 4, NONE).unwrap();
        }
        comm.close().unwrap();
    } else {
        // Rank 0 is gone by then, or going.
        let mut data = vec![0u32; 1000];
        comm.recv(&mut data, Source::Rank(0), Tag::Is(4), NONE).unwrap();
        std::thread::sleep(Duration::from_millis(600));
        for n in 1..50 {
            comm.recv(&mut data, Source::Rank(0), Tag::Is(4), NONE).unwrap();
            assert_eq!(data, made(n, 1000));
        }
        let error = comm.recv(&mut data, Source::Rank(0), Tag::Is(4), NONE).unwrap_err();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(0)), "{error}");
    }
}

/// Rank 1 dies while rank 0 needs it.
fn killed(what: &str) {
    let comm = comm();
    comm.barrier(NONE).unwrap();
    if comm.rank() == 1 {
        if what == "transfer" {
            // Its first slice is there when this ends; the others are not taken.
            let data = vec![0u32; 16 << 20];
            let work = comm.start_recv(data, Source::Rank(0), Tag::Any, NONE).unwrap();
            while comm.stats().bytes_received == 0 {
                std::thread::yield_now();
            }
            std::mem::forget(work);
        } else {
            std::thread::sleep(Duration::from_millis(100));
        }
        said("dies", what);
        // SAFETY: sends a signal to this very process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    let mut data = vec![0u32; 10];
    let outcome = match what {
        "receive" => comm.recv(&mut data, Source::Rank(1), Tag::Any, NONE).map(drop),
        "anybody" => comm.recv(&mut data, Source::Any, Tag::Any, NONE).map(drop),
        "rendezvous" => comm.send(&made(0, 100_000), 1, 0, NONE),
        "transfer" => comm.send(&made(0, 16 << 20), 1, 0, NONE).and_then(|()| {
            // It had all arrived before the end.
            comm.recv(&mut data, Source::Rank(1), Tag::Any, NONE).map(drop)
        }),
        other => panic!("no such thing: {other}"),
    };
    let error = outcome.unwrap_err();
    failed(&error);
    let again = comm.send(&[1u8], 1, 0, NONE).unwrap_err();
    assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
    let again = comm.barrier(NONE).unwrap_err();
    assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
}

fn aborts() {
    let comm = comm();
    if comm.rank() == 0 {
        let long = comm.start_send(made(0, 50_000), 1, 1, NONE).unwrap();
        let receive = comm.start_recv(vec![0u8; 5], Source::Any, Tag::Is(9), NONE).unwrap();
        let mut word = [0u8; 1];
        comm.recv(&mut word, Source::Rank(1), Tag::Is(5), NONE).unwrap();
        comm.abort("for good reason");
        let (error, buffer) = long.wait().unwrap_err();
        assert_eq!((error.kind(), buffer.len()), (ErrorKind::Aborted, 50_000), "{error}");
        assert_eq!(receive.wait().unwrap_err().0.kind(), ErrorKind::Aborted);
    } else {
        // The abort may be here before this has ended.
        let _ = comm.send(&[1u8], 0, 5, NONE);
        let mut data = vec![0u8; 5];
        let error = comm.recv(&mut data, Source::Rank(0), Tag::Is(2), NONE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
        assert!(error.to_string().contains("for good reason"), "{error}");
        let error = comm.send(&data, 0, 2, NONE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
    }
}

/// Two halves with ranks of their own, and a message under the same tag in each and in the whole.
fn split() {
    let comm = comm();
    let half = comm.split(Some(comm.rank() % 2), -(comm.rank() as i32), NONE).unwrap().unwrap();
    assert_eq!((half.size(), half.rank()), (2, 1 - comm.rank() / 2));
    let partner = 1 - half.rank();
    let whole_partner = (comm.rank() + 2) % 4;
    for count in [5, 50_000] {
        let works = [
            comm.start_send(made(1, count), whole_partner, 3, NONE).unwrap(),
            half.start_send(made(2 + half.rank() as usize, count), partner, 3, NONE).unwrap(),
        ];
        let mut data = vec![0u32; count];
        let received = half.recv(&mut data, Source::Any, Tag::Any, NONE).unwrap();
        assert_eq!((received.source, received.count), (partner, count));
        assert_eq!(data, made(2 + partner as usize, count));
        let received = comm.recv(&mut data, Source::Any, Tag::Any, NONE).unwrap();
        assert_eq!(received.source, whole_partner);
        assert_eq!(data, made(1, count));
        works.into_iter().for_each(|work| drop(work.wait().unwrap()));
    }
    half.close().unwrap();
    let error = half.send(&[1u8], 0, 0, NONE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    comm.barrier(NONE).unwrap();
}

fn forks() {
    let comm = comm();
    if comm.rank() == 0 {
        let work = comm.start_recv(vec![0u32; 50_000], Source::Rank(1), Tag::Any, NONE).unwrap();
        // SAFETY: the child makes calls that are refused and ends without unwinding or exit
        // handlers.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let refused = |kind| kind == Some(ErrorKind::Forked);
            let sent = refused(comm.send(&[1u8], 1, 0, NONE).err().map(|error| error.kind()));
            let waited = work.wait().err().map(|(error, _)| error.kind());
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(if sent && refused(waited) { 0 } else { 1 }) };
        }
        let mut status = 0;
        // SAFETY: waits for our own child, and writes its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "the child's calls are refused");
        comm.barrier(NONE).unwrap();
        assert_eq!(work.wait().unwrap().0, made(4, 50_000));
    } else {
        comm.barrier(NONE).unwrap();
        comm.send(&made(4, 50_000), 0, 8, NONE).unwrap();
    }
    comm.barrier(NONE).unwrap();
}
