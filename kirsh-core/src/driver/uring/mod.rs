//! The io_uring driver: a ring for each thread, and one system call for each time it wakes.
//!
//! `submit` writes to the submission queue, and `wait` hands everything over and sleeps in the same
//! call. With deferred task work the kernel completes nothing until the thread enters it; a flag in
//! shared memory says when that is worth while, and spinning reads only that.

mod op;
pub mod setup;
mod small;

use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use io_uring::{EnterFlags, IoUring, squeue, types};

use super::clock::now_ns;
use super::counters::ONE;
use super::fork::{self, Birthplace};
use super::io::{Account, Completion, Event, Io, Op, TOKEN_RESERVED, Wait};
use super::socket;
use super::spin::Spinning;
use crate::limits::LOOK_AHEAD_MAX;

/// Looks at the shared flags between two looks at the clock, which costs some 25 ns.
const LOOKS_PER_CLOCK: u32 = 8;

/// How often a full queue is handed over before an operation is given up with `-EAGAIN`. Only a
/// kernel that has no memory for requests makes more than one round necessary.
const PUSH_ATTEMPTS: u32 = 64;

/// Sends without a copy that fit without allocating: those of one plan's live steps.
const LENDING_ROOM: usize = LOOK_AHEAD_MAX;

/// How long dropping waits before it cancels again, in nanoseconds. A cancel can miss a request
/// that is just then being retried.
const DROP_RETRY_NS: u64 = 50_000_000;

/// How a visit to the kernel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Visit {
    /// Everything pushed has been taken, and whatever was waited for may be there.
    Done,
    /// The kernel wants completions fetched, or has no memory just now; entries may be left.
    Busy,
    /// A signal came.
    Interrupted,
}

/// Moves bytes by io_uring. Bound to the thread that made it.
///
/// Dropping it with operations in flight cancels them and waits for their end, since the kernel
/// holds their memory. In a forked child dropping does nothing. For a moment afterwards blocking
/// calls of the thread may be interrupted without a signal, while the kernel takes the ring down.
pub struct UringIo {
    ring: ManuallyDrop<IoUring>,
    features: Vec<&'static str>,
    born: Birthplace,
    /// Handed in by callers and not yet returned.
    in_flight: usize,
    /// Tokens and sockets of sends that were to be made without a copy and are not over.
    lending: Vec<(u64, RawFd)>,
    spinning: Spinning,
    /// Small receives that the kernel does not know of yet.
    held: Vec<small::Held>,
    /// Completions fetched to make room, and of plain calls, for the next `wait`.
    early: Vec<Completion>,
    account: Account,
    _bound_to_thread: PhantomData<*mut ()>,
}

impl UringIo {
    /// Opens a ring for the calling thread.
    ///
    /// # Errors
    /// `EPERM` or `ENOSYS` where io_uring is forbidden, `ENOMEM` where too little memory may be
    /// locked, `EMFILE` without a free descriptor.
    pub fn new() -> io::Result<Self> {
        Self::over(setup::ring()?)
    }

    /// As `new`, on a ring such as older kernels make.
    #[cfg(test)]
    pub(super) fn new_without(left_off: usize) -> io::Result<Self> {
        Self::over(setup::ring_without(left_off)?)
    }

