//! The order of folds that each algorithm's file states, said again as a recursion.

use super::prints::{Print, both, outputs, own};
use super::reducing::{Pair, pairs, params_of};
use super::*;

/// The element that the ranks fold one after the other.
fn in_turn(ranks: impl Iterator<Item = Rank>) -> Print {
    ranks.fold(Print::default(), |sum, rank| both(sum, own(rank, 0)))
}

/// What place `v` of a binomial tree sends up.
fn binomial(world: Rank, rank_at: &dyn Fn(Rank) -> Rank, v: Rank) -> Print {
    let mine = own(rank_at(v), 0);
    let below = if v == 0 { 17 } else { v.trailing_zeros() };
    let children = (0..below).map(|j| v + (1 << j)).filter(|child| *child < world);
    children.fold(mine, |sum, child| both(sum, binomial(world, rank_at, child)))
}

/// What the places numbered `low..=high` of a binary tree send up: the number that the most
/// powers of two divide stands above the lower ones and the higher ones.
fn binary(low: Rank, high: Rank, rank_at: &dyn Fn(Rank) -> Rank) -> Option<Print> {
    let top = (low..=high).max_by_key(|number| number.trailing_zeros())?;
    let parts = [binary(low, top - 1, rank_at), binary(top + 1, high, rank_at)];
    Some(parts.into_iter().flatten().fold(own(rank_at(top), 0), both))
}

/// What a root and a double tree's half below it make.
fn double_tree(world: Rank, root: Rank, second: bool) -> Print {
    let places = world - 1;
    let rank_at = |number: Rank| {
        let place = match number {
            _ if !second => number,
            _ if places.is_multiple_of(2) => places + 1 - number,
            _ if number == places => 1,
            _ => number + 1,
        };
        (place + root) % world
    };
    let top = binary(1, places, &rank_at).expect("a world of two or more");
    both(own(root, 0), top)
}

/// What rank `r` holds of the block of rank `r + i` after so many rounds of halving.
fn halving(world: Rank, rounds: u32, r: Rank, i: Rank) -> Print {
    let Some(before) = rounds.checked_sub(1) else { return own(r, 0) };
    let open = (0..before).fold(world, |open, _| open.div_ceil(2));
    let hop = open.div_ceil(2);
    let mine = halving(world, before, r, i);
    if i < open - hop {
        both(mine, halving(world, before, (r + world - hop) % world, i + hop))
    } else {
        mine
    }
}

/// The sum of the last `2^k` arrays up to `r`.
fn doubling(r: Rank, k: u32) -> Print {
    let Some(before) = k.checked_sub(1) else { return own(r, 0) };
    match r.checked_sub(1 << before) {
        Some(lower) => both(doubling(lower, before), doubling(r, before)),
        None => doubling(r, before),
    }
}

/// How an element of a rank's result is folded; `block` is whose part of the array it is in, and
/// `second` whether it is in the second half. `None` for what [`super`] holds against itself.
fn stated(
    pair: Pair,
    world: Rank,
    root: Rank,
    rank: Rank,
    block: Rank,
    second: bool,
) -> Option<Print> {
    use {Algorithm as A, Collective as C};
    let around = |first: Rank| in_turn((0..world).map(move |ahead| (first + ahead) % world));
    let from_root = |place: Rank| (place + root) % world;
    Some(match pair {
        (C::Allreduce, A::Ring) => around(block),
        (C::Allreduce, A::Tree) => binomial(world, &|place| place, 0),
        (C::Allreduce, A::HalvingDoubling) => halving(world, 17, block, 0),
        (C::Allreduce, A::DoubleTree) => double_tree(world, 0, second),
        (C::Reduce, A::Binomial) => binomial(world, &from_root, 0),
        (C::Reduce, A::Chain) => in_turn((0..world).rev().map(from_root)),
        (C::Reduce, A::ReduceScatterGather) => around(block + 1),
        (C::Reduce, A::DoubleTree) => double_tree(world, root, second),
        (C::ReduceScatter, A::Ring) => around(rank + 1),
        (C::ReduceScatter, A::RecursiveHalving) => halving(world, 17, rank, 0),
        (C::ReduceScatter, A::Pairwise) => {
            in_turn((0..world).map(|back| (rank + world - back) % world))
        }
        (C::Scan, A::RecursiveDoubling) => doubling(rank, 17),
        (C::Scan, A::Chain) => in_turn(0..rank + 1),
        (C::Exscan, A::RecursiveDoubling) => doubling(rank.checked_sub(1)?, 17),
        (C::Exscan, A::Chain) => in_turn(0..rank),
        _ => return None,
    })
}

#[test]
fn folds_are_in_the_order_that_each_file_states() {
    for world in 2..24 {
        for pair in pairs() {
            let root = if pair.0.has_root() { world / 3 } else { 0 };
            // Two elements of every block.
            let params = params_of(pair, world, root, 2 * u64::from(world));
            let mut compared = 0;
            for (rank, output) in (0..).zip(outputs(&params)) {
                for (element, print) in (0..).zip(output) {
                    // An array of one slice goes up the first tree alone.
                    let second = element >= world && params.call.bytes() > SLICE.into();
                    let expected = stated(pair, world, root, rank, element / 2, second);
                    if let Some(expected) = expected {
                        assert_eq!(
                            print.order, expected.order,
                            "{element} at {rank} in {params:?}"
                        );
                        compared += 1;
                    }
                }
            }
            assert!(
                compared > 0
                    || matches!(pair.0, Collective::Broadcast | Collective::ReduceScatterv)
                    || pair.1 == Algorithm::RecursiveDoubling,
                "{params:?}"
            );
        }
    }
}
