//! `kirsh run` as users meet it: a program started several times, watched to its end.

mod cli_support;

use std::collections::{HashMap, HashSet};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cli_support::{Kirsh, assert_gone, await_state, sh};
use kirsh_core::ErrorKind;
use kirsh_core::rendezvous::{Arguments, Env, identity, open, settings, token};
use kirsh_core::wire::auth::Token;

#[test]
fn every_rank_is_told_who_it_is_and_where_to_meet() {
    let out = Kirsh::new(["run", "-n", "3", "--job-id", "job 7", "--no-prefix", "--"])
        .env("KIRSH_TOKEN_FILE", "/nowhere")
        .env("TORCHELASTIC_USE_AGENT_STORE", "True")
        .env("RANK", "9")
        .sh(
            "echo \"$RANK $LOCAL_RANK $KIRSH_RANK $KIRSH_LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE \
             $KIRSH_WORLD_SIZE $KIRSH_LOCAL_SIZE $GROUP_RANK $MASTER_ADDR $KIRSH_JOB_ID \
             ${KIRSH_TOKEN_FILE-none} ${TORCHELASTIC_USE_AGENT_STORE-none} \
             $KIRSH_RENDEZVOUS_SERVED,$KIRSH_RENDEZVOUS,$MASTER_PORT,$KIRSH_TOKEN\"",
        );
    assert_eq!(out.code, 0, "{out:?}");
    let mut lines: Vec<_> = out.stdout_lines();
    lines.sort();
    let mut tails = HashSet::new();
    for (rank, line) in lines.iter().enumerate() {
        let fields: Vec<_> = line.split(',').collect();
        let [start, rendezvous, port, token] = fields[..] else { panic!("{line}") };
        let r = rank;
        let expected = format!("{r} {r} {r} {r} 3 3 3 3 0 127.0.0.1 job 7 none none 1");
        assert_eq!(start, expected);
        assert!(rendezvous.starts_with("tcp://127.0.0.1:"), "{rendezvous}");
        assert_ne!(rendezvous.rsplit(':').next(), Some(port), "the store holds another port");
        assert_eq!(token.len(), 64);
        assert!(token.bytes().all(|byte| byte.is_ascii_hexdigit()), "{token}");
        tails.insert((rendezvous.to_owned(), port.to_owned(), token.to_owned()));
    }
    assert_eq!((lines.len(), tails.len()), (3, 1), "all ranks meet at one place: {lines:?}");
}

#[test]
fn two_runs_share_neither_token_nor_job_id() {
    let secrets = || {
        let args = ["run", "-n", "1", "--no-prefix", "--"];
        Kirsh::new(args).sh("echo $KIRSH_TOKEN; echo $KIRSH_JOB_ID").stdout_lines()
    };
    let (first, second) = (secrets(), secrets());
    assert_eq!(first.len(), 2);
    assert_ne!(first[0], second[0]);
    assert_ne!(first[1], second[1]);
}

#[test]
fn master_port_is_free_for_the_program() {
    let mut run = Kirsh::new(["run", "-n", "1", "--no-prefix", "--"])
        .start_sh("echo $MASTER_PORT; read line < \"$FIFO\"");
    let port: u16 = run.line().parse().unwrap();
    TcpListener::bind(("127.0.0.1", port)).expect("nobody holds MASTER_PORT");
    run.release();
    assert_eq!(run.finish().code, 0);
}

