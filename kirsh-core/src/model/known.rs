//! What a predictor finds out about a call without walking it, once: how its ranks resemble each other,
//! and how much the busiest has to do.

use super::load::{Load, load, load_of_alike};
use super::network::Time;
use super::predict::{Predictor, SLICES_MIN};
use super::smaller::{
    counts_per_rank, cut_short, evened, halved, of_blocks, one_slice, samples, slices,
    turns_grow_with_world,
};
use super::symmetry::Symmetry;
use crate::error::Result;
use crate::plan::{Params, build};
use crate::types::{Algorithm, Collective, Rank};

/// Places of a plan that are too many to add up for many ranks.
const PLACES_MANY: u64 = 200;

/// Places of a plan of which a few more or less make little difference.
const PLACES_SOME: u64 = 48;

/// Ranks of a host that are too many for adding up the plans of each.
const RANKS_MANY: u32 = 4;

/// What was found out about calls so far, the latest last.
#[derive(Default)]
pub(super) struct Known {
    alike: Vec<(Kind, Alike)>,
    loads: Vec<(Params, Load)>,
}

/// Collective, algorithm, world, slices, and whether there is an element for every rank: calls alike in
/// these have ranks that are alike.
type Kind = (Collective, Algorithm, u32, u64, bool);

/// How the ranks of a call resemble each other.
#[derive(Clone, Copy)]
struct Alike {
    /// One by one.
    ranks: Symmetry,
    /// In blocks of those whose places on hosts and switches make a difference.
    blocks: Symmetry,
}

/// Calls of which a predictor remembers what it found out: those of one choice.
const REMEMBERED: usize = 32;

impl Predictor {
    /// What no prediction of a call can be below.
    ///
    /// # Errors
    /// As `predict` has them.
    pub(super) fn bound_ps(&mut self, params: &Params) -> Result<Time> {
        Ok(self.load(&evened(params))?.busy_ps)
    }

    /// The load of a call, remembered.
    pub(super) fn load(&mut self, params: &Params) -> Result<Load> {
        if let Some((_, known)) = self.known.loads.iter().find(|(other, _)| other == params) {
            return Ok(*known);
        }
        let found = self.add_up(params)?;
        if self.known.loads.len() == REMEMBERED {
            self.known.loads.clear();
        }
        self.known.loads.push((params.clone(), found));
        Ok(found)
    }

    /// The load of a call from shorter ones: each further slice adds as much, and so does each further
    /// turn.
    fn add_up(&mut self, params: &Params) -> Result<Load> {
        let slices = slices(params);
        let (world, block) = (params.world, self.block());
        let in_turns = turns_grow_with_world(params.call.algorithm);
        if in_turns && world / block > 8 {
            let one = one_slice(params);
            let (near, far) = (of_blocks(&one, 2, block), of_blocks(&one, 3, block));
            let at = [near.world, far.world, world].map(u64::from);
            let (near, far) = (self.add_up_all(&near)?, self.add_up_all(&far)?);
            return Ok(near.continued(far, at).times(slices));
        }
        let one = one_slice(params);
        let large = world >> 4 > block;
        if params.call.collective == Collective::Alltoall && large {
            let (near, far) = (halved(params, 4), halved(params, 3));
            return Ok(self.add_up(&near)?.continued(self.add_up(&far)?, [0, 1, 4]));
        }
        // As many frames as ranks, or nearly, once blocks are as long as slices.
        let many = large && counts_per_rank(params.call.collective);
        if many && build(&one, 0)?.len() > PLACES_MANY {
            let of = |times: u32| of_blocks(&one, (world >> times) / block, block);
            let (near, far) = (of(4), of(3));
            let at = [near.world, far.world, world].map(u64::from);
            let (near, far) = (self.add_up_all(&near)?, self.add_up_all(&far)?);
            return Ok(near.continued(far, at).times(slices));
        }
        if slices <= 2 {
            return self.add_up_all(params);
        }
        let one = self.add_up_all(&one)?;
        if in_turns {
            return Ok(one.times(slices));
        }
        let two = self.add_up_all(&cut_short(params, 2))?;
        Ok(one.continued(two, [1, 2, slices]))
    }

    fn add_up_all(&mut self, params: &Params) -> Result<Load> {
        let (layout, network) = (self.layout, self.network);
        let Alike { ranks, blocks } = self.alike(params)?;
        if ranks != Symmetry::None {
            return load_of_alike(params, layout, &network, ranks, &[0]);
        }
        // Of short plans a step more or less makes a difference, and of few ranks all can be added up.
        let about = Symmetry::in_load(params);
        let many = layout.ranks_per_host_max >= RANKS_MANY && blocks == Symmetry::None;
        let many = many && network.straggler.is_none() && params.world >= 2 * RANKS_MANY;
        if many && about != Symmetry::None && build(params, 0)?.len() > PLACES_SOME {
            let few: Vec<Rank> = samples(params.world).collect();
            return load_of_alike(params, layout, &network, about, &few);
        }
        load(params, layout, &network, blocks != Symmetry::None)
    }

    pub(super) fn block(&self) -> u32 {
        let per_host = self.layout.ranks_per_host_max.max(1);
        per_host.saturating_mul(self.network.switch.map_or(1, |switch| switch.hosts.max(1)))
    }

    pub(super) fn symmetry(&mut self, params: &Params) -> Result<Symmetry> {
        Ok(self.alike(params)?.blocks)
    }

    /// What does not change from slice to slice is found out once.
    fn alike(&mut self, params: &Params) -> Result<Alike> {
        if self.network.straggler.is_some() {
            return Ok(Alike { ranks: Symmetry::None, blocks: Symmetry::None });
        }
        let Params { call, world, .. } = params;
        let whole = call.count >= u64::from(*world);
        let key =
            (call.collective, call.algorithm, *world, slices(params).min(2 * SLICES_MIN), whole);
        if let Some((_, known)) = self.known.alike.iter().find(|(other, _)| *other == key) {
            return Ok(*known);
        }
        let ranks = Symmetry::find(params, 1)?;
        let blocks = match (ranks, self.block()) {
            (ranks, 1) => ranks,
            (Symmetry::None, block) => Symmetry::find(params, block)?,
            (ranks, block) => ranks.in_blocks(params.world, block),
        };
        let found = Alike { ranks, blocks };
        if self.known.alike.len() == REMEMBERED {
            self.known.alike.clear();
        }
        self.known.alike.push((key, found));
        Ok(found)
    }
}
