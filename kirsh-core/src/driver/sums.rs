//! Checksums that cost no pass of their own: taken while bytes are worked on anyway, and remembered
//! where the same bytes are sent on.

use std::ops::Range;

use crate::limits::LOOK_AHEAD_MAX;
use crate::types::{Span, Wire};
use crate::wire::checksum::Checksum;

/// Bytes that are summed and worked on together. What is received, what it is folded with and the
/// result are three times that, which the first cache of every processor in use has room for (32 KiB),
/// and a call of the summing and of the folding loop is little beside so many bytes.
pub(super) const BLOCK_BYTES: usize = 8 << 10;

/// Bytes of a result that are summed while it is written. A longer one has left the nearer caches when it
/// is sent, and the kernel's copy is the faster for what a pass of summing has just read: summed ahead, an
/// all-reduce of 16 MiB between two ranks on loopback took 3.7 ms, and 3.5 summed when it was sent.
pub(super) const SUMMED_AHEAD_MAX: u64 = 128 << 10;

// A block of an encoding, and of any type of elements, is whole.
const _: () = assert!(BLOCK_BYTES.is_multiple_of(Wire::BLOCK as usize * size_of::<f32>()));

/// What one pass over a span sums up on its way. By default nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    /// Of what has been received, as it came.
    pub(crate) received: Option<Checksum>,
    /// Of what the pass writes.
    pub(crate) result: Option<Checksum>,
}

impl Sums {
    /// Bytes at a time: everything, where nothing is summed.
    pub(super) fn block(&self) -> usize {
        if self.received.is_some() || self.result.is_some() { BLOCK_BYTES } else { usize::MAX }
    }

    /// Bytes are about to be worked on.
    ///
    /// # Safety
    /// `from` may be read for `len` initialised bytes, which nobody writes meanwhile.
    #[inline]
    pub(super) unsafe fn take_in(&mut self, from: *const u8, len: usize) {
        if let Some(checksum) = &mut self.received {
            // SAFETY: as the caller promises.
            checksum.update(unsafe { std::slice::from_raw_parts(from, len) });
        }
    }

    /// Bytes have been written.
    ///
    /// # Safety
    /// As for `take_in`.
    #[inline]
    pub(super) unsafe fn put_out(&mut self, to: *const u8, len: usize) {
        if let Some(checksum) = &mut self.result {
            // SAFETY: as the caller promises.
            checksum.update(unsafe { std::slice::from_raw_parts(to, len) });
        }
    }
}

/// Cuts pairs of runs so that no pair is longer than a block. Lengths stay multiples of the element's
/// size if they were.
pub(super) fn in_blocks(
    pairs: impl Iterator<Item = (*mut u8, *mut u8, usize)>,
    block: usize,
) -> impl Iterator<Item = (*mut u8, *mut u8, usize)> {
    pairs.flat_map(move |(a, b, len)| {
        cut(0..len, block)
            .map(move |at| (a.wrapping_add(at.start), b.wrapping_add(at.start), at.len()))
    })
}

fn cut(all: Range<usize>, block: usize) -> impl Iterator<Item = Range<usize>> {
    let end = all.end;
    all.step_by(block).map(move |at| at..end.min(at.saturating_add(block)))
}

/// A span whose checksum is known.
#[derive(Clone, Copy, Debug)]
struct Entry {
    span: Span,
    checksum: u32,
    /// How many frames it is still wanted for.
    sends: u32,
}

/// Checksums of spans of the running operation that frames are going to carry away just so. An entry is
/// forgotten when the last of those frames has it, and when a byte of its span is written.
#[derive(Debug)]
pub(crate) struct Known {
    entries: [Entry; LOOK_AHEAD_MAX],
    used: usize,
}

impl Known {
    pub(crate) const fn new() -> Self {
        let nothing = Entry { span: Span::scratch(0, 0), checksum: 0, sends: 0 };
        Known { entries: [nothing; LOOK_AHEAD_MAX], used: 0 }
    }

    /// Another operation begins.
    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// So many frames are going to carry this span, which has this checksum and which nothing has
    /// written since. Where there is no room, they will be summed again.
    pub(crate) fn note(&mut self, span: Span, checksum: u32, sends: u32) {
        self.forget(span);
        if sends > 0 && self.used < self.entries.len() {
            self.entries[self.used] = Entry { span, checksum, sends };
            self.used += 1;
        }
    }

    /// Somebody is about to write there.
    #[inline]
    pub(crate) fn forget(&mut self, written: Span) {
        let mut index = 0;
        while index < self.used {
            if self.entries[index].span.overlaps(&written) {
                self.remove(index);
            } else {
                index += 1;
            }
        }
    }

