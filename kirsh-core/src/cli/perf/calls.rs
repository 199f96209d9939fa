//! One call of each collective on the arrays of a measurement.

use super::measure::Mode;
use super::pattern::Number;
use super::shape::Shape;
use crate::comm::{Communicator, Options, Timeout, Work};
use crate::error::Result;
use crate::types::{Collective, ReduceOp};

/// A call that has been started: it has one array of the caller's or both.
enum Started<T: Number> {
    One(Work<Vec<T>>),
    Two(Work<(Vec<T>, Vec<T>)>),
}

/// What a call needs.
pub(super) struct Caller<'a, T> {
    pub(super) comm: &'a Communicator,
    pub(super) shape: Shape,
    pub(super) op: ReduceOp,
    pub(super) mode: Mode,
    pub(super) options: Options<'static>,
    /// Each rank's elements, where they differ.
    pub(super) counts: Vec<usize>,
    /// The array that goes in, and the result where it takes the place.
    pub(super) input: Vec<T>,
    /// The result where it does not; empty otherwise.
    pub(super) output: Vec<T>,
}

impl<T: Number> Caller<'_, T> {
    /// Calls once and waits for the end.
    pub(super) fn call(&mut self) -> Result<()> {
        match self.mode {
            Mode::Started => self.start_and_wait(),
            Mode::InPlace | Mode::OutOfPlace => self.block(),
        }
    }

    fn block(&mut self) -> Result<()> {
        use Collective::*;
        let Caller { comm, shape, op, mode, options, counts, input, output } = self;
        let (op, root, options) = (*op, shape.root, &*options);
        match shape.collective {
            Barrier => comm.barrier(options),
            Allreduce if *mode == Mode::OutOfPlace => {
                comm.allreduce_into(input, output, op, options)
            }
            Allreduce => comm.allreduce(input, op, options),
            Reduce => comm.reduce(input, op, root, options),
            Broadcast => comm.broadcast(input, root, options),
            Scan => comm.scan(input, op, options),
            Exscan => comm.exscan(input, op, options),
            Allgather => comm.allgather(input, output, options),
            Allgatherv => comm.allgatherv(input, output, counts, options),
            ReduceScatter => comm.reduce_scatter(input, output, op, options),
            ReduceScatterv => comm.reduce_scatterv(input, output, counts, op, options),
            Gather => comm.gather(input, output, root, options),
            Gatherv => comm.gatherv(input, output, counts, root, options),
            Scatter => comm.scatter(input, output, root, options),
            Scatterv => comm.scatterv(input, counts, output, root, options),
            Alltoall => comm.alltoall(input, output, options),
            Alltoallv => comm.alltoallv(input, counts, output, counts, options),
        }
    }

    fn start_and_wait(&mut self) -> Result<()> {
        use Collective::*;
        let (comm, op, root) = (self.comm, self.op, self.shape.root);
        let (counts, options) = (&self.counts, &self.options);
        // The operation owns the arrays until it gives them back.
        let mut input = || std::mem::take(&mut self.input);
        let mut output = || std::mem::take(&mut self.output);
        let started = match self.shape.collective {
            Barrier => return comm.start_barrier(options)?.wait(Timeout::Forever).map(drop),
            Allreduce => Started::One(comm.start_allreduce(input(), op, options)?),
            Reduce => Started::One(comm.start_reduce(input(), op, root, options)?),
            Broadcast => Started::One(comm.start_broadcast(input(), root, options)?),
            Scan => Started::One(comm.start_scan(input(), op, options)?),
            Exscan => Started::One(comm.start_exscan(input(), op, options)?),
            Allgather => Started::Two(comm.start_allgather(input(), output(), options)?),
            Allgatherv => {
                Started::Two(comm.start_allgatherv(input(), output(), counts, options)?)
            }
            ReduceScatter => {
                Started::Two(comm.start_reduce_scatter(input(), output(), op, options)?)
            }
            ReduceScatterv => {
                Started::Two(comm.start_reduce_scatterv(input(), output(), counts, op, options)?)
            }
            Gather => Started::Two(comm.start_gather(input(), output(), root, options)?),
            Gatherv => {
                Started::Two(comm.start_gatherv(input(), output(), counts, root, options)?)
            }
            Scatter => Started::Two(comm.start_scatter(input(), output(), root, options)?),
            Scatterv => {
                Started::Two(comm.start_scatterv(input(), counts, output(), root, options)?)
            }
            Alltoall => Started::Two(comm.start_alltoall(input(), output(), options)?),
            Alltoallv => {
                Started::Two(comm.start_alltoallv(input(), counts, output(), counts, options)?)
            }
        };
        match started {
            Started::One(work) => self.input = work.wait().map_err(|(error, _)| error)?,
            Started::Two(work) => {
                (self.input, self.output) = work.wait().map_err(|(error, _)| error)?;
            }
        }
        Ok(())
    }
}
