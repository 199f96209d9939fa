//! What a driving thread owns: its way into the kernel and the bell that wakes it.
//!
//! A ring belongs to the thread that made it, so each thread that drives has its own, made on
//! first use and kept until the thread ends.

use std::any::Any;
use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::baton::Bell;
use super::choose::{AnyIo, Choice, DriverKind};
use super::clock::{Stretch, now_ns};
use super::counters::OBSERVE;
use super::doorbell::Doorbell;
use super::fork;
use super::io::{Completion, Io, Op, Wait};
use crate::error::{Error, Result, Scope};

/// The token of the bell; lanes and the progress thread use other classes.
pub(crate) const BELL: u64 = 0xff00_0000 << 32;

/// Completions kept room for; a wait rarely brings more than a few.
const DONE_ROOM: usize = 256;

/// Waits that may fail one after the other before the io counts as broken. With the pauses between
/// them that is a second, in which a lack of memory may pass.
const WAIT_FAILURES_MAX: u32 = 10;

/// The pause after the first wait that fails; each further one takes twice as long.
const WAIT_FAILED_PAUSE: Duration = Duration::from_millis(1);

/// How a wait ended that has not failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// By a completion, the bell or the time, or in a failure that may pass.
    Looked,
    /// A signal may have come.
    Interrupted,
}

/// What a wait has brought.
pub(crate) enum Happening {
    /// There was nothing at first, and this thread looked or slept for so long.
    Waited(Stretch),
    Done(Completion),
}

pub(crate) struct ThreadIo {
    pub(crate) io: AnyIo,
    pub(crate) bell: Arc<Doorbell>,
    /// Whether the kernel watches the bell.
    watched: bool,
    done: Vec<Completion>,
    /// When the last wait ended.
    pub(crate) back_ns: u64,
    /// Waits that have failed in a row.
    failures: u32,
    /// Lets every wait fail with this number.
    #[cfg(test)]
    pub(crate) failing: Option<i32>,
    /// What was asked for; a thread for which the kernel has no ring left polls instead.
    asked: DriverKind,
    made_in: u64,
}

impl Bell for Doorbell {
    fn ring(&self) {
        Doorbell::ring(self);
    }
}

impl ThreadIo {
    pub(crate) fn new(choice: &Choice) -> Result<Self> {
        let bell = Doorbell::new()
            .map_err(|cause| Error::system("cannot make an eventfd to wake a thread", &cause))?;
        Ok(ThreadIo {
            io: choice.open()?,
            asked: choice.kind,
            bell: Arc::new(bell),
            watched: false,
            done: Vec::with_capacity(DONE_ROOM),
            back_ns: 0,
            failures: 0,
            #[cfg(test)]
            failing: None,
            made_in: fork::generation(),
        })
    }

    /// Waits for completions, the bell, the time or a signal; `each` gets what has happened, in order:
    /// that this thread has waited, if it had to, and every completion but the bell's. A wait that
    /// fails is followed by a pause.
    ///
    /// # Errors
    /// When waits have failed too often in a row: nothing can be expected of this io any more. What
    /// is in flight stays so until it is dropped.
    pub(crate) fn wait(
        &mut self,
        wait: Wait,
        mut each: impl FnMut(&mut AnyIo, Happening),
    ) -> Result<Waited> {
        if !self.watched {
            self.watched = true;
            // SAFETY: the operation names no memory, and the bell's descriptor lives as long as
            // this structure, whose `io` is dropped (and drained) before the bell.
            unsafe { self.io.submit(BELL, self.bell.fd(), Op::Readable) };
        }
        self.io.account().waiting_since_ns = 0;
        let waited = self.io.wait(wait, &mut self.done);
        self.back_ns = now_ns();
        let since_ns = self.io.account().waiting_since_ns;
        if OBSERVE && since_ns != 0 {
            let stretch = Stretch { from_ns: since_ns, to_ns: self.back_ns.max(since_ns) };
            each(&mut self.io, Happening::Waited(stretch));
        }
        let mut done = std::mem::take(&mut self.done);
        for completion in done.drain(..) {
            if completion.token == BELL {
                self.watched = false;
                self.bell.clear();
            } else {
                each(&mut self.io, Happening::Done(completion));
            }
        }
        self.done = done;
        #[cfg(test)]
        let waited = match self.failing {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => waited,
        };
        match waited {
            Ok(()) => self.failures = 0,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {
                self.failures = 0;
                return Ok(Waited::Interrupted);
            }
            Err(cause) => self.wait_failed(&cause)?,
        }
        Ok(Waited::Looked)
    }

    fn wait_failed(&mut self, cause: &io::Error) -> Result<()> {
        self.failures = self.failures.saturating_add(1);
        if self.is_broken() {
            let call = match self.io.kind() {
                DriverKind::Uring => "io_uring_enter",
                DriverKind::Poll => "ppoll",
            };
            let text = format_args!("{call} failed {WAIT_FAILURES_MAX} times in a row");
            return Err(Error::system(text, cause).with_scope(Scope::Communicator));
        }
        std::thread::sleep(WAIT_FAILED_PAUSE * (1 << (self.failures - 1)));
        Ok(())
    }

    /// Whether the last wait was one failure too many.
    fn is_broken(&self) -> bool {
        self.failures >= WAIT_FAILURES_MAX
    }
}

thread_local! {
    static OWN: Cell<Option<Box<ThreadIo>>> = const { Cell::new(None) };
}

/// Runs with this thread's own io. Where that is in use already (a signal handler that calls
/// again) or of another kind, with a fresh one. One that breaks meanwhile is dropped, and what was
/// in flight there has ended when this returns.
pub(crate) fn with<R>(choice: &Choice, run: impl FnOnce(&mut ThreadIo) -> R) -> Result<R> {
    let own = OWN.with(Cell::take);
    let mut own = match own {
        Some(own) if own.asked == choice.kind && own.made_in == fork::generation() => own,
        _ => Box::new(ThreadIo::new(choice)?),
    };
    let result = run(&mut own);
    if !own.is_broken() {
        OWN.with(|cell| cell.set(Some(own)));
    }
    Ok(result)
}

/// What a thread said that has panicked.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
