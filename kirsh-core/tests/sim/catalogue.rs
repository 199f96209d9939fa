//! Which calls a world makes: every algorithm of every collective, with counts, roots and operators
//! that bring out its corners.

use kirsh_core::plan::{Counts, Params, algorithms, algorithms_with};
use kirsh_core::sim::{Calling, Pairs};
use kirsh_core::{Algorithm, Call, Collective, DataType, Rank, ReduceOp, Wire};

/// A collective and one way to carry it out.
pub(crate) type Pair = (Collective, Algorithm);

/// Every collective with each of its algorithms.
pub(crate) fn pairs() -> impl Iterator<Item = Pair> {
    Collective::ALL
        .iter()
        .flat_map(|collective| algorithms(*collective).iter().map(|by| (*collective, *by)))
}

/// Bytes of an element of every call here.
const SIZE: u32 = DataType::Float32.size() as u32;

/// One call; `count` counts as the collective does, and those that count for each rank or pair of
/// ranks by themselves get uneven counts of about that much.
pub(crate) fn params(world: u32, pair: Pair, op: ReduceOp, root: Rank, count: u64) -> Params {
    use Algorithm as A;
    use Collective::*;
    let (collective, algorithm) = pair;
    // Elements of a frame: in small worlds a call is more steps than a session looks at, in large
    // ones a block of an algorithm that sends every block by itself is one frame, for time's sake.
    let by_block = matches!(
        (collective, algorithm),
        (
            Gather | Gatherv | Scatter | Scatterv | Alltoall | Alltoallv | Allgather | Allgatherv,
            A::Linear | A::Pairwise | A::Ring
        ) | (Allreduce | ReduceScatter | ReduceScatterv, A::Ring | A::Pairwise)
    );
    let whole = if counts_whole(collective) { count } else { count * u64::from(world) };
    let run = match by_block {
        true => whole.div_ceil(world.into()).div_ceil(match world {
            0..9 => 9,
            9..33 => 2,
            _ => 1,
        }),
        false => whole.div_ceil(if world <= 8 { 40 } else { 5 }),
    };
    let slice = run.max(if world > 256 { 8 } else { 1 }) as u32 * SIZE;
    let (counts, count) = match collective {
        Allgatherv | ReduceScatterv => {
            let of = |rank| if world > 256 { sparse(world, rank) } else { uneven(rank, count) };
            let counts: Vec<_> = (0..world).map(of).collect();
            let sum = counts.iter().sum();
            (Counts::Known(counts.into()), sum)
        }
        Gatherv | Scatterv | Alltoallv | Barrier => (Counts::Even, 0),
        _ => (Counts::Even, count),
    };
    let call = Call {
        collective,
        algorithm,
        dtype: DataType::Float32,
        op,
        root,
        count,
        wire: Wire::Plain,
    };
    Params::new(call, world, slice).with_counts(counts)
}

/// Some ranks have nothing, some little, some as much as is asked for.
fn uneven(rank: Rank, count: u64) -> u64 {
    [count, 0, count.div_ceil(3), count, 1.min(count)][rank as usize % 5]
}

/// Eight ranks have something.
fn sparse(world: u32, rank: Rank) -> u64 {
    if rank % (world / 8) == world / 9 { u64::from(rank % 5) + 1 } else { 0 }
}

/// The call, with counts for each pair of ranks where the collective asks for them.
pub(crate) fn calling(
    world: u32,
    pair: Pair,
    op: ReduceOp,
    root: Rank,
    count: u64,
    in_place: bool,
) -> Calling {
    let params = params(world, pair, op, root, count);
    let pairs: Pairs = match count {
        // A frame for every tenth rank in a gatherv, for every thousandth pair in an alltoallv.
        _ if world > 256 => |world, from, to| match from.wrapping_mul(7) + to.wrapping_mul(13) {
            near if near % 1021 == 0 => 3,
            near if (from % 512 == 0 || to % 512 == 0) && near % 10 == 0 => u64::from(world % 5),
            _ => 0,
        },
        0 => |_, _, _| 0,
        1 => |_, from, to| u64::from((from + 2 * to) % 3 == 0),
        2..100 => |_, from, to| uneven(from + 3 * to, 7),
        _ => |world, from, to| uneven(2 * from + to, 131 / u64::from(world) + 3),
    };
    match pair.0 {
        Collective::Gatherv | Collective::Scatterv | Collective::Alltoallv => {
            Calling::with_pairs(params, in_place, pairs)
        }
        _ => Calling::new(params, in_place),
    }
}

