//! Ranks that die, stop, leave early or fork.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use kirsh_core::model::Class;
use kirsh_core::model::choice::{Selection, built_in_hash};
use kirsh_core::rendezvous::identity::{Arguments, identity, process_env, rendezvous};
use kirsh_core::rendezvous::tcp_store::Greeting;
use kirsh_core::rendezvous::{Joiner, Rendezvous, Store, TcpStore, host_id, join, open};
use kirsh_core::{Communicator, Error, ErrorKind, Options, ReduceOp};

use super::super::common::{comm, config, failed, said};
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

/// Rank 0 dies in its second `create`, as soon as rank 1 waits in the store that it serves.
pub(super) fn deserts() {
    let first = comm();
    let mut pid = [std::process::id()];
    first.broadcast(&mut pid, 0, &Options::default()).unwrap();
    if first.rank() != 2 {
        failed(&Communicator::create(&config()).map(drop).expect_err("rank 2 does not come"));
        return;
    }
    let Rendezvous::Tcp { host, port } = meeting_place() else { panic!("a TCP store") };
    let greeting = Greeting { job: "kirsh", rank: None, token: None };
    let until = Instant::now() + Duration::from_secs(20);
    // The first store may still be there, and goes away.
    let waits = || {
        let store = TcpStore::connect(&host, port, &greeting, until).ok()?;
        store.wait("kirsh/1/record/1", until).ok().flatten()
    };
    while waits().is_none() {
        assert!(Instant::now() < until, "rank 1 does not come");
    }
    said("dies", "");
    // SAFETY: the process that said so is a rank of this test, and waits for rank 2.
    unsafe { libc::kill(pid[0] as libc::pid_t, libc::SIGKILL) };
}

/// Rank 0 dies when the table is made, before anybody has reached it.
pub(super) fn vanishes() {
    let me = identity(&Arguments::default(), &process_env).unwrap();
    if me.rank != 0 {
        failed(&Communicator::create(&config()).map(drop).expect_err("rank 0 cannot be reached"));
        return;
    }
    let until = Instant::now() + Duration::from_secs(20);
    let opened = open(&meeting_place(), &me, "kirsh", None, false, 0, until).unwrap();
    // Connections to it are made, and nobody shakes hands.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let table = Selection::built_in(Class::Gbit1, 1);
    // No checksums, no slice, one socket, no rails, a minute until a silent peer counts as lost, and channels
    // as it comes.
    let mut handout = vec![2, 0, 0, 0, 0, 0, 0];
    handout.extend(60_000_000_000u64.to_le_bytes());
    handout.extend([0, 0]);
    handout.extend(table.to_bytes());
    let joiner = Joiner {
        rank: 0,
        world_size: me.world_size,
        job_id: "kirsh".to_owned(),
        protocol: 1,
        generation: 0,
        process_id: 1,
        host_id: host_id(),
        cores: 2,
        pid: std::process::id(),
        host_name: "here".to_owned(),
        addresses: vec![listener.local_addr().unwrap()],
        places: Vec::new(),
        table_hash: built_in_hash(),
        handout,
        warn_after: None,
        token: None,
    };
    let outcome = join(&*opened.store, &joiner, until);
    outcome.as_ref().unwrap();
    // Everybody has read the table.
    opened.linger(&joiner, &outcome);
    said("dies", "");
    die();
}

fn meeting_place() -> Rendezvous {
    let arguments = Arguments::default();
    let me = identity(&arguments, &process_env).unwrap();
    rendezvous(&arguments, &me, &process_env).unwrap().unwrap().0
}
