//! Predictions with bounded effort.
//!
//! Long pipelines come into a steady state: from then on each further slice takes as long as the
//! one before. So a plan of many slices is walked with fewer of them, twice, and the difference
//! says what the rest takes. The same holds for the turns of a ring or a chain, of which there are
//! as many as ranks: such a plan is walked in two smaller worlds. Tests hold both against the walk
//! of every step.

use super::evaluate::{Outcome, Walk};
use super::network::{Layout, Network, Time};
use super::symmetry::Symmetry;
use crate::error::Result;
use crate::plan::{Counts, Params, build};
use crate::types::{Algorithm, Collective, Rank};

/// How many steps a prediction may walk, about; fewer are fewer slices and smaller worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    steps: u64,
}

impl Effort {
    /// For choosing at run time: some hundred microseconds.
    pub const CHOICE: Effort = Effort { steps: 1_500 };
    /// For people who wait for an answer: about a second.
    pub const ANSWER: Effort = Effort { steps: 3_000_000 };
    /// Every step, however long it takes.
    pub const ALL: Effort = Effort { steps: u64::MAX };

    /// This many steps.
    pub const fn of(steps: u64) -> Self {
        Effort { steps }
    }
}

/// What a call would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// When the last rank is through.
    pub time_ps: Time,
    /// Bytes of payload sent by the rank that sends most.
    pub bytes_sent: u64,
    /// Steps of the rank that has most.
    pub steps: u64,
    /// Whether every step was walked, by all ranks or by those that stand for all.
    pub whole: bool,
}

/// Predicts for one layout and network, and keeps its memory from one prediction to the next.
pub struct Predictor {
    layout: Layout,
    network: Network,
    walk: Walk,
}

/// What a call would take on a network, with about this effort.
///
/// # Errors
/// What [`build`] fails with: `Unsupported` or `InvalidArgument`.
pub fn predict(
    params: &Params,
    layout: Layout,
    network: &Network,
    effort: Effort,
) -> Result<Prediction> {
    Predictor::new(layout, network).predict(params, effort)
}

impl Predictor {
    pub fn new(layout: Layout, network: &Network) -> Self {
        Predictor { layout, network: *network, walk: Walk::new(layout, network) }
    }

    /// As the function of this name.
    ///
    /// # Errors
    /// As it has them.
    pub fn predict(&mut self, params: &Params, effort: Effort) -> Result<Prediction> {
        let mut steps = 0;
        for rank in samples(params.world) {
            steps = steps.max(build(params, rank)?.len());
        }
        let (outcome, whole) = if matches!(params.counts, Counts::Even) {
            self.by_worlds(&evened(params), effort)?
        } else {
            (self.walk.run(params, Symmetry::None)?, true)
        };
        let Outcome { time_ps, bytes_sent, .. } = outcome;
        Ok(Prediction { time_ps, bytes_sent, steps, whole })
    }

    /// From two smaller worlds, where that saves effort.
    fn by_worlds(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let symmetry = self.symmetry(params)?;
        let Params { call, world, .. } = params;
        let in_turns = turns_grow_with_world(call.algorithm);
        let block = self.block().min(*world);
        // All or nothing where one rank is unlike the others: where it is matters.
        let possible = in_turns && self.network.straggler.is_none() && *world / block >= 6;
        if !possible || self.steps(&one_slice(params), symmetry)? <= effort.steps / 3 {
            return self.by_slices(params, symmetry, effort);
        }
        let in_world = |world: u32| {
            let mut smaller = params.clone();
            smaller.world = world;
            smaller.call.root = 0;
            if parts(params) > 1 && !counts_per_rank(call.collective) {
                smaller.call.count = call.count / u64::from(params.world) * u64::from(world);
            }
            smaller
        };
        let fits = |model: &Self, blocks: u32| -> Result<bool> {
            let smaller = in_world(blocks * block);
            let symmetry = model.symmetry(&smaller)?;
            Ok(model.steps(&one_slice(&smaller), symmetry)? <= effort.steps / 4)
        };
        // Two hosts are a pair rather than a ring: the smaller of the worlds has three.
        let mut blocks = 3;
        while blocks * 4 <= *world / block && fits(self, blocks * 4)? {
            blocks *= 2;
        }
        let (small, large) = (in_world(blocks * block), in_world(2 * blocks * block));
        let half = Effort::of(effort.steps / 2);
        let mut at = |params: &Params| {
            let symmetry = self.symmetry(params)?;
            self.by_slices(params, symmetry, half)
        };
        let (small, large) = (at(&small)?.0, at(&large)?.0);
        let (near, far) = (u64::from(blocks * block), u64::from(2 * blocks * block));
        Ok((continued(small, large, near, far, u64::from(*world)), false))
    }

