//! Where the bytes of an address space lie: in one run of memory, or in several that a plan sees as
//! one behind the other.

use std::sync::Arc;

/// A run of memory that holds a part of an address space.
#[derive(Clone, Copy, Debug)]
struct Run {
    base: *mut u8,
    /// Where in the space the run ends; it begins where the one before ends.
    end: u64,
}

/// The memory of one address space. Holds addresses only; whose memory that is, and how long it is
/// lent, is for who made it to say.
#[derive(Clone, Debug)]
pub enum Array {
    One(*mut u8),
    Blocks(Blocks),
    Many(Runs),
}

/// Runs of one length, not empty, at equal distances: as many as spans speak of.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    base: *mut u8,
    len: u64,
    stride: u64,
}

/// Several runs, none of them empty.
#[derive(Clone, Debug)]
pub struct Runs(Arc<[Run]>);

// SAFETY: addresses alone; what is done with them is the business of `job::Buffers`.
unsafe impl Send for Array {}
// SAFETY: as above; nothing changes behind a shared reference.
unsafe impl Sync for Array {}

impl Array {
    /// Runs of these lengths in bytes, one behind the other. Empty ones are left out.
    pub fn many(runs: impl IntoIterator<Item = (*mut u8, u64)>) -> Self {
        let mut end = 0;
        let runs = runs.into_iter().filter(|(_, len)| *len != 0).map(|(base, len)| {
            end += len;
            Run { base, end }
        });
        let runs: Arc<[Run]> = runs.collect();
        match &*runs {
            [] => Array::One(std::ptr::null_mut()),
            [run] => Array::One(run.base),
            _ => Array::Many(Runs(runs)),
        }
    }

    /// The runs of memory that hold the bytes `offset..offset + len`, in order, none empty.
    #[inline]
    pub fn pieces(&self, offset: u64, len: u64) -> Pieces<'_> {
        match self {
            Array::One(base) => Pieces::of(*base, (u64::MAX, 0), offset, len),
            Array::Blocks(blocks) => {
                Pieces::of(blocks.base, (blocks.len, blocks.stride), offset, len)
            }
            Array::Many(Runs(runs)) => {
                let first = runs.partition_point(|run| run.end <= offset);
                let begin = if first == 0 { 0 } else { runs[first - 1].end };
                let nowhere = std::ptr::null_mut();
                Pieces {
                    runs: &runs[first..],
                    begin,
                    ..Pieces::of(nowhere, (u64::MAX, 0), offset, len)
                }
            }
        }
    }

    /// The bytes `offset..offset + len` of each of so many blocks of `block` bytes that this array
    /// is made of, one behind the other.
    pub(crate) fn part(&self, blocks: u64, block: u64, offset: u64, len: u64) -> Array {
        match self {
            Array::One(base) => {
                let base = base.wrapping_add(offset as usize);
                if blocks <= 1 || len == 0 {
                    return Array::One(base);
                }
                Array::Blocks(Blocks { base, len, stride: block })
            }
            whole => {
                let runs = (0..blocks).flat_map(|at| whole.pieces(at * block + offset, len));
                Array::many(runs.map(|(base, len)| (base, len as u64)))
            }
        }
    }
}

/// A span's place in memory.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    array: Array,
    offset: u64,
    len: u64,
}

impl Place {
    pub(crate) const fn new(array: Array, offset: u64, len: u64) -> Self {
        Place { array, offset, len }
    }

    /// The runs of memory from `skip` bytes behind the first on, none empty.
    #[inline]
    pub(crate) fn pieces_from(&self, skip: u64) -> Pieces<'_> {
        let skip = skip.min(self.len);
        self.array.pieces(self.offset + skip, self.len - skip)
    }

    pub(crate) fn pieces(&self) -> Pieces<'_> {
        self.pieces_from(0)
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }
}

/// Iterates over addresses and lengths.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    /// Where the space begins, if it is one run or blocks; those have this length and distance.
    base: *mut u8,
    block: u64,
    stride: u64,
    offset: u64,
    left: u64,
    /// The run that `offset` is in, and those behind it.
    runs: &'a [Run],
    /// Where in the space the first of `runs` begins.
    begin: u64,
}

impl Pieces<'_> {
    #[inline]
    fn of(base: *mut u8, (block, stride): (u64, u64), offset: u64, left: u64) -> Self {
        Pieces { base, block, stride, offset, left, runs: &[], begin: 0 }
    }
}

