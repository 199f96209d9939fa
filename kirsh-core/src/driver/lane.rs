//! A communicator's collective links, one operation after the other, driven by whoever holds the
//! baton: a blocking caller, or the progress thread for started operations.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::baton::{Baton, Posted};
use super::choose::Choice;
use super::clock::now_ns;
use super::completion::{Completion, INTERRUPT_EVERY};
use super::core::Core;
use super::counters::Counters;
use super::direct::Ask;
use super::doorbell::Doorbell;
use super::interrupt;
use super::io::{Io, Wait};
use super::job::Job;
use super::link::Direction;
use super::mail::{Mail, Mailbox};
use super::members::Members;
use super::observed::Observed;
use super::progress::{Handle, Request};
use super::sending::Sending;
use super::thread::{self, ThreadIo, Waited};
use super::zero_copy::ZeroCopy;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Pool;
use crate::session::{Audience, Operation, Session, Settings};
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;

/// Names a communicator on the wire.
pub(crate) type Key = (u64, u32);

/// Completion tokens of lanes carry the lane's number in the upper half; other classes use numbers
/// from here on.
pub(crate) const NUMBER_MAX: u32 = 1 << 24;

/// How often a blocking call looks for an interrupt by itself: a signal that went to another thread,
/// or came right before the sleep, wakes nobody. Unnoticeable to who presses Ctrl-C, and to the
/// processor.
const INTERRUPT_EVERY_NS: u64 = INTERRUPT_EVERY.as_nanos() as u64;

/// What a lane is made of, beside what its session is told.
pub(crate) struct Makings {
    pub(crate) members: Members,
    pub(crate) pool: Pool,
    /// Lanes of higher priority come first in each turn of the progress thread.
    pub(crate) priority: i32,
    /// How long a blocking call looks before it sleeps.
    pub(crate) spin_ns: u64,
    /// When sends ask the kernel not to copy.
    pub(crate) zero_copy: ZeroCopy,
}

pub struct Lane {
    pub(crate) key: Key,
    /// Whose ranks these are.
    pub(crate) members: Arc<Members>,
    pub(crate) priority: i32,
    /// The lane's number within its process, for tokens.
    pub(crate) number: u32,
    pub(crate) settings: Settings,
    pub(crate) counters: Counters,
    pub(crate) observed: Arc<Observed>,
    /// Messages sent or received from rank to rank that are not over.
    pub(super) messages: Arc<AtomicUsize>,
    baton: Baton<Doorbell>,
    mailbox: Mutex<Mailbox>,
    core: Mutex<Core>,
    /// Operations enqueued and not yet over.
    waiting: Arc<AtomicUsize>,
    /// The progress thread has been asked to drive and has not come yet.
    wanted: AtomicBool,
    /// Why there is no progress thread any more.
    orphaned: OnceLock<Error>,
    progress: Handle,
    driver: Arc<Choice>,
    pub(crate) spin_ns: u64,
    pub(crate) sending: Sending,
}

impl Lane {
    pub(crate) fn new(
        settings: Settings,
        number: u32,
        makings: Makings,
        sending: Sending,
        observed: Arc<Observed>,
        progress: Handle,
        driver: Arc<Choice>,
    ) -> Self {
        let Makings { members, pool, priority, spin_ns, .. } = makings;
        debug_assert_eq!(members.world_ranks().len(), settings.world as usize);
        let counters = Counters::new(settings.world);
        let session = Session::new(settings.clone());
        let core = Core::new(session, pool, sending.clone(), Arc::clone(&observed));
        Lane {
            key: (settings.communicator, settings.epoch),
            members: Arc::new(members),
            priority,
            number,
            settings,
            counters,
            observed,
            messages: Arc::default(),
            baton: Baton::new(),
            mailbox: Mutex::new(Mailbox::new()),
            core: Mutex::new(core),
            waiting: Arc::new(AtomicUsize::new(0)),
            wanted: AtomicBool::new(false),
            orphaned: OnceLock::new(),
            progress,
            driver,
            spin_ns,
            sending,
        }
    }