#[test]
fn what_ranks_are_told_leads_to_a_store_that_serves_them_alone() {
    let mut run = Kirsh::new(["run", "-n", "2", "--no-prefix", "--"])
        .start_sh("[ $RANK = 1 ] || { env | grep ^KIRSH_; echo end; }; read line < \"$FIFO\"");
    let lines = std::iter::from_fn(|| Some(run.line()).filter(|line| line != "end"));
    let told: HashMap<_, _> = lines
        .map(|line| line.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap())
        .collect::<HashMap<String, String>>();
    let env: Env<'_> = &|name| told.get(name).cloned();
    let (arguments, patience) = (Arguments::default(), Duration::from_secs(60));
    let me = identity::identity(&arguments, env).unwrap();
    assert_eq!((me.rank, me.world_size, me.local_rank, me.local_size), (0, 2, Some(0), Some(2)));
    let (place, _) = identity::rendezvous(&arguments, &me, env).unwrap().unwrap();
    let (job, token) = (settings::job_id(env).unwrap(), token::find(env).unwrap().unwrap());
    let served = settings::rendezvous_served(env).unwrap();
    let open = |token: Option<&Token>| {
        open(&place, &me, &job, token, served, 0, Instant::now() + patience)
    };

    let opened = open(Some(&token)).expect("the launcher serves");
    assert!(opened.server.is_none(), "rank 0 leaves it to the launcher");
    opened.store.set("key", b"value").unwrap();
    assert_eq!(opened.store.get("key").unwrap().as_deref(), Some(b"value".as_slice()));
    for wrong in [None, Some(&token::generate().unwrap())] {
        let error = open(wrong).err().expect("strangers are turned away");
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    }

    drop(opened);
    run.release();
    run.release();
    assert_eq!(run.finish().code, 0);
    let at = place.to_string();
    TcpStream::connect(at.trim_start_matches("tcp://")).expect_err("the store ends with the run");
}

#[test]
fn threads_are_limited_and_said_so_once_unless_the_user_chose() {
    let script = "echo $OMP_NUM_THREADS,$PYTHONUNBUFFERED";
    let args = ["run", "-n", "2", "--no-prefix", "--"];
    let out = Kirsh::new(args).env_remove("OMP_NUM_THREADS").sh(script);
    assert_eq!(out.stdout_lines(), ["1,1", "1,1"]);
    assert_eq!(out.stderr().matches("OMP_NUM_THREADS").count(), 1, "{out:?}");
    let out = Kirsh::new(args).env("OMP_NUM_THREADS", "5").env("PYTHONUNBUFFERED", "x").sh(script);
    assert_eq!(out.stdout_lines(), ["5,x", "5,x"]);
    assert_eq!(out.stderr(), "");
}

#[test]
fn lines_carry_their_rank_and_keep_to_their_stream() {
    let out = sh(2, "echo out$RANK; echo err$RANK >&2; printf tail >&2");
    let mut lines = out.stdout_lines();
    lines.sort();
    assert_eq!(lines, ["[0] out0", "[1] out1"]);
    let mut lines = out.stderr_lines();
    lines.sort();
    assert_eq!(lines, ["[0] err0", "[0] tail", "[1] err1", "[1] tail"]);
}

#[test]
fn colours_tell_ranks_apart_where_they_are_asked_for() {
    let colored = |color: &str| {
        let color = format!("--color={color}");
        let out = Kirsh::new(["run", "-n", "2", &color, "--"]).sh("echo x");
        let mut lines = out.stdout_lines();
        lines.sort();
        lines
    };
    let lines = colored("always");
    assert_eq!(lines, ["\x1b[33m[1]\x1b[0m x", "\x1b[36m[0]\x1b[0m x"]);
    assert_eq!(colored("auto"), ["[0] x", "[1] x"], "a pipe is no terminal");
    assert_eq!(colored("never"), ["[0] x", "[1] x"]);
}

#[test]
fn lines_of_ranks_that_write_at_once_are_never_torn() {
    // Each line goes out in two writes, so only the launcher can keep it whole.
    let out = sh(
        4,
        "i=0; while [ $i -lt 400 ]; do printf 'begin%s-' $i; echo \"$RANK-end\"; i=$((i+1)); done",
    );
    assert_eq!(out.code, 0);
    let mut next = [0; 4];
    for line in out.stdout_lines() {
        let rank: usize = line[1..2].parse().unwrap();
        assert_eq!(line, format!("[{rank}] begin{}-{rank}-end", next[rank]));
        next[rank] += 1;
    }
    assert_eq!(next, [400; 4]);
}

