//! A lane driven by whoever calls: blocking calls, from the calling thread, and what becomes of them
//! should that unwind. The thread of a further channel drives here, too.

use std::cell::Cell;
use std::sync::Arc;

use super::{Lane, interrupted};
use crate::driver::clock::now_ns;
use crate::driver::completion::{Completion, INTERRUPT_EVERY};
use crate::driver::core::Core;
use crate::driver::interrupt;
use crate::driver::io::{Io, Wait};
use crate::driver::job::Job;
use crate::driver::parts::Handover;
use crate::driver::thread::{self, ThreadIo, Waited};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Operation;
use crate::types::Sequence;

/// How often a blocking call looks for an interrupt by itself: a signal that went to another thread,
/// or came right before the sleep, wakes nobody. Unnoticeable to who presses Ctrl-C, and to the
/// processor.
const INTERRUPT_EVERY_NS: u64 = INTERRUPT_EVERY.as_nanos() as u64;

impl Lane {
    /// Runs an operation to its end. Drives it from this thread if nobody else drives the lane,
    /// else waits. When this returns, nobody touches the operation's memory any more.
    pub(crate) fn run(
        &self,
        operation: Operation,
        job: Job,
        others: Option<Handover<'_>>,
    ) -> Result<()> {
        let Some(others) = others else { return self.run_part(operation, job, None) };
        let completion = others.channels.borrow(others.parts.others());
        let handed = Handed { lane: self, completion: &completion, over: Cell::new(false) };
        let result = self.run_part(operation, job, Some((others, &handed)));
        let rest = if handed.over.get() { handed.wait() } else { Ok(()) };
        drop(handed);
        others.channels.give_back(completion);
        result.and(rest)
    }

    /// The same for the part of this channel; the parts of others are handed over.
    fn run_part(
        &self,
        operation: Operation,
        job: Job,
        others: Option<(Handover<'_>, &Handed<'_>)>,
    ) -> Result<()> {
        let mut call = Some((operation, job));
        // Outlives the thread's io, with which what is in flight ends should this unwind.
        let seat = Seat { lane: self, held: Cell::new(false) };
        let driven = thread::with(&self.driver, |own| {
            let (operation, job) = call.take_if(|_| self.baton.try_take(&own.bell))?;
            seat.held.set(true);
            let driven = self.drive(own, operation, job, others);
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
                self.wait_behind(operation, job, others.map(|(others, _)| others))
            }
            (_, None) => {
                Err(Error::new(ErrorKind::Internal, "a call that was neither run nor left"))
            }
        }
    }

    /// For the thread of a channel, which has just taken the baton: drives until nothing runs or
    /// waits, and lets go.
    ///
    /// # Errors
    /// When nothing can be waited for any more. This thread holds the baton still.
    pub(in crate::driver) fn drive_until_idle(&self, own: &mut ThreadIo) -> Result<()> {
        loop {
            // A wait may have heard the bell of somebody who found the baton free, before this thread
            // had it. Unless that is heeded, the next to find it free rings no more.
            self.heed();
            let mut core = self.core();
            core.session.handle_tick(now_ns());
            self.read_mail(&mut core);
            core.pump(&mut own.io, self, None);
            self.counters.calls.take_from(own.io.account());
            if !core.session.is_idle() || core.in_flight() != 0 {
                let wait = Wait { until_ns: core.next_deadline(), spin_ns: self.spin_ns };
                own.wait(wait, |io, happening| core.happened(io, self, happening))?;
                continue;
            }
            drop(core);
            if self.let_go() {
                return Ok(());
            }
        }
    }

    /// Drives from the calling thread, which has just taken the baton, and gives the operation's
    /// outcome. The outer error is that this thread cannot drive any more: it holds the baton still.
    fn drive(
        &self,
        own: &mut ThreadIo,
        operation: Operation,
        job: Job,
        others: Option<(Handover<'_>, &Handed<'_>)>,
    ) -> Result<Result<()>> {
        let mut core = self.core();
        let result = match self.enqueue_behind_mail(&mut core, operation, job, others) {
            Ok(sequence) => {
                if let Some((others, _)) = others {
                    others.announce();
                }
                self.drive_until(own, &mut core, sequence)?
            }
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
        others: Option<(Handover<'_>, &Handed<'_>)>,
    ) -> Result<Sequence> {
        let mut mailbox = self.mailbox();
        while let Some(mail) = mailbox.queue.pop_front() {
            core.read(mail);
        }
        // What fails takes no number.
        if let Some((others, handed)) = others.filter(|_| core.session.failure().is_none()) {
            handed.over.set(true);
            others.put(mailbox.next_sequence, &operation, &job, handed.completion);
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
    fn wait_behind(
        &self,
        operation: Operation,
        job: Job,
        others: Option<Handover<'_>>,
    ) -> Result<()> {
        let (_, completion) = self.start(operation, job, others);
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

/// What a caller that drives has handed over to other channels, if it has. Should it unwind, the memory
/// is its own again only when these are through.
struct Handed<'a> {
    lane: &'a Lane,
    completion: &'a Arc<Completion>,
    over: Cell<bool>,
}

impl Handed<'_> {
    fn wait(&self) -> Result<()> {
        let outcome = self.completion.wait(None, || self.lane.abort(interrupted()));
        outcome.unwrap_or(Ok(()))
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && self.over.get() {
            self.lane.abort(panicked());
            let _ = self.completion.wait(None, || {});
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