    /// Runs an operation to its end. Drives it from this thread if nobody else drives the lane,
    /// else waits. When this returns, nobody touches the operation's memory any more.
    pub(crate) fn run(&self, operation: Operation, job: Job) -> Result<()> {
        let mut call = Some((operation, job));
        // Outlives the thread's io, with which what is in flight ends should this unwind.
        let seat = Seat { lane: self, held: Cell::new(false) };
        let driven = thread::with(&self.driver, |own| {
            let (operation, job) = call.take_if(|_| self.baton.try_take(&own.bell))?;
            seat.held.set(true);
            let driven = self.drive(own, operation, job);
            seat.held.set(false);
            Some(driven)
        });
        match (driven, call) {
            (Ok(Some(Ok(result))), _) => result,
            (Ok(Some(Err(broken))), _) => {
                // With the thread's io went whatever was in flight.
                self.settle(&broken);
                let first_cause = self.core().session.failure().cloned();
                Err(first_cause.unwrap_or(broken))
            }
            (driven, Some((operation, job))) => {
                if let Err(error) = driven {
                    // The progress thread has all it needs since the communicator was made.
                    tracing::debug!("this thread cannot drive, and leaves it to another: {error}");
                }
                self.wait_behind(operation, job)
            }
            (_, None) => {
                Err(Error::new(ErrorKind::Internal, "a call that was neither run nor left"))
            }
        }
    }

    /// Enqueues an operation for the progress thread, or for whoever drives now.
    pub(crate) fn start(&self, operation: Operation, mut job: Job) -> (Sequence, Arc<Completion>) {
        let completion = Arc::new(Completion::counted(&self.waiting));
        job.completion = Some(Arc::clone(&completion));
        let mut mailbox = self.mailbox();
        let sequence = mailbox.take_sequence();
        if mailbox.ended {
            drop(mailbox);
            completion.set(Err(closed()));
            return (sequence, completion);
        }
        mailbox.queue.push_back(Mail::Enqueue { operation, job });
        drop(mailbox);
        self.announce();
        (sequence, completion)
    }

    /// Started operations that are not over.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Sends and receives that are not over.
    pub(crate) fn waiting_messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Takes a sequence number for a call that this rank refuses, and has the peers told.
    pub(crate) fn refuse(&self, call: Call, reason: Error) -> Sequence {
        let mut mailbox = self.mailbox();
        let sequence = mailbox.take_sequence();
        mailbox.queue.push_back(Mail::Refuse { call, reason });
        drop(mailbox);
        self.announce();
        sequence
    }

    /// Puts mail in and sees that somebody reads it.
    pub(crate) fn post(&self, mail: Mail) {
        self.mailbox().queue.push_back(mail);
        self.announce();
    }

    /// Ends the communicator on every rank.
    pub(crate) fn abort(&self, error: Error) {
        self.post(Mail::Abort(error));
    }

    /// Closes the lane: in peace if what runs and waits ends within `patience`, else by an abort.
    /// Gives the number of operations that this rank is through with, and the error of the abort.
    pub(crate) fn close(&self, patience: Duration) -> (Sequence, Result<()>) {
        let done = Arc::new(Completion::default());
        self.post(Mail::Close(Arc::clone(&done)));
        let mut outcome = Ok(());
        if done.wait(Some(patience), || {}).is_none() {
            let text = "the communicator was closed with operations still running";
            let error = Error::new(ErrorKind::Aborted, text);
            self.abort(error.clone());
            let _ = done.wait(Some(patience), || {});
            outcome = Err(error);
        }
        self.end_mail();
        (self.core().session.finished(), outcome)
    }

    /// From here on nobody need come to read mail. What a caller put in while the lane was closing
    /// gets its outcome here, and what comes later where it comes.
    fn end_mail(&self) {
        let mut mailbox = self.mailbox();
        mailbox.ended = true;
        let left = std::mem::take(&mut mailbox.queue);
        drop(mailbox);
        for mail in left {
            if let Mail::Enqueue { job, .. } = mail
                && let Some(completion) = job.completion
            {
                completion.set(Err(closed()));
            }
        }
    }

