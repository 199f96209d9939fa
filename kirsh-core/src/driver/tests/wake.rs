//! Waiting: deadlines, doorbells, signals, spinning.

use std::io::Write;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use super::*;
use crate::driver::doorbell::Doorbell;
use crate::driver::fork::block_all_signals_in_this_thread;

on_both_drivers!(
    a_deadline_ends_the_wait_and_loses_nothing,
    a_wait_for_nothing_only_looks,
    a_doorbell_wakes_a_sleeper_and_a_spinner,
    a_busy_sender_still_hears_the_doorbell,
    a_signal_ends_the_sleep_and_loses_nothing,
    a_blocked_signal_does_not_end_the_sleep,
    readiness_tells_of_the_peers_leaving,
);

pub(super) fn a_deadline_ends_the_wait_and_loses_nothing<T: Io + 'static>(
    open: fn() -> io::Result<T>,
) {
    for spin_ns in [0, 1_000_000, u64::MAX] {
        let (near, mut far) = tcp_pair();
        let mut io = open().unwrap();
        let mut got = Message::space(4);
        let mut done_now = Vec::new();
        io.receive(1, &near, &mut got, true);
        // The first wait hands over and sleeps in one call, the others only sleep. A spurious
        // interruption now and then is allowed, an early return without one is not.
        let mut slept_out = 0;
        for _ in 0..10 {
            let until_ns = now_ns() + 2_000_000;
            match io.wait(Wait { until_ns, spin_ns }, &mut done_now) {
                Ok(()) => {
                    assert!(now_ns() >= until_ns);
                    slept_out += 1;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::Interrupted),
            }
            assert_eq!(done_now, []);
            assert_eq!(io.in_flight(), 1);
        }
        assert!(slept_out >= 5, "only {slept_out} of 10 waits reached their deadline");
        far.write_all(b"late").unwrap();
        assert_eq!(io.finish(1, spin_ns), [done(1, 4)]);
        assert_eq!(got.bytes(), b"late");
    }
}

fn a_wait_for_nothing_only_looks<T: Io + 'static>(open: fn() -> io::Result<T>) {
    let mut io = open().unwrap();
    assert_eq!(io.look(), []);
    // A deadline that is over, however long the spin.
    let mut done_now = vec![done(9, 9)];
    io.wait(Wait { until_ns: 1, spin_ns: u64::MAX }, &mut done_now).unwrap();
    assert_eq!(done_now, [done(9, 9)], "what was there before was touched");
}

fn a_doorbell_wakes_a_sleeper_and_a_spinner<T: Io + 'static>(open: fn() -> io::Result<T>) {
    for spin_ns in [0, PATIENCE_NS] {
        let bell = Arc::new(Doorbell::new().unwrap());
        let answer = Arc::new(Doorbell::new().unwrap());
        let (ringer, heard) = (bell.clone(), answer.clone());
        let other = thread::spawn(move || {
            let mut io = open().unwrap();
            for _ in 0..50 {
                ringer.ring();
                io.readable(1, heard.fd());
                assert_eq!(io.finish(1, spin_ns), [done(1, libc::POLLIN.into())]);
                assert!(heard.clear());
            }
        });
        let mut io = open().unwrap();
        // A receive that nothing comes for: the bell must be heard beside it.
        let (near, _far) = tcp_pair();
        let mut never = Message::space(4);
        io.receive(2, &near, &mut never, true);
        for _ in 0..50 {
            io.readable(1, bell.fd());
            assert_eq!(io.finish(1, spin_ns), [done(1, libc::POLLIN.into())]);
            assert!(bell.clear());
            assert!(!bell.clear(), "cleared, and yet it rings");
            answer.ring();
        }
        other.join().unwrap();
        assert_eq!(io.in_flight(), 1);
        io.cancel(near.as_raw_fd());
        io.finish(1, 0);
    }
}

fn a_busy_sender_still_hears_the_doorbell<T: Io + 'static>(open: fn() -> io::Result<T>) {
    let (near, far) = UnixStream::pair().unwrap();
    let bell = Doorbell::new().unwrap();
    let mut io = open().unwrap();
    io.readable(0, bell.fd());
    assert_eq!(io.look(), []);
    bell.ring();
    let mut sent = Message::of(b"x");
    let mut got = Message::space(1);
    // Every send has room, so there is always something done already.
    for _ in 0..100 {
        io.send(1, &near, &mut sent, true);
        io.receive(2, &far, &mut got, true);
        let mut done_now = Vec::new();
        while done_now.iter().filter(|c: &&Completion| c.token != 0).count() < 2 {
            io.wait(Wait { until_ns: now_ns() + PATIENCE_NS, spin_ns: 0 }, &mut done_now).unwrap();
        }
        if done_now.contains(&done(0, libc::POLLIN.into())) {
            return;
        }
    }
    panic!("the bell was not heard in 100 rounds");
}

