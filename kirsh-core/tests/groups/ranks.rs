//! What a rank does in the tests of groups.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use kirsh_core::{Algorithm, Communicator, Error, ErrorKind, Options, ReduceOp, Scope};

use super::common::{comm, failed, said};

pub(super) fn play(scenario: &str, detail: &str) {
    match scenario {
        "members" => members(),
        "apart" => apart(),
        "hundred" => hundred(),
        "misfits" => misfits(),
        "refused" => refused(),
        "meets another" => meets_another(detail),
        "dies in a split" => dies_in_a_split(),
        "dies" => dies(),
        "aborts" => aborts(),
        "closes" => closes(detail == "used"),
        "forks" => forks(),
        other => panic!("no scenario {other}"),
    }
}

const PLAIN: Options<'static> = Options {
    timeout: kirsh_core::Timeout::Default,
    scale: None,
    algorithm: None,
    name: None,
    weight: None,
    wire: None,
};

/// Sums the members' world ranks, and looks whether that came out.
fn check(group: &Communicator) {
    let ranks = group.world_ranks();
    assert_eq!(ranks.len() as u32, group.size());
    let mut sum = vec![u64::from(ranks[group.rank() as usize]); 100];
    group.allreduce(&mut sum, ReduceOp::Sum, &PLAIN).unwrap();
    let expected: u64 = ranks.iter().map(|rank| u64::from(*rank)).sum();
    assert!(sum.iter().all(|value| *value == expected), "{sum:?} of {ranks:?}");
    let mut own = vec![0; ranks.len()];
    group.allgather(&[ranks[group.rank() as usize]], &mut own, &PLAIN).unwrap();
    assert_eq!(own, ranks, "everybody has the same list, and is where it says");
}

/// Five ranks.
fn members() {
    let world = comm();
    let rank = world.rank();
    // In the opposite order; rank 4 wants none.
    let color = (rank < 4).then_some(rank % 2);
    let halves = world.split(color, -(rank as i32), &PLAIN).unwrap();
    match (&halves, rank) {
        (None, 4) => {}
        (Some(half), _) => {
            assert_eq!(half.world_ranks(), [2 + rank % 2, rank % 2]);
            assert_eq!(half.world_ranks()[half.rank() as usize], rank);
            assert_eq!((half.local_rank(), half.local_size()), (half.rank(), 2));
            check(half);
        }
        other => panic!("{other:?}"),
    }
    // Equal keys keep the order, also between calls of the parent.
    check(&world);
    let thirds = world.split(Some(rank / 3), 7, &PLAIN).unwrap().unwrap();
    assert_eq!(thirds.world_ranks(), if rank < 3 { vec![0, 1, 2] } else { vec![3, 4] });
    check(&thirds);
    // Of a group, by its ranks: 2 and 0 of those that have three, 1 and 0 of the others.
    let list = if thirds.size() == 3 { [2, 0] } else { [1, 0] };
    let inner = thirds.subgroup(&list, &PLAIN).unwrap();
    match (&inner, rank) {
        (None, 1) => {}
        (Some(inner), 0 | 2) => assert_eq!(inner.world_ranks(), [2, 0]),
        (Some(inner), 3 | 4) => assert_eq!(inner.world_ranks(), [4, 3]),
        other => panic!("{other:?}"),
    }
    let alone = world.split(Some(rank), 0, &PLAIN).unwrap().unwrap();
    assert_eq!((alone.rank(), alone.size(), alone.world_ranks()), (0, 1, vec![rank]));
    let twin = world.dup(3, &PLAIN).unwrap();
    assert_eq!((twin.rank(), twin.size(), twin.local_size()), (rank, 5, world.local_size()));
    // What they were made from may go first, and what remains makes more.
    drop(thirds);
    world.close().unwrap();
    assert_eq!(world.barrier(&PLAIN).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(world.dup(0, &PLAIN).unwrap_err().kind(), ErrorKind::Closed);
    for group in halves.iter().chain(&inner).chain([&alone, &twin]) {
        check(group);
    }
    let second = twin.dup(0, &PLAIN).unwrap();
    twin.close().unwrap();
    check(&second);
    // Once all are closed, ranks may meet again.
    drop((halves, inner, alone, second));
    check(&comm());
}

/// Four ranks.
fn apart() {
    let world = comm();
    let rank = world.rank();
    let [low, high] = [[0, 1, 2], [1, 2, 3]].map(|list| world.subgroup(&list, &PLAIN).unwrap());
    let [first, second] = [0, 1].map(|priority| world.dup(priority, &PLAIN).unwrap());
    // Of two groups in opposite orders, in more bytes than connections hold.
    let large = vec![1f32; 1 << 20];
    for _ in 0..3 {
        let mut groups: VecDeque<&Communicator> =
            [&first, &second].into_iter().chain(&low).chain(&high).collect();
        groups.rotate_left(rank as usize % 2);
        if rank >= 2 {
            groups.make_contiguous().reverse();
        }
        let works: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let work = group.start_allreduce(large.clone(), ReduceOp::Sum, &PLAIN).unwrap();
                (group.size(), work)
            })
            .collect();
        for (size, work) in works {
            assert!(work.wait().unwrap().iter().all(|value| *value == size as f32));
        }
    }
    // Blocking calls of several threads, each with a group of its own.
    let twins: Vec<Communicator> = (0..4).map(|_| world.dup(0, &PLAIN).unwrap()).collect();
    std::thread::scope(|scope| {
        for twin in &twins {
            scope.spawn(move || (0..10).for_each(|_| check(twin)));
        }
        for _ in 0..10 {
            check(&world);
        }
    });
}