    /// Has the progress thread see to a link to a member.
    pub(crate) fn dial(&self, peer: Rank) {
        let peer = self.members.world_rank(peer);
        self.progress.ask(Request::Dial { lane: self.key, peer });
    }

    /// Asks something of the messages from rank to rank, which the progress thread drives.
    pub(super) fn ask_direct(&self, ask: Ask) {
        self.progress.ask(Request::Direct { lane: self.number, ask });
    }

    /// Has the progress thread tell members something.
    pub(crate) fn tell(&self, to: Audience, message: Message) {
        let to = match to {
            Audience::Rank(peer) => Audience::Rank(self.members.world_rank(peer)),
            Audience::Everyone => Audience::Everyone,
        };
        let members = Arc::clone(&self.members);
        let message = members.to_world(message);
        self.progress.ask(Request::Tell { members, to, message });
    }

    /// What is said of this lane in the log: the rank of its process, and where that has another rank
    /// in this communicator, which communicator it is.
    pub(crate) fn log_name(&self, rank: Rank) -> (Rank, String) {
        let name = if self.members.keep_their_ranks() {
            String::new()
        } else {
            format!("rank {rank} of communicator {:016x}: ", self.key.0)
        };
        (self.members.world_rank(rank), name)
    }

    pub(crate) fn token(&self, peer: Rank, direction: Direction) -> u64 {
        u64::from(self.number) << 32 | u64::from(peer) << 1 | direction as u64
    }

    // For the progress thread.

    /// The progress thread has come, whether or not it holds the baton already: whoever finds from
    /// here on that nobody does asks again. Before it looks at the mail, so that it either sees
    /// what was posted or is asked.
    pub(crate) fn heed(&self) {
        self.wanted.swap(false, Ordering::AcqRel);
    }

    /// Takes the baton for the progress thread.
    pub(crate) fn take(&self, bell: &Arc<Doorbell>) -> bool {
        self.baton.try_take(bell)
    }

    /// For the holder: reads the mail, if there is any.
    pub(crate) fn read_mail(&self, core: &mut Core) {
        if self.baton.take_mark() {
            while let Some(mail) = self.next_mail() {
                core.read(mail);
            }
        }
    }

    /// For the holder, with nothing in flight: lets go. `false` when there was mail, and the
    /// holder holds on.
    pub(crate) fn let_go(&self) -> bool {
        self.baton.release()
    }