    fn over((ring, features): (IoUring, Vec<&'static str>)) -> io::Result<Self> {
        fork::register(ring.as_raw_fd())?;
        let early = Vec::with_capacity(ring.params().cq_entries() as usize);
        Ok(UringIo {
            ring: ManuallyDrop::new(ring),
            features,
            born: Birthplace::here(),
            in_flight: 0,
            lending: Vec::with_capacity(LENDING_ROOM),
            spinning: Spinning::new(),
            held: Vec::with_capacity(LOOK_AHEAD_MAX),
            early,
            account: Account::default(),
            _bound_to_thread: PhantomData,
        })
    }

    /// The ring features in force, by name.
    pub fn features(&self) -> &[&'static str] {
        &self.features
    }

    /// Whether entries are pushed that the kernel has not taken.
    fn has_unsubmitted(&mut self) -> bool {
        !self.ring.submission().is_empty()
    }

    /// Whether an entry into the kernel would bring completions that the queue does not show yet.
    fn has_deferred(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Moves the completions that are in the queue to `done`. Returns how many the queue held,
    /// with those that stay inside the driver.
    fn fetch(&mut self, done: &mut Vec<Completion>) -> usize {
        let mut fetched = 0;
        for entry in self.ring.completion() {
            fetched += 1;
            if entry.user_data() == TOKEN_RESERVED {
                continue;
            }
            // A request that a cancel finds in a kernel worker is woken by a signal and says EINTR.
            let result = match entry.result() {
                interrupted if interrupted == -libc::EINTR => -libc::ECANCELED,
                result => result,
            };
            let token = entry.user_data();
            done.push(Completion { token, result, event: op::send::event(entry.flags(), result) });
        }
        fetched
    }

    /// Fetches completions before their time, so that the kernel can go on.
    fn fetch_early(&mut self) -> usize {
        let mut early = std::mem::take(&mut self.early);
        let fetched = self.fetch(&mut early);
        self.early = early;
        fetched
    }

    /// Hands over everything pushed and works off what was deferred. With `sleep_until_ns` the
    /// kernel then waits for one completion.
    fn enter(&mut self, sleep_until_ns: Option<u64>) -> io::Result<Visit> {
        self.account.enter += ONE;
        let pushed = self.ring.submission().len();
        let submitter = self.ring.submitter();
        let getevents = EnterFlags::GETEVENTS;
        let entered = match sleep_until_ns {
            // SAFETY: without an argument there is nothing to be valid; the entries are vouched for
            // by the callers of `submit`.
            None => unsafe {
                submitter.enter::<libc::sigset_t>(pushed as u32, 0, getevents.bits(), None)
            },
            // SAFETY: as above.
            Some(u64::MAX) => unsafe {
                submitter.enter::<libc::sigset_t>(pushed as u32, 1, getevents.bits(), None)
            },
            Some(until_ns) => {
                let left_ns = until_ns.saturating_sub(now_ns());
                let timeout = types::Timespec::new()
                    .sec(left_ns / 1_000_000_000)
                    .nsec((left_ns % 1_000_000_000) as u32);
                let arguments = types::SubmitArgs::new().timespec(&timeout);
                let flags = (getevents | EnterFlags::EXT_ARG).bits();
                // SAFETY: EXT_ARG goes with a `SubmitArgs`, which is the kernel's structure, and
                // it and the time it points to outlive the call.
                unsafe { submitter.enter(pushed as u32, 1, flags, Some(&arguments)) }
            }
        };
        match entered {
            Ok(taken) if taken < pushed => Ok(Visit::Busy),
            Ok(_) => {
                // The kernel reports what it took in preference to how the sleep ended, and so
                // hides a signal. Sleep with nothing to show for it, before the time: a signal.
                let slept_for_nothing = sleep_until_ns.is_some_and(|until_ns| {
                    pushed > 0 && self.ring.completion().is_empty() && now_ns() < until_ns
                });
                Ok(if slept_for_nothing { Visit::Interrupted } else { Visit::Done })
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME) => Ok(Visit::Done),
                Some(libc::EINTR) => Ok(Visit::Interrupted),
                Some(libc::EBUSY | libc::EAGAIN) => Ok(Visit::Busy),
                _ => Err(error),
            },
        }
    }

    /// Pushes an entry, handing over the queue if it is full. False if the kernel takes nothing.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        for _ in 0..PUSH_ATTEMPTS {
            // SAFETY: the memory an entry names is vouched for by the caller of `Io::submit`.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            let visit = self.enter(None);
            if self.fetch_early() == 0 && !matches!(visit, Ok(Visit::Done)) {
                std::thread::yield_now();
            }
        }
        false
    }

    /// Pushes an operation's entry; one that the kernel does not take is over with an error.
    fn push_or_fail(&mut self, token: u64, entry: &squeue::Entry) {
        if !self.push(&entry.clone().user_data(token)) {
            self.early.push(Completion::done(token, -libc::EAGAIN));
        }
    }

    /// Looks from user space until there is something to fetch or to enter for, or until the time,
    /// and now and then lets others have the core. Returns the time of the last look at the clock, or
    /// none where looking does not pay any more.
    fn spin(&mut self, until_ns: u64) -> Option<u64> {
        let mut before = None;
        loop {
            self.try_held();
            // Each call that found nothing has taken as long as some looks.
            let looks = if self.held.is_empty() { LOOKS_PER_CLOCK } else { 1 };
            for _ in 0..looks {
                let has_done = !self.early.is_empty() || !self.ring.completion().is_empty();
                if has_done || self.has_deferred() {
                    self.spinning.found(before);
                    return Some(0);
                }
                std::hint::spin_loop();
            }
            let now = now_ns();
            if !self.spinning.goes_on(before, now) {
                return None;
            }
            if now >= until_ns {
                return Some(now);
            }
            std::thread::yield_now();
            before = Some(now);
        }
    }

    /// `wait` without the count of what is in flight.
    fn wait_for_one(&mut self, wait: Wait, done: &mut Vec<Completion>) -> io::Result<()> {
        let before = done.len();
        done.append(&mut self.early);
        self.fetch(done);
        if done.len() > before {
            self.try_held();
            done.append(&mut self.early);
            // What was pushed must not wait for the caller to come back, nor what the ring has for a
            // thread whose plain calls always find something. A failure shows itself
            // again, at a time when there is nothing to return beside it.
            if self.has_unsubmitted() || self.has_deferred() {
                let _ = self.enter(None);
                self.fetch(done);
            }
            return Ok(());
        }

        let mut now = now_ns();
        self.account.waiting_since_ns = now;
        let spin_ns = self.spinning.allowed_ns(wait.spin_ns);
        let mut spin_until_ns = now.saturating_add(spin_ns).min(wait.until_ns);
        if spin_ns == 0 || wait.until_ns <= now {
            // Nobody will try them.
            self.arm_held();
        }
        loop {
            let sleeps = now >= spin_until_ns && now < wait.until_ns;
            if sleeps {
                self.arm_held();
            }
            if sleeps || self.has_unsubmitted() || self.has_deferred() {
                let visit =
                    self.enter(sleeps.then_some(wait.until_ns).filter(|_| self.early.is_empty()));
                done.append(&mut self.early);
                let fetched = self.fetch(done);
                if done.len() > before {
                    return Ok(());
                }
                match visit? {
                    Visit::Interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    Visit::Busy if fetched == 0 => std::thread::yield_now(),
                    _ => {}
                }
                now = now_ns();
            }
            if now < spin_until_ns {
                now = match self.spin(spin_until_ns) {
                    Some(looked_ns) => now.max(looked_ns),
                    None => {
                        spin_until_ns = 0;
                        now_ns()
                    }
                };
                done.append(&mut self.early);
                self.fetch(done);
                if done.len() > before {
                    return Ok(());
                }
            }
            if now >= wait.until_ns {
                return Ok(());
            }
        }
    }

    /// Notes what is over.
    fn count(&mut self, done: &[Completion]) {
        for completion in done.iter().filter(|completion| completion.event != Event::Kept) {
            self.in_flight -= 1;
            let lent = self.lending.iter().position(|(token, _)| *token == completion.token);
            if let Some(index) = lent {
                self.lending.swap_remove(index);
            }
        }
    }

    /// Tears down the connections from whose memory the kernel sends: nothing else gives that back
    /// while the peer acknowledges nothing.
    fn disconnect_lending(&self) {
        for (_, descriptor) in &self.lending {
            // SAFETY: whoever submitted the send keeps the descriptor open until it is over.
            let socket = unsafe { BorrowedFd::borrow_raw(*descriptor) };
            let _ = socket::disconnect(socket);
        }
    }

    /// Ends everything in flight and throws the results away. False if the kernel would not.
    fn drain(&mut self) -> bool {
        let mut done = Vec::new();
        self.in_flight -= self.held.len();
        self.held.clear();
        while self.in_flight > 0 {
            // Should there be no room for it, the next round tries again.
            self.push(&op::poll::cancel_everything().user_data(TOKEN_RESERVED));
            self.disconnect_lending();
            done.clear();
            let wait = Wait { until_ns: now_ns() + DROP_RETRY_NS, spin_ns: 0 };
            match self.wait(wait, &mut done) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return false,
                _ => {}
            }
        }
        true
    }
}

