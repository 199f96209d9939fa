//! Started operations.

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::sync::Arc;

use super::Inner;
use super::config::Timeout;
use crate::driver::completion::{Completion, Watch, until};
use crate::driver::direct::Pending;
use crate::driver::fork;
use crate::driver::lane::interrupted;
use crate::error::{Error, Result};
use crate::session::direct::Received;
use crate::types::{Call, Sequence};

/// A started operation whose buffers belong to somebody else: what bindings build on.
///
/// Dropping it blocks until the operation no longer holds the buffers.
pub struct RawWork {
    inner: Arc<Inner>,
    /// `None` for a message, which is outside the order of collectives.
    sequence: Option<Sequence>,
    completion: Arc<Completion>,
    /// What the operation is called in errors.
    name: &'static str,
    /// Where a message's outcome says what has been received.
    pending: Option<Pending>,
}

impl RawWork {
    pub(super) fn new(
        inner: Arc<Inner>,
        sequence: Sequence,
        completion: Arc<Completion>,
        call: Call,
    ) -> Self {
        let name = call.name();
        RawWork { inner, sequence: Some(sequence), completion, name, pending: None }
    }

    pub(super) fn for_message(inner: Arc<Inner>, pending: Pending, name: &'static str) -> Self {
        let completion = Arc::clone(&pending.completion);
        RawWork { inner, sequence: None, completion, name, pending: Some(pending) }
    }

    /// Waits for the end. `Ok(true)`: done. `Ok(false)`: the time ran out; the operation goes on
    /// and the buffers stay lent, until its own deadline at the latest. `Timeout::Default` waits
    /// for ever, since the operation has a deadline.
    ///
    /// # Errors
    /// Why the operation failed. It is over then, and the buffers are the caller's again.
    pub fn wait(&self, timeout: Timeout) -> Result<bool> {
        fork::check(self.inner.process.made_in())?;
        let interrupt = || self.inner.lane.abort(interrupted());
        self.outcome(self.completion.wait(timeout.or(None), interrupt))
    }

    /// Looks without blocking; otherwise as [`RawWork::wait`].
    ///
    /// # Errors
    /// Why the operation failed; `Forked` in a forked child, where it never ends.
    pub fn test(&self) -> Result<bool> {
        fork::check(self.inner.process.made_in())?;
        self.outcome(self.completion.get())
    }

    /// Waits for all of these, which may be of several communicators. `Ok(true)`: all are done.
    /// `Ok(false)`: the time ran out. `Timeout::Default` waits for ever, as in [`RawWork::wait`].
    ///
    /// # Errors
    /// Why the first one failed, and which it is, as soon as that is known: others may still run.
    pub fn wait_all(works: &[&RawWork], timeout: Timeout) -> Result<bool> {
        let mut watch = RawWork::watch(works)?;
        let until = until(timeout.or(None));
        for _ in works {
            let Some(number) = watch.next(until, || RawWork::interrupt(works)) else {
                return Ok(false);
            };
            let work = works[number];
            if let Some(Err(error)) = work.completion.get() {
                let text =
                    format!("operation {} of {}: {}", number + 1, works.len(), error.message());
                return Err(work.inner.name_as(error.with_message(text), work.name));
            }
        }
        Ok(true)
    }

    /// Waits until one of these, which may be of several communicators, is over, well or not, and
    /// gives its place; [`RawWork::test`] tells how. The first one where several are over already.
    /// `None` once the time has run out, and where there are none. `Timeout::Default` waits for ever,
    /// as in [`RawWork::wait`].
    ///
    /// # Errors
    /// `Forked` in a forked child.
    pub fn wait_any(works: &[&RawWork], timeout: Timeout) -> Result<Option<usize>> {
        if works.is_empty() {
            return Ok(None);
        }
        let mut watch = RawWork::watch(works)?;
        Ok(watch.next(until(timeout.or(None)), || RawWork::interrupt(works)))
    }

