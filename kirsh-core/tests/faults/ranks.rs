//! What the ranks of the fault tests do.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use kirsh_core::comm::RawCall;
use kirsh_core::{
    Algorithm, Collective, Communicator, Config, DataType, Error, ErrorKind, Options, ReduceOp,
    Timeout,
};

use super::common::{comm, config, failed, said};

/// Enough elements for every link to be full of bytes on their way.
const MANY: usize = 4 << 20;

pub(crate) fn play(scenario: &str, detail: &str) {
    match scenario {
        "killed" => killed(detail),
        "stopped" => stopped(detail),
        "mismatch" => mismatch(detail),
        "refused" => refused(detail),
        "lent" => lent(detail),
        "overtaken" => overtaken(),
        "leaves" => leaves(detail),
        "joins" => joins(),
        "forks" => forks(),
        "abort" => abort(detail),
        "patience" => patience(),
        "again" => again(),
        "alone" => alone(),
        "two" => two(),
        other => panic!("no scenario {other}"),
    }
}

/// Dies at once, as by a power cut of one process.
fn die() -> ! {
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("killed")
}

/// Forks a child that does nothing but live on. It is killed with this rank's process group.
fn leave_a_child_behind() {
    // SAFETY: the child only sleeps.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        loop {
            // SAFETY: sleeps until a signal comes.
            unsafe { libc::pause() };
        }
    }
    // It closes them before `fork` returns to it, which may be later than here.
    let until = Instant::now() + Duration::from_secs(5);
    while sockets_of(child) > 0 {
        assert!(Instant::now() < until, "the child holds sockets of its parent");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn sockets_of(process: libc::pid_t) -> usize {
    let held = std::fs::read_dir(format!("/proc/{process}/fd")).expect("a child's descriptors");
    let held = held.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    held.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

fn reduce(comm: &Communicator, count: usize, options: &Options<'_>) -> Result<(), Error> {
    let mut data = vec![comm.rank() as f32 + 1.0; count];
    comm.allreduce(&mut data, ReduceOp::Sum, options)?;
    let sum = (1..=comm.size()).sum::<u32>() as f32;
    assert!(data.iter().all(|value| *value == sum), "a wrong sum");
    Ok(())
}

/// One round of whatever the test wants to be hit.
fn round(comm: &Communicator, what: &str) -> Result<(), Error> {
    let by = |algorithm| Options { algorithm: Some(algorithm), ..Options::default() };
    match what {
        "small" => reduce(comm, 3, &Options::default()),
        "ring" => reduce(comm, MANY, &by(Algorithm::Ring)),
        "tree" => reduce(comm, 50_000, &by(Algorithm::Tree)),
        "barrier" => comm.barrier(&Options::default()),
        "started" => {
            let works: Result<Vec<_>, _> = (0..4)
                .map(|_| {
                    comm.start_allreduce(vec![1.0f32; 10_000], ReduceOp::Sum, &Options::default())
                })
                .collect();
            works?
                .into_iter()
                .try_for_each(|work| work.wait().map(drop).map_err(|(error, _)| error))
        }
        other => panic!("no such round: {other}"),
    }
}

/// Rounds until one fails; the failure must then stay.
fn until_it_fails(comm: &Communicator, what: &str) {
    let error = loop {
        if let Err(error) = round(comm, what) {
            break error;
        }
    };
    failed(&error);
    let again = comm.barrier(&Options::default()).expect_err("a poisoned communicator");
    assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
}

/// Detail: the rank that dies, in which round, and whether it has a child.
fn killed(detail: &str) {
    let mut words = detail.split(' ');
    let victim: u32 = words.next().unwrap().parse().unwrap();
    let (what, child) = (words.next().unwrap(), words.next());
    let comm = comm();
    for _ in 0..3 {
        round(&comm, what).unwrap();
    }
    if comm.rank() == victim {
        if child.is_some() {
            leave_a_child_behind();
        }
        said("dies", what);
        die();
    }
    until_it_fails(&comm, what);
}

/// Detail: the rank that stops, and in which round.
fn stopped(detail: &str) {
    let (victim, what) = detail.split_once(' ').unwrap();
    let victim: u32 = victim.parse().unwrap();
    let comm = comm();
    // A rank that was late once must not be blamed for ever: so each is late in turn.
    for late in 0..comm.size() {
        if comm.rank() == late {
            std::thread::sleep(Duration::from_millis(700));
        }
        round(&comm, what).unwrap();
    }
    if comm.rank() == victim {
        said("stops", what);
        // SAFETY: stops this process until the test ends it.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    }
    until_it_fails(&comm, what);
}

/// Detail: the rank that calls something else, and what differs.
fn mismatch(detail: &str) {
    let (odd, what) = detail.split_once(' ').unwrap();
    let comm = comm();
    let odd = comm.rank() == odd.parse::<u32>().unwrap();
    let options = Options::default();
    let sum =
        |count: usize| comm.allreduce(&mut vec![1.0f32; count], ReduceOp::Sum, &options).map(drop);
    comm.barrier(&options).unwrap();
    said("calls", what);
    let outcome = match (what, odd) {
        ("collective", true) => comm.barrier(&options),
        ("collective" | "count" | "zero" | "dtype" | "op" | "large", false) => {
            sum(if what == "large" { MANY } else { 1000 })
        }
        ("count", true) => sum(1001),
        ("zero", true) => sum(0),
        ("large", true) => sum(MANY - 1),
        // Of one size, so that only the type differs.
        ("dtype", true) => comm.allreduce(&mut vec![1i32; 1000], ReduceOp::Sum, &options),
        ("op", true) => comm.allreduce(&mut vec![1.0f32; 1000], ReduceOp::Max, &options),
        ("root", odd) => comm.broadcast(&mut vec![1u8; 3000], u32::from(odd), &options),
        ("order", true) => comm.barrier(&options).and_then(|()| sum(1000)),
        ("order", false) => sum(1000).and_then(|()| comm.barrier(&options)),
        other => panic!("no such mistake: {other:?}"),
    };
    // Who is through in good faith (a root) hears of it in the next call.
    let outcome = outcome.and_then(|()| comm.barrier(&options));
    failed(&outcome.expect_err("calls that do not match"));
}

/// Detail: the rank that makes a call that cannot be, or "all".
fn refused(detail: &str) {
    let comm = comm();
    let options = Options::default();
    let impossible = || comm.allreduce(&mut vec![1i32; 100], ReduceOp::Avg, &options);
    reduce(&comm, 100, &options).unwrap();
    said("calls", detail);
    if detail == "all" {
        for _ in 0..20 {
            let error = impossible().expect_err("integers have no average");
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            reduce(&comm, 100, &options).unwrap();
        }
        return;
    }
    if comm.rank() == detail.parse::<u32>().unwrap() {
        let error = impossible().expect_err("integers have no average");
        failed(&error);
        let after = reduce(&comm, 100, &options).expect_err("the others have given up");
        assert_eq!(after.kind(), ErrorKind::Refused, "{after}");
    } else {
        let outcome = reduce(&comm, 100, &options);
        failed(&outcome.expect_err("rank 1 takes no part"));
    }
}

/// Fills memory that was lent with a pattern, and makes sure that nobody writes to it any more.
fn watch_over(data: &mut [f32]) {
    data.fill(-7.5);
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        assert!(data.iter().all(|value| *value == -7.5), "somebody wrote after the call was over");
    }
    said("unchanged", "");
}

/// The root is stopped in the middle of sending; the other gives up, takes its buffer back and
/// lets the root go on. Detail: `started` or `blocking`.
fn lent(detail: &str) {
    let comm = comm();
    let mut pid = [std::process::id()];
    comm.broadcast(&mut pid, 1, &Options::default()).unwrap();
    let mut data = vec![1.0f32; 64 * MANY];
    comm.barrier(&Options::default()).unwrap();
    let pid = pid[0] as libc::pid_t;
    if comm.rank() == 1 {
        let _ = comm.broadcast(&mut data, 1, &Options::default());
        return;
    }
    let sibling = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        // SAFETY: the process that said so is a rank of this test, and is alive.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
    });
    let brief = Timeout::After(Duration::from_millis(300));
    let options = Options { timeout: brief, ..Options::default() };
    let outcome = if detail == "started" {
        // The progress thread goes on visiting the kernel, so what was left there would be done.
        let work = comm.start_broadcast(data, 1, &options).unwrap();
        let (error, buffer) = work.wait().expect_err("too little time");
        data = buffer;
        Err(error)
    } else {
        comm.broadcast(&mut data, 1, &options)
    };
    sibling.join().unwrap();
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    failed(&outcome.expect_err("too little time"));
    watch_over(&mut data);
}

