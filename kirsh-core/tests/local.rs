//! What ranks of one host are linked by: Unix sockets where both have them, else TCP.

mod common;

use common::{Group, comm, for_each_driver, said};
use kirsh_core::{Options, ReduceOp, Source};

#[test]
fn a_rank() {
    let Some((scenario, _)) = common::scenario() else { return };
    match scenario.as_str() {
        "linked" => linked(),
        other => panic!("no scenario {other}"),
    }
}

/// Connected Unix sockets that this process has open.
fn unix_sockets() -> usize {
    // Number, references, protocol, flags, type, state (3 is connected), inode, and maybe a name.
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    let connected: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.get(5) == Some(&"03"))
        .map(|fields| format!("socket:[{}]", fields[6]))
        .collect();
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.filter(|target| connected.iter().any(|name| target.as_os_str() == &**name)).count()
}

fn linked() {
    let comm = comm();
    let options = Options::default();
    let (rank, size) = (comm.rank(), comm.size());
    let mut array: Vec<u32> = (0..300_000).map(|at| at % 1000 + rank).collect();
    comm.allreduce(&mut array, ReduceOp::Sum, &options).unwrap();
    let right = |at: u32| at % 1000 * size + size * (size - 1) / 2;
    assert!(array.iter().zip(0..).all(|(sum, at)| *sum == right(at)));
    said("collective", unix_sockets());
    // Nobody goes on or leaves while another counts.
    comm.barrier(&options).unwrap();
    // Messages have links of their own, one for each direction.
    let (next, last) = ((rank + 1) % size, (rank + size - 1) % size);
    let mut got = [0u32];
    comm.sendrecv(&[rank], next, &mut got, Source::Rank(last), 0, &options).unwrap();
    assert_eq!(got, [last]);
    comm.barrier(&options).unwrap();
    said("direct", unix_sockets());
    comm.barrier(&options).unwrap();
}

/// How many Unix sockets each rank has after a collective, and after a message to and from each other.
fn counted(group: Group) -> Vec<[String; 2]> {
    let outcomes = group.succeed();
    let word = |outcome: &common::Outcome, word| outcome.must_have_said(word).text.clone();
    outcomes.iter().map(|one| [word(one, "collective"), word(one, "direct")]).collect()
}

// P-44
#[test]
fn ranks_of_one_host_use_unix_sockets_where_both_have_them() {
    for_each_driver(|driver| {
        let group = || Group::new("linked", 2).driver(driver);
        let (unix, tcp) = (["1", "3"].map(String::from), ["0", "0"].map(String::from));
        let all = |one: &[String; 2]| vec![one.clone(), one.clone()];
        assert_eq!(counted(group()), all(&unix));
        assert_eq!(counted(group().env("KIRSH_LOCAL", "tcp")), all(&tcp));
        // Whoever of the two has none, the other neither finds one nor is found.
        for rank in 0..2 {
            assert_eq!(counted(group().env_of(rank, "KIRSH_LOCAL", "tcp")), all(&tcp));
        }
        // From which nothing can be lent.
        assert_eq!(counted(group().env("KIRSH_ZERO_COPY", "on")), all(&tcp));
    });
}

#[test]
fn what_is_no_kind_of_link_is_an_error_that_says_so() {
    for outcome in Group::new("linked", 2).env("KIRSH_LOCAL", "shm").run() {
        assert!(outcome.output.contains("KIRSH_LOCAL is \"shm\""), "{}", outcome.output);
    }
}
