//! The costs with which the model predicts measured times best.
//!
//! One cost after the other is made larger and smaller by a factor, and kept as it fits better;
//! when nothing helps any more the factor shrinks. A dozen costs and some thirty times take a few
//! thousand predictions of small worlds: seconds.

use super::measure::Timed;
use crate::model::{Costs, Effort, Layout, Network, Predictor};
use crate::plan::Params;

/// Factors that are tried, in turn. The first gets anywhere within an order of magnitude in a few
/// rounds, the last is finer than times repeat.
const FACTORS: [f64; 5] = [2.0, 1.4, 1.15, 1.06, 1.02];

/// Rounds over all costs for one factor, at most.
const ROUNDS_MAX: u32 = 12;

/// Steps for each prediction.
const EFFORT: Effort = Effort::of(2_000);

/// How far a cost may be from where it began, so that one that little depends on does not run away.
const AWAY_MAX: f64 = 50.0;

/// Whether times of such a world show what links cost within hosts, and between them.
pub(super) fn visible(layout: Layout) -> (bool, bool) {
    (layout.ranks_per_host_max > 1, !layout.one_host())
}

/// The costs nearest to these times, beginning from others.
pub(super) fn fit(layout: Layout, from: Costs, timed: &[Timed]) -> Costs {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(65_536));
    let mut best = Costs { cores: cores as u32, ..from };
    let mut least = badness(layout, &best, timed);
    let places = places(layout);
    for factor in FACTORS {
        for _ in 0..ROUNDS_MAX {
            let before = least;
            for place in &places {
                for factor in [factor, 1.0 / factor] {
                    let mut tried = best;
                    let cost = place(&mut tried);
                    let first = (*place(&mut from.clone())).max(1) as f64;
                    let next = (*cost).max(1) as f64 * factor;
                    if !(first / AWAY_MAX..=first * AWAY_MAX).contains(&next) {
                        continue;
                    }
                    *cost = next.round() as u64;
                    let badness = badness(layout, &tried, timed);
                    if badness < least {
                        (best, least) = (tried, badness);
                    }
                }
            }
            if least >= before {
                break;
            }
        }
    }
    best
}

type Place = fn(&mut Costs) -> &mut u64;

/// The costs that can be seen. There is no wire within a host, and what moves within a rank's own
/// arrays is part of no call that is timed.
fn places(layout: Layout) -> Vec<Place> {
    let (local, remote) = visible(layout);
    let mut places: Vec<Place> = vec![|costs| &mut costs.fold_fs, |costs| &mut costs.fold_half_fs];
    if local {
        places.push(|costs| &mut costs.local.latency_ps);
        places.push(|costs| &mut costs.local.frame_ps);
        places.push(|costs| &mut costs.local.copy_fs);
    }
    if remote {
        places.push(|costs| &mut costs.remote.latency_ps);
        places.push(|costs| &mut costs.remote.wire_fs);
        places.push(|costs| &mut costs.remote.frame_ps);
        places.push(|costs| &mut costs.remote.copy_fs);
    }
    places
}

/// What is predicted, in microseconds; `None` where there is no plan.
pub(super) fn predicted_us(layout: Layout, costs: &Costs, one: &Timed) -> Option<f64> {
    predict(&mut Predictor::new(layout, &Network::new(*costs)), layout, one)
}

fn predict(predictor: &mut Predictor, layout: Layout, one: &Timed) -> Option<f64> {
    let params = Params::new(one.sample.call(), layout.world, one.slice);
    Some(predictor.predict(&params, EFFORT).ok()?.time_ps as f64 / 1e6)
}

/// How far predictions are off on average: 0.1 is 10 %.
pub(super) fn error(layout: Layout, costs: &Costs, timed: &[Timed]) -> f64 {
    let off = distances(layout, costs, timed).map(|distance| distance.abs().exp() - 1.0);
    let (sum, count) = off.fold((0.0, 0u32), |(sum, count), off| (sum + off, count + 1));
    sum / f64::from(count.max(1))
}

/// The sum of squares of how many times too long or too short predictions are. Large times are not
/// to count for more than small ones.
fn badness(layout: Layout, costs: &Costs, timed: &[Timed]) -> f64 {
    distances(layout, costs, timed).map(|distance| distance * distance).sum()
}

fn distances(layout: Layout, costs: &Costs, timed: &[Timed]) -> impl Iterator<Item = f64> {
    let mut predictor = Predictor::new(layout, &Network::new(*costs));
    timed.iter().filter_map(move |one| {
        let predicted = predict(&mut predictor, layout, one)?;
        Some((predicted.max(1e-3) / one.time_us.max(1e-3)).ln())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tune::measure::samples;
    use crate::model::Class;

    /// Times as a network of these costs would give them.
    fn times(layout: Layout, costs: &Costs) -> Vec<Timed> {
        let of = |sample| {
            let mut timed = Timed { sample, time_us: 0.0, slice: 64 << 10 };
            timed.time_us = predicted_us(layout, costs, &timed).unwrap_or(1.0);
            timed
        };
        samples(layout.world, 4 << 20).into_iter().map(of).collect()
    }

    #[test]
    fn costs_are_found_again_from_the_times_they_lead_to() {
        let layout = Layout { world: 4, ranks_per_host_max: 1 };
        let from = Costs::built_in(Class::Gbit10, 1);
        let mut real = from;
        real.remote.latency_ps *= 3;
        real.remote.wire_fs *= 4;
        real.fold_fs = real.fold_fs * 2 / 3;
        let timed = times(layout, &real);
        assert!(error(layout, &from, &timed) > 0.5);
        let found = fit(layout, from, &timed);
        assert!(error(layout, &found, &timed) < 0.03, "{found:?}");
        let near = |a: u64, b: u64| a.abs_diff(b) <= b / 5;
        assert!(near(found.remote.wire_fs, real.remote.wire_fs), "{found:?}");
        assert!(near(found.remote.latency_ps, real.remote.latency_ps), "{found:?}");
        assert_eq!(found.local, from.local, "nothing shows what links cost within a host");
    }
}
