//! Leaving: each communicator says goodbye once, and at the end of the process all of them do,
//! within a bound for all together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::graveyard;

/// A communicator of the core, and whether it was told to leave.
pub(crate) struct Member {
    pub(crate) comm: kirsh_core::Communicator,
    closed: AtomicBool,
    /// The process that it belongs to: in a forked child it is not ours to close.
    pid: u32,
}

static MEMBERS: Mutex<Vec<Weak<Member>>> = Mutex::new(Vec::new());

impl Member {
    /// Takes a communicator into the list of those that leave when the process ends.
    pub(crate) fn enlist(comm: kirsh_core::Communicator) -> Arc<Self> {
        let member =
            Arc::new(Member { comm, closed: AtomicBool::new(false), pid: std::process::id() });
        let mut members = MEMBERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        members.retain(|member| member.strong_count() > 0);
        members.push(Arc::downgrade(&member));
        member
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Leaves. Blocks for the goodbye, little more than a second at most, so it is to be called without the GIL.
    pub(crate) fn close(&self) -> kirsh_core::Result<()> {
        self.closed.store(true, Ordering::Release);
        self.comm.close()
    }

    fn is_ours_to_close(&self) -> bool {
        !self.is_closed() && self.pid == std::process::id()
    }
}

/// Close all communicators of this process side by side, waiting no longer than this in all.
///
/// What has not left by then leaves with the process; its peers see it go.
#[pyfunction]
pub(crate) fn leave_all(py: Python<'_>, seconds: f64) {
    let deadline = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
    // Held by another thread only across a fork, and then there is nothing to close here.
    let Ok(members) = MEMBERS.try_lock() else { return };
    let members: Vec<Arc<Member>> = members.iter().filter_map(Weak::upgrade).collect();
    py.detach(move || {
        let (left, leaving) = mpsc::channel();
        let mut started = 0;
        for member in members.into_iter().filter(|member| member.is_ours_to_close()) {
            let left = left.clone();
            let thread = thread::Builder::new().name("kirsh-leave".to_owned()).spawn(move || {
                // The process is ending: there is nobody left to be told of an error, nor to listen
                // once the deadline has passed.
                let _ = member.close();
                let _ = left.send(());
            });
            // Where no thread can be had, the peers see this rank go without a goodbye.
            started += usize::from(thread.is_ok());
        }
        for _ in 0..started {
            let rest = deadline.saturating_duration_since(Instant::now());
            if leaving.recv_timeout(rest).is_err() {
                break;
            }
        }
    });
    graveyard::sweep(py);
}
