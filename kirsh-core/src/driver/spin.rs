//! Whether it pays to look from user space before sleeping.
//!
//! Who looks gives way between two looks. Where only ranks want the core that is all that is needed:
//! the one who has something to do gets it. A thread that computes keeps it for a whole time slice, in
//! milliseconds, where a sleeper would have been woken within microseconds. So a giving way that took long
//! ends the looking, for a while.

use super::clock::now_ns;

/// From here on somebody had the core for a time slice (0.7 ms and more on Linux, by the number of
/// cores), and no rank for what it had to do.
const LONG_NS: u64 = 1_000_000;

/// Waits that sleep at once after a giving way that took long: at first, and after many of those. Two
/// ranks beside two threads that compute took 42 µs over an all-reduce of 4 bytes where they slept at once and
/// 1 to 2 ms where they looked.
const SLEEPS_FIRST: u32 = 64;
const SLEEPS_MAX: u32 = 4096;

/// What one thread's waits have found out.
#[derive(Debug)]
pub(super) struct Spinning {
    /// Waits that are to sleep at once.
    sleeps: u32,
    /// How many they will be the next time.
    next_sleeps: u32,
    /// Looks in a row that nobody held up.
    undisturbed: u32,
}

impl Spinning {
    pub(super) const fn new() -> Self {
        Spinning { sleeps: 0, next_sleeps: SLEEPS_FIRST, undisturbed: 0 }
    }

    /// How long a wait should look that may look for so long.
    pub(super) fn allowed_ns(&mut self, spin_ns: u64) -> u64 {
        if self.sleeps == 0 || spin_ns == 0 {
            return spin_ns;
        }
        self.sleeps -= 1;
        0
    }

    /// Whether to go on looking, now that others have had the core, if they have: since when.
    pub(super) fn goes_on(&mut self, gave_way_ns: Option<u64>, now_ns: u64) -> bool {
        if gave_way_ns.is_none_or(|since_ns| now_ns.saturating_sub(since_ns) < LONG_NS) {
            return true;
        }
        self.sleeps = self.next_sleeps;
        self.next_sleeps = (self.next_sleeps * 2).min(SLEEPS_MAX);
        self.undisturbed = 0;
        false
    }

    /// A wait has found what it looked for: at once, or when others had had the core since then. It may
    /// have been there for long.
    pub(super) fn found(&mut self, gave_way_ns: Option<u64>) {
        if gave_way_ns.is_some() && !self.goes_on(gave_way_ns, now_ns()) {
            return;
        }
        self.undisturbed += 1;
        if self.undisturbed >= SLEEPS_FIRST {
            (self.undisturbed, self.next_sleeps) = (0, SLEEPS_FIRST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits until one looks again.
    fn sleeps(spinning: &mut Spinning) -> u32 {
        (0..).find(|_| spinning.allowed_ns(5) == 5).unwrap()
    }

    #[test]
    fn who_was_held_up_sleeps_at_once_for_longer_each_time_until_nobody_does() {
        let mut spinning = Spinning::new();
        assert!(spinning.goes_on(Some(10), 10 + LONG_NS - 1));
        assert!(spinning.goes_on(None, u64::MAX));
        assert_eq!(sleeps(&mut spinning), 0);
        for expected in [64, 128, 256, 512, 1024, 2048, 4096, 4096] {
            assert!(!spinning.goes_on(Some(10), 10 + LONG_NS));
            assert_eq!(spinning.allowed_ns(0), 0, "counts for nothing");
            assert_eq!(sleeps(&mut spinning), expected);
            (0..SLEEPS_FIRST - 1).for_each(|_| spinning.found(None));
        }
        // What was found late is no sign of quiet.
        spinning.found(Some(now_ns() - LONG_NS));
        assert_eq!(sleeps(&mut spinning), 4096);
        (0..SLEEPS_FIRST).for_each(|_| spinning.found(None));
        assert!(!spinning.goes_on(Some(0), LONG_NS));
        assert_eq!(sleeps(&mut spinning), 64);
    }
}
