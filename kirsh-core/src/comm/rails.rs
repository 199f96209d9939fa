//! Several NICs: how fast each of the networks is that join all hosts, and what share of the frames each
//! of them gets.
//!
//! Where a world has more than one rail, creating its communicator measures each alone, over a communicator
//! of its own whose sockets take that rail and no other. All ranks then have the same times, and come
//! to the same shares.

use std::time::{Duration, Instant};

use super::group::{self, pool};
use super::{Birth, Communicator, Inner, Options};
use crate::driver::lane::Makings;
use crate::driver::members::Members;
use crate::driver::{ONE_RAIL, Rails};
use crate::error::Result;
use crate::model::Layout;
use crate::plan::{PATTERN_MAX, Pattern};
use crate::rendezvous::rails::Rail;
use crate::session::Settings;
use crate::types::{Algorithm, ReduceOp, Sequence};

/// Bytes of the all-reduces that are timed: first few, then as many as take this long, about.
const PROBE_BYTES: u64 = 1 << 20;
const PROBE_BYTES_MAX: u64 = 32 << 20;
const PROBE: Duration = Duration::from_millis(50);

/// How long each of them may take, its dialling included. A rail over which nobody answers is found out
/// so; one on which a megabyte takes longer is not worth having.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// A rail with less than this share of the whole is left out.
const SHARE_MIN: f64 = 1.0 / PATTERN_MAX as f64;

/// By how much a rail's share of the frames may be more than its share of the rate, so that rails that are
/// alike get equal shares whatever one of them happened to do just then.
const OVER: f64 = 0.05;

/// What rails a world's frames take.
struct Chosen {
    pattern: Pattern,
    /// Which of the world's rails they are, the fastest first.
    rails: Vec<u8>,
    /// What a byte takes with all of them together, in femtoseconds.
    wire_fs: u64,
}

impl Inner {
    /// Measures the rails of the world, whose communicator this is, and deals its frames out to them by
    /// what they carry. Collective; blocks for some 0.2 s a rail.
    ///
    /// # Errors
    /// What an allreduce fails with that takes any rail.
    pub(super) fn choose_rails(&mut self, layout: Layout, rails: &[Rail]) -> Result<()> {
        let agree = self.probe(layout, None, rails.len())?;
        let mut times = Vec::with_capacity(rails.len());
        for number in 0..rails.len() {
            let probe = self.probe(layout, Some(number as u8), number)?;
            let time = |bytes| -> Result<u64> {
                // Whatever goes wrong on this rail, the others go on without it.
                let took = time(&probe, bytes).unwrap_or(u64::MAX);
                let mut took = [took];
                agree.allreduce(&mut took, ReduceOp::Max, &Options::default())?;
                Ok(took[0])
            };
            // Whoever is still joining is no reason to give a rail up.
            agree.barrier(&Options::default())?;
            let mut bytes = PROBE_BYTES;
            let mut took = time(bytes)?;
            if took < PROBE.as_nanos() as u64 {
                let more = PROBE_BYTES * PROBE.as_nanos() as u64 / took.max(1);
                bytes = more.clamp(PROBE_BYTES, PROBE_BYTES_MAX);
                took = time(bytes)?;
            }
            let parts = 2 * u64::from(self.size - 1) * bytes / u64::from(self.size);
            let per_byte_fs = u128::from(took) * 1_000_000 / u128::from(parts.max(1));
            times.push(u64::try_from(per_byte_fs).ok().filter(|_| took != u64::MAX));
        }
        if let Some(chosen) = choose(&times) {
            self.take_rails(&chosen, rails, &times);
        }
        Ok(())
    }

    /// A communicator for one rail, or for agreeing about them all. P-61
    fn probe(&self, layout: Layout, rail: Option<u8>, number: usize) -> Result<Communicator> {
        let (communicator, epoch) = self.lane.key;
        let communicator = group::id(communicator, epoch, Sequence::MAX, number as u32);
        let settings = Settings { communicator, ..self.settings.clone() };
        let rails = rail.map(|rail| Rails { of: [rail].into(), only: true });
        let makings = Makings {
            members: Members::everyone(self.size),
            pool: pool(self.size),
            priority: 0,
            stripes_near: false,
            rails,
            spin_ns: self.lane.spin_ns,
            zero_copy: self.lane.sending.zero_copy,
            further: None,
        };
        let inner = Inner::on(Birth {
            process: self.process.clone(),
            settings,
            makings,
            local: self.local,
            launched: self.launched,
            timeout: if rail.is_some() { Some(PROBE_TIMEOUT) } else { self.timeout },
            plans: self.plans.for_layout(layout),
        })?;
        Ok(Communicator(inner.into()))
    }

