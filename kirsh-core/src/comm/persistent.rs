//! Calls that are prepared once and made many times.

use std::fmt;
use std::mem::{ManuallyDrop, MaybeUninit};

use super::blocking::call;
use super::call::Prepared;
use super::raw::RawCall;
use super::{Buffer, Communicator, Options, RawWork};
use crate::error::Result;
use crate::types::{Collective, Rank, ReduceOp};

/// A call on pointers that has been validated, chosen for and planned, and runs as often as wanted.
/// A run allocates nothing, chooses nothing and validates nothing.
///
/// Each run is one call of the communicator: every rank makes it, in the same order with its other
/// calls, whether or not the others have prepared theirs.
pub struct RawPlan {
    comm: Communicator,
    prepared: Prepared,
}

impl RawPlan {
    pub(super) fn new(comm: Communicator, prepared: Prepared) -> Self {
        RawPlan { comm, prepared }
    }

    /// Makes the call. Collective; blocks.
    ///
    /// # Errors
    /// As the call itself.
    ///
    /// # Safety
    /// As for [`Communicator::call_raw`] with the call that was prepared.
    pub unsafe fn run(&self) -> Result<()> {
        self.usable()?;
        self.comm.run(self.prepared.clone())
    }

    /// Starts the call. Collective.
    ///
    /// # Errors
    /// Where the communicator is closed, or too many operations wait.
    ///
    /// # Safety
    /// As for [`Communicator::start_raw`] with the call that was prepared.
    pub unsafe fn start(&self) -> Result<RawWork> {
        self.usable()?;
        self.comm.check_room(self.prepared.call())?;
        Ok(self.comm.begin(self.prepared.clone()))
    }

    fn usable(&self) -> Result<()> {
        let inner = &self.comm.0;
        inner.check_usable().map_err(|error| inner.name(error, self.prepared.call()))
    }
}

impl fmt::Debug for RawPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPlan({})", self.prepared.call())
    }
}

/// A call in place on a buffer that it owns, prepared once and run many times.
pub struct Persistent<B> {
    plan: RawPlan,
    /// Always there until it is taken; `MaybeUninit` for the reason given at [`super::Work`].
    buffer: MaybeUninit<B>,
}

/// These prepare a call and run nothing: see [`Persistent::run`]. Not collective. Where the call is
/// refused the peers are told, and the buffer is dropped.
impl Communicator {
    /// Prepares an allreduce in place.
    ///
    /// # Errors
    /// When the call is refused; so for all below.
    pub fn plan_allreduce<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Persistent<B>> {
        self.plan_in_place(Collective::Allreduce, buffer, |call| call.op(op), options)
    }

    /// Prepares a reduce in place.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn plan_reduce<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Persistent<B>> {
        self.plan_in_place(Collective::Reduce, buffer, |call| call.op(op).root(root), options)
    }

    /// Prepares a broadcast.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn plan_broadcast<B: Buffer>(
        &self,
        buffer: B,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Persistent<B>> {
        self.plan_in_place(Collective::Broadcast, buffer, |call| call.root(root), options)
    }

    /// Prepares a barrier.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn plan_barrier(&self, options: &Options<'_>) -> Result<RawPlan> {
        // SAFETY: a barrier has no arrays.
        unsafe { self.plan_raw(&call::<u8>(Collective::Barrier, 0), options) }
    }

    fn plan_in_place<'a, B: Buffer>(
        &self,
        collective: Collective,
        buffer: B,
        shape: impl FnOnce(RawCall<'static>) -> RawCall<'a>,
        options: &Options<'_>,
    ) -> Result<Persistent<B>> {
        let count = buffer.count();
        let mut buffer = MaybeUninit::new(buffer);
        // SAFETY: initialised right above.
        let data = unsafe { buffer.assume_init_mut() }.as_mut_ptr();
        let call = shape(call::<B::Element>(collective, count)).both(data);
        // SAFETY: `Buffer` promises a stable address for as long as the buffer lives, which is here,
        // and its bytes are nobody else's during a run, which borrows all of this.
        match unsafe { self.plan_raw(&call, options) } {
            Ok(plan) => Ok(Persistent { plan, buffer }),
            Err(error) => {
                // SAFETY: initialised above, and no operation has it.
                unsafe { buffer.assume_init_drop() };
                Err(error)
            }
        }
    }
}

impl<B: Buffer> Persistent<B> {
    /// Makes the call on the buffer as it is. Collective; blocks.
    ///
    /// # Errors
    /// As the call itself. The buffer's contents are undefined then.
    pub fn run(&mut self) -> Result<()> {
        // SAFETY: the buffer is ours, and borrowed exclusively for as long as the run blocks.
        unsafe { self.plan.run() }
    }

    pub fn buffer(&self) -> &B {
        // SAFETY: initialised until `into_buffer` takes it, and no run is under way.
        unsafe { self.buffer.assume_init_ref() }
    }

    /// The buffer, to be filled anew. Putting another one in its place is of no use: the prepared
    /// call knows this one's memory.
    pub fn elements_mut(&mut self) -> &mut [B::Element] {
        // SAFETY: initialised until `into_buffer` takes it.
        let buffer = unsafe { self.buffer.assume_init_mut() };
        let (data, count) = (buffer.as_mut_ptr(), buffer.count());
        if count == 0 {
            return &mut [];
        }
        // SAFETY: `Buffer` promises so many elements there that nobody else uses; no run is under
        // way, and both are borrowed as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(data.cast(), count) }
    }

    /// Gives the buffer back.
    pub fn into_buffer(self) -> B {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: dropped once, here; `this` is not dropped.
        unsafe { std::ptr::drop_in_place(&raw mut this.plan) };
        // SAFETY: initialised, and taken once.
        unsafe { this.buffer.assume_init_read() }
    }
}

impl<B> Drop for Persistent<B> {
    fn drop(&mut self) {
        // SAFETY: initialised; `into_buffer`, which takes it, does not come here, and no run is
        // under way.
        unsafe { self.buffer.assume_init_drop() };
    }
}

impl<B> fmt::Debug for Persistent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}