    /// From two shorter pipelines, where that saves effort.
    fn by_slices(
        &mut self,
        params: &Params,
        symmetry: Symmetry,
        effort: Effort,
    ) -> Result<(Outcome, bool)> {
        let slices = slices(params);
        let steps = self.steps(&one_slice(params), symmetry)?.max(1);
        // A pipeline and one of half its length.
        let affordable = (effort.steps / 3 * 2 / steps).max(2);
        if slices <= affordable + affordable / 2 {
            return Ok((self.walk.run(params, symmetry)?, true));
        }
        let count = params.call.count;
        let shorter = |of: u64| {
            let count = (u128::from(count) * u128::from(of) / u128::from(slices)) as u64;
            let mut shorter = params.clone();
            shorter.call.count = count;
            evened(&shorter)
        };
        let (small, large) = (shorter(affordable / 2), shorter(affordable));
        let (near, far) = (small.call.count, large.call.count);
        let small = self.walk.run(&small, symmetry)?;
        let large = self.walk.run(&large, symmetry)?;
        Ok((continued(small, large, near, far, count), false))
    }

    fn block(&self) -> u32 {
        let per_host = self.layout.ranks_per_host_max.max(1);
        per_host.saturating_mul(self.network.switch.map_or(1, |switch| switch.hosts.max(1)))
    }

    fn symmetry(&self, params: &Params) -> Result<Symmetry> {
        match self.network.straggler {
            Some(_) => Ok(Symmetry::None),
            None => Symmetry::find(params, self.block()),
        }
    }

    /// How many steps there are to walk, about.
    fn steps(&self, params: &Params, symmetry: Symmetry) -> Result<u64> {
        let walked = symmetry.walked(params.world);
        let mut total = 0;
        let mut ranks = 0;
        for rank in samples(walked) {
            total += build(params, rank)?.len();
            ranks += 1;
        }
        Ok((u128::from(total) * u128::from(walked) / ranks.max(1)) as u64)
    }
}

/// A few ranks of which one is likely to have most to do: the first, the last, and some between.
fn samples(ranks: u32) -> impl Iterator<Item = Rank> {
    let all = [0, 1, ranks / 3, ranks / 2, ranks.saturating_sub(2), ranks.saturating_sub(1)];
    (0..all.len()).filter(move |at| all[*at] < ranks && !all[..*at].contains(&all[*at])).map(
        move |at| all[at],
    )
}

/// Where two measured points lead to.
///
/// What is busiest cannot take less for the rest than it took so far: pipelines that are not full
/// yet hide that.
fn continued(small: Outcome, large: Outcome, near: u64, far: u64, to: u64) -> Outcome {
    let rest = |rise: u64| {
        let rise = u128::from(rise) * u128::from(to - far) / u128::from((far - near).max(1));
        u64::try_from(rise).unwrap_or(u64::MAX)
    };
    let busier = large.busy_ps.saturating_sub(small.busy_ps);
    let later = large.time_ps.saturating_sub(small.time_ps).max(busier);
    let more = large.bytes_sent.saturating_sub(small.bytes_sent);
    Outcome {
        time_ps: large.time_ps.saturating_add(rest(later)),
        bytes_sent: large.bytes_sent.saturating_add(rest(more)),
        busy_ps: large.busy_ps.saturating_add(rest(busier)),
    }
}

/// Whether a plan by this algorithm has as many turns as there are ranks.
const fn turns_grow_with_world(algorithm: Algorithm) -> bool {
    use Algorithm::*;
    matches!(
        algorithm,
        Ring | Chain | Pairwise | Linear | ScatterAllgather | ReduceScatterGather
    )
}

/// Whether a call's count is that of one rank's part.
const fn counts_per_rank(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allgather | ReduceScatter | Gather | Scatter | Alltoall)
}

/// Into how many parts the larger array is cut before it is cut into slices.
pub(super) fn parts(params: &Params) -> u64 {
    use Algorithm::*;
    let world = u64::from(params.world);
    match params.call.algorithm {
        _ if counts_per_rank(params.call.collective) => world,
        Ring | ScatterAllgather | ReduceScatterGather => world,
        HalvingDoubling | DoubleTree => 2,
        _ => 1,
    }
}

/// How many slices a part has.
fn slices(params: &Params) -> u64 {
    let slice = u64::from(params.slice) / params.call.dtype.size() as u64;
    let total = params.elements().unwrap_or(u64::MAX);
    total.div_ceil(slice.max(1).saturating_mul(parts(params))).max(1)
}

/// The same call with one slice in each part.
fn one_slice(params: &Params) -> Params {
    let mut short = params.clone();
    short.call.count = params.call.count.div_ceil(slices(params));
    evened(&short)
}

/// The same call with as many elements in every rank's part: the few that are added weigh nothing,
/// and plans whose parts are equal are alike on all ranks.
fn evened(params: &Params) -> Params {
    let mut even = params.clone();
    let world = u64::from(params.world);
    if parts(params) > 1 && !counts_per_rank(params.call.collective) {
        even.call.count = params.call.count.div_ceil(world) * world;
    }
    even
}
