//! What a collective does with its arrays: how long each is on this rank, what goes in, what must
//! come out, and what nccl-tests counts.
//!
//! One number stands for a size on every rank: the elements of the array that is whole somewhere
//! (what an allgather leaves, what a scatter begins with). Where the counts differ by rank, rank
//! `r` has `r + 1` shares of it; from rank `s` to rank `r` an alltoallv sends `(s + r) mod n + 1`
//! shares, so that every rank sends and gets as many in all, and the two always agree.

use super::pattern::{Number, Pattern};
use crate::types::{Collective, Rank};

/// A run of the elements that repeat in a [`Pattern`].
pub(super) struct Piece<T> {
    pub(super) repeating: Vec<T>,
    /// Where in the array that repeats the run begins.
    pub(super) start: usize,
    pub(super) len: usize,
}

/// One collective and size on one rank.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) collective: Collective,
    pub(super) rank: Rank,
    pub(super) ranks: u32,
    pub(super) root: Rank,
    /// Elements of the whole array.
    total: usize,
}

impl Shape {
    /// The shape of so many elements, or as many fewer as make equal parts, but one for each rank
    /// at least where there are any at all.
    pub(super) fn new(
        collective: Collective,
        rank: Rank,
        ranks: u32,
        root: Rank,
        elements: usize,
    ) -> Shape {
        let ranks_len = ranks as usize;
        let total = match is_divided(collective) {
            true if elements > 0 => (elements / ranks_len).max(1) * ranks_len,
            _ => elements,
        };
        Shape { collective, rank, ranks, root, total }
    }

    /// Elements of the whole array, which the size column counts.
    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// What the count column says: elements of one rank's part where the parts are equal.
    pub(super) fn count(&self) -> usize {
        if is_divided(self.collective) { self.total / self.ranks as usize } else { self.total }
    }

    /// Each rank's elements, for the forms in which they differ; for an alltoallv those that go to
    /// each rank, which are as many as come from it.
    pub(super) fn counts(&self) -> Vec<usize> {
        let n = self.ranks as usize;
        let shares = |r: usize| match self.collective {
            Collective::Alltoallv => (self.rank as usize + r) % n,
            _ => r,
        };
        (0..n).map(|r| self.part(shares(r))).collect()
    }

    /// The elements of `share + 1` shares out of all.
    fn part(&self, share: usize) -> usize {
        let n = self.ranks as u128;
        let all = n * (n + 1) / 2;
        let end = |share: u128| (self.total as u128 * (share * (share + 1) / 2) / all) as usize;
        end(share as u128 + 1) - end(share as u128)
    }

    /// Elements of the array that this rank gives; 0 where it gives none.
    pub(super) fn input_len(&self) -> usize {
        use Collective::*;
        let is_root = self.rank == self.root;
        match self.collective {
            Barrier => 0,
            Allgather | Gather => self.count(),
            Allgatherv | Gatherv => self.part(self.rank as usize),
            Scatter | Scatterv if !is_root => 0,
            _ => self.total,
        }
    }

    /// Elements of the array that this rank gets, apart from the one that it gives.
    pub(super) fn output_len(&self) -> usize {
        use Collective::*;
        let is_root = self.rank == self.root;
        match self.collective {
            Gather | Gatherv if !is_root => 0,
            ReduceScatter | Scatter => self.count(),
            ReduceScatterv | Scatterv => self.part(self.rank as usize),
            _ => self.total,
        }
    }

