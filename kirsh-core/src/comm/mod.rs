//! Communicators: what a program calls.
//!
//! A call is validated here, becomes a plan (from a cache) and an operation, and goes to the
//! communicator's lane. Blocking calls drive the sockets from the calling thread; started calls
//! are driven by the progress thread and watched through a [`Work`].

mod buffer;
mod call;
mod config;
mod costs;
mod create;
mod plans;
mod stats;
#[cfg(test)]
mod tests;
mod work;

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use buffer::{Buffer, Element};
use call::Arrays;
pub use config::{Config, Options, Timeout};
pub use costs::{Tables, tables_in_force};
pub use create::driver_in_force;
use plans::Plans;
pub use stats::Stats;
pub use work::{RawWork, Work};

use crate::driver::completion::Completion;
use crate::driver::fork;
pub use crate::driver::interrupt::set_interrupt_check;
use crate::driver::lane::{Lane, closed};
use crate::driver::process::Process;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::QUEUE_MAX;
use crate::types::{Call, Collective, DataType, Rank, ReduceOp};

/// How long closing waits for operations that still run before it aborts them.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// A group of ranks that call collectives together.
///
/// Any thread may call. Calls on one communicator are ordered by its lock, and every rank must make
/// the same calls in the same order; `abort` may overlap anything. Clones share one communicator,
/// and the last one to be dropped leaves it.
///
/// When a call fails, [`Error::scope`] says whether the communicator goes on; if it does not, every
/// later call returns the same first cause, and the contents of the failed call's buffers are
/// undefined.
#[derive(Clone)]
pub struct Communicator(Arc<Inner>);

struct Inner {
    rank: Rank,
    size: u32,
    local: (u32, u32),
    launched: bool,
    timeout: Option<Duration>,
    plans: Plans,
    // Before the process, which the lane's links must not outlive.
    lane: Arc<Lane>,
    process: Process,
    closed: AtomicBool,
}

impl Communicator {
    /// Creates a communicator of all ranks of the job.
    ///
    /// Collective: every rank of the world calls it, equally often. Blocks until all have come and
    /// rank 0 is connected with each of them, within [`Config::join_timeout`].
    ///
    /// # Errors
    /// `Configuration` for settings that are missing or malformed; `Rendezvous`, `Mismatch`,
    /// `Authentication`, `PeerLost` and `Timeout` when the ranks do not find together, on every
    /// rank that waits; `System` and `Unsupported` for what this machine cannot do.
    pub fn create(config: &Config) -> Result<Communicator> {
        create::create(config).map(|inner| Communicator(Arc::new(inner)))
    }

    /// This process's rank.
    pub fn rank(&self) -> Rank {
        self.0.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> u32 {
        self.0.size
    }

    /// This process's place among the ranks of its host, counted from 0.
    pub fn local_rank(&self) -> u32 {
        self.0.local.0
    }

    /// The number of ranks on this host.
    pub fn local_size(&self) -> u32 {
        self.0.local.1
    }

    /// Whether anything named a world: `false` where this is a world of one because nobody did.
    pub fn launched(&self) -> bool {
        self.0.launched
    }

    /// What moves the bytes: `uring` or `poll`.
    pub fn driver(&self) -> &'static str {
        self.0.process.driver().name()
    }

    /// Reduces the arrays of all ranks, element by element, in place: afterwards every rank has the
    /// same result, to the bit.
    ///
    /// Collective; blocks; `data` has the same length on every rank.
    ///
    /// # Errors
    /// See [`Communicator`] for what an error leaves usable.
    pub fn allreduce<T: Element>(
        &self,
        data: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let data_ptr = data.as_mut_ptr().cast::<u8>();
        // SAFETY: the slice is borrowed for as long as the call blocks, is `data.len()` elements
        // of `T` long, and `Element` says that any bytes of that size are a `T`.
        unsafe { self.allreduce_raw(data_ptr, data_ptr, data.len(), T::DATA_TYPE, op, options) }
    }

    /// Like [`Communicator::allreduce`], but the result goes to `output` and `input` stays as it is.
    pub fn allreduce_into<T: Element>(
        &self,
        input: &[T],
        output: &mut [T],
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        if input.len() != output.len() {
            let text = format!(
                "input has {} elements and output {}; they must be of one length",
                input.len(),
                output.len()
            );
            return Err(
                self.refuse(Collective::Allreduce, Error::new(ErrorKind::InvalidArgument, text))
            );
        }
        let (from, to) = (input.as_ptr().cast::<u8>(), output.as_mut_ptr().cast::<u8>());
        // SAFETY: both slices are borrowed for as long as the call blocks and are of the length
        // given; being borrowed at once they do not overlap.
        unsafe { self.allreduce_raw(from, to, input.len(), T::DATA_TYPE, op, options) }
    }

