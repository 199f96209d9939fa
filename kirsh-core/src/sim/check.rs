//! What each collective promises, said once more and in the simplest way: what a rank holds before
//! a call, and whose elements it must hold after it.

use std::ops::Range;

use super::memory::{Element, Members, Memory, Symbols, element_number, rank_number};
use super::queue::mix;
use super::{Calling, Violation};
use crate::plan::{Counts, Params};
use crate::session::Alias;
use crate::types::{Collective, Rank, ReduceOp};

/// One rank's arrays in a call, in elements.
struct Arrays {
    input: u64,
    output: u64,
    /// Where in the larger array the smaller one lies when the call is in place; `None` where the
    /// rank has only one of them, or the collective is never in place.
    at: Option<u64>,
}

fn arrays(params: &Params, rank: Rank) -> Arrays {
    use Collective::*;
    let (count, root, world) = (params.call.count, params.call.root, u64::from(params.world));
    let at_root = rank == root;
    let off_root_none = |len: u64| if at_root { len } else { 0 };
    let (input, output, at) = match params.call.collective {
        Barrier => (0, 0, None),
        Broadcast => (0, count, None),
        Allreduce | Scan | Exscan => (count, count, Some(0)),
        Reduce => (count, off_root_none(count), at_root.then_some(0)),
        Allgather => (count, world * count, Some(u64::from(rank) * count)),
        ReduceScatter => (world * count, count, Some(u64::from(rank) * count)),
        Gather => (count, off_root_none(world * count), at_root.then(|| u64::from(rank) * count)),
        Scatter => (off_root_none(world * count), count, at_root.then(|| u64::from(rank) * count)),
        Alltoall => (world * count, world * count, None),
        Allgatherv => (own(params, rank), count, Some(before(params.known_counts(), rank))),
        ReduceScatterv => (count, own(params, rank), Some(before(params.known_counts(), rank))),
        Gatherv | Scatterv | Alltoallv => {
            let Counts::Own { send, recv } = &params.counts else {
                return Arrays { input: 0, output: 0, at: None };
            };
            let at = match params.call.collective {
                Gatherv if at_root => Some(before(recv, rank)),
                Scatterv if at_root => Some(before(send, rank)),
                _ => None,
            };
            (send.iter().sum(), recv.iter().sum(), at)
        }
    };
    Arrays { input, output, at }
}

fn own(params: &Params, rank: Rank) -> u64 {
    params.known_counts()[rank as usize]
}

fn before(counts: &[u64], rank: Rank) -> u64 {
    counts[..rank as usize].iter().sum()
}

/// Which array is a part of the other, in bytes.
pub(super) fn alias(params: &Params, in_place: bool, rank: Rank) -> Alias {
    let Arrays { input, output, at } = arrays(params, rank);
    match at.map(|at| at * params.call.dtype.size() as u64) {
        Some(at) if in_place && input <= output => Alias::InputInOutput(at),
        Some(at) if in_place => Alias::OutputInInput(at),
        _ => Alias::None,
    }
}

/// Whether every rank gets the same array, to the bit: then its elements were folded, and encoded, in
/// the same order everywhere.
pub(super) const fn is_one_for_all(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allreduce | Allgather | Allgatherv)
}

/// What a rank's memory holds when it makes the call, with so many bytes of scratch and of what is
/// encoded.
pub(super) fn memory(params: &Params, in_place: bool, rank: Rank, own: [u64; 2]) -> Memory {
    let Arrays { input, output, .. } = arrays(params, rank);
    let given = |len| (0..len).map(|index| Element::own(rank, index)).collect::<Vec<_>>();
    let gives_output = params.call.collective == Collective::Broadcast && rank == params.call.root;
    let output = if gives_output { given(output) } else { vec![Element::NOTHING; output as usize] };
    let size = params.call.dtype.size() as u64;
    Memory::new(size, output, given(input), alias(params, in_place, rank), own)
}

/// A run of elements of a result.
struct Promise {
    elements: Range<u64>,
    /// Whose elements are in them; nobody's where they must be left as they were.
    contributors: Range<Rank>,
    /// Which element of theirs is in the first.
    from: u64,
}

