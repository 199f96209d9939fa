//! The collectives on buffers that an operation owns while it runs.

use std::mem::MaybeUninit;

use super::blocking::{call, total};
use super::raw::{RawCall, RawCounts};
use super::{Buffer, Communicator, Options, RawWork, Work};
use crate::error::Result;
use crate::types::{Call, Collective, Rank, ReduceOp};

/// All of these are collective and return at once; see the call without `start_` for what it does.
/// The work owns the buffers and gives them back when it is over. Where the call is refused the
/// peers are told, and the buffers are dropped.
impl Communicator {
    /// Starts an allreduce in place.
    ///
    /// # Errors
    /// When the call is refused; so for all below.
    pub fn start_allreduce<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        self.start_in_place(Collective::Allreduce, buffer, |call| call.op(op), options)
    }

    /// Starts a reduce in place; only the root's buffer is written.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_reduce<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        self.start_in_place(Collective::Reduce, buffer, |call| call.op(op).root(root), options)
    }

    /// Starts a broadcast.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_broadcast<B: Buffer>(
        &self,
        buffer: B,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        self.start_in_place(Collective::Broadcast, buffer, |call| call.root(root), options)
    }

    /// Starts a scan in place.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_scan<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        self.start_in_place(Collective::Scan, buffer, |call| call.op(op), options)
    }

    /// Starts an exclusive scan in place.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_exscan<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        self.start_in_place(Collective::Exscan, buffer, |call| call.op(op), options)
    }

    /// Starts a barrier.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_barrier(&self, options: &Options<'_>) -> Result<RawWork> {
        // SAFETY: a barrier has no arrays.
        unsafe { self.start_raw(&call::<u8>(Collective::Barrier, 0), options) }
    }

    /// Starts an allgather.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_allgather<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let count = input.count();
        let lengths = [(input.count(), count), (output.count(), self.all(count))];
        self.start_apart(
            Collective::Allgather,
            count,
            (input, output),
            lengths,
            |call| call,
            options,
        )
    }

    /// Starts an allgatherv.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_allgatherv<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        counts: &[usize],
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let lengths = [(input.count(), self.own(counts)), (output.count(), total(counts))];
        let (name, counts) = (Collective::Allgatherv, RawCounts::Known(counts));
        self.start_apart(name, 0, (input, output), lengths, |call| call.counts(counts), options)
    }

    /// Starts a reduce_scatter.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_reduce_scatter<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let count = output.count();
        let lengths = [(input.count(), self.all(count)), (output.count(), count)];
        let name = Collective::ReduceScatter;
        self.start_apart(name, count, (input, output), lengths, |call| call.op(op), options)
    }

    /// Starts a reduce_scatterv.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_reduce_scatterv<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        counts: &[usize],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let lengths = [(input.count(), total(counts)), (output.count(), self.own(counts))];
        let counts = RawCounts::Known(counts);
        self.start_apart(
            Collective::ReduceScatterv,
            0,
            (input, output),
            lengths,
            |call| call.op(op).counts(counts),
            options,
        )
    }

    /// Starts a gather; off the root `output` may be empty.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_gather<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let count = input.count();
        let needed = if self.rank() == root { self.all(count) } else { output.count() };
        let lengths = [(input.count(), count), (output.count(), needed)];
        let name = Collective::Gather;
        self.start_apart(name, count, (input, output), lengths, |call| call.root(root), options)
    }

    /// Starts a gatherv; off the root `counts` is not looked at, and `output` may be empty.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_gatherv<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        counts: &[usize],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let own = input.count();
        let needed = if self.rank() == root { total(counts) } else { output.count() };
        let lengths = [(own, own), (output.count(), needed)];
        let counts = RawCounts::Rooted { own, each: counts };
        self.start_apart(
            Collective::Gatherv,
            0,
            (input, output),
            lengths,
            |call| call.root(root).counts(counts),
            options,
        )
    }

    /// Starts a scatter; off the root `input` may be empty.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_scatter<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let count = output.count();
        let needed = if self.rank() == root { self.all(count) } else { input.count() };
        let lengths = [(input.count(), needed), (output.count(), count)];
        let name = Collective::Scatter;
        self.start_apart(name, count, (input, output), lengths, |call| call.root(root), options)
    }

    /// Starts a scatterv; off the root `counts` is not looked at, and `input` may be empty.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_scatterv<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        counts: &[usize],
        output: O,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let own = output.count();
        let needed = if self.rank() == root { total(counts) } else { input.count() };
        let lengths = [(input.count(), needed), (own, own)];
        let counts = RawCounts::Rooted { own, each: counts };
        self.start_apart(
            Collective::Scatterv,
            0,
            (input, output),
            lengths,
            |call| call.root(root).counts(counts),
            options,
        )
    }

    /// Starts an alltoall.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_alltoall<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        output: O,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let count = input.count() / self.size() as usize;
        let lengths = [(input.count(), self.all(count)), (output.count(), input.count())];
        self.start_apart(
            Collective::Alltoall,
            count,
            (input, output),
            lengths,
            |call| call,
            options,
        )
    }

    /// Starts an alltoallv.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_alltoallv<I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        input: I,
        send_counts: &[usize],
        output: O,
        recv_counts: &[usize],
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let counts = RawCounts::Pairs { send: send_counts, recv: recv_counts };
        let lengths = [(input.count(), total(send_counts)), (output.count(), total(recv_counts))];
        let name = Collective::Alltoallv;
        self.start_apart(name, 0, (input, output), lengths, |call| call.counts(counts), options)
    }

    /// Starts the allgather by which ranks say which communicator they make.
    pub(super) fn start_made(
        &self,
        made: Call,
        input: Vec<u32>,
        output: Vec<u32>,
        options: &Options<'_>,
    ) -> Result<Work<(Vec<u32>, Vec<u32>)>> {
        let mut buffers = MaybeUninit::new((input, output));
        // SAFETY: initialised right above.
        let (input, output) = unsafe { buffers.assume_init_mut() };
        let call = call::<u32>(made.collective, input.len());
        let call = call.send(Buffer::as_mut_ptr(input)).recv(Buffer::as_mut_ptr(output));
        let prepared =
            self.check_room(made).and_then(|()| self.prepare_made(made.op, &call, options));
        own(prepared.map(|prepared| self.begin(prepared)), buffers)
    }

    fn start_in_place<'a, B: Buffer>(
        &self,
        collective: Collective,
        buffer: B,
        shape: impl FnOnce(RawCall<'static>) -> RawCall<'a>,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        let count = buffer.count();
        let mut buffer = MaybeUninit::new(buffer);
        // SAFETY: initialised right above.
        let data = unsafe { buffer.assume_init_mut() }.as_mut_ptr();
        let call = shape(call::<B::Element>(collective, count)).both(data);
        // SAFETY: `Buffer` promises a stable address for as long as the buffer lives, and the work
        // keeps it until the operation is over.
        let raw = unsafe { self.start_raw(&call, options) };
        own(raw, buffer)
    }

    /// `lengths` are those that the two buffers have and need.
    fn start_apart<'a, I: Buffer, O: Buffer<Element = I::Element>>(
        &self,
        collective: Collective,
        count: usize,
        buffers: (I, O),
        lengths: [(usize, usize); 2],
        shape: impl FnOnce(RawCall<'static>) -> RawCall<'a>,
        options: &Options<'_>,
    ) -> Result<Work<(I, O)>> {
        let call = shape(call::<I::Element>(collective, count));
        for (name, (given, needed)) in ["input", "output"].into_iter().zip(lengths) {
            self.fits(name, given, needed, &call)?;
        }
        let mut buffers = MaybeUninit::new(buffers);
        // SAFETY: initialised right above.
        let (input, output) = unsafe { buffers.assume_init_mut() };
        let call = call.send(input.as_mut_ptr()).recv(output.as_mut_ptr());
        // SAFETY: as in `start_in_place`; two buffers do not share memory, since each is the only
        // one to use its own.
        let raw = unsafe { self.start_raw(&call, options) };
        own(raw, buffers)
    }
}

/// The work of an operation that has begun, or the buffer's end.
fn own<B>(raw: Result<RawWork>, mut buffer: MaybeUninit<B>) -> Result<Work<B>> {
    match raw {
        Ok(raw) => Ok(Work::new(raw, buffer)),
        Err(error) => {
            // SAFETY: whoever lent it made it of a buffer, and no operation has it.
            unsafe { buffer.assume_init_drop() };
            Err(error)
        }
    }
}