    /// Copies the root's array to every rank.
    ///
    /// Collective; blocks; `data` has the same length on every rank, and is only read on the root.
    ///
    /// # Errors
    /// See [`Communicator`] for what an error leaves usable.
    pub fn broadcast<T: Element>(
        &self,
        data: &mut [T],
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let data_ptr = data.as_mut_ptr().cast::<u8>();
        // SAFETY: as in `allreduce`.
        unsafe { self.broadcast_raw(data_ptr, data.len(), T::DATA_TYPE, root, options) }
    }

    /// Waits until every rank has called it. Collective; blocks.
    ///
    /// # Errors
    /// See [`Communicator`] for what an error leaves usable.
    pub fn barrier(&self, options: &Options<'_>) -> Result<()> {
        let arrays = Arrays::none();
        let call = barrier_call();
        let (operation, job) = self.prepare(call, arrays, options)?;
        self.0.lane.run(operation, job).map_err(|error| self.name(error, call))
    }

    /// Starts an allreduce in place. The work owns the buffer and gives it back when it is over.
    ///
    /// # Errors
    /// When the call is refused. The peers are told; the buffer is dropped.
    pub fn start_allreduce<B: Buffer>(
        &self,
        buffer: B,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        let (buffer, data, count) = lend(buffer);
        // SAFETY: `Buffer` promises a stable address for as long as the buffer lives, and the work
        // keeps it until the operation is over.
        let raw = unsafe { self.start_allreduce_raw(data, data, count, B::DATA_TYPE, op, options) };
        own(raw, buffer)
    }

    /// Starts a broadcast. The work owns the buffer and gives it back when it is over.
    ///
    /// # Errors
    /// When the call is refused. The peers are told; the buffer is dropped.
    pub fn start_broadcast<B: Buffer>(
        &self,
        buffer: B,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        let (buffer, data, count) = lend(buffer);
        // SAFETY: as in `start_allreduce`.
        let raw = unsafe { self.start_broadcast_raw(data, count, B::DATA_TYPE, root, options) };
        own(raw, buffer)
    }

    /// Starts a barrier.
    ///
    /// # Errors
    /// When the call is refused.
    pub fn start_barrier(&self, options: &Options<'_>) -> Result<RawWork> {
        self.start(barrier_call(), Arrays::none(), options)
    }

    /// [`Communicator::allreduce`] on pointers, for bindings. `send == recv` is in place; any other
    /// overlap is refused. Either may be null where `count` is 0.
    ///
    /// # Safety
    /// `send` is readable, and `recv` writable, for `count` elements until the call returns, and
    /// nobody else writes the one or touches the other.
    pub unsafe fn allreduce_raw(
        &self,
        send: *const u8,
        recv: *mut u8,
        count: usize,
        dtype: DataType,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = allreduce_call(count, dtype, op);
        let (operation, job) = self.prepare(call, Arrays { input: send, output: recv }, options)?;
        self.0.lane.run(operation, job).map_err(|error| self.name(error, call))
    }