/// How many entries a directory of this process has.
fn count(directory: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{directory}")).unwrap().count()
}

/// What its descriptors are.
fn descriptors() -> Vec<String> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).collect()
}

/// Three ranks.
fn hundred() {
    let world = comm();
    let rank = world.rank();
    let make = |number: u32| match number % 3 {
        0 => world.dup(0, &PLAIN).unwrap(),
        1 => world.split(Some(rank / 2), 0, &PLAIN).unwrap().unwrap(),
        _ => world.split(Some(rank % 2), -(rank as i32), &PLAIN).unwrap().unwrap(),
    };
    // Every pair of processes has its control link from here on, and this thread its ring.
    for number in 0..3 {
        check(&make(number));
    }
    check(&world);
    let until = Instant::now() + Duration::from_secs(30);
    let settled = |expected: (usize, usize)| {
        let mut now = (count("fd"), count("task"));
        // What a peer closed may take a moment to be seen.
        while now != expected {
            assert!(
                Instant::now() < until,
                "{now:?} descriptors and threads, {expected:?} before: {:?}",
                descriptors()
            );
            std::thread::sleep(Duration::from_millis(5));
            now = (count("fd"), count("task"));
        }
    };
    let mut before = (count("fd"), count("task"));
    // Links of the first groups may still be closing.
    world.barrier(&PLAIN).unwrap();
    let calm = Instant::now() + Duration::from_millis(500);
    while Instant::now() < calm {
        std::thread::sleep(Duration::from_millis(10));
        before = (count("fd"), count("task"));
    }
    world.barrier(&PLAIN).unwrap();
    for number in 0..100 {
        let group = make(number);
        check(&group);
        match number % 2 {
            0 => group.close().unwrap(),
            _ => drop(group),
        }
    }
    world.barrier(&PLAIN).unwrap();
    settled(before);
    let groups: Vec<Communicator> = (0..100).map(make).collect();
    assert_eq!((count("fd"), count("task")), before, "links open when they are needed");
    // Before anybody needs one.
    world.barrier(&PLAIN).unwrap();
    groups.iter().for_each(check);
    assert_eq!(count("task"), before.1, "threads");
    drop(groups);
    world.barrier(&PLAIN).unwrap();
    settled(before);
    // Nobody leaves before the last has counted.
    world.barrier(&PLAIN).unwrap();
}

fn is_mismatch(error: &Error, peer: u32, parts: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Mismatch, "{error}");
    assert_eq!((error.scope(), error.peer()), (Scope::Call, Some(peer)), "{error}");
    for part in parts {
        assert!(error.message().contains(part), "{error}");
    }
}

/// Four ranks.
fn misfits() {
    let world = comm();
    let rank = world.rank();
    let list: &[u32] = if rank == 2 { &[0, 3] } else { &[0, 1, 2] };
    let error = world.subgroup(list, &PLAIN).unwrap_err();
    is_mismatch(&error, 2, &["rank 0 named [0, 1, 2]", "rank 2 named [0, 3]"]);
    // The same ranks in another order are another list.
    let list: &[u32] = if rank == 3 { &[1, 0] } else { &[0, 1] };
    let error = world.subgroup(list, &PLAIN).unwrap_err();
    is_mismatch(&error, 3, &["rank 0 named [0, 1]", "rank 3 named [1, 0]"]);
    let error = match rank {
        1 => world.dup(0, &PLAIN).map(drop).unwrap_err(),
        _ => world.split(Some(0), 0, &PLAIN).map(drop).unwrap_err(),
    };
    is_mismatch(&error, 1, &["rank 0 called split", "rank 1 called dup"]);
    // What every rank refuses leaves everything as it was.
    for list in [&[][..], &[0, 1, 0], &[4]] {
        let error = world.subgroup(list, &PLAIN).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::InvalidArgument, Scope::Call));
    }
    let chain = Options { algorithm: Some(Algorithm::Chain), ..PLAIN };
    assert_eq!(world.dup(0, &chain).unwrap_err().operation(), Some("dup"));
    check(&world.dup(0, &PLAIN).unwrap());
}