    /// The inside. For the holder; others only look.
    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mailbox(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_mail(&self) -> Option<Mail> {
        self.mailbox().queue.pop_front()
    }

    fn announce(&self) {
        if self.baton.post() == Posted::Unheld {
            self.call_progress();
        }
    }

    /// The progress thread is gone for good. `held`: it had the baton, and nothing of the lane is
    /// in flight any more.
    pub(crate) fn orphan(&self, held: bool, cause: &Error) {
        // Before the baton is tried: who posts after this sees it.
        let _ = self.orphaned.set(cause.clone());
        if held {
            self.settle(cause);
        } else {
            // Whoever drives, or else this thread, reads it.
            self.post(Mail::Abort(cause.clone()));
        }
    }

    /// For a holder that can drive no more, with nothing in flight: ends all there is, and lets go.
    fn settle(&self, cause: &Error) {
        loop {
            let mut core = self.core();
            self.baton.take_mark();
            while let Some(mail) = self.next_mail() {
                core.read(mail);
            }
            core.collapse(cause, self);
            drop(core);
            if self.baton.release() {
                return;
            }
        }
    }

    pub(super) fn call_progress(&self) {
        if let Some(cause) = self.orphaned.get() {
            if self.baton.try_take(self.progress.bell()) {
                self.settle(cause);
            }
            return;
        }
        if !self.wanted.swap(true, Ordering::AcqRel) {
            self.progress.ask(Request::Drive { lane: self.number });
        }
    }

    /// Drives from the calling thread, which has just taken the baton, and gives the operation's
    /// outcome. The outer error is that this thread cannot drive any more: it holds the baton still.
    fn drive(&self, own: &mut ThreadIo, operation: Operation, job: Job) -> Result<Result<()>> {
        let mut core = self.core();
        let result = match self.enqueue_behind_mail(&mut core, operation, job) {
            Ok(sequence) => self.drive_until(own, &mut core, sequence)?,
            Err(error) => Err(error),
        };
        debug_assert_eq!(core.in_flight(), 0, "a lane is let go with nothing in flight");
        self.counters.calls.take_from(own.io.account());
        loop {
            self.read_mail(&mut core);
            let busy = core.needs_driver();
            drop(core);
            if self.baton.release() {
                if busy {
                    self.call_progress();
                }
                return Ok(result);
            }
            core = self.core();
        }
    }

    /// Enqueues behind everything posted so far, with no post in between.
    fn enqueue_behind_mail(
        &self,
        core: &mut Core,
        operation: Operation,
        job: Job,
    ) -> Result<Sequence> {
        let mut mailbox = self.mailbox();
        while let Some(mail) = mailbox.queue.pop_front() {
            core.read(mail);
        }
        let sequence = core.enqueue(operation, job)?;
        let promised = mailbox.take_sequence();
        debug_assert_eq!(promised, sequence);
        Ok(sequence)
    }

    /// The outer error is that nothing can be waited for any more.
    fn drive_until(
        &self,
        own: &mut ThreadIo,
        core: &mut Core,
        sequence: Sequence,
    ) -> Result<Result<()>> {
        let mut check_ns = now_ns().saturating_add(INTERRUPT_EVERY_NS);
        loop {
            if let Some(result) = core.pump(&mut own.io, self, Some(sequence)) {
                return Ok(result);
            }
            let mut until_ns = core.next_deadline();
            if interrupt::is_set() {
                until_ns = until_ns.min(check_ns);
            }
            let wait = Wait { until_ns, spin_ns: self.spin_ns };
            let waited = own.wait(wait, |io, happening| core.happened(io, self, happening))?;
            if waited == Waited::Interrupted && interrupt::check() {
                core.session.abort(interrupted());
            }
            let now = own.back_ns;
            if now >= check_ns {
                check_ns = now.saturating_add(INTERRUPT_EVERY_NS);
                if interrupt::check() {
                    core.session.abort(interrupted());
                }
            }
            core.session.handle_tick(now);
            self.read_mail(core);
        }
    }

    /// Somebody else drives: leaves the operation with them and sleeps.
    fn wait_behind(&self, operation: Operation, job: Job) -> Result<()> {
        let (_, completion) = self.start(operation, job);
        let _awaited = Awaited { lane: self, completion: &completion };
        let outcome = completion.wait(None, || self.abort(interrupted()));
        outcome.unwrap_or_else(|| {
            Err(Error::new(ErrorKind::Internal, "an endless wait ended without an outcome"))
        })
    }
}

/// Holds the baton for a caller that drives. Should that unwind, from the interrupt check or from a
/// defect, the lane fails and is let go.
struct Seat<'a> {
    lane: &'a Lane,
    held: Cell<bool>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if self.held.get() {
            self.lane.settle(&panicked());
        }
    }
}

/// Waits for a caller whose operation another thread drives. Should that unwind, the memory is the
/// caller's again only when the operation is over.
struct Awaited<'a> {
    lane: &'a Lane,
    completion: &'a Completion,
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.lane.abort(panicked());
            let _ = self.completion.wait(None, || {});
        }
    }
}

/// What everybody gets whose communicator a panic has ended.
fn panicked() -> Error {
    let text = "a call of this rank panicked, in the interrupt check or by a defect of Kirsh";
    Error::new(ErrorKind::Internal, text)
}

/// What a caller gets whose call came when the communicator was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the communicator has been closed")
}

/// What a caller gets who was asked to stop by a signal.
pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted by a signal")
}