#[test]
fn bytes_that_are_not_text_pass_unchanged() {
    let out = sh(1, r"printf '\377\000\376\n'");
    assert_eq!(out.stdout, b"[0] \xff\x00\xfe\n");
    let script = r"printf 'a\r\r\nb\rc\377'";
    let out = Kirsh::new(["run", "-n", "1", "--no-prefix", "--"]).sh(script);
    assert_eq!(out.stdout, b"a\r\r\nb\rc\xff");
}

#[test]
fn much_output_arrives_whole() {
    let out = sh(2, "head -c 3000000 /dev/zero; echo");
    assert_eq!(out.code, 0);
    assert_eq!(out.stdout.iter().filter(|&&byte| byte == 0).count(), 6_000_000);
}

#[test]
fn arguments_reach_the_program_as_they_are() {
    let out = Kirsh::new(["run", "-n", "1", "--no-prefix", "--"])
        .args(["printf", "%s|", "--help", "-n", "a b", "", "--"])
        .run();
    assert_eq!(out.stdout, b"--help|-n|a b||--|");
}

#[test]
fn ranks_read_from_dev_null() {
    assert_eq!(sh(2, "if read line; then exit 1; fi").code, 0);
}

#[test]
fn the_exit_code_is_that_of_the_rank_that_failed() {
    let out = sh(2, "[ $RANK = 0 ] || exit 7");
    assert_eq!(out.code, 7);
    assert!(out.stderr().contains("rank 1 failed first: it exited with code 7"), "{out:?}");
    assert_eq!(sh(3, "exit 0").code, 0);
}

#[test]
fn a_rank_that_a_signal_killed_is_named_with_the_signal() {
    let out = sh(2, "[ $RANK = 0 ] || kill -SEGV $$; exec sleep 600");
    assert_eq!(out.code, 128 + libc::SIGSEGV);
    assert!(out.stderr().contains("rank 1 failed first: it was killed by SIGSEGV"), "{out:?}");
}

#[test]
fn the_first_failure_stops_the_others_and_what_they_started() {
    // The others say who they are before rank 2 may fail.
    let mut run = Kirsh::new(["run", "-n", "3", "--no-prefix", "--"])
        .start_sh("sleep 600 & echo $$; [ $RANK = 2 ] && { read line < \"$FIFO\"; exit 3; }; wait");
    let groups: Vec<i32> = (0..3).map(|_| run.line().parse().unwrap()).collect();
    assert_eq!(groups.iter().collect::<HashSet<_>>().len(), 3);
    let start = Instant::now();
    run.release();
    let out = run.finish();
    assert_eq!(out.code, 3);
    let stderr = out.stderr();
    assert!(
        stderr.contains("rank 2 failed first: it exited with code 3; stopping ranks 0, 1"),
        "{stderr}"
    );
    assert!(stderr.ends_with("the run failed with rank 2, which exited with code 3\n"), "{stderr}");
    assert!(!stderr.contains("killing"), "sleep heeds SIGTERM: {stderr}");
    assert!(start.elapsed() < Duration::from_secs(60));
    groups.into_iter().for_each(assert_gone);
}

#[test]
fn a_rank_that_ignores_being_told_is_killed() {
    let mut run = Kirsh::new(["run", "-n", "2", "--kill-after", "0.3", "--no-prefix", "--"])
        .start_sh(
            "[ $RANK = 1 ] && { read line < \"$FIFO\"; exit 4; }; \
             trap '' TERM; echo $$; while :; do sleep 600; done",
        );
    let group = run.line().parse().unwrap();
    run.release();
    let out = run.finish();
    assert_eq!(out.code, 4);
    assert!(out.stderr().contains("killing rank 0, still running"), "{out:?}");
    assert_gone(group);
}