impl Iterator for Pieces<'_> {
    type Item = (*mut u8, usize);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some((run, rest)) = self.runs.split_first() else {
            // One run, or blocks, or a span beyond the last run, which no plan has.
            if self.block == u64::MAX {
                let len = std::mem::take(&mut self.left);
                return Some((self.base.wrapping_add(self.offset as usize), len as usize));
            }
            let (index, within) = (self.offset / self.block, self.offset % self.block);
            let len = self.left.min(self.block - within);
            self.offset += len;
            self.left -= len;
            let address = self.base.wrapping_add((index * self.stride + within) as usize);
            return Some((address, len as usize));
        };
        let address = run.base.wrapping_add((self.offset - self.begin) as usize);
        let len = self.left.min(run.end - self.offset);
        self.offset += len;
        self.left -= len;
        self.runs = rest;
        self.begin = run.end;
        Some((address, len as usize))
    }
}

/// Pairs the pieces of two spans of one length so that each pair is of one length.
pub(crate) fn in_step<'a>(
    mut a: Pieces<'a>,
    mut b: Pieces<'a>,
) -> impl Iterator<Item = (*mut u8, *mut u8, usize)> + 'a {
    let (mut left, mut right): ((*mut u8, usize), (*mut u8, usize)) =
        ((std::ptr::null_mut(), 0), (std::ptr::null_mut(), 0));
    std::iter::from_fn(move || {
        if left.1 == 0 {
            left = a.next()?;
        }
        if right.1 == 0 {
            right = b.next()?;
        }
        let len = left.1.min(right.1);
        let pair = (left.0, right.0, len);
        left = (left.0.wrapping_add(len), left.1 - len);
        right = (right.0.wrapping_add(len), right.1 - len);
        Some(pair)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: usize) -> *mut u8 {
        std::ptr::without_provenance_mut(address)
    }

    #[test]
    fn a_span_of_one_run_is_one_piece() {
        let array = Array::One(at(1000));
        assert_eq!(array.pieces(5, 7).collect::<Vec<_>>(), [(at(1005), 7)]);
        assert_eq!(array.pieces(5, 0).count(), 0);
    }

    #[test]
    fn a_span_is_cut_where_runs_end_and_empty_runs_are_passed_over() {
        let array = Array::many([(at(100), 4), (at(0), 0), (at(200), 1), (at(300), 10)]);
        let pieces = |offset, len| array.pieces(offset, len).collect::<Vec<_>>();
        assert_eq!(pieces(0, 15), [(at(100), 4), (at(200), 1), (at(300), 10)]);
        assert_eq!(pieces(3, 3), [(at(103), 1), (at(200), 1), (at(300), 1)]);
        assert_eq!(pieces(4, 1), [(at(200), 1)]);
        assert_eq!(pieces(7, 8), [(at(302), 8)]);
        assert_eq!(pieces(15, 0), []);
    }

    #[test]
    fn a_part_of_every_block_is_one_array() {
        let whole = Array::One(at(1000));
        let part = whole.part(3, 100, 10, 4);
        let pieces = |offset, len| part.pieces(offset, len).collect::<Vec<_>>();
        assert_eq!(pieces(0, 12), [(at(1010), 4), (at(1110), 4), (at(1210), 4)]);
        assert_eq!(pieces(3, 3), [(at(1013), 1), (at(1110), 2)]);
        assert_eq!(pieces(8, 2), [(at(1210), 2)]);
        assert_eq!(pieces(12, 0), []);
        assert_eq!(whole.part(1, 100, 10, 4).pieces(1, 2).collect::<Vec<_>>(), [(at(1011), 2)]);
        let many = Array::many([(at(100), 6), (at(200), 14)]).part(2, 10, 4, 4);
        let expected = [(at(104), 2), (at(200), 2), (at(208), 4)];
        assert_eq!(many.pieces(0, 8).collect::<Vec<_>>(), expected);
        assert_eq!(whole.part(3, 100, 10, 0).pieces(0, 0).count(), 0);
    }

    #[test]
    fn spans_cut_at_different_places_are_walked_in_step() {
        let a = Array::many([(at(100), 4), (at(200), 6)]);
        let b = Array::many([(at(1000), 7), (at(2000), 3)]);
        let pairs: Vec<_> = in_step(a.pieces(1, 9), b.pieces(1, 9)).collect();
        let expected = [(at(101), at(1001), 3), (at(200), at(1004), 3), (at(203), at(2000), 3)];
        assert_eq!(pairs, expected);
        let one = Array::One(at(1));
        assert_eq!(in_step(a.pieces(0, 10), one.pieces(0, 10)).count(), 2);
    }
}
