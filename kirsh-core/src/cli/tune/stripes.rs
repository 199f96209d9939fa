//! How many sockets between two ranks of different hosts carry most.

use std::time::Instant;

use super::Args;
use crate::comm::{Communicator, Config, Options};
use crate::error::Result;
use crate::rendezvous::identity::process_env;
use crate::rendezvous::settings::STRIPES;
use crate::types::{Algorithm, ReduceOp};

/// The numbers that are tried.
const NUMBERS: [u8; 3] = [1, 2, 4];

/// Rounds in which each number has its turn, so that what else happens meanwhile meets them all.
const ROUNDS: usize = 7;

/// By how much more sockets must be faster to be taken: fewer are less to look after, and times of a
/// network that others use as well do not repeat any better.
const GAIN_MIN: f64 = 0.05;

/// A number of sockets and the time of a large all-reduce by so many, in microseconds.
pub(super) type Timed = (u8, f64);

/// Times a ring of the largest array, which every link has its share of.
///
/// Collective; blocks.
///
/// # Errors
/// What a call fails with, and what creating a communicator does.
pub(super) fn run(comm: &Communicator, args: &Args) -> Result<Vec<Timed>> {
    let options = Options { algorithm: Some(Algorithm::Ring), ..Options::default() };
    let comms = NUMBERS.map(|number| {
        let setting = |name: &str| {
            let given = (name == STRIPES.name).then(|| number.to_string());
            given.or_else(|| process_env(name))
        };
        Communicator::create_in(&Config::default(), &setting)
    });
    let mut data = vec![1.0f32; usize::try_from(args.maxbytes / 4).unwrap_or(usize::MAX)];
    let mut times = NUMBERS.map(|_| Vec::with_capacity(ROUNDS));
    // Before the first round one that is not timed: links open there.
    for round in 0..=ROUNDS {
        for (striped, times) in comms.iter().zip(&mut times) {
            let striped = striped.as_ref().map_err(Clone::clone)?;
            striped.barrier(&Options::default())?;
            let start = Instant::now();
            striped.allreduce(&mut data, ReduceOp::Max, &options)?;
            if round > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    };
    let mut medians = times.each_mut().map(median);
    comm.allreduce(&mut medians, ReduceOp::Max, &Options::default())?;
    Ok(NUMBERS.into_iter().zip(medians).collect())
}

/// The fewest sockets that no more of them beat by much.
pub(super) fn fastest(timed: &[Timed]) -> Option<u8> {
    let mut best = *timed.first()?;
    for more in &timed[1..] {
        if more.1 < best.1 * (1.0 - GAIN_MIN) {
            best = *more;
        }
    }
    Some(best.0)
}

#[cfg(test)]
mod tests {
    use super::fastest;

    #[test]
    fn more_sockets_are_taken_where_they_gain_enough() {
        assert_eq!(fastest(&[(1, 100.0), (2, 96.0), (4, 97.0)]), Some(1));
        assert_eq!(fastest(&[(1, 100.0), (2, 60.0), (4, 58.0)]), Some(2));
        assert_eq!(fastest(&[(1, 100.0), (2, 96.0), (4, 50.0)]), Some(4));
        assert_eq!(fastest(&[]), None);
    }
}
