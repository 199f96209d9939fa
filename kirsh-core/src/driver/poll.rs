//! The poll(2) driver, for kernels from 4.18 and wherever io_uring is forbidden.
//!
//! An operation is tried at once, without blocking. What cannot go on is kept and tried again when
//! poll(2) says so, or, while spinning, over and over.

use std::io;
use std::os::fd::RawFd;

use super::clock::now_ns;
use super::counters::ONE;
use super::fork::{self, Birthplace};
use super::io::{Account, Completion, Io, Op, TOKEN_RESERVED, Wait};
use super::spin::Spinning;
use super::transfer::Transfer;

/// Operations that fit without allocating: two for each of a hundred peers, and then some.
const CAPACITY: usize = 256;

/// Up to so many operations spinning tries each; beyond, asking poll(2) about all is cheaper.
const TRIED_DIRECTLY_MAX: usize = 4;

/// While spinning on transfers, rounds between two questions to poll(2), which alone shows doorbells.
const ROUNDS_PER_POLL: u32 = 8;

/// While every `wait` finds something done already, how many of them look at the rest once: else a
/// sender whose socket always has room would never hear a doorbell.
const WAITS_PER_LOOK: u32 = 16;

/// What poll(2) says without being asked.
const UNASKED: libc::c_short = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;

/// What an operation still has to do.
enum Remaining {
    Transfer(Transfer),
    /// Only readiness is awaited, and its events are the result.
    Readiness,
}

struct Pending {
    token: u64,
    descriptor: RawFd,
    /// What poll(2) is to look for.
    events: libc::c_short,
    remaining: Remaining,
}

/// Moves bytes by non-blocking calls and poll(2). Nothing is in the kernel's hands between calls,
/// so dropping it ends what is in flight.
pub struct PollIo {
    born: Birthplace,
    pending: Vec<Pending>,
    /// One question for each descriptor, since poll(2) refuses more than may be open.
    asked: Vec<libc::pollfd>,
    /// Whether `pending` has changed since it was put in order of descriptors and asked about.
    stale: bool,
    /// Done, and not yet returned.
    ready: Vec<Completion>,
    waits_without_look: u32,
    spinning: Spinning,
    account: Account,
}

impl PollIo {
    /// A driver with nothing to do.
    ///
    /// # Errors
    /// When libc has no memory for the fork handler.
    pub fn new() -> io::Result<Self> {
        fork::install()?;
        Ok(PollIo {
            born: Birthplace::here(),
            pending: Vec::with_capacity(CAPACITY),
            asked: Vec::with_capacity(CAPACITY),
            stale: false,
            ready: Vec::with_capacity(CAPACITY),
            waits_without_look: 0,
            spinning: Spinning::new(),
            account: Account::default(),
        })
    }

    /// Tries the operation at `index`, given what poll(2) said of it, and takes it out if it is
    /// done: then another is at this index.
    fn try_one(&mut self, index: usize, events: libc::c_short) {
        let pending = &mut self.pending[index];
        let result = match &mut pending.remaining {
            Remaining::Transfer(transfer) => {
                transfer.attempt(pending.descriptor, &mut self.account)
            }
            Remaining::Readiness if events & libc::POLLNVAL != 0 => Some(-libc::EBADF),
            Remaining::Readiness if events != 0 => Some(i32::from(events)),
            Remaining::Readiness => None,
        };
        if let Some(result) = result {
            self.complete(index, result);
        }
    }

    fn complete(&mut self, index: usize, result: i32) {
        let token = self.pending.swap_remove(index).token;
        self.stale = true;
        self.ready.push(Completion::done(token, result));
    }

    /// Puts `pending` in order of descriptors, and one question for each of those into `asked`.
    fn prepare(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        self.pending.sort_unstable_by_key(|pending| pending.descriptor);
        self.asked.clear();
        for &Pending { descriptor, events, .. } in &self.pending {
            match self.asked.last_mut() {
                Some(last) if last.fd == descriptor => last.events |= events,
                _ => self.asked.push(libc::pollfd { fd: descriptor, events, revents: 0 }),
            }
        }
    }