    fn watch<'a>(works: &'a [&RawWork]) -> Result<Watch<'a>> {
        for work in works {
            fork::check(work.inner.process.made_in())?;
        }
        Ok(Watch::new(works.iter().map(|work| &*work.completion)))
    }

    /// A signal asks to stop waiting: ends the communicators of all that still run.
    fn interrupt(works: &[&RawWork]) {
        for work in works.iter().filter(|work| !work.is_over()) {
            work.inner.lane.abort(interrupted());
        }
    }

    /// Whether the operation has ended, well or not, and the buffers are the caller's again.
    pub fn is_over(&self) -> bool {
        self.completion.get().is_some()
    }

    /// The operation's number within its communicator; sends and receives have none.
    pub fn sequence(&self) -> Option<Sequence> {
        self.sequence
    }

    /// What has been received, once a receive has ended well.
    pub fn received(&self) -> Option<Received> {
        self.pending.as_ref()?.received()
    }

    pub(super) fn pending(&self) -> Option<Pending> {
        self.pending.clone()
    }

    fn outcome(&self, outcome: Option<Result<()>>) -> Result<bool> {
        match outcome {
            None => Ok(false),
            Some(Ok(())) => Ok(true),
            Some(Err(error)) if self.sequence.is_some() => {
                Err(self.inner.name_as(self.inner.first_cause(error), self.name))
            }
            Some(Err(error)) => Err(self.inner.name_as(error, self.name)),
        }
    }
}

impl Drop for RawWork {
    fn drop(&mut self) {
        if fork::check(self.inner.process.made_in()).is_ok() {
            let _ = self.completion.wait(None, || {});
        }
    }
}

impl fmt::Debug for RawWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(f, "RawWork(#{sequence}, over: {})", self.is_over()),
            None => write!(f, "RawWork({}, over: {})", self.name, self.is_over()),
        }
    }
}

/// A started operation that owns its buffer.
///
/// Dropping it blocks until the operation is over, then drops the buffer.
pub struct Work<B> {
    raw: RawWork,
    /// Always there until it is taken. `MaybeUninit`, because moving this about must not claim, as
    /// moving a `Box` does, that nobody else has a pointer to what is in it.
    buffer: MaybeUninit<B>,
}

impl<B> Work<B> {
    /// `buffer` is initialised.
    pub(super) fn new(raw: RawWork, buffer: MaybeUninit<B>) -> Self {
        Work { raw, buffer }
    }

    /// A collective's number within its communicator.
    pub(super) fn sequence(&self) -> Sequence {
        debug_assert!(self.raw.sequence.is_some(), "asked of a message");
        self.raw.sequence.unwrap_or_default()
    }

    /// Waits for the end and gives the buffer back.
    ///
    /// # Errors
    /// Why the operation failed, with the buffer, whose contents are undefined.
    pub fn wait(self) -> Result<B, (Error, B)> {
        match self.wait_timeout(Timeout::Forever) {
            Ok(outcome) => outcome,
            Err(_) => unreachable!("an endless wait ends with an outcome"),
        }
    }

    /// Waits a while. The outer error is the work itself, still running.
    pub fn wait_timeout(self, timeout: Timeout) -> Result<Result<B, (Error, B)>, Work<B>> {
        let outcome = self.raw.wait(timeout);
        if matches!(outcome, Ok(false)) {
            return Err(self);
        }
        // SAFETY: the operation is over, so the buffer is free to go (in a forked child, whose copy
        // no operation knows, it always is); `self` is forgotten below, so it is taken only once.
        let buffer = unsafe { self.buffer.assume_init_read() };
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again and will not drop its `raw`; this is its only copy.
        drop(unsafe { std::ptr::read(&raw const this.raw) });
        Ok(match outcome {
            Ok(_) => Ok(buffer),
            Err(error) => Err((error, buffer)),
        })
    }

    /// Whether the operation has ended, well or not.
    pub fn test(&self) -> bool {
        self.raw.is_over()
    }
}

impl<B> Drop for Work<B> {
    fn drop(&mut self) {
        if fork::check(self.raw.inner.process.made_in()).is_err() {
            return;
        }
        let _ = self.raw.completion.wait(None, || {});
        // SAFETY: the operation is over, and a work is dropped once; `wait_timeout`, which takes
        // the buffer, does not come here.
        unsafe { self.buffer.assume_init_drop() };
    }
}

impl<B> fmt::Debug for Work<B> {
    /// Does not look into the buffer, which the operation may be writing to.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Work").field("raw", &self.raw).finish_non_exhaustive()
    }
}