#[test]
fn what_ranks_leave_running_is_stopped_at_the_end() {
    let mut run = Kirsh::new(["run", "-n", "2", "--kill-after", "0.3", "--no-prefix", "--"])
        .start_sh("(trap '' TERM; while :; do sleep 600; done) & echo $$");
    let groups: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
    let out = run.finish();
    assert_eq!(out.code, 0, "every rank ended well");
    assert!(out.stderr().contains("stopping what they left running"), "{out:?}");
    groups.into_iter().for_each(assert_gone);
}

#[test]
fn helpers_that_end_with_their_rank_are_let() {
    // The helper reads until the rank, which alone holds the other end, has gone.
    let out = sh(
        2,
        "mkfifo $FIFO.$RANK; { cat < $FIFO.$RANK; rm $FIFO.$RANK; echo end; } & \
                     exec 3> $FIFO.$RANK; exit 0",
    );
    assert_eq!((out.code, out.stderr().as_str()), (0, ""));
    let mut lines = out.stdout_lines();
    lines.sort();
    assert_eq!(lines, ["[0] end", "[1] end"]);
}

#[test]
fn a_process_that_left_its_rank_does_not_hold_up_the_end() {
    let mut run = Kirsh::new(["run", "-n", "1", "--no-prefix", "--"])
        .start_sh("setsid sh -c 'echo $$; exec sleep 600' & read line < \"$FIFO\"");
    let stray: i32 = run.line().parse().unwrap();
    run.release();
    let out = run.finish();
    // SAFETY: kill touches no memory. The process was started by this test and sleeps still, which
    // the result shows.
    assert_eq!(unsafe { libc::kill(stray, libc::SIGKILL) }, 0, "it is left alone");
    assert_eq!((out.code, out.stderr().as_str()), (0, ""));
}

#[test]
fn interrupts_are_passed_on_and_end_the_run() {
    for (signal, name, trap) in
        [(libc::SIGINT, "SIGINT", "INT"), (libc::SIGTERM, "SIGTERM", "TERM")]
    {
        let mut run = Kirsh::new(["run", "-n", "2", "--no-prefix", "--"]).start_sh(&format!(
            "trap 'echo got; exit 0' {trap}; echo $$; while :; do sleep 0.01; done"
        ));
        let groups: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
        run.signal(signal);
        let out = run.finish();
        assert_eq!(out.code, 128 + signal, "{out:?}");
        assert_eq!(out.stdout_lines(), ["got", "got"]);
        assert!(out.stderr().contains(&format!("got {name}; passing it on")), "{out:?}");
        groups.into_iter().for_each(assert_gone);
    }
}

#[test]
fn a_second_interrupt_kills_at_once() {
    let mut run = Kirsh::new(["run", "-n", "1", "--kill-after", "500", "--no-prefix", "--"])
        .start_sh("trap 'echo heard' INT; echo $$; while :; do sleep 0.01; done");
    let group = run.line().parse().unwrap();
    run.signal(libc::SIGINT);
    assert_eq!(run.line(), "heard");
    run.signal(libc::SIGINT);
    let out = run.finish();
    assert_eq!(out.code, 128 + libc::SIGINT);
    assert!(out.stderr().contains("killing rank 0"), "{out:?}");
    assert_gone(group);
}

#[test]
fn ranks_die_with_a_launcher_that_is_killed() {
    let mut run =
        Kirsh::new(["run", "-n", "2", "--no-prefix", "--"]).start_sh("echo $$; exec sleep 600");
    let groups: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
    run.signal(libc::SIGKILL);
    assert_eq!(run.wait_code(), -libc::SIGKILL);
    groups.into_iter().for_each(|group| await_state(group, 'Z'));
}

#[test]
fn suspended_ranks_are_stopped_too() {
    let mut run = Kirsh::new(["run", "-n", "2", "--kill-after", "500", "--no-prefix", "--"])
        .start_sh("[ $RANK = 1 ] && { read line < \"$FIFO\"; exit 5; }; echo $$; kill -STOP $$");
    let group = run.line().parse().unwrap();
    run.release();
    assert_eq!(run.finish().code, 5);
    assert_gone(group);
}

