//! The parts of an all-reduce, each by itself, and then a whole one: frame headers, folds, wire formats, plans,
//! slabs, two ranks in this process.
//!
//! `cargo bench -p kirsh-benches --bench parts` runs all; what follows `--` is a part of the names of
//! those that are to run, such as `fold` or `allreduce/poll`.

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use kirsh_core::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

mod allreduce;
mod codecs;
mod folds;
mod headers;
mod plans;
mod pool;

/// An all-reduce of 4 MiB.
const CALL: Call = Call {
    collective: Collective::Allreduce,
    algorithm: Algorithm::Ring,
    dtype: DataType::Float32,
    op: ReduceOp::Sum,
    root: 0,
    count: 1 << 20,
    wire: Wire::Plain,
};

/// All of it in some two minutes.
fn short() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000))
        .sample_size(50)
}

criterion_group! {
    name = parts;
    config = short();
    targets = headers::bench, folds::bench, codecs::bench, plans::bench, pool::bench, allreduce::bench
}
criterion_main!(parts);