/// One rank aborts while all send and receive; the others find out while bytes are on their way.
fn overtaken() {
    let comm = comm();
    let mut data = vec![1.0f32; 8 * MANY];
    comm.barrier(&Options::default()).unwrap();
    std::thread::scope(|scope| {
        if comm.rank() == 1 {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(40));
                comm.abort("enough");
            });
        }
        let outcome = (0..1000)
            .try_for_each(|_| comm.allreduce(&mut data, ReduceOp::Max, &Options::default()));
        failed(&outcome.expect_err("an abort"));
    });
    watch_over(&mut data);
}

/// Detail: what the last call is. One rank is through with it early and leaves at once.
fn leaves(detail: &str) {
    for _ in 0..3 {
        let comm = comm();
        let early = comm.rank() == 3;
        let mut data = vec![if early { 5u8 } else { 0 }; 100_000];
        reduce(&comm, 1000, &Options::default()).unwrap();
        if !early {
            // Those who stay are slow, so that the one who leaves is long gone.
            let wait = if detail == "broadcast" { 300 } else { 20 };
            std::thread::sleep(Duration::from_millis(wait));
        }
        match detail {
            "broadcast" => {
                comm.broadcast(&mut data, 3, &Options::default()).unwrap();
                assert!(data.iter().all(|byte| *byte == 5));
            }
            _ => reduce(&comm, 20_000, &Options::default()).unwrap(),
        }
        if !early {
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(comm);
    }
    said("done", "");
}

/// Only creates a communicator, which may fail.
fn joins() {
    said("begins", "");
    match Communicator::create(&config()) {
        Ok(comm) => said("joined", comm.driver()),
        Err(error) => failed(&error),
    }
}

/// Forks while operations run, as a data loader does. The child tries what it must not.
fn forks() {
    let comm = comm();
    let mut children = Vec::new();
    for step in 0..60 {
        let count = [3, 5000, 300_000][step % 3];
        let value = vec![comm.rank() as f32 + 1.0; count];
        let work = comm.start_allreduce(value, ReduceOp::Sum, &Options::default()).unwrap();
        if step % 10 == 5 {
            // SAFETY: the child uses the library, which promises an error, and leaves by `_exit`.
            match unsafe { libc::fork() } {
                0 => {
                    let wrong = |outcome: Result<(), Error>| {
                        !outcome.is_err_and(|error| error.kind() == ErrorKind::Forked)
                    };
                    let mut code = i32::from(wrong(comm.barrier(&Options::default())));
                    let started = comm.start_barrier(&Options::default());
                    code |= i32::from(wrong(started.map(drop))) << 1;
                    comm.abort("from a child, which has no say");
                    code |=
                        i32::from(wrong(work.wait().map(drop).map_err(|(error, _)| error))) << 2;
                    drop(comm);
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(code) }
                }
                child => {
                    assert!(child > 0);
                    children.push(child);
                }
            }
        }
        reduce(&comm, count, &Options::default()).unwrap();
        let sum = (1..=comm.size()).sum::<u32>() as f32;
        assert!(work.wait().unwrap().iter().all(|value| *value == sum));
    }
    for child in children {
        let mut status = 0;
        // SAFETY: waits for our own child.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "a child ended with {status}");
        assert_eq!(libc::WEXITSTATUS(status), 0, "a child could use its parent's handle");
    }
    said("done", "");
}

/// Detail: the rank whose other thread aborts. Rank 3 never makes the call.
fn abort(detail: &str) {
    let comm = comm();
    let aborts = comm.rank() == detail.parse::<u32>().unwrap();
    reduce(&comm, 1000, &Options::default()).unwrap();
    let (send, receive) = mpsc::channel();
    let other = comm.clone();
    let sibling = std::thread::spawn(move || {
        receive.recv().unwrap();
        if aborts {
            std::thread::sleep(Duration::from_millis(300));
            said("aborts", "");
            other.abort("the loss is not a number");
        }
    });
    send.send(()).unwrap();
    if comm.rank() != 3 {
        failed(&reduce(&comm, 1000, &Options::default()).expect_err("an abort"));
    }
    sibling.join().unwrap();
    if comm.rank() == 3 {
        // Long after the abort, which has reached this rank although it was in no call.
        std::thread::sleep(Duration::from_secs(2));
        failed(&reduce(&comm, 1000, &Options::default()).expect_err("an abort"));
    }
}

/// A wait that runs out leaves the operation alone.
fn patience() {
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
fn again() {
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
fn alone() {
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
fn two() {
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