#[test]
fn ranks_sleep_while_the_launcher_is_suspended() {
    let mut run =
        Kirsh::new(["run", "-n", "1", "--no-prefix", "--"]).start_sh("echo $$; exec sleep 600");
    let group: i32 = run.line().parse().unwrap();
    run.signal(libc::SIGTSTP);
    await_state(group, 'T');
    await_state(run.pid(), 'T');
    run.signal(libc::SIGCONT);
    await_state(group, 'S');
    run.signal(libc::SIGTERM);
    assert_eq!(run.finish().code, 128 + libc::SIGTERM);
    assert_gone(group);
}

#[test]
fn the_time_for_a_run_is_limited_on_request() {
    let mut run = Kirsh::new(["run", "-n", "2", "--timeout", "0.5", "--no-prefix", "--"])
        .start_sh("echo $$; exec sleep 600");
    let groups: Vec<i32> = (0..2).map(|_| run.line().parse().unwrap()).collect();
    let out = run.finish();
    assert_eq!(out.code, 124);
    assert!(
        out.stderr().contains("the 0.5 s of --timeout are over; stopping ranks 0, 1"),
        "{out:?}"
    );
    groups.into_iter().for_each(assert_gone);
}

#[test]
fn ranks_notice_that_nobody_reads_them() {
    let mut run = Kirsh::new(["run", "-n", "1", "--"]).start_sh("exec yes");
    assert_eq!(run.line(), "[0] y");
    run.close_stdout();
    assert_eq!(run.finish().code, 128 + libc::SIGPIPE);
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_up_an_interrupt() {
    let mut run = Kirsh::new(["run", "-n", "1", "--kill-after", "0.2", "--no-prefix", "--"])
        .start_sh("echo $$; echo full >&2; exec yes");
    let group = run.line().parse().unwrap();
    // From here on nobody reads, so the pipe to the test and then the rank's own fill up.
    run.signal(libc::SIGTERM);
    assert_eq!(run.wait_code(), 128 + libc::SIGTERM);
    assert_gone(group);
}

#[test]
fn a_program_that_is_not_there_or_no_program_is_told_apart() {
    let out = Kirsh::new(["run", "-n", "2", "--", "kirsh-no-such-program"]).run();
    assert_eq!(out.code, 127);
    let expected = "cannot start \"kirsh-no-such-program\" as rank 0: No such file";
    assert!(out.stderr().contains(expected), "{out:?}");
    assert_eq!(Kirsh::new(["run", "-n", "2", "--", "/dev/null"]).run().code, 126);
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    for (args, said) in [
        (&["run", "-n", "0", "--", "true"][..], "0 is not in 1..=65536"),
        (&["run", "--", "true"], "--ranks <N>"),
        (&["run", "-n", "2"], "PROGRAM"),
        (&["run", "-n", "2", "--timeout", "0", "--", "true"], "no program can end in no time"),
        (&["run", "-n", "2", "--kill-after", "-1", "--", "true"], "seconds go from 0"),
        (&["run", "-n", "2", "--kill-after", "nan", "--", "true"], "seconds go from 0"),
        (&["run", "-n", "2", "--job-id", "", "--", "true"], "a job id is text"),
        (&["jog"], "jog"),
    ] {
        let out = Kirsh::new(args.iter().copied()).run();
        assert_eq!(out.code, 2, "{args:?}: {out:?}");
        assert!(out.stderr().contains(said), "{args:?}: {out:?}");
    }
}

#[test]
fn the_version_is_the_packages() {
    let out = Kirsh::new(["--version"]).run();
    assert_eq!(out.code, 0);
    assert_eq!(out.stdout, concat!("kirsh ", env!("CARGO_PKG_VERSION"), "\n").as_bytes());
}