    fn take_rails(&mut self, chosen: &Chosen, rails: &[Rail], times: &[Option<u64>]) {
        let Chosen { pattern, rails: of, wire_fs } = chosen;
        let share = |rail: u8| {
            let had = pattern.round().iter().filter(|at| of[usize::from(**at)] == rail).count();
            format!("{had} of {} frames", pattern.round().len())
        };
        let of_each: Vec<String> = rails
            .iter()
            .zip(times)
            .zip(0..)
            .map(|((rail, time), number)| match time {
                Some(fs) => {
                    format!("{rail}: {} Mbit/s, {}", 8_000_000_000 / fs.max(&1), share(number))
                }
                None => format!("{rail}: nobody answers"),
            })
            .collect();
        tracing::info!(rank = self.rank, "networks between the hosts: {}", of_each.join("; "));
        self.settings.dealing.pattern = *pattern;
        self.plans.take_rails(*pattern, *wire_fs);
        self.lane.take_rails(*pattern, Rails { of: of.as_slice().into(), only: false });
        self.process.prefer_rail(of.first().copied().unwrap_or(ONE_RAIL));
    }
}

/// How long a ring takes over so many bytes, in nanoseconds. What goes first opens links and their windows.
fn time(comm: &Communicator, bytes: u64) -> Result<u64> {
    let options = Options { algorithm: Some(Algorithm::Ring), ..Options::default() };
    let mut data = vec![0u32; bytes as usize / 4];
    let warm_up = data.len() / 4;
    comm.allreduce(&mut data[..warm_up], ReduceOp::Max, &options)?;
    let begun = Instant::now();
    comm.allreduce(&mut data, ReduceOp::Max, &options)?;
    Ok(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX - 1))
}

/// The rails worth having and their shares, from what a byte takes on each; `None` where no rail works.
fn choose(times: &[Option<u64>]) -> Option<Chosen> {
    let mut rails: Vec<(u64, u8)> =
        (0..).zip(times).filter_map(|(rail, time)| Some(((*time)?.max(1), rail))).collect();
    rails.sort_unstable();
    // Leaving one out leaves the others more: the slowest first, until all have enough.
    let shares = loop {
        let rates: Vec<f64> = rails.iter().map(|(time, _)| 1.0 / *time as f64).collect();
        let sum: f64 = rates.iter().sum();
        let shares: Vec<f64> = rates.iter().map(|rate| rate / sum).collect();
        if *shares.last()? >= SHARE_MIN {
            break shares;
        }
        rails.pop();
    };
    let together: f64 = rails.iter().map(|(time, _)| 1.0 / *time as f64).sum();
    let pattern = Pattern::of_weights(&weights(&shares))?;
    let rails = rails.into_iter().map(|(_, rail)| rail).collect();
    Some(Chosen { pattern, rails, wire_fs: (1.0 / together).round() as u64 })
}

/// Whole numbers of frames in these shares: of the shortest round that overloads no rail by much, or else
/// of the one that does so least.
fn weights(shares: &[f64]) -> Vec<u32> {
    let mut best = (f64::INFINITY, vec![1; shares.len()]);
    for len in shares.len()..=PATTERN_MAX {
        let weights: Vec<u32> =
            shares.iter().map(|share| ((share * len as f64).round() as u32).max(1)).collect();
        let sum: u32 = weights.iter().sum();
        if sum > PATTERN_MAX as u32 {
            continue;
        }
        // What takes longest is the rail that has most beyond its share.
        let over = weights.iter().zip(shares);
        let over = over.map(|(weight, share)| f64::from(*weight) / f64::from(sum) / share);
        let over = over.fold(0.0, f64::max);
        if over < best.0 {
            best = (over, weights);
        }
        if over <= 1.0 + OVER {
            break;
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of a round for each rail that is taken, the first first.
    fn taken(times: &[Option<u64>]) -> Option<Vec<(u8, usize)>> {
        let Chosen { pattern, rails, .. } = choose(times)?;
        let frames = |at| pattern.round().iter().filter(|rail| usize::from(**rail) == at).count();
        Some(rails.iter().enumerate().map(|(at, rail)| (*rail, frames(at))).collect())
    }

    // P-61
    #[test]
    fn rails_get_frames_by_their_rates_and_the_fastest_is_first() {
        assert_eq!(taken(&[Some(8_000), Some(8_100)]), Some(vec![(0, 1), (1, 1)]));
        // The one that was listed first is the slower.
        assert_eq!(taken(&[Some(20_000), Some(10_000)]), Some(vec![(1, 2), (0, 1)]));
        assert_eq!(taken(&[Some(8_000), Some(800)]), Some(vec![(1, 10), (0, 1)]));
        assert_eq!(taken(&[Some(8_000), Some(200)]), Some(vec![(1, 1)]), "too slow to be of use");
        assert_eq!(taken(&[None, Some(900)]), Some(vec![(1, 1)]));
        assert_eq!(taken(&[None, None]), None);
        let three = taken(&[Some(100), Some(200), Some(200)]);
        assert_eq!(three, Some(vec![(0, 2), (1, 1), (2, 1)]));
        assert_eq!(choose(&[Some(8_000), Some(8_000)]).unwrap().wire_fs, 4_000);
    }
}
