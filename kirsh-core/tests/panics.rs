//! A panic in a call that waits: the caller gets its memory back, the communicator is over with an
//! error that says so, and nobody hangs. Real processes, both drivers.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Group, for_each_driver};
use kirsh_core::{Communicator, Options, ReduceOp, Result, set_interrupt_check};

/// Rank 1 alone panics, each time its interrupt check is asked from then on.
static PANICS: AtomicBool = AtomicBool::new(false);

fn check() -> bool {
    assert!(!PANICS.load(Ordering::Relaxed), "asked to");
    false
}

#[test]
fn a_rank() {
    if let Some((_, detail)) = common::scenario() {
        let (how, mark) = detail.split_once(' ').expect("how, and where to leave the mark");
        play(how, Path::new(mark));
    }
}

/// Rank 0 makes no call until rank 1 has left its mark, so that rank 1 waits in its own.
fn play(how: &str, mark: &Path) {
    set_interrupt_check(check);
    let comm = common::comm();
    comm.barrier(&Options::default()).unwrap();
    if comm.rank() == 1 {
        PANICS.store(true, Ordering::Relaxed);
        if how == "driving" {
            assert!(panics_in_a_call(&comm));
        } else {
            // One drives and the other waits behind it. Whoever is not first to panic may hear of
            // the end that the other's panic is for the communicator.
            std::thread::scope(|scope| {
                let calls = [0, 1].map(|_| scope.spawn(|| panics_in_a_call(&comm)));
                assert!(calls.map(|call| call.join().unwrap()).contains(&true));
            });
        }
        PANICS.store(false, Ordering::Relaxed);
        std::fs::write(mark, "").unwrap();
    } else {
        let until = Instant::now() + common::OPERATION;
        while !mark.exists() {
            assert!(Instant::now() < until, "rank 1 does not come back");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // The lane is let go, and over.
    common::failed(&allreduce(&comm).unwrap_err());
}

fn allreduce(comm: &Communicator) -> Result<()> {
    comm.allreduce(&mut vec![1u32; 1 << 20], ReduceOp::Sum, &Options::default())
}

fn panics_in_a_call(comm: &Communicator) -> bool {
    match catch_unwind(AssertUnwindSafe(|| allreduce(comm))) {
        Ok(outcome) => {
            outcome.expect_err("rank 0 is not there");
            false
        }
        Err(panic) => {
            assert_eq!(panic.downcast_ref::<&str>(), Some(&"asked to"));
            true
        }
    }
}

#[test]
fn a_call_that_panics_ends_the_communicator_and_hangs_nobody() {
    for_each_driver(|driver| {
        for how in ["driving", "behind"] {
            let name = format!("kirsh-panics-{}-{driver}-{how}", std::process::id());
            let mark = std::env::temp_dir().join(name);
            let detail = format!("{how} {}", mark.display());
            let outcomes = Group::new("panic", 2).driver(driver).detail(detail).succeed();
            std::fs::remove_file(&mark).unwrap();
            for outcome in &outcomes {
                let failure = outcome.failure();
                assert_eq!(failure.scope, "Communicator", "{driver}, {how}: {failure:?}");
                assert_eq!(failure.kind, "internal", "{driver}, {how}: {failure:?}");
                assert!(failure.message.contains("panicked"), "{driver}, {how}: {failure:?}");
            }
        }
    });
}
