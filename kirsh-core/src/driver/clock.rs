//! The one real clock: nanoseconds of CLOCK_MONOTONIC.

/// Now. Only differences mean anything.
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec to write to, and CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// What has to be added to a time on this clock to have nanoseconds since 1970, as far as this host knows
/// just now.
pub(crate) fn realtime_offset_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above, with CLOCK_REALTIME.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &mut now) };
    let since_1970_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    since_1970_ns.saturating_sub(now_ns())
}

/// A stretch of time on that clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) from_ns: u64,
    pub(crate) to_ns: u64,
}

impl Stretch {
    pub(crate) fn ns(self) -> u64 {
        self.to_ns - self.from_ns
    }
}
