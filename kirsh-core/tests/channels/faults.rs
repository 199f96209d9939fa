//! What becomes of calls of several channels when something goes wrong.

use std::path::Path;
use std::time::Duration;

use kirsh_core::comm::RawCall;
use kirsh_core::{
    Collective, Communicator, DataType, Error, ErrorKind, Options, ReduceOp, Timeout,
};

use super::common::{comm, failed, said};

/// Enough elements for every link to be full of bytes on their way.
const MANY: usize = 2 << 20;

fn reduce(comm: &Communicator, count: usize, options: &Options<'_>) -> Result<(), Error> {
    comm.allreduce(&mut vec![1i64; count], ReduceOp::Sum, options)
}

/// A call on which nothing is to be found wrong, and so channels and links are there.
fn warm() -> Communicator {
    let comm = comm();
    reduce(&comm, 1000, &Options::default()).unwrap();
    comm
}

/// Calls until one fails; the failure must then stay.
fn until_it_fails(comm: &Communicator, how: &str) {
    let error = loop {
        let outcome = match how {
            "started" => comm
                .start_allreduce(vec![1i64; MANY], ReduceOp::Sum, &Options::default())
                .and_then(|work| work.wait().map(drop).map_err(|(error, _)| error)),
            _ => reduce(comm, MANY, &Options::default()),
        };
        if let Err(error) = outcome {
            break error;
        }
    };
    failed(&error);
    for count in [1, 1000] {
        let again = reduce(comm, count, &Options::default()).expect_err("a poisoned communicator");
        assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
        let work = comm.start_allreduce(vec![1i64; count], ReduceOp::Sum, &Options::default());
        let (again, _) = work.unwrap().wait().expect_err("a poisoned communicator");
        assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
    }
}

pub(crate) fn killed(how: &str) {
    let comm = warm();
    if comm.rank() == 2 {
        std::thread::scope(|scope| {
            scope.spawn(|| until_it_fails(&comm, how));
            // In the midst of one of them.
            while comm.stats().bytes_sent < 50 << 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
            said("dies", "");
            // SAFETY: ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        });
    }
    until_it_fails(&comm, how);
}

pub(crate) fn mismatch(count: &str) {
    let comm = warm();
    let count = if comm.rank() == 1 { count.parse().unwrap() } else { 100_000 };
    let mut error = reduce(&comm, count, &Options::default()).err();
    // A rank that gives nothing is through, and hears of it in its next call.
    while error.is_none() {
        error = reduce(&comm, 5, &Options::default()).err();
    }
    failed(&error.unwrap());
}

pub(crate) fn refused() {
    let comm = warm();
    let mut data = vec![1i64; 100_000];
    let options = Options::default();
    if comm.rank() != 1 {
        return failed(&comm.allreduce(&mut data, ReduceOp::Sum, &options).unwrap_err());
    }
    let first = data.as_mut_ptr().cast::<u8>();
    let call = RawCall::new(Collective::Allreduce, DataType::Int64, 50_000);
    // SAFETY: both lie in the array, and the call is refused for how they lie.
    failed(&unsafe { comm.call_raw(&call.send(first).recv(first.add(8)), &options) }.unwrap_err());
}

pub(crate) fn aborts(how: &str) {
    let comm = warm();
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| until_it_fails(&comm, how));
        if comm.rank() == 1 {
            while comm.stats().bytes_sent < 20 << 20 {
                std::thread::sleep(Duration::from_millis(1));
            }
            comm.abort("enough of it");
        }
        calls.join().unwrap();
    });
}

/// A call of the first channel alone fails while the others are idle, and then they are needed, by
/// some of the ranks.
pub(crate) fn idle() {
    let comm = warm();
    let options = Options::default();
    let other = comm.dup(0, &options).unwrap();
    let start = |count| comm.start_allreduce(vec![1i64; count], ReduceOp::Sum, &options).unwrap();
    // The call that fails is not the next one that the other channels know.
    comm.barrier(&options).unwrap();
    let differs = match comm.rank() {
        1 => start(1).wait().err().map(|(error, _)| error),
        _ => comm.start_barrier(&options).unwrap().wait(Timeout::Default).err(),
    };
    failed(&differs.expect("calls that differ"));
    if comm.rank() != 1 {
        let (again, _) = start(1000).wait().expect_err("a poisoned communicator");
        assert_eq!(again.kind(), ErrorKind::Mismatch, "{again}");
    }
    // Nobody leaves before all have seen that.
    other.barrier(&options).unwrap();
}

/// One rank is through with its part of a call on the first channel, and in the next call, while another
/// channel still waits for a link, if it is the peer's to make. Detail: which rank, and a file that it
/// makes at its end.
pub(crate) fn behind(detail: &str) {
    let (ahead, ended) = detail.split_once(' ').unwrap();
    let (ahead, ended) = (ahead.parse().unwrap(), Path::new(ended));
    let comm = comm();
    // Nothing but the abort ends a call.
    let options = Options { timeout: Timeout::Forever, ..Options::default() };
    // The first channel alone has a link now.
    reduce(&comm, 1, &options).unwrap();
    if comm.rank() != ahead {
        while !ended.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // All of the first call may have come by then.
        let mut error = None;
        while error.is_none() {
            error = comm.broadcast(&mut vec![1i64; 1000], ahead, &options).err();
        }
        return failed(&error.unwrap());
    }
    let [first, second] =
        [1000, MANY].map(|count| comm.start_broadcast(vec![1i64; count], ahead, &options).unwrap());
    while comm.stats().bytes_sent < 100_000 {
        std::thread::sleep(Duration::from_millis(1));
    }
    comm.abort("enough of it");
    if let Err((error, _)) = first.wait() {
        assert_eq!(error.kind(), ErrorKind::Aborted, "{error}");
    }
    failed(&second.wait().expect_err("an aborted call").0);
    std::fs::write(ended, b"").unwrap();
}

pub(crate) fn late() {
    let comm = warm();
    // Some tenths of a second's work, of which rank 0 sees the beginning.
    let mut data: Vec<i64> = (0..4 * MANY as i64).collect();
    if comm.rank() == 1 {
        return failed(&comm.allreduce(&mut data, ReduceOp::Sum, &Options::default()).unwrap_err());
    }
    let options =
        Options { timeout: Timeout::After(Duration::from_millis(5)), ..Options::default() };
    failed(&comm.allreduce(&mut data, ReduceOp::Sum, &options).unwrap_err());
    // Whatever has come by then is undefined, but it stays.
    let then = data.clone();
    std::thread::sleep(Duration::from_millis(300));
    assert!(std::hint::black_box(&data) == &then, "written after the call had returned");
}
