//! Which ranks stand for all: where plans are alike but for a shift of the ranks, one host's are
//! enough.
//!
//! A ring looks the same from every rank. So do pairwise exchange and dissemination, where rank
//! `r` meets `r + d`, and, in a world of a power of two, recursive doubling, where it meets
//! `r ^ d`. Whether plans are alike is seen from the plans, at samples of ranks and steps; that
//! the samples do not deceive is what tests of every algorithm show.

use super::smaller::counts_per_rank;
use crate::error::Result;
use crate::plan::{Params, Plan, Step, build};
use crate::types::{Algorithm, Collective, Rank};

/// How the ranks of a world resemble each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    /// Not at all: each is walked.
    None,
    /// What rank `r` does with rank `p`, `r + d` does with `p + d`, for multiples `d` of the block.
    Shift { block: u32 },
    /// What rank `r` does with rank `p`, `r ^ d` does with `p ^ d`, for multiples `d` of the block.
    Flip { block: u32 },
}

/// Steps of a plan that are compared.
const SAMPLES: u64 = 48;

/// Places that are passed over in search of a step.
const GAP_MAX: u64 = 8;

impl Symmetry {
    /// How the ranks of these parameters resemble each other, where ranks are told apart within
    /// blocks of this many.
    pub fn find(params: &Params, block: u32) -> Result<Self> {
        let world = params.world;
        if block == 0 || world <= block || !world.is_multiple_of(block) {
            return Ok(Symmetry::None);
        }
        let mut possible = vec![Symmetry::Shift { block }];
        // Where a rank passes on the parts it collects, its own lies behind those that it flips to, or
        // before them: what it waits for differs, though its steps do not.
        let alike = !counts_per_rank(params.call.collective)
            || params.call.collective == Collective::Alltoall;
        if alike && world.is_power_of_two() && block.is_power_of_two() {
            possible.push(Symmetry::Flip { block });
        }
        let blocks = world / block;
        for (rank, before) in [(0, None), (block - 1, Some(0))] {
            if before == Some(rank) {
                continue;
            }
            let first = Probe::of(&*build(params, rank)?);
            let mut last = 0;
            for other in [1, blocks / 2, blocks - 1] {
                if std::mem::replace(&mut last, other) != other {
                    let plan = build(params, other * block + rank)?;
                    first.compare(params, &*plan, other, &mut possible);
                }
                if possible.is_empty() {
                    return Ok(Symmetry::None);
                }
            }
        }
        Ok(possible.first().copied().unwrap_or(Symmetry::None))
    }

    fn resembles(self, world: u32, first: Outline, other: Outline, block: u32, size: u64) -> bool {
        let peer = first.peer.map(|peer| self.moved(world, peer, block));
        first.kind == other.kind && peer == other.peer && first.len.abs_diff(other.len) <= size
    }

    /// What ranks that resemble each other one by one are in larger blocks.
    pub(super) fn in_blocks(self, world: u32, block: u32) -> Self {
        if world <= block || !world.is_multiple_of(block) {
            return Symmetry::None;
        }
        match self {
            Symmetry::Shift { .. } => Symmetry::Shift { block },
            Symmetry::Flip { .. } if block.is_power_of_two() => Symmetry::Flip { block },
            Symmetry::Flip { .. } | Symmetry::None => Symmetry::None,
        }
    }

    /// How ranks resemble each other, one by one, that do about as much although a part is cut in two at
    /// an array's end by some of them, or although what they wait for differs.
    pub(super) fn in_load(params: &Params) -> Self {
        let Params { call, world, .. } = params;
        match call.algorithm {
            Algorithm::Bruck | Algorithm::HalvingDoubling | Algorithm::RecursiveHalving => {
                Symmetry::Shift { block: 1 }
            }
            Algorithm::RecursiveDoubling
                if call.collective == Collective::Allgather && world.is_power_of_two() =>
            {
                Symmetry::Flip { block: 1 }
            }
            _ => Symmetry::None,
        }
    }

