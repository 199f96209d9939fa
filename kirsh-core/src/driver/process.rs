//! This process as a member of a world: its listener, its progress thread, its lanes.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::channel;
use super::choose::{Choice, DriverKind};
use super::fork::{self, Fd};
use super::lane::{Lane, Makings, NUMBER_MAX, closed};
use super::observed::Observed;
use super::progress::{self, Facts, Handle, Request};
use super::rate::Limiter;
use super::sending::Sending;
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::session::Settings;
use crate::types::{Rank, Sequence};

/// How long leaving may take, all in all a little above what the goodbye itself may.
const LEAVE_LIMIT: Duration = Duration::from_millis(1200);

/// Owns the listener, the control links and the progress thread, for all communicators that stem from
/// one `create`. It leaves when the last of them closes.
pub struct Process {
    facts: Arc<Facts>,
    handle: Handle,
    driver: Arc<Choice>,
    /// Of what goes to other hosts, over all lanes.
    limiter: Option<Arc<Limiter>>,
    next_lane: AtomicU32,
    open: Mutex<Open>,
    made_in: u64,
}

/// Which communicators there are.
#[derive(Default)]
struct Open {
    lanes: usize,
    /// The process has said goodbye, and makes no more of them.
    left: bool,
}

impl Process {
    pub(crate) fn start(facts: Facts, listeners: Vec<Fd>, driver: Choice) -> Result<Process> {
        fork::install().map_err(|cause| Error::system("cannot watch for forks", &cause))?;
        for listener in &listeners {
            tracing::debug!(rank = facts.rank, descriptor = listener.as_raw_fd(), "listening");
        }
        let limiter = facts.rate_limit.map(|rate| Arc::new(Limiter::new(rate)));
        let facts = Arc::new(facts);
        let driver = Arc::new(driver);
        let handle = progress::start(Arc::clone(&facts), listeners, Arc::clone(&driver))?;
        Ok(Process {
            facts,
            handle,
            driver,
            limiter,
            next_lane: AtomicU32::new(0),
            open: Mutex::default(),
            made_in: fork::generation(),
        })
    }

    /// A lane for a communicator of this process, to be given to [`Process::close_lane`].
    pub(crate) fn open_lane(&self, mut settings: Settings, makings: Makings) -> Result<Arc<Lane>> {
        let mut open = self.open();
        if open.left {
            return Err(closed());
        }
        let number = self.next_lane.fetch_add(1, Ordering::Relaxed);
        if number >= NUMBER_MAX {
            let text = format!("a process makes at most {NUMBER_MAX} communicators");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let handle = self.handle.clone();
        let hosts = self.hosts(makings.members.world_ranks());
        let here = hosts[settings.rank as usize];
        let near: Arc<[bool]> = hosts.into_iter().map(|host| host == here).collect();
        settings.dealing.single =
            if makings.stripes_near { Arc::default() } else { Arc::clone(&near) };
        let sending = Sending { near, zero_copy: makings.zero_copy, limiter: self.limiter.clone() };
        let driver = Arc::clone(&self.driver);
        let observed = Arc::clone(&self.facts.observed);
        let lane = Lane::new(settings, number, makings, sending, observed, handle, driver);
        let lane = Arc::new(lane);
        let (done, registered) = crossbeam_channel::bounded(1);
        self.handle.ask(Request::Register { lane: Arc::clone(&lane), done });
        // A lane that no progress thread knows would wait for ever.
        registered.recv().map_err(|_| {
            Error::new(ErrorKind::Internal, "the progress thread has failed before")
                .with_scope(Scope::Communicator)
        })?;
        open.lanes += 1;
        drop(open);
        lane.family.add(&lane);
        Ok(lane)
    }

    /// A thread for a further channel of a communicator.
    pub(crate) fn start_driver(&self, channel: u16) -> Result<channel::Driver> {
        let name = format!("kirsh-{}-{channel}", self.facts.rank);
        channel::Driver::start(name, Arc::clone(&self.driver))
    }

    /// Waits a while for the control links to these ranks; gives those still missing.
    pub(crate) fn reach(&self, ranks: &[Rank], pause: Duration) -> Result<Vec<Rank>> {
        self.facts.roll.wait(ranks, pause)
    }

    /// Forgets a lane that is closed and was through with so many operations, and has its members
    /// told. With the last one the process leaves.
    pub(crate) fn close_lane(&self, lane: &Lane, finished: Sequence) {
        self.handle.ask(Request::Retire { lane: lane.number, finished });
        let mut open = self.open();
        open.lanes -= 1;
        if open.lanes == 0 {
            self.leave(open);
        }
    }

    /// Says goodbye and ends the progress thread. Bounded; the second call does nothing.
    fn leave(&self, mut open: MutexGuard<'_, Open>) {
        if std::mem::replace(&mut open.left, true) {
            return;
        }
        drop(open);
        let (done, gone) = crossbeam_channel::bounded(1);
        self.handle.ask(Request::Leave { done });
        let _ = gone.recv_timeout(LEAVE_LIMIT);
        if let Some(trace) = self.observed().trace() {
            trace.finish();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where each of these ranks of the world is: a number for its host.
    pub(crate) fn hosts(&self, world_ranks: &[Rank]) -> Vec<u64> {
        world_ranks.iter().map(|rank| self.facts.peers[*rank as usize].host_id).collect()
    }

    /// Lets links that nothing else is said of take this rail.
    pub(crate) fn prefer_rail(&self, rail: u8) {
        self.facts.rail.store(rail, Ordering::Relaxed);
    }

    /// Lets the progress thread panic.
    #[cfg(test)]
    pub(crate) fn break_progress(&self) {
        self.handle.ask(Request::Panic);
    }

    pub(crate) fn driver(&self) -> DriverKind {
        self.driver.kind
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.facts.observed
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
        // In a forked child another thread may have had the lock.
        if fork::check(self.made_in).is_ok() {
            self.leave(self.open());
        }
    }
}
