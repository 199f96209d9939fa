//! A communicator's collective links, or those of one of its channels: one operation after the other,
//! driven by whoever holds the baton. That is a blocking caller (`calls`), the progress thread for started
//! operations, or a further channel's own thread.

mod calls;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::baton::{Baton, Posted};
use super::channel::{Family, Further};
use super::choose::Choice;
use super::completion::Completion;
use super::core::Core;
use super::counters::Counters;
use super::direct::Ask;
use super::doorbell::Doorbell;
use super::job::Job;
use super::link::{Direction, Port};
use super::mail::{Mail, Mailbox};
pub(crate) use super::makings::Makings;
use super::members::Members;
use super::observed::Observed;
use super::parts::Handover;
use super::peer::Rails;
use super::progress::{Handle, Request};
use super::sending::Sending;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Pattern;
use crate::session::{Audience, Operation, Session, Settings};
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;

/// Names a communicator on the wire.
pub(crate) type Key = (u64, u32);

/// Completion tokens of lanes carry the lane's number in the upper half; other classes use numbers
/// from here on.
pub(crate) const NUMBER_MAX: u32 = 1 << 24;

pub struct Lane {
    pub(crate) key: Key,
    /// Whose ranks these are.
    pub(crate) members: Arc<Members>,
    pub(crate) priority: i32,
    /// The lane's number within its process, for tokens.
    pub(crate) number: u32,
    pub(crate) settings: Settings,
    /// Which of the communicator's channels this is. From 1 on a thread of its own drives it, which
    /// this wakes.
    pub(crate) channel: u16,
    own_thread: Option<Arc<Doorbell>>,
    /// With the other channels.
    pub(crate) family: Arc<Family>,
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
    rails: OnceLock<Rails>,
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
        let Makings { members, pool, priority, rails, spin_ns, further, .. } = makings;
        let key = (settings.communicator, settings.epoch);
        let (channel, own_thread, first, family) = match further {
            None => (0, None, key, Arc::default()),
            Some(Further { number, first, family, bell }) => (number, Some(bell), first, family),
        };
        debug_assert_eq!(members.world_ranks().len(), settings.world as usize);
        let counters = Counters::new(settings.world);
        let session = Session::new(settings.clone());
        let core = Core::new(session, pool, sending.clone(), Arc::clone(&observed), first);
        Lane {
            key,
            members: Arc::new(members),
            priority,
            number,
            settings,
            channel,
            own_thread,
            family,
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
            rails: rails.map_or_else(OnceLock::new, OnceLock::from),
        }
    }

    /// Enqueues an operation for the progress thread, or for whoever drives now.
    pub(crate) fn start(
        &self,
        operation: Operation,
        mut job: Job,
        others: Option<Handover<'_>>,
    ) -> (Sequence, Arc<Completion>) {
        let completion = Arc::new(Completion::counted(&self.waiting));
        job.completion = Some(Arc::clone(&completion));
        let mut mailbox = self.mailbox();
        let sequence = mailbox.take_sequence();
        if mailbox.ended {
            drop(mailbox);
            completion.set(Err(closed()));
            return (sequence, completion);
        }
        if let Some(others) = &others {
            completion.expect(1 + others.parts.others());
            others.put(sequence, &operation, &job, &completion);
        }
        self.post_into(mailbox, Mail::Enqueue { operation, job });
        if let Some(others) = others {
            others.announce();
        }
        (sequence, completion)
    }

    /// Puts in a part of an operation that another channel has begun, to be announced.
    pub(super) fn put_part(&self, operation: Operation, job: Job) {
        let mut mailbox = self.mailbox();
        if !mailbox.ended {
            return mailbox.queue.push_back(Mail::Enqueue { operation, job });
        }
        drop(mailbox);
        if let Some(completion) = job.completion {
            completion.set(Err(closed()));
        }
    }

    /// This lane has failed: with it go the messages and the other channels.
    pub(super) fn failed(&self, cause: Error) {
        self.family.failed(self, &cause);
        if self.channel == 0 {
            self.end_messages(cause);
        }
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
        self.post_numbered(Mail::Refuse { call, reason })
    }

    /// Puts a call in, and gives it its number.
    fn post_numbered(&self, mail: Mail) -> Sequence {
        let mut mailbox = self.mailbox();
        let sequence = mailbox.take_sequence();
        self.post_into(mailbox, mail);
        sequence
    }

    /// Puts mail in and sees that somebody reads it.
    pub(crate) fn post(&self, mail: Mail) {
        self.post_into(self.mailbox(), mail);
    }

    fn post_into(&self, mut mailbox: MutexGuard<'_, Mailbox>, mail: Mail) {
        if mailbox.ended {
            drop(mailbox);
            return mail.turn_away();
        }
        mailbox.queue.push_back(mail);
        drop(mailbox);
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

    /// From here on nobody need come to read mail. What was put in while the lane was closing is
    /// turned away here, and what comes later where it comes.
    fn end_mail(&self) {
        let mut mailbox = self.mailbox();
        mailbox.ended = true;
        let left = std::mem::take(&mut mailbox.queue);
        drop(mailbox);
        left.into_iter().for_each(Mail::turn_away);
    }

    /// Deals frames out to these rails from now on; before the first call.
    pub(crate) fn take_rails(&self, pattern: Pattern, rails: Rails) {
        self.core().session.deal(pattern);
        let _ = self.rails.set(rails);
    }

    /// The rails that its links take.
    pub(crate) fn rails(&self) -> Option<&Rails> {
        self.rails.get()
    }

    /// Has the progress thread see to a link to a member.
    pub(crate) fn dial(&self, port: Port) {
        let port = Port { peer: self.members.world_rank(port.peer), ..port };
        let way = self.rails.get().and_then(|rails| rails.way(port.stripe));
        self.progress.ask(Request::Dial { lane: self.key, port, way });
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
        let name = if self.channel != 0 {
            format!("rank {rank}, channel {} of its communicator: ", self.channel)
        } else if self.members.keep_their_ranks() {
            String::new()
        } else {
            format!("rank {rank} of communicator {:016x}: ", self.key.0)
        };
        (self.members.world_rank(rank), name)
    }

    pub(crate) fn token(&self, port: Port, direction: Direction) -> u64 {
        u64::from(self.number) << 32 | u64::from(port.number()) << 1 | direction as u64
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

    pub(super) fn announce(&self) {
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
            match &self.own_thread {
                Some(bell) => bell.ring(),
                None => self.progress.ask(Request::Drive { lane: self.number }),
            }
        }
    }
}

/// What a caller gets whose call came when the communicator was closed.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the communicator has been closed")
}

/// What a caller gets who was asked to stop by a signal.
pub(crate) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted by a signal")
}
