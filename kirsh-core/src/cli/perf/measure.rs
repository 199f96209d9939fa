//! The clock: how long one call takes, on the slowest rank, and whether its result is right.

use std::time::{Duration, Instant};

use half::{bf16, f16};

use super::Iterations;
use super::calls::Caller;
use super::pattern::{self, Number, Pattern};
use super::shape::{Piece, Shape, has_one_array};
use crate::comm::{Communicator, Complex, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Collective, DataType, Rank, ReduceOp, Wire};

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
    /// Started and waited for; in place where the collective has one array.
    Started,
}

/// What to measure: the same on every rank.
pub(super) struct Request {
    pub(super) collective: Collective,
    pub(super) dtype: DataType,
    pub(super) op: ReduceOp,
    pub(super) root: Rank,
    pub(super) algorithm: Option<Algorithm>,
    pub(super) wire: Wire,
    pub(super) mode: Mode,
    /// In elements of the whole array.
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
    use DataType::*;
    !matches!(dtype, Byte | Bool | Float8E4m3fn | Float8E5m2)
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
        DataType::Byte | DataType::Bool | DataType::Float8E4m3fn | DataType::Float8E5m2 => {
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
        DataType::Complex64 => measure_as::<Complex<f32>>(comm, request, take),
        DataType::Complex128 => measure_as::<Complex<f64>>(comm, request, take),
    }
}

fn measure_as<T: Number>(
    comm: &Communicator,
    request: &Request,
    take: &mut dyn FnMut(Row) -> Result<()>,
) -> Result<()> {
    let Request { collective, root, .. } = *request;
    let mut last = None;
    for &elements in &request.counts {
        let shape = Shape::new(collective, comm.rank(), comm.size(), root, elements);
        // Sizes that are too small to be divided come to the same.
        if last.replace(shape.total()) != Some(shape.total()) {
            take(Bench::<T>::new(comm, request, shape)?.run()?)?;
        }
    }
    Ok(())
}

/// One size on one rank.
struct Bench<'a, T> {
    caller: Caller<'a, T>,
    request: &'a Request,
    /// What this rank's array holds before a call, up to where it repeats.
    own: Vec<T>,
    /// What the result must be.
    expected: Vec<Piece<T>>,
    /// How far from that it may be.
    tolerance: f64,
}

impl<'a, T: Number> Bench<'a, T> {
    fn new(comm: &'a Communicator, request: &'a Request, shape: Shape) -> Result<Self> {
        let pattern = Pattern::new::<T>(comm.size(), request.op);
        let collective = request.collective;
        let scale = pattern.scale(comm.rank()).filter(|_| collective.reduces());
        let apart = request.mode == Mode::OutOfPlace || !has_one_array(collective);
        let caller = Caller {
            comm,
            shape,
            op: request.op,
            mode: request.mode,
            options: Options {
                scale,
                algorithm: request.algorithm,
                wire: Some(request.wire),
                ..Options::default()
            },
            counts: shape.counts(),
            input: array(shape.input_len())?,
            output: array(if apart { shape.output_len() } else { 0 })?,
        };
        let own = pattern.input(comm.rank());
        let tolerance = pattern.tolerance(request.wire);
        let expected = shape.expected(&pattern);
        let mut bench = Bench { caller, request, own, expected, tolerance };
        bench.refill();
        Ok(bench)
    }

    fn run(mut self) -> Result<Row> {
        for _ in 0..self.request.warmup {
            self.caller.call()?;
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
        let shape = self.caller.shape;
        let bytes = (shape.total() * size_of::<T>()) as u64;
        let algbw = bytes as f64 / time_ns;
        Ok(Row {
            bytes,
            count: shape.count(),
            dtype,
            op: collective.reduces().then_some(op),
            root: collective.has_root().then_some(root),
            calls: batches * per_batch,
            time_ns,
            algbw,
            busbw: algbw * shape.bus_factor(),
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
        self.caller.comm.barrier(&Options::default())?;
        let start = Instant::now();
        for _ in 0..calls {
            self.caller.call()?;
        }
        Ok(start.elapsed().as_nanos() as f64)
    }

    /// Puts the slowest rank's time in the place of each.
    fn slowest(&self, times: &mut [f64]) -> Result<()> {
        self.caller.comm.allreduce(times, ReduceOp::Max, &Options::default())
    }

    /// Calls once more, with fresh input, and counts the wrong elements of all ranks.
    fn check(&mut self) -> Result<u64> {
        self.refill();
        self.caller.call()?;
        let apart =
            self.request.mode == Mode::OutOfPlace || !has_one_array(self.request.collective);
        let result = if apart { &self.caller.output } else { &self.caller.input };
        let mut wrong = [differing(result, &self.expected, self.tolerance)];
        self.caller.comm.allreduce(&mut wrong, ReduceOp::Sum, &Options::default())?;
        Ok(wrong[0])
    }

    fn refill(&mut self) {
        pattern::fill(&mut self.caller.input, &self.own);
        self.caller.output.fill(T::from_whole(0));
    }
}

/// How many elements of a result differ from its pieces, one behind the other.
fn differing<T: Number>(mut result: &[T], pieces: &[Piece<T>], tolerance: f64) -> u64 {
    let mut wrong = 0;
    for piece in pieces {
        let (here, behind) = result.split_at(piece.len.min(result.len()));
        wrong += pattern::differing(here, &piece.repeating, piece.start, tolerance);
        result = behind;
    }
    wrong
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
