//! Ranks that call different things, or what cannot be, or give up.

use std::sync::mpsc;
use std::time::Duration;

use kirsh_core::{ErrorKind, Options, ReduceOp};

use super::super::common::{comm, failed, said};
use super::{MANY, reduce};

/// Detail: the rank that calls something else, and what differs.
pub(super) fn mismatch(detail: &str) {
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
pub(super) fn refused(detail: &str) {
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

/// Detail: the rank whose other thread aborts. Rank 3 never makes the call.
pub(super) fn abort(detail: &str) {
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