impl Io for UringIo {
    unsafe fn submit(&mut self, token: u64, descriptor: RawFd, op: Op) {
        debug_assert_ne!(token, TOKEN_RESERVED);
        if self.born.check().is_err() {
            return;
        }
        self.in_flight += 1;
        // SAFETY: what the caller promises.
        if unsafe { self.takes_small(token, descriptor, op) } {
            return;
        }
        let entry = match op {
            Op::Send { message, all, zero_copy: false } => {
                op::send::entry(descriptor, message, all)
            }
            Op::Send { message, all, zero_copy: true } => {
                self.lending.push((token, descriptor));
                op::send::zero_copy_entry(descriptor, message, all)
            }
            Op::Receive { message, all } => op::receive::entry(descriptor, message, all),
            Op::Readable => op::poll::entry(descriptor, libc::POLLIN),
            Op::Writable => op::poll::entry(descriptor, libc::POLLOUT),
        };
        self.push_or_fail(token, &entry);
    }

    fn wait(&mut self, wait: Wait, done: &mut Vec<Completion>) -> io::Result<()> {
        // The ring is not mapped in a child.
        self.born.check().map_err(io::Error::other)?;
        let before = done.len();
        let outcome = self.wait_for_one(wait, done);
        self.count(&done[before..]);
        outcome
    }

    fn cancel(&mut self, descriptor: RawFd) {
        if self.born.check().is_err() {
            return;
        }
        self.cancel_held(descriptor);
        // Handed over by the next `wait`. Should the descriptor's number have a new owner by then,
        // nothing happens to it: the kernel takes entries in order, so the new owner's come later.
        self.push(&op::poll::cancel(descriptor).user_data(TOKEN_RESERVED));
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }

    fn account(&mut self) -> &mut Account {
        &mut self.account
    }
}

impl Drop for UringIo {
    fn drop(&mut self) {
        if !self.born.is_here() {
            // The child has neither the descriptor nor the mappings: whatever is at these places
            // now belongs to somebody else.
            return;
        }
        if !self.drain() {
            // The kernel may write into lent memory at any time and will not be stopped. Going on
            // would be undefined behaviour; nothing but the end of the process ends the loan.
            eprintln!("kirsh: io_uring refuses to end operations in flight; aborting");
            std::process::abort();
        }
        fork::unregister(self.ring.as_raw_fd());
        // SAFETY: nothing uses the ring after this.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
    }
}

impl std::fmt::Debug for UringIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringIo")
            .field("features", &self.features)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}