/// The operators that change a plan, one after the other.
fn operator(collective: Collective, turn: usize) -> ReduceOp {
    match collective {
        Collective::Scan | Collective::Exscan => [ReduceOp::Sum, ReduceOp::PremulSum][turn % 2],
        _ if collective.reduces() => [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::PremulSum][turn % 3],
        _ => ReduceOp::Sum,
    }
}

/// Counts around the corners of every way to cut an array.
fn counts(world: u32) -> Vec<u64> {
    let size = u64::from(world);
    vec![0, 1, size - 1, size, size + 1, 53, 131, 5 * size + 3]
}

/// All collectives by all algorithms, one call after the other: every count, every operator, many
/// a root.
pub(crate) fn calls(world: u32, in_place: bool) -> Vec<Calling> {
    let mut calls = Vec::new();
    for (number, count) in counts(world).into_iter().enumerate() {
        for (place, pair) in pairs().enumerate() {
            if pair.0 == Collective::Barrier && number > 0 {
                continue;
            }
            let turn = number + place + world as usize;
            let root = match pair.0.has_root() {
                true => (5 * turn + 3 * number) as Rank % world,
                false => 0,
            };
            let op = operator(pair.0, turn);
            calls.push(calling(world, pair, op, root, count, in_place));
        }
    }
    calls
}

/// One call of every collective by every algorithm, the next count and root at every turn. A count
/// for each rank is never larger than some: the arrays grow with the square of the world, and what
/// is peculiar about a count has nothing to do with the world.
pub(crate) fn some_calls(world: u32, turn: usize) -> Vec<Calling> {
    let all = counts(world);
    let calls = pairs().enumerate().map(|(place, pair)| {
        let turn = turn + place;
        let root = if pair.0.has_root() { (7 * turn) as Rank % world } else { 0 };
        let op = operator(pair.0, turn);
        let count = match counts_whole(pair.0) || world <= 32 {
            true => all[turn % all.len()],
            false => [0, 1, 2, 7, 11][turn % 5],
        };
        calling(world, pair, op, root, count, (turn / all.len()).is_multiple_of(2))
    });
    calls.collect()
}

/// Whether the count is of an array that does not grow with the world.
fn counts_whole(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Barrier | Broadcast | Reduce | Allreduce | Scan | Exscan)
}

/// Every root of every collective that has one.
pub(crate) fn rooted_calls(world: u32) -> Vec<Calling> {
    let rooted = || pairs().filter(|(collective, _)| collective.has_root());
    let all = [53, 3, 1, 17];
    let of_root = |root: Rank| {
        rooted().enumerate().map(move |(place, pair)| {
            let turn = place + root as usize;
            let op = operator(pair.0, turn);
            calling(world, pair, op, root, all[turn % all.len()], turn.is_multiple_of(2))
        })
    };
    (0..world).flat_map(of_root).collect()
}

/// Every collective by every algorithm with every kind of count, for a world of more than 32. Where
/// a count is for each rank, one of those about the world size takes its turn: the arrays grow with
/// the square of the world.
pub(crate) fn counted_calls(world: u32) -> Vec<Calling> {
    let size = u64::from(world);
    let mut calls = Vec::new();
    for (place, pair) in pairs().enumerate() {
        let about = [size - 1, size, size + 1];
        let counts = match pair.0 {
            Collective::Barrier => vec![0],
            whole if counts_whole(whole) => counts(world),
            _ => vec![0, 1, 7, about[(world as usize + place) % 3]],
        };
        for (number, count) in counts.into_iter().enumerate() {
            let turn = place + number + world as usize;
            let root = if pair.0.has_root() { (11 * turn) as Rank % world } else { 0 };
            let op = operator(pair.0, turn);
            calls.push(calling(world, pair, op, root, count, turn.is_multiple_of(2)));
        }
    }
    calls
}