    /// The rank that is to one rank what `peer` is to another.
    pub(super) fn carried(self, world: u32, peer: Rank, from: Rank, to: Rank) -> Rank {
        match self {
            Symmetry::None => peer,
            Symmetry::Shift { .. } if peer + to >= from => (peer + to - from) % world,
            Symmetry::Shift { .. } => peer + to + world - from,
            Symmetry::Flip { .. } => peer ^ from ^ to,
        }
    }

    /// The rank that is to the other block what a rank is to the first.
    fn moved(self, world: u32, rank: Rank, block: u32) -> Rank {
        match self {
            Symmetry::None => rank,
            Symmetry::Shift { block: size } => {
                ((u64::from(rank) + u64::from(block) * u64::from(size)) % u64::from(world)) as Rank
            }
            Symmetry::Flip { block: size } => rank ^ (block * size),
        }
    }

    /// How many ranks, from the first on, are to be walked.
    pub fn walked(self, world: u32) -> u32 {
        match self {
            Symmetry::None => world,
            Symmetry::Shift { block } | Symmetry::Flip { block } => block,
        }
    }

    /// Who of those walked stands for the receiver of a frame, and whom it sees as its sender.
    pub(super) fn image(self, world: u32, from: Rank, to: Rank) -> (Rank, Rank) {
        match self {
            Symmetry::None => (to, from),
            Symmetry::Shift { block } => {
                let shift = to - to % block;
                let from = if from >= shift { from - shift } else { from + (world - shift) };
                (to % block, from)
            }
            Symmetry::Flip { block } => (to % block, from ^ (to - to % block)),
        }
    }
}

/// What some samples of a plan say, with which others are compared.
struct Probe {
    len: u64,
    /// Where each sample was looked for, how many places without a step were passed over, and what was
    /// there, if anything was.
    samples: Vec<(u64, u64, Option<Outline>)>,
}

impl Probe {
    fn of(plan: &dyn Plan) -> Self {
        let len = plan.len();
        let count = SAMPLES.min(len);
        let sample = |sample: u64| {
            // Both ends, where plans differ most, and between them: neighbours differ in kind.
            let index = match sample % 4 {
                0 => sample / 2,
                1 => len - 1 - sample / 2,
                _ => (sample * (len / count) + sample % 7).min(len - 1),
            };
            // Some plans have many places without a step, alike on all ranks.
            let places = (len / count).min(GAP_MAX).min(len - 1 - index) + 1;
            let found = (0..places).find_map(|gap| Some((gap, plan.step(index + gap)?)));
            match found {
                Some((gap, step)) => (index, gap, Some(outline(step))),
                None => (index, places, None),
            }
        };
        Probe { len, samples: (0..count).map(sample).collect() }
    }

    /// Leaves of the symmetries those by which the plan of the same place in another block is this one,
    /// moved.
    fn compare(&self, params: &Params, plan: &dyn Plan, block: u32, possible: &mut Vec<Symmetry>) {
        let seen = self.samples.iter().filter(|(.., outline)| outline.is_some()).count();
        // What was hardly seen is not known to be alike.
        if plan.len() != self.len || seen * 4 < self.samples.len() {
            possible.clear();
        }
        let size = params.call.dtype.size() as u64;
        for (index, gap, first) in &self.samples {
            let other = || plan.step(index + gap).map(outline);
            let empty = (0..*gap).all(|gap| plan.step(index + gap).is_none());
            match first {
                None if empty => {}
                Some(first) if empty && let Some(other) = other() => {
                    possible.retain(|one| one.resembles(params.world, *first, other, block, size))
                }
                _ => possible.clear(),
            }
            if possible.is_empty() {
                return;
            }
        }
    }
}

/// A step without its places.
#[derive(Clone, Copy)]
struct Outline {
    kind: u8,
    peer: Option<Rank>,
    len: u64,
}

fn outline(step: Step) -> Outline {
    let (kind, peer, len) = match step {
        Step::Send { peer, source } => (0, Some(peer), source.len),
        Step::Recv { peer, target } => (1, Some(peer), target.len),
        Step::RecvReduce { peer, into, .. } => (2, Some(peer), into.len),
        Step::Reduce { into, .. } => (3, None, into.len),
        Step::Map { target, .. } => (4, None, target.len),
    };
    Outline { kind, peer, len }
}
