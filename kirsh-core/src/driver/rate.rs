//! A bound on what a process sends to other hosts, for lines that others use as well.
//!
//! Frames of all lanes book the time that they take at that rate, one behind the other, and each is
//! handed to its socket when its time has come. So no more than a frame is ahead of the rate; the
//! socket paces what it has been given, so that not even that goes out at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the lanes of a process share.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_per_second: u64,
    /// Until when the line is booked.
    booked_ns: AtomicU64,
}

impl Limiter {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Limiter { bytes_per_second: bytes_per_second.max(1), booked_ns: AtomicU64::new(0) }
    }

    /// Books the time of so many bytes. When the first of them may go.
    fn book(&self, bytes: u64, now_ns: u64) -> u64 {
        let takes = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let takes_ns = u64::try_from(takes).unwrap_or(u64::MAX);
        let from = |booked_ns: u64| booked_ns.max(now_ns);
        let until = |booked_ns| Some(from(booked_ns).saturating_add(takes_ns));
        match self.booked_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, until) {
            Ok(booked_ns) | Err(booked_ns) => from(booked_ns),
        }
    }
}

/// The frames of one lane that wait for their time, by a number that the lane gives them.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    limiter: Option<Arc<Limiter>>,
    waiting: Vec<(u64, u32)>,
}

impl Gate {
    pub(crate) fn new(limiter: Option<Arc<Limiter>>) -> Self {
        Gate { limiter, waiting: Vec::new() }
    }

    /// Whether a frame to another host may go at once; else [`Gate::due`] gives its number when it may.
    pub(crate) fn admits(&mut self, bytes: u64, number: u32, now_ns: impl FnOnce() -> u64) -> bool {
        let Some(limiter) = &self.limiter else { return true };
        let now_ns = now_ns();
        let from_ns = limiter.book(bytes, now_ns);
        if from_ns > now_ns {
            self.waiting.push((from_ns, number));
        }
        from_ns <= now_ns
    }

    /// When the next of them may go.
    pub(crate) fn next_ns(&self) -> u64 {
        self.waiting.iter().map(|(from_ns, _)| *from_ns).min().unwrap_or(u64::MAX)
    }

    /// One that may go now.
    pub(crate) fn due(&mut self, now_ns: impl FnOnce() -> u64) -> Option<u32> {
        if self.waiting.is_empty() {
            return None;
        }
        let now_ns = now_ns();
        let index = self.waiting.iter().position(|(from_ns, _)| *from_ns <= now_ns)?;
        Some(self.waiting.remove(index).1)
    }

    /// Nothing that waits will be sent any more.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_follow_each_other_at_the_rate_and_one_goes_at_once() {
        let limiter = Arc::new(Limiter::new(1000));
        let mut gates = [Gate::new(Some(Arc::clone(&limiter))), Gate::new(Some(limiter))];
        assert!(gates[0].admits(500, 7, || 10_000_000_000));
        // Half a second later, whichever lane it is of.
        assert!(!gates[1].admits(1000, 8, || 10_000_000_000));
        assert!(!gates[0].admits(1, 9, || 10_100_000_000));
        assert_eq!((gates[0].next_ns(), gates[1].next_ns()), (11_500_000_000, 10_500_000_000));
        assert_eq!(gates[1].due(|| 10_499_999_999), None);
        assert_eq!(gates[1].due(|| 10_500_000_000), Some(8));
        assert_eq!(gates[1].next_ns(), u64::MAX);
        // A line that was idle saves nothing up.
        assert!(gates[1].admits(1000, 8, || 20_000_000_000));
        assert!(!gates[1].admits(1000, 8, || 20_000_000_000));
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let mut gate = Gate::default();
        assert!(gate.admits(u64::MAX, 0, || unreachable!("no clock is needed")));
        assert_eq!(gate.next_ns(), u64::MAX);
    }
}