/// One or two calls of every collective by every algorithm in a world of hundreds or thousands.
///
/// Beyond 256 ranks, and unless `long`, those with a frame for each pair of ranks are there in the
/// forms with unequal counts alone, which are the same plans and in which most ranks have nothing.
pub(crate) fn large_calls(world: u32, long: bool) -> Vec<Calling> {
    let size = u64::from(world);
    let mut calls = Vec::new();
    for (place, pair) in pairs().enumerate() {
        let few = pair == (Collective::Alltoall, Algorithm::Bruck) && world == 1000;
        if world > 256 && is_long(pair) && !few && !long {
            continue;
        }
        let counts = match pair {
            (Collective::Barrier, _) => vec![0],
            (Collective::Allreduce, Algorithm::Ring) if world > 256 => vec![7],
            _ if world == 256 && (is_long(pair) || pair.0 == Collective::Allgather) => vec![3],
            _ if is_long(pair) || pair.0 == Collective::Allgather => vec![1],
            (Collective::Allreduce, _) if world == 256 => vec![size - 1, size + 1],
            _ => vec![1, 11],
        };
        for count in counts {
            let turn = place + count as usize;
            let root = if pair.0.has_root() { (turn as u32 * 379) % world } else { 0 };
            let op = operator(pair.0, turn);
            calls.push(calling(world, pair, op, root, count, turn.is_multiple_of(2)));
        }
    }
    calls
}

/// The other counts of a world of hundreds or thousands: none for all, a prime where the count is of an
/// array that does not grow with the world, and those around the world size where the algorithm
/// divides that array among the ranks, or the world is small. Beyond 1024 ranks these take turns.
pub(crate) fn large_counts_calls(world: u32) -> Vec<Calling> {
    let size = u64::from(world);
    let mut calls = Vec::new();
    for (place, pair) in pairs().enumerate() {
        use Algorithm::{HalvingDoubling, ReduceScatterGather, Ring, ScatterAllgather};
        let divides =
            matches!(pair.1, Ring | HalvingDoubling | ScatterAllgather | ReduceScatterGather);
        let counts = match counts_whole(pair.0) && pair.0 != Collective::Barrier {
            true if world <= 256 || (divides && world <= 1024) => {
                vec![0, size - 1, size, size + 1, 131]
            }
            true if divides => vec![0, size - 1 + place as u64 % 3, 131],
            true => vec![0, 131],
            false => vec![0],
        };
        for count in counts {
            let turn = place + count as usize;
            let root = if pair.0.has_root() { (turn as u32 * 211) % world } else { 0 };
            let op = operator(pair.0, turn + 1);
            calls.push(calling(world, pair, op, root, count, !turn.is_multiple_of(2)));
        }
    }
    calls
}

/// Whether a world of thousands makes tens of millions of frames or moves of it.
fn is_long(pair: Pair) -> bool {
    use Collective::*;
    matches!(pair, (Alltoall | ReduceScatter, _) | (Allgather, Algorithm::Ring))
}

/// Every call that can travel encoded, in a wire format with blocks and in one without: some counts of
/// a few elements, and one of more than a block for each rank where the world is small.
pub(crate) fn encoded_calls(world: u32, turn: usize) -> Vec<Calling> {
    let size = u64::from(world);
    let mut calls = Vec::new();
    for (place, pair) in pairs().enumerate() {
        for (number, wire) in [Wire::Bf16, Wire::Int8].into_iter().enumerate() {
            if !algorithms_with(pair.0, wire).contains(&pair.1) {
                continue;
            }
            let whole = counts_whole(pair.0);
            let few = if whole { counts(world) } else { vec![0, 1, 2, 7, 11, 13] };
            let blocks = 2 * Wire::BLOCK + 77;
            let many = match (world, whole) {
                (0..=8, true) => blocks * size,
                (0..=8, false) => blocks,
                _ => blocks + size,
            };
            // Of few elements every count, or the next one at every turn where the world is large.
            let of_world = if world <= 8 { few.len() } else { 1 };
            let turns = (0..of_world).map(|next| few[(turn + place + number + next) % few.len()]);
            let many = (world <= 8 || whole).then_some(many);
            for (next, count) in turns.chain(many).enumerate() {
                let turn = turn + place + next;
                let in_place = turn.is_multiple_of(2);
                let mut made = calling(world, pair, operator(pair.0, turn), 0, count, in_place);
                made.params.call.wire = wire;
                calls.push(made);
            }
        }
    }
    calls
}