    /// Asks poll(2) about everything pending, sleeping until the time at most (0: not at all), and
    /// tries what can go on.
    fn look(&mut self, until_ns: u64) -> io::Result<()> {
        self.prepare();
        let left_ns = if until_ns == 0 { 0 } else { until_ns.saturating_sub(now_ns()) };
        let timeout = libc::timespec {
            tv_sec: (left_ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (left_ns % 1_000_000_000) as libc::c_long,
        };
        let for_ever = until_ns == u64::MAX;
        let timeout: *const _ = if for_ever { std::ptr::null() } else { &timeout };
        self.account.ppoll += ONE;
        // SAFETY: `asked` is an array of as many `pollfd` as its length says, `timeout` is null or
        // points to a time that outlives the call, and a null mask leaves the signals as they are.
        let found = unsafe {
            libc::ppoll(self.asked.as_mut_ptr(), self.asked.len() as _, timeout, std::ptr::null())
        };
        if found < 0 {
            return Err(io::Error::last_os_error());
        }
        if found > 0 {
            // Both are in the same order. From the end, since `complete` puts the last operation
            // in the place of a finished one.
            let mut answer = self.asked.len();
            for index in (0..self.pending.len()).rev() {
                let Pending { descriptor, events, .. } = self.pending[index];
                while answer == self.asked.len() || self.asked[answer].fd != descriptor {
                    answer -= 1;
                }
                let events = self.asked[answer].revents & (events | UNASKED);
                if events != 0 {
                    self.try_one(index, events);
                }
            }
        }
        Ok(())
    }

    /// Tries what is pending over and over until something is done or the time has come, and lets
    /// others have the core between two rounds.
    fn spin(&mut self, until_ns: u64) -> io::Result<()> {
        let mut before = None;
        for round in 0u32.. {
            let few = self.pending.len() <= TRIED_DIRECTLY_MAX;
            if few {
                for index in (0..self.pending.len()).rev() {
                    self.try_one(index, 0);
                }
            }
            if self.ready.is_empty() && (!few || round % ROUNDS_PER_POLL == 0) {
                self.look(0)?;
            }
            if !self.ready.is_empty() {
                self.spinning.found(before);
                break;
            }
            let now = now_ns();
            if !self.spinning.goes_on(before, now) || now >= until_ns {
                break;
            }
            std::thread::yield_now();
            before = Some(now);
        }
        Ok(())
    }

    /// Brings at least one completion into `ready`, unless the time or a signal comes first.
    fn advance(&mut self, wait: Wait) -> io::Result<()> {
        if !self.ready.is_empty() {
            self.waits_without_look += 1;
            if self.waits_without_look < WAITS_PER_LOOK || self.pending.is_empty() {
                return Ok(());
            }
            self.waits_without_look = 0;
            // There is something to return, so a failure waits until it is met again.
            let _ = self.look(0);
            return Ok(());
        }
        self.waits_without_look = 0;
        let now = now_ns();
        if now >= wait.until_ns {
            return self.look(0);
        }
        self.account.waiting_since_ns = now;
        let spin_ns = self.spinning.allowed_ns(wait.spin_ns);
        if spin_ns > 0 {
            self.spin(now.saturating_add(spin_ns).min(wait.until_ns))?;
        }
        while self.ready.is_empty() && now_ns() < wait.until_ns {
            self.look(wait.until_ns)?;
        }
        Ok(())
    }
}

impl Io for PollIo {
    unsafe fn submit(&mut self, token: u64, descriptor: RawFd, op: Op) {
        debug_assert_ne!(token, TOKEN_RESERVED);
        if self.born.check().is_err() {
            return;
        }
        let (events, remaining) = match op {
            Op::Send { message, all, zero_copy: _ } => {
                // SAFETY: the caller lends the message until its completion has been returned,
                // and the transfer is dropped when its completion is made.
                let transfer = unsafe { Transfer::send(message, all) };
                (libc::POLLOUT, Remaining::Transfer(transfer))
            }
            Op::Receive { message, all } => {
                // SAFETY: as for a send; the caller also lets us write.
                let transfer = unsafe { Transfer::receive(message, all) };
                (libc::POLLIN, Remaining::Transfer(transfer))
            }
            Op::Readable => (libc::POLLIN, Remaining::Readiness),
            Op::Writable => (libc::POLLOUT, Remaining::Readiness),
        };
        self.pending.push(Pending { token, descriptor, events, remaining });
        self.stale = true;
        if descriptor < 0 {
            // poll(2) would pass over it for ever.
            self.complete(self.pending.len() - 1, -libc::EBADF);
        } else {
            self.try_one(self.pending.len() - 1, 0);
        }
    }

    fn wait(&mut self, wait: Wait, done: &mut Vec<Completion>) -> io::Result<()> {
        self.born.check().map_err(io::Error::other)?;
        let advanced = self.advance(wait);
        if self.ready.is_empty() {
            return advanced;
        }
        done.append(&mut self.ready);
        Ok(())
    }

    fn cancel(&mut self, descriptor: RawFd) {
        if self.born.check().is_err() {
            return;
        }
        for index in (0..self.pending.len()).rev() {
            if self.pending[index].descriptor == descriptor {
                let result = match &self.pending[index].remaining {
                    Remaining::Transfer(transfer) => transfer.moved_or(-libc::ECANCELED),
                    Remaining::Readiness => -libc::ECANCELED,
                };
                self.complete(index, result);
            }
        }
    }

    fn in_flight(&self) -> usize {
        self.pending.len() + self.ready.len()
    }

    fn account(&mut self) -> &mut Account {
        &mut self.account
    }
}

impl std::fmt::Debug for PollIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollIo").field("in_flight", &self.in_flight()).finish_non_exhaustive()
    }
}
