//! `kirsh run` on several nodes, all of them this host: launchers that agree, and that end together.

mod cli_support;
#[path = "common/port.rs"]
mod port;

use cli_support::{Kirsh, Output, Running};

/// A rendezvous on loopback that nobody serves yet.
fn rendezvous() -> String {
    format!("tcp://127.0.0.1:{}", port::free_port())
}

/// The launcher of one node, without a program yet.
fn launcher(nodes: u32, node: u32, ranks: u32, rendezvous: &str) -> Kirsh {
    let (nodes, node, ranks) = (nodes.to_string(), node.to_string(), ranks.to_string());
    Kirsh::new(["run", "--nnodes", &nodes, "--node-rank", &node, "-n", &ranks])
        .args(["--rendezvous", rendezvous, "--no-prefix", "--"])
        .env("OMP_NUM_THREADS", "1")
        .env("KIRSH_JOIN_TIMEOUT", "60")
}

/// All launchers, each with this script, to the end.
fn on_nodes(ranks: &[u32], script: &str) -> Vec<Output> {
    let at = rendezvous();
    let nodes = ranks.len() as u32;
    let started: Vec<Running> = (0..)
        .zip(ranks)
        .map(|(node, ranks)| launcher(nodes, node, *ranks, &at).start_sh(script))
        .collect();
    started.into_iter().map(Running::finish).collect()
}

#[test]
fn ranks_count_over_nodes_of_different_sizes_and_are_told_so_in_torchruns_words() {
    let outs = on_nodes(
        &[2, 1, 3],
        "echo $RANK $KIRSH_RANK $WORLD_SIZE $KIRSH_WORLD_SIZE $LOCAL_RANK $LOCAL_WORLD_SIZE \
         $GROUP_RANK $GROUP_WORLD_SIZE $MASTER_ADDR $KIRSH_RENDEZVOUS_SERVED ${KIRSH_BIND-unbound} \
         $MASTER_PORT",
    );
    let (mut first, mut ports) = (0, Vec::new());
    for (node, (out, ranks)) in outs.iter().zip([2, 1, 3]).enumerate() {
        assert_eq!(out.code, 0, "{out:?}");
        let mut lines = out.stdout_lines();
        lines.sort();
        assert_eq!(lines.len(), ranks, "{out:?}");
        for (local, line) in lines.iter().enumerate() {
            let (start, port) = line.rsplit_once(' ').unwrap();
            let rank = first + local;
            let expected =
                format!("{rank} {rank} 6 6 {local} {ranks} {node} 3 127.0.0.1 1 unbound");
            assert_eq!(start, expected);
            ports.push(port.to_owned());
        }
        first += ranks;
    }
    assert!(ports.iter().all(|port| *port == ports[0]), "one MASTER_PORT for all: {ports:?}");
}

#[test]
fn collectives_work_over_ranks_of_two_launchers() {
    let kirsh = env!("CARGO_BIN_EXE_kirsh");
    let at = rendezvous();
    let program = [kirsh, "perf", "allreduce", "-b", "40K", "-e", "40K", "-i", "3"];
    let one = launcher(2, 1, 1, &at).args(program).start();
    let zero = launcher(2, 0, 2, &at).args(program).run();
    let one = one.finish();
    assert_eq!((zero.code, one.code), (0, 0), "{zero:?}\n{one:?}");
    assert!(zero.stdout_lines()[0].contains("3 ranks"), "{zero:?}");
    assert!(zero.stdout_lines().iter().any(|line| line.contains("0 OK")), "{zero:?}");
    assert_eq!(one.stdout, b"", "rank 0 alone prints");
}

#[test]
fn a_failure_on_one_node_ends_the_others_with_its_code_and_each_says_who_it_was() {
    for failing in [0, 2] {
        let script = format!("[ $RANK != {failing} ] || exit 7; exec sleep 100");
        let node = if failing == 0 { 0 } else { 1 };
        for out in on_nodes(&[2, 1], &script) {
            assert_eq!(out.code, 7, "{out:?}");
            let text = out.stderr();
            assert!(text.contains(&format!("rank {failing} on node {node} (host ")), "{out:?}");
            assert!(text.contains("exited with code 7"), "{out:?}");
        }
    }
}

#[test]
fn a_program_that_one_node_has_not_is_told_to_all() {
    let at = rendezvous();
    let one = launcher(2, 1, 1, &at).args(["/nowhere/no-such-program"]).start();
    let zero = launcher(2, 0, 1, &at).args(["sleep", "100"]).run();
    let one = one.finish();
    assert_eq!((zero.code, one.code), (127, 127), "{zero:?}\n{one:?}");
    for out in [zero, one] {
        assert!(out.stderr().contains("no-such-program"), "{out:?}");
        assert!(out.stderr().contains("node 1"), "{out:?}");
    }
}

