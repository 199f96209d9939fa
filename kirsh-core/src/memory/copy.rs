//! The one function of the library that copies payload, and what it counts.
//!
//! Received bytes land where they belong, and folds write where their result belongs. A copy is
//! therefore either something a plan says in so many words, or a mistake, and counting tells
//! which: see `bytes_copied` in the communicator's statistics.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count of bytes that several threads add to.
///
/// Relaxed: it orders nothing. It has two cache lines for itself, because x86 processors fetch
/// lines in pairs, so that counting slows nobody who works on what lies beside it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds; wraps around after 2⁶⁴.
    #[inline]
    pub fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Copies `len` bytes and counts them. Where both addresses are one, nothing moves and nothing is
/// counted.
///
/// # Safety
/// - `source` is valid for reading `len` bytes, `target` for writing.
/// - The two are one, or have no byte in common. Nobody else touches these bytes meanwhile.
#[inline]
pub unsafe fn copy(source: *const u8, target: *mut u8, len: usize, counter: &Counter) {
    if source == target.cast_const() || len == 0 {
        return;
    }
    // SAFETY: both are valid for `len` bytes and, not being one, have none in common; bytes have
    // no alignment.
    unsafe { ptr::copy_nonoverlapping(source, target, len) };
    counter.add(len as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_moves_exactly_its_bytes_and_counts_them() {
        let counter = Counter::new();
        let source: Vec<u8> = (1..=100).collect();
        let mut target = [0u8; 100];
        // SAFETY: both ranges lie in their vectors, which are two.
        unsafe { copy(source[10..].as_ptr(), target[20..].as_mut_ptr(), 50, &counter) };
        assert_eq!(target[20..70], source[10..60]);
        assert!(target[..20].iter().chain(&target[70..]).all(|&byte| byte == 0));
        assert_eq!(counter.get(), 50);
    }

    #[test]
    fn a_copy_onto_itself_or_of_nothing_counts_nothing() {
        let counter = Counter::new();
        let mut bytes = [1u8, 2, 3];
        let start = bytes.as_mut_ptr();
        // SAFETY: source and target are one.
        unsafe { copy(start, start, 3, &counter) };
        // SAFETY: no bytes, so any address will do.
        unsafe { copy(ptr::null(), ptr::null_mut(), 0, &counter) };
        // SAFETY: no bytes.
        unsafe { copy(start, start.wrapping_add(1), 0, &counter) };
        assert_eq!((bytes, counter.get()), ([1, 2, 3], 0));
    }

    #[test]
    fn a_counter_loses_nothing_between_threads() {
        let counter = Counter::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| counter.add(3)));
            }
        });
        assert_eq!(counter.get(), 12_000);
        assert_eq!(align_of::<Counter>(), size_of::<Counter>());
    }
}
