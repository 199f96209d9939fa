//! What is timed, and how long it takes: each call by itself, from when all ranks are there until
//! the last is through, as the model has it.

use std::time::{Duration, Instant};

use half::f16;

use super::Args;
use crate::comm::{Communicator, Element, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// Calls that go before the timed ones: links open, memory becomes resident.
const WARM_UP: u32 = 3;

/// Calls timed at least and at most. Their median leaves out what else happened meanwhile.
const CALLS_MIN: u32 = 5;
const CALLS_MAX: u32 = 400;

/// One thing to time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) collective: Collective,
    pub(super) algorithm: Algorithm,
    pub(super) dtype: DataType,
    pub(super) count: u64,
}

/// And how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed {
    pub(super) sample: Sample,
    pub(super) time_us: f64,
    /// Bytes of the slices that it was cut into; 0 until that is known.
    pub(super) slice: u32,
}

impl Sample {
    pub(super) fn bytes(&self) -> u64 {
        self.count * self.dtype.size() as u64
    }

    pub(super) fn call(&self) -> Call {
        let Sample { collective, algorithm, dtype, count } = *self;
        Call { collective, algorithm, dtype, op: ReduceOp::Sum, root: 0, count, wire: Wire::Plain }
    }
}

const LADDER: [(Collective, Algorithm, DataType); 5] = [
    (Collective::Broadcast, Algorithm::Binomial, DataType::Float32),
    (Collective::Broadcast, Algorithm::Chain, DataType::Float32),
    (Collective::Allreduce, Algorithm::RecursiveDoubling, DataType::Float32),
    (Collective::Allreduce, Algorithm::Ring, DataType::Float32),
    (Collective::Allreduce, Algorithm::Ring, DataType::Float16),
];

/// What the costs are fitted to: each algorithm over sizes from one where only latency counts to
/// one where only bytes do.
pub(super) fn samples(world: u32, bytes_max: u64) -> Vec<Sample> {
    let sizes = [64, 16 << 10, 128 << 10, 1 << 20, 4 << 20, 16 << 20];
    let mut samples = vec![barrier()];
    samples.extend(over(&sizes, world, bytes_max));
    samples
}

/// What the fit is checked with.
pub(super) fn checks(world: u32, bytes_max: u64) -> Vec<Sample> {
    over(&[4 << 10, 64 << 10, 512 << 10, 8 << 20], world, bytes_max)
}

fn barrier() -> Sample {
    let (collective, algorithm) = (Collective::Barrier, Algorithm::Dissemination);
    Sample { collective, algorithm, dtype: DataType::Uint8, count: 0 }
}

fn over(sizes: &[u64], world: u32, bytes_max: u64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (collective, algorithm, dtype) in LADDER {
        for bytes in sizes.iter().filter(|bytes| **bytes <= bytes_max) {
            // Half floats are there for their folds alone, and a ring of next to nothing is long.
            let telling = *bytes >= 128 << 10;
            if telling || !(dtype == DataType::Float16 || algorithm == Algorithm::Ring) {
                // As many elements for every rank.
                let count = bytes / dtype.size() as u64 / u64::from(world) * u64::from(world);
                samples.push(Sample { collective, algorithm, dtype, count: count.max(1) });
            }
        }
    }
    samples
}

/// Times all of them, in the same order on every rank.
///
/// Collective; blocks.
///
/// # Errors
/// What a call fails with.
pub(super) fn run(comm: &Communicator, samples: &[Sample], args: &Args) -> Result<Vec<Timed>> {
    let budget = Duration::from_millis(args.budget_ms);
    let time = |sample: &Sample| {
        let time_us = match sample.dtype {
            DataType::Float16 => time_us::<f16>(comm, sample, budget, f16::from_f32(1.0))?,
            _ => time_us::<f32>(comm, sample, budget, 1.0)?,
        };
        Ok(Timed { sample: *sample, time_us, slice: 0 })
    };
    samples.iter().map(time).collect()
}

fn time_us<T: Element>(
    comm: &Communicator,
    sample: &Sample,
    budget: Duration,
    one: T,
) -> Result<f64> {
    let count = usize::try_from(sample.count).unwrap_or(usize::MAX);
    let mut data: Vec<T> = Vec::new();
    data.try_reserve_exact(count).map_err(|_| {
        let text = format!("no memory for {count} elements; --maxbytes sets the largest array");
        Error::new(ErrorKind::System, text)
    })?;
    data.resize(count, one);
    let options = Options { algorithm: Some(sample.algorithm), ..Options::default() };
    let mut call = || match sample.collective {
        Collective::Barrier => comm.barrier(&options),
        Collective::Broadcast => comm.broadcast(&mut data, 0, &options),
        // The largest of equal numbers stays what it is, however often.
        _ => comm.allreduce(&mut data, ReduceOp::Max, &options),
    };
    let mut took = |calls: u32| -> Result<Vec<f64>> {
        let mut times = Vec::with_capacity(calls as usize);
        for _ in 0..calls {
            comm.barrier(&Options::default())?;
            let start = Instant::now();
            call()?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        comm.allreduce(&mut times, ReduceOp::Max, &Options::default())?;
        Ok(times)
    };
    // The same on every rank, since all have the slowest rank's times.
    let warm = took(WARM_UP)?;
    let one_us = warm.last().copied().unwrap_or(1.0).max(1.0);
    let calls = (budget.as_secs_f64() * 1e6 / one_us) as u32;
    let mut times = took(calls.clamp(CALLS_MIN, CALLS_MAX))?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