/// Three ranks.
fn refused() {
    let world = comm();
    let list: &[u32] = if world.rank() == 1 { &[0, 9] } else { &[0, 2] };
    failed(&world.subgroup(list, &PLAIN).map(drop).unwrap_err());
    // It has ended for those who meant it, and so for all.
    until_it_fails(&world);
}

/// Three ranks, of which one gathers as much as the others do to make a communicator.
fn meets_another(detail: &str) {
    let world = comm();
    let made = match detail {
        _ if world.rank() == 1 => world.allgather(&[0u32; 4], &mut [0; 12], &PLAIN),
        "split" => world.split(Some(0), 0, &PLAIN).map(drop),
        "dup" => world.dup(0, &PLAIN).map(drop),
        _ => world.subgroup(&[0, 2], &PLAIN).map(drop),
    };
    failed(&made.unwrap_err());
}

/// Calls until that fails.
fn until_it_fails(group: &Communicator) -> Error {
    loop {
        if let Err(error) = group.barrier(&PLAIN) {
            return error;
        }
    }
}

/// Dies at once.
fn die() -> ! {
    said("dies", "");
    // SAFETY: ends this process.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("killed")
}

/// Four ranks.
fn dies_in_a_split() {
    let world = comm();
    if world.rank() == 2 {
        die();
    }
    failed(&world.split(Some(0), 0, &PLAIN).map(drop).unwrap_err());
}

/// Four ranks.
fn dies() {
    let world = comm();
    let rank = world.rank();
    let [first, middle, last] =
        [[0, 1], [1, 2], [2, 3]].map(|list| world.subgroup(&list, &PLAIN).unwrap());
    for group in first.iter().chain(&middle).chain(&last) {
        check(group);
    }
    if rank == 1 {
        die();
    }
    let lost = if rank == 0 { &first } else { &middle };
    if let Some(lost) = lost {
        let error = until_it_fails(lost);
        failed(&error);
        assert_eq!(lost.barrier(&PLAIN).unwrap_err().kind(), error.kind(), "the first cause stays");
    }
    // The group without it goes on, also for who has seen it go.
    if let Some(last) = &last {
        check(last);
        check(&last.dup(0, &PLAIN).unwrap());
    }
    let error = until_it_fails(&world);
    if rank == 3 {
        failed(&error);
    }
}

/// Six ranks.
fn aborts() {
    let world = comm();
    let rank = world.rank();
    // Whichever way the small calls of the world go, these two have had no connection.
    let pair = world.subgroup(&[1, 4], &PLAIN).unwrap();
    let others = world.subgroup(&[4, 2, 1], &PLAIN).unwrap();
    if rank == 1 {
        pair.as_ref().unwrap().abort("enough of this");
    }
    if rank == 4 {
        let error = until_it_fails(pair.as_ref().unwrap());
        failed(&error);
    }
    others.iter().for_each(check);
    check(&world);
}

/// Three ranks.
fn closes(used: bool) {
    let world = comm();
    let twin = world.dup(0, &PLAIN).unwrap();
    if used {
        check(&twin);
    }
    if world.rank() == 1 {
        twin.close().unwrap();
    } else {
        failed(&until_it_fails(&twin));
    }
    check(&world);
    check(&world.dup(0, &PLAIN).unwrap());
}

/// Two ranks.
fn forks() {
    let world = comm();
    let group = world.dup(0, &PLAIN).unwrap();
    check(&group);
    // SAFETY: the child only asks the handles that it has, and leaves by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let answers = [
            group.barrier(&PLAIN).unwrap_err(),
            group.split(Some(0), 0, &PLAIN).map(drop).unwrap_err(),
            group.dup(0, &PLAIN).map(drop).unwrap_err(),
            group.subgroup(&[0], &PLAIN).map(drop).unwrap_err(),
            group.close().unwrap_err(),
        ];
        let dead = answers.iter().all(|error| error.kind() == ErrorKind::Forked);
        drop((group, world));
        // SAFETY: ends the child.
        unsafe { libc::_exit(if dead { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{status}");
    check(&group);
    check(&group.dup(0, &PLAIN).unwrap());
}