#[test]
fn a_signal_to_one_launcher_ends_the_others() {
    let at = rendezvous();
    let mut one = launcher(2, 1, 1, &at).start_sh("echo up; exec sleep 100");
    let mut zero = launcher(2, 0, 1, &at).start_sh("echo up; exec sleep 100");
    assert_eq!((one.line(), zero.line()), ("up".to_owned(), "up".to_owned()));
    one.signal(libc::SIGTERM);
    let (one, zero) = (one.finish(), zero.finish());
    assert_eq!((zero.code, one.code), (143, 143), "{zero:?}\n{one:?}");
    assert!(zero.stderr().contains("on node 1") && zero.stderr().contains("SIGTERM"), "{zero:?}");
}

#[test]
fn nobody_leaves_with_success_before_all_have_it() {
    let at = rendezvous();
    let mut one = launcher(2, 1, 1, &at).start_sh("echo up; read line < \"$FIFO\"; exit 5");
    let zero = launcher(2, 0, 1, &at).start_sh("exit 0");
    assert_eq!(one.line(), "up");
    one.release();
    let (one, zero) = (one.finish(), zero.finish());
    assert_eq!((zero.code, one.code), (5, 5), "{zero:?}\n{one:?}");
    assert!(zero.stderr().contains("rank 1 on node 1"), "{zero:?}");
}

/// Launchers that do not fit together, each to its end.
fn refused(launchers: Vec<Kirsh>, words: &[&str]) {
    let started: Vec<Running> =
        launchers.into_iter().map(|one| one.args(["sleep", "100"]).start()).collect();
    for out in started.into_iter().map(Running::finish) {
        assert_eq!(out.code, 1, "{out:?}");
        for word in words {
            assert!(out.stderr().contains(word), "no {word:?} in {out:?}");
        }
    }
}

#[test]
fn launchers_that_were_told_different_things_all_hear_of_both() {
    let at = rendezvous();
    refused(
        vec![launcher(2, 0, 1, &at), launcher(3, 1, 1, &at)],
        &["--nnodes 2", "--nnodes 3", "node 0 (host ", "node 1 (host "],
    );
    let at = rendezvous();
    refused(
        vec![launcher(3, 0, 1, &at), launcher(3, 1, 1, &at), launcher(3, 1, 1, &at)],
        &["node rank 1 is taken twice", "--node-rank"],
    );
}

#[test]
fn a_node_that_never_comes_is_named_on_the_others_within_the_join_timeout() {
    let at = rendezvous();
    let soon = |node| launcher(3, node, 1, &at).env("KIRSH_JOIN_TIMEOUT", "2");
    refused(vec![soon(0), soon(1)], &["node 2 of 3 did not come", "KIRSH_JOIN_TIMEOUT"]);
    let at = rendezvous();
    let alone = launcher(2, 1, 1, &at).env("KIRSH_JOIN_TIMEOUT", "1");
    refused(vec![alone], &["node 1 of 2", "--node-rank 0", "127.0.0.1"]);
}

/// An address of this host by which others could reach it. Asks the routing table and sends nothing.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|own| !own.is_loopback())
}

#[test]
fn beyond_loopback_a_launcher_without_a_token_is_told_how_to_make_one() {
    let Some(own) = own_address() else {
        eprintln!("skipped: this host has no address but loopback");
        return;
    };
    // A port that was free a moment ago: nobody answers there.
    let port = std::net::TcpListener::bind((own, 0)).unwrap().local_addr().unwrap().port();
    for node in [0, 1] {
        let one = launcher(2, node, 1, &format!("tcp://{own}:{port}"))
            .env("KIRSH_JOIN_TIMEOUT", "5")
            .env_remove("KIRSH_TOKEN")
            .env_remove("KIRSH_TOKEN_FILE");
        refused(vec![one], &["kirsh token", "KIRSH_TOKEN_FILE"]);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_at_once() {
    for (arguments, word) in [
        ("--nnodes 2", "--node-rank"),
        ("--nnodes 2 --node-rank 0", "--rendezvous"),
        ("--nnodes 2 --node-rank 2 --rendezvous tcp://127.0.0.1:1", "from 0 to 1"),
        ("--nnodes 2 --node-rank 0 --rendezvous file:///tmp", "tcp://"),
        ("--nnodes 2 --node-rank 0 --rendezvous 10.0.0.1", "no known kind"),
        ("--node-rank 1", "--nnodes is 1"),
        ("--rendezvous tcp://127.0.0.1:1", "--nnodes"),
    ] {
        let out = Kirsh::new(["run", "-n", "1"])
            .args(arguments.split(' '))
            .env_remove("KIRSH_RENDEZVOUS")
            .args(["--", "true"])
            .run();
        assert_eq!(out.code, 2, "{arguments}: {out:?}");
        assert!(out.stderr().contains(word), "{arguments}: {out:?}");
    }
}
