//! Smaller calls that stand for a larger one: with fewer slices, or in a smaller world.

use crate::plan::Params;
use crate::types::{Algorithm, Collective, Rank};

/// Whether a plan by this algorithm has as many turns as there are ranks.
pub(super) const fn turns_grow_with_world(algorithm: Algorithm) -> bool {
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
pub(super) fn slices(params: &Params) -> u64 {
    let slice = u64::from(params.slice) / params.call.dtype.size() as u64;
    let total = params.elements().unwrap_or(u64::MAX);
    total.div_ceil(slice.max(1).saturating_mul(parts(params))).max(1)
}

/// The same call with one slice in each part.
pub(super) fn one_slice(params: &Params) -> Params {
    cut_short(params, 1)
}

/// The same call with so many slices in each part instead of all.
pub(super) fn cut_short(params: &Params, of: u64) -> Params {
    let all = slices(params);
    if of >= all {
        return params.clone();
    }
    let mut short = params.clone();
    short.call.count = (u128::from(params.call.count) * u128::from(of) / u128::from(all)) as u64;
    // Down, or a few elements would take a slice more.
    if needs_even_parts(params) && short.call.count >= params.world.into() {
        short.call.count -= short.call.count % u64::from(params.world);
    }
    short
}

/// The same call with as many elements in every rank's part: the few that are added weigh nothing,
/// and plans whose parts are equal are alike on all ranks.
pub(super) fn evened(params: &Params) -> Params {
    let mut even = params.clone();
    if needs_even_parts(params) {
        let world = u64::from(params.world);
        even.call.count = params.call.count.div_ceil(world) * world;
    }
    even
}

/// Whether an array is cut into a part for each rank that need not be equal.
fn needs_even_parts(params: &Params) -> bool {
    parts(params) > 1
        && !counts_per_rank(params.call.collective)
        && params.call.algorithm != Algorithm::DoubleTree
}

/// The same call on so many blocks of ranks, with parts as long as before.
pub(super) fn of_blocks(params: &Params, blocks: u32, block: u32) -> Params {
    let mut smaller = params.clone();
    smaller.world = blocks * block;
    if needs_even_parts(params) {
        let part = params.call.count / u64::from(params.world);
        smaller.call.count = part * u64::from(smaller.world);
    }
    smaller
}

/// The same call in a world half as large, so many times, with as many bytes in all.
pub(super) fn halved(params: &Params, times: u32) -> Params {
    let mut smaller = params.clone();
    smaller.world = (params.world >> times).max(1);
    if counts_per_rank(params.call.collective) {
        let total = params.call.count.saturating_mul(params.world.into());
        smaller.call.count = total / u64::from(smaller.world);
    }
    smaller
}

/// A few ranks of which one is likely to have most to do: the first, the last, and some between.
pub(super) fn samples(ranks: u32) -> impl Iterator<Item = Rank> {
    let all = [0, 1, ranks / 3, ranks / 2, ranks.saturating_sub(2), ranks.saturating_sub(1)];
    (0..all.len())
        .filter(move |at| all[*at] < ranks && !all[..*at].contains(&all[*at]))
        .map(move |at| all[at])
}

/// Where two amounts at the first two of these points lead to at the third; never down.
pub(super) fn continued(near: u64, far: u64, [near_at, far_at, at]: [u64; 3]) -> u64 {
    let rise = u128::from(far.saturating_sub(near)) * u128::from(at.saturating_sub(far_at));
    let rest = rise / u128::from(far_at.saturating_sub(near_at).max(1));
    far.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
}
