//! A collective call on pointers: the one form that every other is turned into, and what bindings
//! build on.

use crate::types::{Collective, DataType, Rank, ReduceOp};

/// One of a call's two arrays.
#[derive(Clone, Copy, Debug, Default)]
pub enum RawArray<'a> {
    /// There is none: for a rank that neither gives nor gets in this collective.
    #[default]
    None,
    /// As many elements as the call says, from here on. May be null where that is none.
    One(*mut u8),
    /// Several runs of so many elements, which count as one array, each behind the one before.
    Many(&'a [(*mut u8, usize)]),
}

/// How many elements belong to which rank.
#[derive(Clone, Copy, Debug, Default)]
pub enum RawCounts<'a> {
    /// As many to each as [`RawCall::count`] says.
    #[default]
    Even,
    /// Each rank's, equal on all ranks (allgatherv, reduce_scatterv).
    Known(&'a [usize]),
    /// What this rank sends to each rank, and what it receives from each (alltoallv).
    Pairs { send: &'a [usize], recv: &'a [usize] },
    /// What this rank gives to the root or gets from it, and on the root each rank's (gatherv,
    /// scatterv; off the root `each` is not looked at).
    Rooted { own: usize, each: &'a [usize] },
}

/// A collective call on pointers.
///
/// What `count` counts is what NCCL counts: the elements of the array for allreduce, reduce,
/// broadcast, scan and exscan; those that each rank gives for allgather and gather, and that each
/// gets for reduce_scatter and scatter; those for each pair of ranks for alltoall.
///
/// In place is where the arrays lie so that each rank's part is where it belongs: the same pointer
/// twice for allreduce, reduce (on the root), scan, exscan and alltoall; `send` at the rank's own
/// part of `recv` for allgather and gather (on the root); `recv` at the rank's own part of `send`
/// for reduce_scatter and scatter (on the root). Arrays that overlap in any other way are refused.
/// A broadcast has one array, `recv`. An alltoall in place first copies what it sends.
#[derive(Clone, Copy, Debug)]
pub struct RawCall<'a> {
    pub collective: Collective,
    pub dtype: DataType,
    /// Not looked at where the collective does not reduce.
    pub op: ReduceOp,
    /// Not looked at where the collective has no root.
    pub root: Rank,
    pub count: usize,
    pub counts: RawCounts<'a>,
    /// Only read, or written where it holds the result.
    pub send: RawArray<'a>,
    pub recv: RawArray<'a>,
}

impl<'a> RawCall<'a> {
    /// A call without arrays, counts, operator and root.
    pub const fn new(collective: Collective, dtype: DataType, count: usize) -> Self {
        RawCall {
            collective,
            dtype,
            op: ReduceOp::Sum,
            root: 0,
            count,
            counts: RawCounts::Even,
            send: RawArray::None,
            recv: RawArray::None,
        }
    }

    pub const fn op(self, op: ReduceOp) -> Self {
        RawCall { op, ..self }
    }

    pub const fn root(self, root: Rank) -> Self {
        RawCall { root, ..self }
    }

    pub const fn counts(self, counts: RawCounts<'a>) -> Self {
        RawCall { counts, ..self }
    }

    pub const fn send(self, send: *const u8) -> Self {
        RawCall { send: RawArray::One(send.cast_mut()), ..self }
    }

    pub const fn recv(self, recv: *mut u8) -> Self {
        RawCall { recv: RawArray::One(recv), ..self }
    }

    /// The same array for both: in place where the collective allows it.
    pub const fn both(self, array: *mut u8) -> Self {
        self.send(array).recv(array)
    }

    pub const fn send_many(self, runs: &'a [(*mut u8, usize)]) -> Self {
        RawCall { send: RawArray::Many(runs), ..self }
    }

    pub const fn recv_many(self, runs: &'a [(*mut u8, usize)]) -> Self {
        RawCall { recv: RawArray::Many(runs), ..self }
    }
}
