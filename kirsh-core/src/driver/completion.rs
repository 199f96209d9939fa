//! Where a started operation's outcome appears, for those who wait on a `Work`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::interrupt;
use crate::error::Result;

/// How often a waiting caller looks for an interrupt: a signal wakes no condition variable, and
/// interrupts no system call that has not begun yet.
pub(crate) const INTERRUPT_EVERY: Duration = Duration::from_millis(50);

/// The outcome of one operation, set once.
#[derive(Debug, Default)]
pub struct Completion {
    outcome: Mutex<Option<Result<()>>>,
    changed: Condvar,
    /// How many operations are not over, this one among them until it is.
    waiting: Option<Arc<AtomicUsize>>,
}

impl Completion {
    /// One that counts as waiting until its outcome is set.
    pub(crate) fn counted(waiting: &Arc<AtomicUsize>) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Completion { waiting: Some(Arc::clone(waiting)), ..Completion::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Result<()>>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, outcome: Result<()>) {
        let mut slot = self.lock();
        if slot.is_none() {
            *slot = Some(outcome);
            if let Some(waiting) = &self.waiting {
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            self.changed.notify_all();
        }
    }

    /// The outcome, if there is one yet.
    pub fn get(&self) -> Option<Result<()>> {
        self.lock().clone()
    }

    /// Waits for the outcome; `None` when the time is up first. `interrupted` is called, without a
    /// lock held, when the interrupt check asks for an end; waiting then goes on, since the
    /// outcome is now due soon. A thread that unwinds does not ask the check again, which may be
    /// what panicked.
    pub fn wait(
        &self,
        limit: Option<Duration>,
        mut interrupted: impl FnMut(),
    ) -> Option<Result<()>> {
        let until = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let slot = self.lock();
            if slot.is_some() {
                return slot.clone();
            }
            let mut pause =
                if interrupt::is_set() { INTERRUPT_EVERY } else { Duration::from_secs(3600) };
            if let Some(until) = until {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return None;
                }
                pause = pause.min(left);
            }
            let (slot, _) =
                self.changed.wait_timeout(slot, pause).unwrap_or_else(PoisonError::into_inner);
            if slot.is_some() {
                return slot.clone();
            }
            drop(slot);
            if !std::thread::panicking() && interrupt::check() {
                interrupted();
            }
        }
    }
}