extern "C" fn ignore(_: libc::c_int) {}

/// Lets a signal interrupt system calls, which it would not if it were ignored or restarted them.
fn interrupt_on(signal: libc::c_int) {
    // SAFETY: all zeroes are a valid action without flags, so without SA_RESTART; the handler does
    // nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as *const () as usize;
        assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
    }
}

/// Whether a thread of this process sleeps so that a signal can end it.
fn is_asleep(thread: libc::pid_t) -> bool {
    let state = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat"));
    // The name before the state may hold anything, but ends with the last bracket.
    state.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" S")))
}

/// One signal, and that while the thread sleeps: also where the sleep is part of the call that
/// hands the operation over, and the kernel would rather tell how much it took.
fn a_signal_ends_the_sleep_and_loses_nothing<T: Io + 'static>(open: fn() -> io::Result<T>) {
    interrupt_on(libc::SIGUSR1);
    for submitted_before in [false, true] {
        let (near, mut far) = tcp_pair();
        let waiting = Arc::new(AtomicI32::new(0));
        let interrupted = Arc::new(AtomicBool::new(false));
        let (at_the_wait, seen) = (waiting.clone(), interrupted.clone());
        let sleeper = thread::spawn(move || {
            let mut io = open().unwrap();
            let mut got = Message::space(4);
            io.receive(1, &near, &mut got, true);
            if submitted_before {
                io.look();
            }
            let mut done_now = Vec::new();
            let wait = Wait { until_ns: now_ns() + PATIENCE_NS, spin_ns: 0 };
            // SAFETY: asks for a number.
            at_the_wait.store(unsafe { libc::gettid() }, Ordering::SeqCst);
            let error = io.wait(wait, &mut done_now).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Interrupted);
            assert_eq!(done_now, []);
            seen.store(true, Ordering::SeqCst);
            assert_eq!(io.finish(1, 0), [done(1, 4)]);
            assert_eq!(got.bytes(), b"late");
        });
        let until_ns = now_ns() + PATIENCE_NS;
        let asleep = || match waiting.load(Ordering::SeqCst) {
            0 => false,
            thread => is_asleep(thread),
        };
        while !asleep() {
            assert!(now_ns() < until_ns && !sleeper.is_finished(), "it never slept");
            thread::yield_now();
        }
        // SAFETY: the thread has not been joined, so its id is valid.
        unsafe { libc::pthread_kill(sleeper.as_pthread_t(), libc::SIGUSR1) };
        while !interrupted.load(Ordering::SeqCst) {
            assert!(now_ns() < until_ns && !sleeper.is_finished(), "the signal did not end it");
            thread::yield_now();
        }
        far.write_all(b"late").unwrap();
        sleeper.join().unwrap();
    }
}

fn a_blocked_signal_does_not_end_the_sleep<T: Io + 'static>(open: fn() -> io::Result<T>) {
    interrupt_on(libc::SIGUSR2);
    let (near, mut far) = tcp_pair();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let sleeper = thread::spawn(move || {
        block_all_signals_in_this_thread();
        let mut io = open().unwrap();
        let mut got = Message::space(4);
        io.receive(1, &near, &mut got, true);
        io.look();
        ready.send(()).unwrap();
        let mut done_now = Vec::new();
        io.wait(Wait { until_ns: now_ns() + PATIENCE_NS, spin_ns: 0 }, &mut done_now).unwrap();
        assert_eq!(done_now, [done(1, 4)]);
    });
    is_ready.recv().unwrap();
    for _ in 0..100 {
        // SAFETY: as above.
        unsafe { libc::pthread_kill(sleeper.as_pthread_t(), libc::SIGUSR2) };
        thread::yield_now();
    }
    far.write_all(b"late").unwrap();
    sleeper.join().unwrap();
}

fn readiness_tells_of_the_peers_leaving<T: Io + 'static>(open: fn() -> io::Result<T>) {
    for (near, far) in pairs() {
        let mut io = open().unwrap();
        io.readable(1, near.as_raw_fd());
        assert_eq!(io.look(), []);
        drop(far);
        let left = io.finish(1, 0);
        assert!(left[0].result & i32::from(libc::POLLIN) != 0, "{left:?}");
    }
}
