//! The clock: how long one call takes, on the slowest rank, and whether its result is right.

use std::time::{Duration, Instant};

use half::{bf16, f16};

use super::Iterations;
use super::pattern::{self, Number, Pattern};
use crate::comm::{Communicator, Options, Timeout};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Collective, DataType, Rank, ReduceOp};

/// How long one size is to take where nobody says how many calls are timed.
const BUDGET: Duration = Duration::from_millis(200);

/// How long calls are tried until it is clear how many fill the budget.
const TRIAL: Duration = Duration::from_millis(10);

/// Into how many batches the timed calls are split. Their median leaves out what else the machine
/// did for a moment.
const BATCHES: u32 = 10;

/// Calls timed at least, however long one takes: below three there is no median.
const CALLS_MIN: u32 = 3;

/// Calls timed at most.
const CALLS_MAX: u32 = 1 << 20;

/// Where the result goes, and who drives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    InPlace,
    OutOfPlace,
    /// Started and waited for, in place.
    Started,
}

/// What to measure: the same on every rank.
pub(super) struct Request {
    pub(super) collective: Collective,
    pub(super) dtype: DataType,
    pub(super) op: ReduceOp,
    pub(super) root: Rank,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) mode: Mode,
    /// In elements.
    pub(super) counts: Vec<usize>,
    pub(super) iterations: Iterations,
    pub(super) warmup: u32,
    pub(super) check: bool,
}

/// What came out for one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) bytes: u64,
    pub(super) count: usize,
    pub(super) dtype: DataType,
    /// `None` where the collective does not reduce.
    pub(super) op: Option<ReduceOp>,
    /// `None` where the collective has no root.
    pub(super) root: Option<Rank>,
    /// Calls that were timed.
    pub(super) calls: u32,
    pub(super) time_ns: f64,
    /// Bytes per nanosecond, which is GB/s.
    pub(super) algbw: f64,
    pub(super) busbw: f64,
    /// Elements over all ranks; `None` where nothing was checked.
    pub(super) wrong: Option<u64>,
}

/// Whether arrays of this type can be measured.
pub(super) fn has_numbers(dtype: DataType) -> bool {
    !matches!(dtype, DataType::Byte | DataType::Bool)
}

