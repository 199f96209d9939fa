//! Whether a rank's result is what the collective promises.

use super::Violation;
use super::memory::{Memory, NOTHING, Symbol, element_number, rank_number};
use super::queue::mix;
use crate::plan::Params;
use crate::types::{Call, Collective, Rank, ReduceOp};

/// What a rank's memory holds when it makes the call.
pub(super) fn memory(params: &Params, in_place: bool, rank: Rank, scratch_len: u64) -> Memory {
    let Call { collective, dtype, count, root, .. } = params.call;
    let own = || (0..count).map(|element| Symbol::own(rank, element)).collect::<Vec<_>>();
    let nothing = || vec![NOTHING; count as usize];
    let size = dtype.size() as u64;
    match collective {
        Collective::Broadcast if rank == root => Memory::new(size, own(), None, scratch_len),
        Collective::Broadcast => Memory::new(size, nothing(), None, scratch_len),
        Collective::Barrier => Memory::new(size, Vec::new(), None, scratch_len),
        Collective::Allreduce if in_place => Memory::new(size, own(), None, scratch_len),
        Collective::Allreduce => Memory::new(size, nothing(), Some(own()), scratch_len),
        other => panic!("the simulator does not know what {other} promises"),
    }
}

/// Holds every element of a result against what it should be. Gives a number for the order of all
/// folds.
pub(super) fn result(params: &Params, output: &[Symbol]) -> Result<u64, (Violation, String)> {
    let Params { call: Call { collective, op, root, .. }, world, .. } = params.clone();
    let contributors = match collective {
        Collective::Broadcast => root..root + 1,
        _ => 0..world,
    };
    let count = contributors.len() as u32;
    let members = contributors.clone().fold(0, |members, rank| members | 1 << (rank % 64));
    let ranks = contributors.fold(0, |sum, rank| rank_number(rank).wrapping_add(sum));
    let reduces = collective == Collective::Allreduce;
    let averaged = u32::from(reduces && op == ReduceOp::Avg && world > 1);
    let scaled = if reduces && op == ReduceOp::PremulSum { count } else { 0 };
    let mut orders = 0;
    for (element, symbol) in (0..).zip(output) {
        let numbers = element_number(element).wrapping_mul(count.into());
        let violation = if symbol.count > count {
            Violation::Doubled
        } else if symbol.count < count || symbol.members != members {
            Violation::Missing
        } else if symbol.sum != numbers.wrapping_add(ranks) {
            Violation::Misplaced
        } else if (symbol.averaged, symbol.scaled) != (averaged, scaled) {
            Violation::Finish
        } else {
            orders = mix(orders ^ symbol.order);
            continue;
        };
        let text = format!(
            "element {element} holds {symbol:x?} where {count} contributions of ranks {members:#x} belong"
        );
        return Err((violation, text));
    }
    Ok(orders)
}
