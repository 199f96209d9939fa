//! This process as a member of a world: its listener, its progress thread, its lanes.

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use super::choose::{Choice, DriverKind};
use super::fork::{self, Fd};
use super::lane::{Lane, NUMBER_MAX};
use super::progress::{self, Facts, Handle, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Pool;
use crate::session::Settings;
use crate::types::{Rank, Sequence};

/// How long leaving may take, all in all a little above what the goodbye itself may.
const LEAVE_LIMIT: Duration = Duration::from_millis(1200);

/// Owns the listener, the control links and the progress thread.
pub struct Process {
    facts: Arc<Facts>,
    handle: Handle,
    driver: Arc<Choice>,
    next_lane: AtomicU32,
    left: AtomicBool,
    made_in: u64,
}

impl Process {
    pub(crate) fn start(facts: Facts, listeners: Vec<Fd>, driver: Choice) -> Result<Process> {
        fork::install().map_err(|cause| Error::system("cannot watch for forks", &cause))?;
        for listener in &listeners {
            tracing::debug!(rank = facts.rank, descriptor = listener.as_raw_fd(), "listening");
        }
        let facts = Arc::new(facts);
        let driver = Arc::new(driver);
        let handle = progress::start(Arc::clone(&facts), listeners, Arc::clone(&driver))?;
        Ok(Process {
            facts,
            handle,
            driver,
            next_lane: AtomicU32::new(0),
            left: AtomicBool::new(false),
            made_in: fork::generation(),
        })
    }

    /// A lane for a communicator of this process.
    pub(crate) fn open_lane(
        &self,
        settings: Settings,
        pool: Pool,
        spin_ns: u64,
    ) -> Result<Arc<Lane>> {
        let number = self.next_lane.fetch_add(1, Ordering::Relaxed);
        if number >= NUMBER_MAX {
            let text = format!("a process makes at most {NUMBER_MAX} communicators");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let handle = self.handle.clone();
        let lane =
            Arc::new(Lane::new(settings, number, pool, handle, Arc::clone(&self.driver), spin_ns));
        self.handle.ask(Request::Register { lane: Arc::clone(&lane) });
        Ok(lane)
    }

    /// Waits a while for the control links to these ranks; gives those still missing.
    pub(crate) fn reach(&self, ranks: &[Rank], pause: Duration) -> Result<Vec<Rank>> {
        self.facts.roll.wait(ranks, pause)
    }

    /// Forgets a closed lane.
    pub(crate) fn retire(&self, lane: &Lane) {
        self.handle.ask(Request::Retire { lane: lane.number });
    }

    /// Says goodbye and ends the progress thread. Bounded; the second call does nothing.
    pub(crate) fn leave(&self, finished: Vec<(u64, u32, Sequence)>) {
        if self.left.swap(true, Ordering::AcqRel) || fork::check(self.made_in).is_err() {
            return;
        }
        let (done, gone) = crossbeam_channel::bounded(1);
        self.handle.ask(Request::Leave { finished, done });
        let _ = gone.recv_timeout(LEAVE_LIMIT);
    }

    /// Lets the progress thread panic.
    #[cfg(test)]
    pub(crate) fn break_progress(&self) {
        self.handle.ask(Request::Panic);
    }

    pub(crate) fn driver(&self) -> DriverKind {
        self.driver.kind
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.facts.authenticated
    }

    pub(crate) fn made_in(&self) -> u64 {
        self.made_in
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.leave(Vec::new());
    }
}
