//! Calls that fail while bytes are on their way into their arrays.

use std::time::Duration;

use kirsh_core::{Communicator, Options, ReduceOp, Timeout};

use super::super::common::{comm, failed, said};
use super::MANY;

/// What an array holds that its owner has taken back.
const OWN: u8 = 0xa5;

/// How often an array is looked at, each time after an exchange with every other rank: by the first
/// they have all given up, so whatever they still send is on its way.
const LOOKS: usize = 20;

/// Makes sure that nobody writes to an array that was taken back. The calling thread goes on using
/// `other`, so that a driver that still had something to do there would do it.
fn watch_over(data: &[u8], other: &Communicator) {
    let page = [OWN; 1 << 16];
    for _ in 0..LOOKS {
        other.barrier(&Options::default()).expect("a communicator that nothing befell");
        for part in data.chunks(page.len()) {
            assert!(*part == page[..part.len()], "somebody wrote after the call was over");
        }
    }
    said("unchanged", "");
}

/// The root is stopped in the middle of sending; the other gives up, takes its array back and
/// lets the root go on. Detail: `started` or `blocking`.
pub(super) fn lent(detail: &str) {
    let (comm, other) = (comm(), comm());
    let mut pid = [std::process::id()];
    comm.broadcast(&mut pid, 1, &Options::default()).unwrap();
    // A gibibyte, which no host moves before the root is stopped.
    let mut data = vec![1u8; 256 * MANY];
    comm.barrier(&Options::default()).unwrap();
    let pid = pid[0] as libc::pid_t;
    if comm.rank() == 1 {
        comm.broadcast(&mut data, 1, &Options::default()).expect_err("nobody takes it");
        for _ in 0..LOOKS {
            other.barrier(&Options::default()).unwrap();
        }
        return;
    }
    let sibling = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        // SAFETY: the process that said so is a rank of this test, and is alive.
        unsafe { libc::kill(pid, libc::SIGSTOP) };
    });
    let brief = Timeout::After(Duration::from_millis(300));
    let options = Options { timeout: brief, ..Options::default() };
    let outcome = if detail == "started" {
        // The progress thread goes on visiting the kernel, so what was left there would be done.
        let work = comm.start_broadcast(data, 1, &options).unwrap();
        let (error, buffer) = work.wait().expect_err("too little time");
        data = buffer;
        Err(error)
    } else {
        comm.broadcast(&mut data, 1, &options)
    };
    data.fill(OWN);
    sibling.join().unwrap();
    // Only now, so that what the root still sends comes after that.
    // SAFETY: as above.
    unsafe { libc::kill(pid, libc::SIGCONT) };
    failed(&outcome.expect_err("too little time"));
    watch_over(&data, &other);
}

/// One rank aborts while all send and receive; the others find out while bytes are on their way.
pub(super) fn overtaken() {
    let (comm, other) = (comm(), comm());
    let mut data = vec![1u8; 32 * MANY];
    comm.barrier(&Options::default()).unwrap();
    std::thread::scope(|scope| {
        if comm.rank() == 1 {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(40));
                comm.abort("enough");
            });
        }
        let outcome = (0..1000)
            .try_for_each(|_| comm.allreduce(&mut data, ReduceOp::Max, &Options::default()));
        data.fill(OWN);
        failed(&outcome.expect_err("an abort"));
    });
    watch_over(&data, &other);
}
