//! Predictions with bounded effort.
//!
//! Long pipelines come into a steady state: from then on each further slice takes as long as the
//! one before. So a plan of many slices is walked with fewer of them, three times, and the differences
//! say what the rest takes. The same holds for the turns of a ring or a chain, of which there are
//! as many as ranks, and for the rounds of plans that double their reach: such a plan is walked in
//! two smaller worlds. Tests hold this against the walk of every step.

use super::evaluate::{Outcome, Walk};
use super::known::Known;
use super::network::{Layout, Network, Time};
use super::smaller::{
    continued, cut_short, evened, halved, of_blocks, one_slice, parts, samples, slices,
    turns_grow_with_world,
};
use super::symmetry::Symmetry;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Counts, Params, build};

/// Slices that a pipeline should be walked with at least: fewer tell nothing of how it fills.
pub(super) const SLICES_MIN: u64 = 4;

/// Slices that are walked in any case.
const SLICES_FEW: u64 = 2;

/// How many steps a prediction may walk, about; fewer are fewer slices and smaller worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    steps: u64,
}

impl Effort {
    /// For choosing at run time in a large world: some hundred microseconds.
    pub const CHOICE: Effort = Effort { steps: 1_000 };
    /// For choosing in a world laid out like this: in smaller ones there is time for more. Of hosts with
    /// many ranks every step takes them all.
    pub const fn of_choice(layout: Layout) -> Self {
        let Effort { steps } = Effort::CHOICE;
        match (layout.world, layout.ranks_per_host_max) {
            (..=128, _) => Effort { steps: 4 * steps },
            (_, ..=4) => Effort { steps },
            _ => Effort { steps: steps / 2 },
        }
    }

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
    pub(super) layout: Layout,
    pub(super) network: Network,
    walk: Walk,
    pub(super) known: Known,
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
        Predictor {
            layout,
            network: *network,
            walk: Walk::new(layout, network),
            known: Known::default(),
        }
    }

    /// How many places of plans have been walked so far, in all predictions.
    pub(super) fn walked(&self) -> u64 {
        self.walk.steps()
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
        let (Outcome { time_ps, bytes_sent, .. }, whole) = self.outcome(params, effort)?;
        Ok(Prediction { time_ps, bytes_sent, steps, whole })
    }

    /// The time alone of a prediction.
    ///
    /// # Errors
    /// As `predict` has them.
    pub(super) fn time_ps(&mut self, params: &Params, effort: Effort) -> Result<Time> {
        Ok(self.outcome(params, effort)?.0.time_ps)
    }

    fn outcome(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        match params.counts {
            Counts::Even => self.by_worlds(&evened(params), effort),
            _ => Ok((self.walk.run(params, Symmetry::None)?, true)),
        }
    }

    /// From two smaller worlds, where that saves effort. All or nothing where one rank is unlike the
    /// others: where it is matters.
    fn by_worlds(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let symmetry = self.symmetry(params)?;
        let steps = self.steps(&one_slice(params), symmetry)?;
        let block = self.block().min(params.world);
        let blocks = params.world / block;
        let affordable = steps.saturating_mul(slices(params)) <= effort.steps;
        if self.network.straggler.is_some() || affordable {
            return self.by_slices(params, symmetry, effort);
        }
        if turns_grow_with_world(params.call.algorithm) {
            if blocks > 3 && steps > effort.steps / SLICES_MIN {
                return self.by_turns(params, effort);
            }
        } else if blocks >= 4 && params.world >= 16 {
            let whole = Params { world: blocks * block, ..params.clone() };
            if symmetry == Symmetry::None && whole.world < params.world {
                let whole = evened(&whole);
                let symmetry = self.symmetry(&whole)?;
                let few = self.steps(&one_slice(&whole), symmetry)? <= effort.steps;
                if symmetry != Symmetry::None && few {
                    return self.by_likeness(params, [whole.clone(), whole], [0, 1, 1], effort);
                }
            }
            // The wider a plan is the fewer slices can be afforded: too few tell nothing.
            let most =
                if symmetry == Symmetry::None { effort.steps / SLICES_MIN } else { effort.steps };
            if steps > most {
                return self.by_doublings(params, effort);
            }
        }
        self.by_slices(params, symmetry, effort)
    }

    /// As many turns as ranks: each further rank takes as long as the one before.
    fn by_turns(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let (world, block) = (params.world, self.block());
        let in_blocks = |blocks| of_blocks(params, blocks, block);
        // Two hosts are a pair rather than a ring, and so few ranks hardly one.
        let mut blocks = if block >= 4 { 2 } else { 4 };
        while blocks * 4 < world / block {
            let larger = one_slice(&in_blocks(blocks * 4));
            let symmetry = self.symmetry(&larger)?;
            if self.steps(&larger, symmetry)? > effort.steps / (2 * SLICES_MIN) {
                break;
            }
            blocks *= 2;
        }
        let further = if blocks == 2 { 3 } else { 2 * blocks };
        let (near, far) = (in_blocks(blocks), in_blocks(further));
        let at = [near.world, far.world, world].map(u64::from);
        self.by_likeness(params, [near, far], at, effort)
    }

    /// As many rounds as the world has doublings: each further one takes as long as the one before,
    /// beside what the busiest has to do.
    fn by_doublings(&mut self, params: &Params, effort: Effort) -> Result<(Outcome, bool)> {
        let (world, block) = (params.world, self.block());
        // Below some eight ranks plans are not yet what they are in a large world.
        let mut times = 1;
        while world >> (times + 2) > block && world >> (times + 2) >= 7 {
            let large = one_slice(&halved(params, times));
            let symmetry = self.symmetry(&large)?;
            if self.steps(&large, symmetry)? <= effort.steps / SLICES_MIN {
                break;
            }
            times += 1;
        }
        let at = [0, 1, 1 + u64::from(times)];
        self.by_likeness(params, [halved(params, times + 1), halved(params, times)], at, effort)
    }

    /// From two smaller worlds, which lie at the first two of these points, and the world at the third:
    /// what they take beside what their busiest has to do grows evenly.
    fn by_likeness(
        &mut self,
        params: &Params,
        [near, far]: [Params; 2],
        at: [u64; 3],
        effort: Effort,
    ) -> Result<(Outcome, bool)> {
        let load = self.load(params)?;
        let far_ps = self.beside(&far, effort)?;
        let near_ps = if at[1] == at[2] { far_ps } else { self.beside(&near, effort)? };
        Ok((load.outcome(continued(near_ps, far_ps, at)), false))
    }

    /// What a call takes beside what the busiest has to do.
    fn beside(&mut self, params: &Params, effort: Effort) -> Result<Time> {
        let params = evened(params);
        let symmetry = self.symmetry(&params)?;
        let effort = Effort::of(effort.steps / 2);
        let outcome = match self.by_few_slices(&params, symmetry, effort)? {
            Some(outcome) => outcome,
            None => self.by_slices(&params, symmetry, effort)?.0,
        };
        Ok(outcome.beside())
    }

    /// The walk of very few slices, where no more can be afforded of very many.
    fn by_few_slices(
        &mut self,
        params: &Params,
        symmetry: Symmetry,
        effort: Effort,
    ) -> Result<Option<Outcome>> {
        let steps = self.steps(&one_slice(params), symmetry)?.max(1);
        let affordable = effort.steps / steps;
        // A slice of each part is a pipeline by itself where there are many parts.
        let few = if parts(params) < 8 || affordable > 0 { SLICES_FEW } else { 1 };
        let few = affordable.max(few);
        if slices(params) <= few || affordable >= 2 * SLICES_MIN {
            return Ok(None);
        }
        Ok(Some(self.run(&cut_short(params, few), symmetry)?))
    }

    /// From shorter pipelines, where that saves effort.
    fn by_slices(
        &mut self,
        params: &Params,
        symmetry: Symmetry,
        effort: Effort,
    ) -> Result<(Outcome, bool)> {
        let slices = slices(params);
        let steps = self.steps(&one_slice(params), symmetry)?.max(1);
        let affordable = effort.steps / steps;
        if let Some(few) = self.by_few_slices(params, symmetry, effort)? {
            return Ok((self.load(params)?.outcome(few.beside()), false));
        }
        if slices <= affordable.max(SLICES_FEW) {
            return Ok((self.run(params, symmetry)?, true));
        }
        // A pipeline, one of half its length, and one of half of that.
        let longest = ((affordable * 4 / 7) & !3).max(SLICES_MIN);
        let mut shorter = [longest / 4, longest / 2, longest].into_iter();
        let mut next = || {
            let params = cut_short(params, shorter.next().unwrap_or(longest));
            Ok::<_, Error>((params.call.count, self.run(&params, symmetry)?))
        };
        let points = [next()?, next()?, next()?];
        Ok((lengthened(points, params.call.count), false))
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

/// Where three pipelines, each twice as long as the one before, lead to. What is busiest takes as much
/// for each further slice, and what is beside that grows as it did on average.
fn lengthened(points: [(u64, Outcome); 3], to: u64) -> Outcome {
    let [(first_at, first), (near_at, near), (far_at, far)] = points;
    let of = |near: u64, far: u64| continued(near, far, [near_at, far_at, to]);
    let busy_ps = of(near.busy_ps, far.busy_ps);
    let beside = continued(first.beside(), far.beside(), [first_at, far_at, to]);
    Outcome {
        time_ps: busy_ps.saturating_add(beside),
        bytes_sent: of(near.bytes_sent, far.bytes_sent),
        busy_ps,
    }
}
