//! The collectives on slices: they block, and borrow the arrays for as long.

use super::raw::{RawCall, RawCounts};
use super::{Communicator, Element, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Collective, Rank, ReduceOp};

/// All of these are collective and block until this rank's part is done. See [`Communicator`] for
/// what an error leaves usable. Lengths are in elements. Where a rank has no use for an array (the
/// result of a gather off its root) it gives an empty one.
impl Communicator {
    /// Reduces the arrays of all ranks, element by element, in place: afterwards every rank has the
    /// same result, to the bit. `data` has the same length on every rank.
    ///
    /// # Errors
    /// When the call is refused, or fails on any rank; so for all below.
    pub fn allreduce<T: Element>(
        &self,
        data: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Allreduce, data.len()).op(op);
        // SAFETY: the slice is borrowed for as long as the call blocks, is as long as the call
        // says, and `Element` says that any bytes of that size are a `T`.
        unsafe { self.call_raw(&call.both(writable(data)), options) }
    }

    /// Like [`Communicator::allreduce`], but the result goes to `output` and `input` stays as it is.
    ///
    /// # Errors
    /// As there, and where the two differ in length.
    pub fn allreduce_into<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Allreduce, input.len()).op(op);
        self.fits("output", output.len(), input.len(), &call)?;
        // SAFETY: both are borrowed for as long as the call blocks, as long as the call says, and
        // apart, being borrowed at once.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Reduces several arrays in one call, in place, as if they lay one behind the other: one
    /// operation for all gradients of a model, without packing them. The lengths sum up to the same
    /// number on every rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn allreduce_many<T: Element>(
        &self,
        arrays: &mut [&mut [T]],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let runs: Vec<_> = arrays.iter_mut().map(|array| (writable(array), array.len())).collect();
        let count = runs.iter().map(|(_, len)| len).sum();
        let call = call::<T>(Collective::Allreduce, count).op(op);
        // SAFETY: as for one array; exclusive borrows are apart.
        unsafe { self.call_raw(&call.send_many(&runs).recv_many(&runs), options) }
    }

    /// Reduces the arrays of all ranks into the root's, in place; those of the others stay as they
    /// are. `data` has the same length on every rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn reduce<T: Element>(
        &self,
        data: &mut [T],
        op: ReduceOp,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Reduce, data.len()).op(op).root(root);
        // SAFETY: as in `allreduce`.
        unsafe { self.call_raw(&call.both(writable(data)), options) }
    }

    /// Copies the root's array to every rank. `data` has the same length on every rank, and is only
    /// read on the root.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn broadcast<T: Element>(
        &self,
        data: &mut [T],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Broadcast, data.len()).root(root);
        // SAFETY: as in `allreduce`.
        unsafe { self.call_raw(&call.recv(writable(data)), options) }
    }

    /// Waits until every rank has called it.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn barrier(&self, options: &Options<'_>) -> Result<()> {
        let call = call::<u8>(Collective::Barrier, 0);
        // SAFETY: a barrier has no arrays.
        unsafe { self.call_raw(&call, options) }
    }

    /// Puts the arrays of all ranks one behind the other into every rank's `output`. `input` has
    /// the same length on every rank, and `output` the world size times that.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn allgather<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Allgather, input.len());
        self.fits("output", output.len(), self.all(input.len()), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Like [`Communicator::allgather`], with `counts[r]` elements from rank `r`, the same on every
    /// rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn allgatherv<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Allgatherv, 0).counts(RawCounts::Known(counts));
        self.fits("input", input.len(), self.own(counts), &call)?;
        self.fits("output", output.len(), total(counts), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Reduces the arrays of all ranks, of which rank `r` gets part `r`. `output` has the same
    /// length on every rank, and `input` the world size times that.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn reduce_scatter<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::ReduceScatter, output.len()).op(op);
        self.fits("input", input.len(), self.all(output.len()), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Like [`Communicator::reduce_scatter`], with `counts[r]` elements for rank `r`, the same on
    /// every rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn reduce_scatterv<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::ReduceScatterv, 0).op(op).counts(RawCounts::Known(counts));
        self.fits("input", input.len(), total(counts), &call)?;
        self.fits("output", output.len(), self.own(counts), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Puts the arrays of all ranks one behind the other into the root's `output`; that of the
    /// others is not looked at.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn gather<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Gather, input.len()).root(root);
        if self.rank() == root {
            self.fits("output", output.len(), self.all(input.len()), &call)?;
        }
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Like [`Communicator::gather`], with `counts[r]` elements from rank `r`. Off the root neither
    /// `output` nor `counts` is looked at.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn gatherv<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        counts: &[usize],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let counted = RawCounts::Rooted { own: input.len(), each: counts };
        let call = call::<T>(Collective::Gatherv, 0).root(root).counts(counted);
        if self.rank() == root {
            self.fits("output", output.len(), total(counts), &call)?;
        }
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Gives part `r` of the root's `input` to rank `r`; that of the others is not looked at.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn scatter<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Scatter, output.len()).root(root);
        if self.rank() == root {
            self.fits("input", input.len(), self.all(output.len()), &call)?;
        }
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Like [`Communicator::scatter`], with `counts[r]` elements for rank `r`. Off the root neither
    /// `input` nor `counts` is looked at.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn scatterv<T: Element>(
        &self,
        input: &[T],
        counts: &[usize],
        output: &mut [T],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let counted = RawCounts::Rooted { own: output.len(), each: counts };
        let call = call::<T>(Collective::Scatterv, 0).root(root).counts(counted);
        if self.rank() == root {
            self.fits("input", input.len(), total(counts), &call)?;
        }
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Gives part `r` of `input` to rank `r`, and puts what rank `r` gives into part `r` of
    /// `output`. Both are of one length, the same on every rank, that the world size divides.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn alltoall<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Alltoall, input.len() / self.size() as usize);
        self.fits("input", input.len(), self.all(call.count), &call)?;
        self.fits("output", output.len(), input.len(), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Like [`Communicator::alltoall`], with `send_counts[r]` elements to rank `r` and
    /// `recv_counts[r]` from it.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn alltoallv<T: Element>(
        &self,
        input: &[T],
        send_counts: &[usize],
        output: &mut [T],
        recv_counts: &[usize],
        options: &Options<'_>,
    ) -> Result<()> {
        let counted = RawCounts::Pairs { send: send_counts, recv: recv_counts };
        let call = call::<T>(Collective::Alltoallv, 0).counts(counted);
        self.fits("input", input.len(), total(send_counts), &call)?;
        self.fits("output", output.len(), total(recv_counts), &call)?;
        // SAFETY: as in `allreduce_into`.
        unsafe { self.call_raw(&call.send(readable(input)).recv(writable(output)), options) }
    }

    /// Reduces, in place, the arrays of this rank and all below it. `data` has the same length on
    /// every rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn scan<T: Element>(
        &self,
        data: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Scan, data.len()).op(op);
        // SAFETY: as in `allreduce`.
        unsafe { self.call_raw(&call.both(writable(data)), options) }
    }

    /// Reduces, in place, the arrays of all ranks below this one. Rank 0's stays as it is. `data`
    /// has the same length on every rank.
    ///
    /// # Errors
    /// As for [`Communicator::allreduce`].
    pub fn exscan<T: Element>(
        &self,
        data: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = call::<T>(Collective::Exscan, data.len()).op(op);
        // SAFETY: as in `allreduce`.
        unsafe { self.call_raw(&call.both(writable(data)), options) }
    }

    /// As many elements from each rank.
    pub(super) fn all(&self, each: usize) -> usize {
        each.saturating_mul(self.size() as usize)
    }

    /// This rank's count, or 0 where there is none, which is found where counts are checked.
    pub(super) fn own(&self, counts: &[usize]) -> usize {
        counts.get(self.rank() as usize).copied().unwrap_or(0)
    }

    /// Refuses the call where an array has another length than it needs.
    pub(super) fn fits(
        &self,
        name: &str,
        given: usize,
        needed: usize,
        call: &RawCall<'_>,
    ) -> Result<()> {
        if given == needed {
            return Ok(());
        }
        let text = format!("{name} has {given} elements and needs {needed}");
        Err(self.refuse(call.collective, Error::new(ErrorKind::InvalidArgument, text)))
    }
}

pub(super) fn call<T: Element>(collective: Collective, count: usize) -> RawCall<'static> {
    RawCall::new(collective, T::DATA_TYPE, count)
}

pub(super) fn total(counts: &[usize]) -> usize {
    counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
}

fn readable<T: Element>(data: &[T]) -> *const u8 {
    data.as_ptr().cast()
}

fn writable<T: Element>(data: &mut [T]) -> *mut u8 {
    data.as_mut_ptr().cast()
}
