//! Which ranks stand for all: where plans are alike but for a shift of the ranks, one host's are
//! enough.
//!
//! A ring looks the same from every rank. So do pairwise exchange and dissemination, where rank
//! `r` meets `r + d`, and, in a world of a power of two, recursive doubling, where it meets
//! `r ^ d`. Whether plans are alike is seen from the plans, at samples of ranks and steps; that
//! the samples do not deceive is what tests of every algorithm show.

use std::sync::Arc;

use super::smaller::counts_per_rank;
use crate::error::Result;
use crate::plan::{Params, Plan, Step, build};
use crate::types::{Collective, Rank};

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
        let firsts: Vec<Arc<dyn Plan>> =
            [0, block - 1].into_iter().map(|rank| build(params, rank)).collect::<Result<_>>()?;
        for other in [1, blocks / 2, blocks - 1] {
            for (first, rank) in firsts.iter().zip([0, block - 1]) {
                let plan = build(params, other * block + rank)?;
                possible.retain(|symmetry| symmetry.fits(params, &**first, &*plan, other));
            }
        }
        Ok(possible.first().copied().unwrap_or(Symmetry::None))
    }

    /// Whether the plan of a rank is that of the same place in the first block, moved.
    fn fits(self, params: &Params, first: &dyn Plan, plan: &dyn Plan, block: u32) -> bool {
        let len = first.len();
        if plan.len() != len {
            return false;
        }
        let size = params.call.dtype.size() as u64;
        let samples = SAMPLES.min(len);
        let mut compared = 0;
        for sample in 0..samples {
            // Both ends, where plans differ most, and between them: neighbours differ in kind.
            let index = match sample % 4 {
                0 => sample / 2,
                1 => len - 1 - sample / 2,
                _ => (sample * (len / samples) + sample % 7).min(len - 1),
            };
            // Some plans have many places without a step, alike on all ranks.
            for index in (index..len).take((len / samples).min(GAP_MAX) as usize + 1) {
                match (first.step(index), plan.step(index)) {
                    (None, None) => continue,
                    (Some(first), Some(other))
                        if self.resembles(params.world, first, other, block, size) =>
                    {
                        compared += 1;
                    }
                    _ => return false,
                }
                break;
            }
        }
        // What was hardly seen is not known to be alike.
        compared * 4 >= samples
    }

    fn resembles(self, world: u32, first: Step, other: Step, block: u32, size: u64) -> bool {
        let (first, other) = (outline(first), outline(other));
        let peer = first.peer.map(|peer| self.moved(world, peer, block));
        first.kind == other.kind && peer == other.peer && first.len.abs_diff(other.len) <= size
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

/// A step without its places.
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
