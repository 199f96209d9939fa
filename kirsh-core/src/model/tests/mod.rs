//! The model against times worked out by hand, against itself, and what is chosen by it.

mod channels;
mod choice;
mod shortcuts;
mod table;
mod times;

use super::{Costs, Layout, Link, Network};
use crate::plan::{Params, algorithms, build};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// Picoseconds in a microsecond.
const US: u64 = 1_000_000;

/// Round numbers: 10 µs to the other side, 1 µs of processor for a frame, 1 ns a byte on the wire,
/// a tenth of that for a copy, a fifth for a fold.
const ROUND: Costs = Costs {
    stripes: 1,
    local: Link { latency_ps: 2 * US, wire_fs: 0, frame_ps: US, copy_fs: 100_000 },
    remote: Link { latency_ps: 10 * US, wire_fs: 1_000_000, frame_ps: US, copy_fs: 100_000 },
    fold_fs: 200_000,
    fold_half_fs: 400_000,
    move_fs: 300_000,
    cores: 64,
};

const fn spread(world: u32) -> Layout {
    Layout { world, ranks_per_host_max: 1 }
}

const fn packed(world: u32, ranks_per_host_max: u32) -> Layout {
    Layout { world, ranks_per_host_max }
}

fn call(collective: Collective, algorithm: Algorithm, count: u64) -> Call {
    let op = if collective.reduces() { ReduceOp::Max } else { ReduceOp::Sum };
    Call { collective, algorithm, dtype: DataType::Uint8, op, root: 0, count, wire: Wire::Plain }
}

fn params(
    collective: Collective,
    algorithm: Algorithm,
    count: u64,
    world: u32,
    slice: u32,
) -> Params {
    Params::new(call(collective, algorithm, count), world, slice)
}

fn network() -> Network {
    Network::new(ROUND)
}

/// Every collective with the algorithms that it has plans by.
fn everything() -> Vec<(Collective, Algorithm)> {
    let plain = |collective: &&Collective| {
        use Collective::*;
        !matches!(collective, Allgatherv | ReduceScatterv | Gatherv | Scatterv | Alltoallv)
    };
    let pairs = Collective::ALL.iter().filter(plain).flat_map(|collective| {
        algorithms(*collective).iter().map(move |algorithm| (*collective, *algorithm))
    });
    pairs.filter(|(c, a)| build(&params(*c, *a, 64, 4, 64), 0).is_ok()).collect()
}