    /// The checksum of just this span, for one frame.
    pub(crate) fn take(&mut self, span: Span) -> Option<u32> {
        let index = self.entries[..self.used].iter().position(|entry| entry.span == span)?;
        let entry = &mut self.entries[index];
        let checksum = entry.checksum;
        entry.sends -= 1;
        if entry.sends == 0 {
            self.remove(index);
        }
        Some(checksum)
    }

    fn remove(&mut self, index: usize) {
        self.used -= 1;
        self.entries.swap(index, self.used);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::checksum::crc32c;

    #[test]
    fn a_checksum_is_there_for_as_many_frames_as_want_it_and_for_that_span_alone() {
        let mut known = Known::new();
        let span = Span::output(8, 8);
        known.note(span, 7, 2);
        for other in [Span::output(8, 4), Span::output(0, 16), Span::input(8, 8)] {
            assert_eq!(known.take(other), None, "{other:?}");
        }
        assert_eq!(
            [known.take(span), known.take(span), known.take(span)],
            [Some(7), Some(7), None]
        );
        known.note(span, 8, 0);
        assert_eq!(known.take(span), None);
        known.note(span, 9, 1);
        known.clear();
        assert_eq!(known.take(span), None);
    }

    #[test]
    fn a_write_of_one_byte_makes_a_checksum_unknown_and_one_beside_it_does_not() {
        let span = Span::output(8, 8);
        let writes = [(Span::output(0, 8), true), (Span::output(16, 8), true)];
        let hits = [(Span::output(0, 9), false), (Span::output(15, 1), false)];
        for (written, stays) in writes.into_iter().chain(hits) {
            let mut known = Known::new();
            known.note(span, 7, 1);
            known.forget(written);
            assert_eq!(known.take(span).is_some(), stays, "{written:?}");
        }
    }

    #[test]
    fn a_full_table_takes_nothing_more_and_loses_nothing() {
        let mut known = Known::new();
        let span = |n: usize| Span::scratch(n as u64 * 4, 4);
        (0..=LOOK_AHEAD_MAX).for_each(|n| known.note(span(n), n as u32, 1));
        for n in 0..LOOK_AHEAD_MAX {
            assert_eq!(known.take(span(n)), Some(n as u32));
        }
        assert_eq!(known.take(span(LOOK_AHEAD_MAX)), None);
    }

    #[test]
    fn runs_are_cut_into_blocks_that_follow_each_other() {
        let at = std::ptr::without_provenance_mut::<u8>;
        let runs = [(at(100), at(900), 5), (at(200), at(800), 4), (at(300), at(700), 1)];
        let cut: Vec<_> = in_blocks(runs.into_iter(), 4).collect();
        let expected = [
            (at(100), at(900), 4),
            (at(104), at(904), 1),
            (at(200), at(800), 4),
            (at(300), at(700), 1),
        ];
        assert_eq!(cut, expected);
        assert_eq!(in_blocks(runs.into_iter(), usize::MAX).collect::<Vec<_>>(), runs);
    }

    #[derive(Clone, Copy, Debug)]
    enum Doing {
        Write(usize, usize, u8),
        Note(usize, usize, u32),
        Send(usize, usize),
    }

    fn doing() -> impl Strategy<Value = Doing> {
        // Few places, so that spans meet.
        let at = || (0usize..6, 1usize..4);
        prop_oneof![
            (at(), any::<u8>()).prop_map(|((at, len), byte)| Doing::Write(at, len, byte)),
            (at(), 0u32..3).prop_map(|((at, len), sends)| Doing::Note(at, len, sends)),
            at().prop_map(|(at, len)| Doing::Send(at, len)),
        ]
    }

    proptest! {
        // P-6
        #[test]
        fn what_is_known_of_a_span_is_the_checksum_of_what_lies_there_now(
            doings in proptest::collection::vec(doing(), 0..100)
        ) {
            let (mut memory, mut known) = ([0u8; 9], Known::new());
            let span = |at: usize, len: usize| Span::output(at as u64, len as u64);
            for doing in doings {
                match doing {
                    Doing::Write(at, len, byte) => {
                        known.forget(span(at, len));
                        memory[at..at + len].fill(byte);
                    }
                    Doing::Note(at, len, sends) => {
                        known.note(span(at, len), crc32c(&memory[at..at + len]), sends);
                    }
                    Doing::Send(at, len) => {
                        if let Some(checksum) = known.take(span(at, len)) {
                            prop_assert_eq!(checksum, crc32c(&memory[at..at + len]));
                        }
                    }
                }
            }
        }
    }
}