    /// [`Communicator::broadcast`] on a pointer, for bindings.
    ///
    /// # Safety
    /// `buffer` is readable on the root and writable elsewhere for `count` elements until the call
    /// returns, and nobody else touches it.
    pub unsafe fn broadcast_raw(
        &self,
        buffer: *mut u8,
        count: usize,
        dtype: DataType,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<()> {
        let call = broadcast_call(count, dtype, root);
        let (operation, job) = self.prepare(call, Arrays::one(buffer), options)?;
        self.0.lane.run(operation, job).map_err(|error| self.name(error, call))
    }

    /// Starts what [`Communicator::allreduce_raw`] does.
    ///
    /// # Safety
    /// As there, but until the work is over ([`RawWork::is_over`]) or has been dropped.
    pub unsafe fn start_allreduce_raw(
        &self,
        send: *const u8,
        recv: *mut u8,
        count: usize,
        dtype: DataType,
        op: ReduceOp,
        options: &Options<'_>,
    ) -> Result<RawWork> {
        let arrays = Arrays { input: send, output: recv };
        self.start(allreduce_call(count, dtype, op), arrays, options)
    }

    /// Starts what [`Communicator::broadcast_raw`] does.
    ///
    /// # Safety
    /// As there, but until the work is over ([`RawWork::is_over`]) or has been dropped.
    pub unsafe fn start_broadcast_raw(
        &self,
        buffer: *mut u8,
        count: usize,
        dtype: DataType,
        root: Rank,
        options: &Options<'_>,
    ) -> Result<RawWork> {
        self.start(broadcast_call(count, dtype, root), Arrays::one(buffer), options)
    }

    /// Refuses a call that a binding could not even put into this interface. It takes its place in
    /// the order of calls and is announced, so that the peers fail at once with its reason.
    /// Returns the error to raise.
    pub fn refuse(&self, collective: Collective, error: Error) -> Error {
        let call = call::describe(collective, 0, DataType::Byte, ReduceOp::Sum, 0);
        self.refuse_call(call, error)
    }

    /// Ends the communicator on every rank: calls that run, and later ones, fail with
    /// `ErrorKind::Aborted` and this reason. Any thread may call it at any time; it does not block.
    /// In a forked child nothing happens.
    pub fn abort(&self, reason: &str) {
        if fork::check(self.0.process.made_in()).is_err() {
            return;
        }
        let text = format!("rank {} aborted the communicator: {reason}", self.0.rank);
        self.0.lane.abort(Error::new(ErrorKind::Aborted, text).with_peer(self.0.rank));
    }

    /// Leaves the communicator. Not collective: the others go on, and only an operation that needs
    /// this rank fails. What still runs here is given half a second, then aborted. Blocks for
    /// at most some two seconds; later calls fail with `ErrorKind::Closed`. Closing again
    /// does nothing.
    ///
    /// # Errors
    /// `Aborted` when operations still ran and had to be aborted; `Forked` in a forked child.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// What this communicator has done so far.
    pub fn stats(&self) -> Stats {
        Stats::read(&self.0.lane)
    }

    fn start(&self, call: Call, arrays: Arrays, options: &Options<'_>) -> Result<RawWork> {
        let waiting = self.0.lane.waiting();
        if waiting >= QUEUE_MAX {
            let text = format!("{waiting} started operations are waiting; wait for some first");
            return Err(self.refuse_call(call, Error::new(ErrorKind::InvalidArgument, text)));
        }
        let (operation, job) = self.prepare(call, arrays, options)?;
        let (sequence, completion): (_, Arc<Completion>) = self.0.lane.start(operation, job);
        Ok(RawWork::new(Arc::clone(&self.0), sequence, completion, call))
    }

    fn name(&self, error: Error, call: Call) -> Error {
        self.0.name(error, call)
    }
}

impl Inner {
    /// Fills in who reports an error, and about what, where that is still open.
    fn name(&self, error: Error, call: Call) -> Error {
        let error = if error.rank().is_none() { error.with_rank(self.rank) } else { error };
        if error.operation().is_none() {
            return error.with_operation(call.collective.name(), None);
        }
        error
    }

    /// The handle is of no use in a forked child.
    fn check_usable(&self) -> Result<()> {
        fork::check(self.process.made_in())?;
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        fork::check(self.process.made_in())?;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let (finished, outcome) = self.lane.close(CLOSE_PATIENCE);
        self.process.retire(&self.lane);
        let (communicator, epoch) = self.lane.key;
        self.process.leave(vec![(communicator, epoch, finished)]);
        outcome.map_err(|error| error.with_rank(self.rank).with_operation("close", None))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of operations that had to be aborted, or of being a forked child.
        let _ = self.close();
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Communicator(rank {} of {})", self.0.rank, self.0.size)
    }
}

/// Takes a buffer's address where it stays while it is lent: see [`Work`] for why not as it is.
fn lend<B: Buffer>(buffer: B) -> (MaybeUninit<B>, *mut u8, usize) {
    let count = buffer.count();
    let mut buffer = MaybeUninit::new(buffer);
    // SAFETY: initialised right above.
    let data = unsafe { buffer.assume_init_mut() }.as_mut_ptr();
    (buffer, data, count)
}

/// The work of an operation that has begun, or the buffer's end.
fn own<B: Buffer>(raw: Result<RawWork>, mut buffer: MaybeUninit<B>) -> Result<Work<B>> {
    match raw {
        Ok(raw) => Ok(Work::new(raw, buffer)),
        Err(error) => {
            // SAFETY: `lend` made it of a buffer, and no operation has it.
            unsafe { buffer.assume_init_drop() };
            Err(error)
        }
    }
}

fn allreduce_call(count: usize, dtype: DataType, op: ReduceOp) -> Call {
    call::describe(Collective::Allreduce, count, dtype, op, 0)
}

fn broadcast_call(count: usize, dtype: DataType, root: Rank) -> Call {
    call::describe(Collective::Broadcast, count, dtype, ReduceOp::Sum, root)
}

fn barrier_call() -> Call {
    call::describe(Collective::Barrier, 0, DataType::Byte, ReduceOp::Sum, 0)
}
