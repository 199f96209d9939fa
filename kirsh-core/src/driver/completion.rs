//! Where a started operation's outcome appears, for those who wait on a `Work`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::interrupt;
use crate::error::{Error, Result};

/// How often a waiting caller looks for an interrupt: a signal wakes no condition variable, and
/// interrupts no system call that has not begun yet.
pub(crate) const INTERRUPT_EVERY: Duration = Duration::from_millis(50);

/// The outcome of one operation, set once.
#[derive(Default)]
pub struct Completion {
    slot: Mutex<Slot>,
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

    fn lock(&self) -> MutexGuard<'_, Slot> {
        lock(&self.slot)
    }

    /// Makes it the outcome of so many parts, each of which sets it once: the first failure, once all
    /// have. One that is over starts anew.
    pub(crate) fn expect(&self, parts: u32) {
        let mut slot = self.lock();
        (slot.outcome, slot.failure, slot.more) = (None, None, parts.saturating_sub(1));
    }

    pub(crate) fn set(&self, outcome: Result<()>) {
        let mut slot = self.lock();
        if slot.outcome.is_none() {
            let outcome = slot.failure.take().map_or(outcome, Err);
            if slot.more > 0 {
                slot.more -= 1;
                slot.failure = outcome.err();
                return;
            }
            slot.outcome = Some(outcome);
            if let Some(waiting) = &self.waiting {
                waiting.fetch_sub(1, Ordering::Relaxed);
            }
            self.changed.notify_all();
            for (watcher, number) in std::mem::take(&mut slot.watchers) {
                watcher.tell(number);
            }
        }
    }

    /// The outcome, if there is one yet.
    pub fn get(&self) -> Option<Result<()>> {
        self.lock().outcome.clone()
    }

    /// Has the watcher told under this number, at once if the outcome is there already.
    fn watch(&self, watcher: &Arc<Watcher>, number: usize) {
        let mut slot = self.lock();
        match slot.outcome {
            Some(_) => watcher.tell(number),
            None => slot.watchers.push((Arc::clone(watcher), number)),
        }
    }

    fn unwatch(&self, watcher: &Arc<Watcher>) {
        self.lock().watchers.retain(|(other, _)| !Arc::ptr_eq(other, watcher));
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
        let until = until(limit);
        loop {
            let slot = self.lock();
            if slot.outcome.is_some() {
                return slot.outcome.clone();
            }
            let pause = pause(until)?;
            let (slot, _) =
                self.changed.wait_timeout(slot, pause).unwrap_or_else(PoisonError::into_inner);
            if slot.outcome.is_some() {
                return slot.outcome.clone();
            }
            drop(slot);
            look_for_interrupt(&mut interrupted);
        }
    }
}

/// The outcome of an operation, and who else is told of it.
#[derive(Default)]
struct Slot {
    outcome: Option<Result<()>>,
    /// Parts that have still to set theirs, beside one.
    more: u32,
    /// What the first of them failed with that has failed.
    failure: Option<Error>,
    watchers: Vec<(Arc<Watcher>, usize)>,
}

/// What a thread sleeps on that waits for several operations.
#[derive(Default)]
struct Watcher {
    /// The numbers of those that are over and that it has not heard of yet.
    over: Mutex<VecDeque<usize>>,
    changed: Condvar,
}

impl Watcher {
    fn tell(&self, number: usize) {
        lock(&self.over).push_back(number);
        self.changed.notify_one();
    }
}