    /// What the array with the result must hold.
    pub(super) fn expected<T: Number>(&self, pattern: &Pattern) -> Vec<Piece<T>> {
        use Collective::*;
        let whole = |repeating| vec![Piece { repeating, start: 0, len: self.total }];
        let parts = || (0..self.ranks).zip(self.parts());
        let mine = |repeating| {
            let (start, len) = self.parts()[self.rank as usize];
            vec![Piece { repeating, start, len }]
        };
        let own = || pattern.input(self.rank);
        match self.collective {
            Barrier => Vec::new(),
            Allreduce => whole(pattern.reduced(self.ranks)),
            Reduce if self.rank == self.root => whole(pattern.reduced(self.ranks)),
            // The others keep theirs, and rank 0 of an exscan has nothing below it.
            Reduce => whole(own()),
            Exscan if self.rank == 0 => whole(own()),
            Exscan => whole(pattern.reduced(self.rank)),
            Scan => whole(pattern.reduced(self.rank + 1)),
            Broadcast => whole(pattern.input(self.root)),
            ReduceScatter | ReduceScatterv => mine(pattern.reduced(self.ranks)),
            Scatter | Scatterv => mine(pattern.input(self.root)),
            Gather | Gatherv if self.rank != self.root => Vec::new(),
            Gather | Gatherv | Allgather | Allgatherv => parts()
                .map(|(from, (_, len))| Piece { repeating: pattern.input(from), start: 0, len })
                .collect(),
            // What was meant for this rank in each other's array.
            Alltoall | Alltoallv => (0..self.ranks)
                .map(|from| {
                    let theirs = Shape { rank: from, ..*self };
                    let (start, len) = theirs.parts()[self.rank as usize];
                    Piece { repeating: pattern.input(from), start, len }
                })
                .collect(),
        }
    }

    /// Where each rank's part of the whole array begins, and how long it is.
    fn parts(&self) -> Vec<(usize, usize)> {
        let counts = match is_divided(self.collective) {
            true => vec![self.count(); self.ranks as usize],
            false => self.counts(),
        };
        let place = |begin: &mut usize, len: usize| {
            let at = *begin;
            *begin += len;
            Some((at, len))
        };
        counts.into_iter().scan(0, place).collect()
    }

    /// What turns algbw into busbw: how many times the array's bytes the busiest link carries. The
    /// form with counts has the factor of the one without, which is exact where they are equal.
    pub(super) fn bus_factor(&self) -> f64 {
        use Collective::*;
        let ranks = f64::from(self.ranks);
        let others = (ranks - 1.0) / ranks;
        match self.collective {
            Allreduce => 2.0 * others,
            Allgather | Allgatherv | ReduceScatter | ReduceScatterv | Gather | Gatherv
            | Scatter | Scatterv | Alltoall | Alltoallv => others,
            Broadcast | Reduce | Scan | Exscan | Barrier => 1.0,
        }
    }
}

/// Whether the whole array has a part for each rank, all of one length.
fn is_divided(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allgather | ReduceScatter | Gather | Scatter | Alltoall)
}

/// Whether the result takes the input's place: where the two are equally long on every rank.
pub(super) fn has_one_array(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allreduce | Reduce | Broadcast | Scan | Exscan | Barrier)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(collective: Collective, rank: Rank, ranks: u32, elements: usize) -> Shape {
        Shape::new(collective, rank, ranks, 0, elements)
    }

    #[test]
    fn unequal_counts_grow_with_the_rank_and_add_up() {
        assert_eq!(shape(Collective::Allgatherv, 1, 3, 600).counts(), [100, 200, 300]);
        assert_eq!(shape(Collective::Scatterv, 1, 1, 7).counts(), [7]);
        for elements in [0, 1, 5, 1021, 65536] {
            for ranks in [1, 2, 3, 7] {
                let counts = shape(Collective::Gatherv, 0, ranks, elements).counts();
                assert_eq!(counts.iter().sum::<usize>(), elements, "{ranks}");
            }
        }
    }

    #[test]
    fn what_one_rank_sends_in_an_alltoallv_is_what_the_other_takes() {
        for elements in [0, 3, 1000] {
            for (a, b) in [(0, 1), (0, 2), (1, 2), (2, 2)] {
                let of = |rank| shape(Collective::Alltoallv, rank, 3, elements).counts();
                assert_eq!(of(a)[b as usize], of(b)[a as usize]);
                assert_eq!(of(a).iter().sum::<usize>(), elements);
            }
        }
        assert_eq!(shape(Collective::Alltoallv, 1, 3, 600).counts(), [200, 300, 100]);
    }

    #[test]
    fn equal_parts_are_never_empty_unless_nothing_is_asked_for() {
        let count = |elements| shape(Collective::Alltoall, 0, 3, elements).count();
        assert_eq!([0, 1, 3, 8].map(count), [0, 1, 1, 2]);
    }
}