fn promises(calling: &Calling, params: &Params, rank: Rank) -> Vec<Promise> {
    use Collective::*;
    let (count, root, world) = (params.call.count, params.call.root, params.world);
    let whole = |contributors, from| vec![Promise { elements: 0..count, contributors, from }];
    // A block from each rank, one behind the other.
    let blocks = |len: &dyn Fn(Rank) -> u64, from: &dyn Fn(Rank) -> u64| {
        let mut end = 0;
        let block = |peer| {
            let begin = end;
            end += len(peer);
            (begin < end).then(|| Promise {
                elements: begin..end,
                contributors: peer..peer + 1,
                from: from(peer),
            })
        };
        (0..world).filter_map(block).collect()
    };
    match params.call.collective {
        Barrier => Vec::new(),
        Broadcast => whole(root..root + 1, 0),
        Allreduce => whole(0..world, 0),
        Scan => whole(0..rank + 1, 0),
        Exscan => whole(0..rank, 0),
        ReduceScatter => whole(0..world, u64::from(rank) * count),
        ReduceScatterv => vec![Promise {
            elements: 0..own(params, rank),
            contributors: 0..world,
            from: before(params.known_counts(), rank),
        }],
        Scatter => whole(root..root + 1, u64::from(rank) * count),
        Scatterv => {
            blocks(&|peer| if peer == root { calling.pair(root, rank) } else { 0 }, &|_| {
                (0..rank).map(|to| calling.pair(root, to)).sum()
            })
        }
        Allgather => blocks(&|_| count, &|_| 0),
        Allgatherv => blocks(&|peer| own(params, peer), &|_| 0),
        Alltoall => blocks(&|_| count, &|_| u64::from(rank) * count),
        Alltoallv => blocks(&|peer| calling.pair(peer, rank), &|peer| {
            (0..rank).map(|to| calling.pair(peer, to)).sum()
        }),
        Reduce | Gather | Gatherv if rank != root => Vec::new(),
        Reduce => whole(0..world, 0),
        Gather => blocks(&|_| count, &|_| 0),
        Gatherv => blocks(&|peer| calling.pair(peer, root), &|_| 0),
    }
}

/// Holds every element of a result against what it should be. Gives a number for the order of all
/// folds.
pub(super) fn result(
    calling: &Calling,
    params: &Params,
    rank: Rank,
    memory: &Memory,
    symbols: &Symbols,
) -> Result<u64, (Violation, String)> {
    let alone = alias(params, calling.in_place, rank) == Alias::None;
    let given = |(index, element): (u64, &Element)| *element != Element::own(rank, index);
    if alone && let Some((index, element)) = (0..).zip(memory.input()).find(|pair| given(*pair)) {
        let text = format!("element {index} of the input holds {:x?}", symbols.of(*element));
        return Err((Violation::Input, text));
    }
    let (mut orders, mut held) = (0, 0);
    for promise in promises(calling, params, rank) {
        let elements = promise.elements.start as usize..promise.elements.end as usize;
        held += elements.len();
        let Some(output) = memory.output().get(elements) else {
            return Err((Violation::Missing, "the output is too short".to_owned()));
        };
        orders = mix(orders ^ kept(params, rank, alone, &promise, output, symbols)?);
    }
    if held != memory.output().len() {
        let text = format!("{held} elements are promised of {}", memory.output().len());
        return Err((Violation::Missing, text));
    }
    Ok(orders)
}

/// Whether a run is as promised. Gives a number for the order of its folds.
fn kept(
    params: &Params,
    rank: Rank,
    alone: bool,
    promise: &Promise,
    output: &[Element],
    symbols: &Symbols,
) -> Result<u64, (Violation, String)> {
    let Promise { elements, contributors, from } = promise;
    let reduces = params.call.collective.reduces();
    let count = contributors.len() as u32;
    let mut members = Members::default();
    contributors.clone().for_each(|rank| members.add(rank));
    let ranks = contributors.clone().fold(0, |sum, rank| rank_number(rank).wrapping_add(sum));
    let averaged = u32::from(reduces && params.call.op == ReduceOp::Avg && count > 1);
    let scaled = if reduces && params.call.op == ReduceOp::PremulSum { count } else { 0 };
    let mut orders = 0;
    for ((index, theirs), element) in elements.clone().zip(*from..).zip(output) {
        let symbol = || symbols.of(*element);
        let violation = if count == 0 {
            let before = if alone { Element::NOTHING } else { Element::own(rank, index) };
            if *element == before {
                continue;
            }
            Violation::Misplaced
        } else if !reduces && *element == Element::own(contributors.start, theirs) {
            continue;
        } else if symbol().count > count {
            Violation::Doubled
        } else if symbol().count < count || symbol().members != members {
            Violation::Missing
        } else if symbol().sum
            != element_number(theirs).wrapping_mul(count.into()).wrapping_add(ranks)
        {
            Violation::Misplaced
        } else if (symbol().averaged, symbol().scaled) != (averaged, scaled) {
            Violation::Finish
        } else {
            orders = mix(orders ^ symbol().order);
            continue;
        };
        let text = format!(
            "element {index} holds {:x?} where element {theirs} of ranks {contributors:?} belongs",
            symbol()
        );
        return Err((violation, text));
    }
    Ok(orders)
}