/// Several operations under watch, each known by its place in a list.
pub(crate) struct Watch<'a> {
    completions: Vec<&'a Completion>,
    watcher: Arc<Watcher>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(completions: impl Iterator<Item = &'a Completion>) -> Self {
        let completions: Vec<_> = completions.collect();
        let watcher = Arc::default();
        for (number, completion) in completions.iter().enumerate() {
            completion.watch(&watcher, number);
        }
        Watch { completions, watcher }
    }

    /// Waits until one more of them is over, and gives its place: each once, first those that were
    /// over from the start, in order. `None` when the time is up first. `interrupted` is as for
    /// [`Completion::wait`].
    pub(crate) fn next(
        &mut self,
        until: Option<Instant>,
        mut interrupted: impl FnMut(),
    ) -> Option<usize> {
        loop {
            let mut over = lock(&self.watcher.over);
            if let Some(number) = over.pop_front() {
                return Some(number);
            }
            let pause = pause(until)?;
            let (mut over, _) = self
                .watcher
                .changed
                .wait_timeout(over, pause)
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(number) = over.pop_front() {
                return Some(number);
            }
            drop(over);
            look_for_interrupt(&mut interrupted);
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        for completion in &self.completions {
            completion.unwatch(&self.watcher);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a wait of this length ends; `None` is never.
pub(crate) fn until(limit: Option<Duration>) -> Option<Instant> {
    limit.and_then(|limit| Instant::now().checked_add(limit))
}

/// How long to sleep at a stretch; `None` when the time is up.
fn pause(until: Option<Instant>) -> Option<Duration> {
    let pause = if interrupt::is_set() { INTERRUPT_EVERY } else { Duration::from_secs(3600) };
    let Some(until) = until else { return Some(pause) };
    let left = until.saturating_duration_since(Instant::now());
    (!left.is_zero()).then(|| pause.min(left))
}

fn look_for_interrupt(interrupted: &mut impl FnMut()) {
    if !std::thread::panicking() && interrupt::check() {
        interrupted();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Longer than any test waits, so that one that hangs fails.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn watch(completions: &[Completion]) -> Watch<'_> {
        Watch::new(completions.iter())
    }

    #[test]
    fn what_was_over_from_the_start_comes_first_and_in_order_and_each_comes_once() {
        let three: [Completion; 3] = Default::default();
        three[2].set(Ok(()));
        three[0].set(Ok(()));
        let mut watch = watch(&three);
        three[1].set(Ok(()));
        three[1].set(Ok(()));
        let mut next = || watch.next(until(Some(Duration::ZERO)), || {});
        assert_eq!([next(), next(), next(), next()], [Some(0), Some(2), Some(1), None]);
    }

    #[test]
    fn the_outcome_of_several_parts_is_the_first_failure_once_all_are_over() {
        use crate::error::ErrorKind;
        let waiting = Arc::new(AtomicUsize::new(0));
        let parts = Completion::counted(&waiting);
        let failure = |text: &str| Err(Error::new(ErrorKind::Aborted, text));
        parts.expect(4);
        for outcome in [Ok(()), failure("first"), failure("second")] {
            parts.set(outcome);
            assert!(parts.get().is_none());
            assert_eq!(waiting.load(Ordering::Relaxed), 1);
        }
        parts.set(Ok(()));
        assert_eq!(parts.get().unwrap().unwrap_err().message(), "first");
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        parts.expect(2);
        parts.set(Ok(()));
        assert!(parts.get().is_none(), "starts anew");
        parts.set(Ok(()));
        assert!(parts.get().unwrap().is_ok());
    }

    #[test]
    fn a_thread_that_watches_several_is_woken_by_any_of_them() {
        let two: [Completion; 2] = Default::default();
        let asleep = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut watch = watch(&two);
                asleep.wait();
                let first = watch.next(until(Some(PATIENCE)), || {});
                asleep.wait();
                [first, watch.next(until(Some(PATIENCE)), || {})]
            });
            asleep.wait();
            two[1].set(Ok(()));
            asleep.wait();
            two[0].set(Ok(()));
            assert_eq!(waiting.join().unwrap(), [Some(1), Some(0)]);
        });
    }

    #[test]
    fn several_threads_may_watch_the_same_and_one_that_gave_up_leaves_nothing_behind() {
        let one: [Completion; 1] = Default::default();
        let mut stays = watch(&one);
        let mut leaves = watch(&one);
        assert_eq!(leaves.next(until(Some(Duration::from_millis(1))), || {}), None);
        drop(leaves);
        assert_eq!(one[0].lock().watchers.len(), 1);
        one[0].set(Ok(()));
        assert_eq!(stays.next(until(Some(PATIENCE)), || {}), Some(0));
        assert!(one[0].lock().watchers.is_empty());
    }

    #[test]
    fn one_that_is_given_twice_comes_twice() {
        let one = Completion::default();
        let mut watch = Watch::new([&one, &one].into_iter());
        one.set(Ok(()));
        let mut next = || watch.next(until(Some(PATIENCE)), || {});
        assert_eq!([next(), next()], [Some(0), Some(1)]);
    }
}