/// Measures every size in turn and hands each row out as soon as it is there, on every rank.
///
/// Collective; blocks.
///
/// # Errors
/// What a call fails with, and what `take` does.
pub(super) fn measure(
    comm: &Communicator,
    request: &Request,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<()> {
    match request.dtype {
        DataType::Byte | DataType::Bool => {
            let text = format!("arrays of {} cannot be measured", request.dtype);
            Err(Error::new(ErrorKind::Unsupported, text))
        }
        DataType::Int8 => measure_as::<i8>(comm, request, take),
        DataType::Uint8 => measure_as::<u8>(comm, request, take),
        DataType::Int16 => measure_as::<i16>(comm, request, take),
        DataType::Uint16 => measure_as::<u16>(comm, request, take),
        DataType::Int32 => measure_as::<i32>(comm, request, take),
        DataType::Uint32 => measure_as::<u32>(comm, request, take),
        DataType::Int64 => measure_as::<i64>(comm, request, take),
        DataType::Uint64 => measure_as::<u64>(comm, request, take),
        DataType::Float16 => measure_as::<f16>(comm, request, take),
        DataType::Bfloat16 => measure_as::<bf16>(comm, request, take),
        DataType::Float32 => measure_as::<f32>(comm, request, take),
        DataType::Float64 => measure_as::<f64>(comm, request, take),
    }
}

fn measure_as<T: Number>(
    comm: &Communicator,
    request: &Request,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<()> {
    for &count in &request.counts {
        take(Bench::<T>::new(comm, request, count)?.run()?)?;
    }
    Ok(())
}

/// One size on one rank.
struct Bench<'a, T> {
    comm: &'a Communicator,
    request: &'a Request,
    options: Options<'static>,
    data: Vec<T>,
    /// Empty unless the result goes to an array of its own.
    output: Vec<T>,
    /// What this rank's array holds before a call, up to where it repeats.
    input: Vec<T>,
    /// What it must hold afterwards.
    expected: Vec<T>,
}

impl<'a, T: Number> Bench<'a, T> {
    fn new(comm: &'a Communicator, request: &'a Request, count: usize) -> Result<Self> {
        let pattern = Pattern::new::<T>(comm.size(), request.op);
        let reduces = request.collective == Collective::Allreduce;
        let scale = pattern.scale(comm.rank()).filter(|_| reduces);
        let expected = if reduces { pattern.reduced() } else { pattern.input(request.root) };
        let output = if request.mode == Mode::OutOfPlace { count } else { 0 };
        let mut bench = Bench {
            comm,
            request,
            options: Options { scale, algorithm: request.algorithm, ..Options::default() },
            data: array(count)?,
            output: array(output)?,
            input: pattern.input(comm.rank()),
            expected,
        };
        bench.refill();
        Ok(bench)
    }

    fn run(mut self) -> Result<Row> {
        for _ in 0..self.request.warmup {
            self.call()?;
        }
        let calls = match self.request.iterations {
            Iterations::Count(calls) => calls,
            Iterations::Auto => self.calls_for_budget()?,
        };
        let batches = calls.min(BATCHES);
        let per_batch = calls.div_ceil(batches);
        let time_ns = self.median_batch_ns(batches, per_batch)? / f64::from(per_batch);
        let wrong = if self.request.check { Some(self.check()?) } else { None };

        let Request { collective, dtype, op, root, .. } = *self.request;
        let count = self.data.len();
        let bytes = (count * size_of::<T>()) as u64;
        let algbw = bytes as f64 / time_ns;
        Ok(Row {
            bytes,
            count,
            dtype,
            op: (collective == Collective::Allreduce).then_some(op),
            root: (collective == Collective::Broadcast).then_some(root),
            calls: batches * per_batch,
            time_ns,
            algbw,
            busbw: algbw * bus_factor(collective, self.comm.size()),
            wrong,
        })
    }

    /// How many calls fill the budget: the same number on every rank.
    fn calls_for_budget(&mut self) -> Result<u32> {
        let trial_ns = TRIAL.as_nanos() as f64;
        let mut calls = 1;
        loop {
            let mut took = [self.batch_ns(calls)?];
            self.slowest(&mut took)?;
            if took[0] >= trial_ns || calls >= CALLS_MAX {
                let fitting = BUDGET.as_nanos() as f64 / took[0].max(1.0) * f64::from(calls);
                return Ok((fitting as u32).clamp(CALLS_MIN, CALLS_MAX));
            }
            let growth = (trial_ns / took[0].max(1.0)).clamp(2.0, 16.0);
            calls = (f64::from(calls) * growth).min(f64::from(CALLS_MAX)) as u32;
        }
    }

    fn median_batch_ns(&mut self, batches: u32, per_batch: u32) -> Result<f64> {
        let mut times = Vec::with_capacity(batches as usize);
        for _ in 0..batches {
            times.push(self.batch_ns(per_batch)?);
        }
        self.slowest(&mut times)?;
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        Ok(match times.len() % 2 {
            1 => times[middle],
            _ => (times[middle - 1] + times[middle]) / 2.0,
        })
    }

    /// How long so many calls take on this rank, from when all ranks are there.
    fn batch_ns(&mut self, calls: u32) -> Result<f64> {
        self.comm.barrier(&Options::default())?;
        let start = Instant::now();
        for _ in 0..calls {
            self.call()?;
        }
        Ok(start.elapsed().as_nanos() as f64)
    }

    /// Puts the slowest rank's time in the place of each.
    fn slowest(&self, times: &mut [f64]) -> Result<()> {
        self.comm.allreduce(times, ReduceOp::Max, &Options::default())
    }

    /// Calls once more, with fresh input, and counts the wrong elements of all ranks.
    fn check(&mut self) -> Result<u64> {
        self.refill();
        self.call()?;
        let result = match self.request.mode {
            Mode::OutOfPlace => &self.output,
            Mode::InPlace | Mode::Started => &self.data,
        };
        let mut wrong = [pattern::differing(result, &self.expected)];
        self.comm.allreduce(&mut wrong, ReduceOp::Sum, &Options::default())?;
        Ok(wrong[0])
    }

    fn refill(&mut self) {
        pattern::fill(&mut self.data, &self.input);
        self.output.fill(T::from_whole(0));
    }

    fn call(&mut self) -> Result<()> {
        let Bench { comm, options, request: &Request { op, root, .. }, .. } = *self;
        match (self.request.collective, self.request.mode) {
            (Collective::Barrier, Mode::Started) => {
                comm.start_barrier(&options)?.wait(Timeout::Forever).map(drop)
            }
            (Collective::Barrier, _) => comm.barrier(&options),
            (Collective::Broadcast, Mode::Started) => {
                let work = comm.start_broadcast(std::mem::take(&mut self.data), root, &options)?;
                self.take_back(work.wait())
            }
            (Collective::Broadcast, _) => comm.broadcast(&mut self.data, root, &options),
            (Collective::Allreduce, Mode::Started) => {
                let work = comm.start_allreduce(std::mem::take(&mut self.data), op, &options)?;
                self.take_back(work.wait())
            }
            (Collective::Allreduce, Mode::InPlace) => comm.allreduce(&mut self.data, op, &options),
            (Collective::Allreduce, Mode::OutOfPlace) => {
                comm.allreduce_into(&self.data, &mut self.output, op, &options)
            }
            (other, _) => Err(Error::new(ErrorKind::Unsupported, format!("{other} is not timed"))),
        }
    }

    fn take_back(&mut self, outcome: Result<Vec<T>, (Error, Vec<T>)>) -> Result<()> {
        self.data = outcome.map_err(|(error, _)| error)?;
        Ok(())
    }
}

/// An array of zeros, or an error that says how large it would have been.
fn array<T: Number>(count: usize) -> Result<Vec<T>> {
    let mut array = Vec::new();
    array.try_reserve_exact(count).map_err(|_| {
        let text = format!("no memory for {count} x {}; -e sets the largest size", T::DATA_TYPE);
        Error::new(ErrorKind::System, text)
    })?;
    array.resize(count, T::from_whole(0));
    Ok(array)
}

/// What turns algbw into busbw: how many times the array's bytes each link carries.
fn bus_factor(collective: Collective, ranks: u32) -> f64 {
    match collective {
        Collective::Allreduce => 2.0 * f64::from(ranks - 1) / f64::from(ranks),
        _ => 1.0,
    }
}
