//! Ranks that die, stop, leave early or fork.

use std::time::{Duration, Instant};

use kirsh_core::{Error, ErrorKind, Options, ReduceOp};

use super::super::common::{comm, said};
use super::{reduce, round, until_it_fails};

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

/// Detail: the rank that dies, in which round, and whether it has a child.
pub(super) fn killed(detail: &str) {
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
pub(super) fn stopped(detail: &str) {
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

/// Detail: what the last call is. One rank is through with it early and leaves at once.
pub(super) fn leaves(detail: &str) {
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

/// Forks while operations run, as a data loader does. The child tries what it must not.
pub(super) fn forks() {
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
