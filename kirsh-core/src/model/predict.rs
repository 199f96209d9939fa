//! Predictions with bounded effort.
//!
//! Long pipelines come into a steady state: from then on each further slice takes as long as the
//! one before. So a plan of many slices is walked with fewer of them, twice, and the difference
//! says what the rest takes. The same holds for the turns of a ring or a chain, of which there are
//! as many as ranks, and for the rounds of plans that double their reach: such a plan is walked in
//! two smaller worlds. Tests hold this against the walk of every step.

use super::evaluate::{Outcome, Walk};
use super::network::{Layout, Network, Time};
use super::symmetry::Symmetry;
use crate::error::{ErrorKind, Result};
use crate::plan::{Counts, Params, build};
use crate::types::{Algorithm, Collective, Rank};

/// How many steps a prediction may walk, about; fewer are fewer slices and smaller worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    steps: u64,
}

impl Effort {
    /// For choosing at run time: some hundred microseconds.
    pub const CHOICE: Effort = Effort { steps: 1_000 };
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

    /// From two smaller worlds, where that saves effort. All or nothing where one rank is unlike the
    /// others: where it is matters.
    fn by_worlds(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let symmetry = self.symmetry(params)?;
        let steps = self.steps(&one_slice(params), symmetry)?;
        let blocks = params.world / self.block().min(params.world);
        if self.network.straggler.is_none() {
            let in_turns = turns_grow_with_world(params.call.algorithm);
            if in_turns && blocks > 8 && steps > effort.steps / 3 {
                return self.by_turns(params, effort);
            }
            // The wider a plan is the fewer slices can be afforded: too few tell nothing.
            let wide = blocks >= 8 && params.world >= 32 && steps > effort.steps / 16;
            if !in_turns && symmetry == Symmetry::None && wide {
                return self.by_doublings(params, effort);
            }
        }
        self.by_slices(params, symmetry, effort)
    }

    /// As many turns as ranks: each further rank takes as long as the one before.
    fn by_turns(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let (world, block) = (params.world, self.block());
        let in_blocks = |blocks: u32| {
            let mut smaller = params.clone();
            smaller.world = blocks * block;
            // Parts as long as before.
            if parts(params) > 1 && !counts_per_rank(params.call.collective) {
                smaller.call.count =
                    params.call.count / u64::from(world) * u64::from(smaller.world);
            }
            smaller
        };
        // Two hosts are a pair rather than a ring.
        let mut blocks = 4;
        while blocks * 4 < world / block {
            let larger = in_blocks(blocks * 4);
            if self.steps(&larger, self.symmetry(&larger)?)? > effort.steps / 3 {
                break;
            }
            blocks *= 2;
        }
        let near = self.by_half(&in_blocks(blocks), effort)?;
        let far = self.by_half(&in_blocks(2 * blocks), effort)?;
        let at = |blocks: u32| u64::from(blocks * block);
        Ok((continued(near, far, at(blocks), at(2 * blocks), world.into()), false))
    }

    /// As many rounds as the world has doublings: each further one takes as long as the one before.
    fn by_doublings(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let (world, block) = (params.world, self.block());
        let halved = |times: u32| {
            let mut smaller = params.clone();
            smaller.world = ((world >> times) / block).max(1) * block;
            // As many bytes in all as before.
            if counts_per_rank(params.call.collective) {
                let total = params.call.count.saturating_mul(world.into());
                smaller.call.count = total / u64::from(smaller.world);
            }
            smaller
        };
        // Below eight ranks plans are not yet what they are in a large world.
        let mut times = 1;
        while (world / block) >> (times + 2) >= 2 && world >> (times + 2) >= 8 {
            let large = one_slice(&halved(times));
            if self.steps(&large, self.symmetry(&large)?)? <= effort.steps / 2 {
                break;
            }
            times += 1;
        }
        let near = self.by_half(&halved(times + 1), effort)?;
        let far = self.by_half(&halved(times), effort)?;
        Ok((continued(near, far, 0, 1, 1 + u64::from(times)), false))
    }

    fn by_half(&mut self, params: &Params, effort: Effort) -> Result<Outcome> {
        let params = evened(params);
        let symmetry = self.symmetry(&params)?;
        Ok(self.by_slices(&params, symmetry, Effort::of(effort.steps / 2))?.0)
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
            return Ok((self.run(params, symmetry)?, true));
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
        let small = self.run(&small, symmetry)?;
        let large = self.run(&large, symmetry)?;
        Ok((continued(small, large, near, far, count), false))
    }

    /// Walks with ranks that stand for others, or with all of them where those turn out not to fit.
    fn run(&mut self, params: &Params, symmetry: Symmetry) -> Result<Outcome> {
        match self.walk.run(params, symmetry) {
            Err(error) if error.kind() == ErrorKind::Internal && symmetry != Symmetry::None => {
                self.walk.run(params, Symmetry::None)
            }
            outcome => outcome,
        }
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
    (0..all.len())
        .filter(move |at| all[*at] < ranks && !all[..*at].contains(&all[*at]))
        .map(move |at| all[at])
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
    matches!(algorithm, Ring | Chain | Pairwise | Linear | ScatterAllgather | ReduceScatterGather)
}

/// Whether a call's count is that of one rank's part.
pub(super) const fn counts_per_rank(collective: Collective) -> bool {
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
