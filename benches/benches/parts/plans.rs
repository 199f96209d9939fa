//! Plans: choosing how a call is carried out, building its plan, asking for a step.

use std::hint::black_box;

use criterion::Criterion;
use kirsh_core::model::choice::Selection;
use kirsh_core::model::{Class, Layout};
use kirsh_core::plan::{Params, build};
use kirsh_core::{Algorithm, Call};

use crate::CALL;

const WORLD: u32 = 256;
const SLICE: u32 = 1 << 18;

pub(crate) fn bench(criterion: &mut Criterion) {
    let layout = Layout { world: WORLD, ranks_per_host_max: 1 };
    let selection = Selection::built_in(Class::Gbit10, 8);
    for (what, count) in [("1 KiB", 1 << 8), ("1 MiB", 1 << 18), ("100 MB", 25_000_000)] {
        let call = Call { count, ..CALL };
        criterion.bench_function(&format!("plan/choose allreduce of {what}, 256 ranks"), |bench| {
            bench.iter(|| selection.choose(layout, black_box(&call), None));
        });
    }
    for algorithm in [
        Algorithm::Ring,
        Algorithm::RecursiveDoubling,
        Algorithm::HalvingDoubling,
        Algorithm::DoubleTree,
    ] {
        let params = Params::new(Call { algorithm, ..CALL }, WORLD, SLICE);
        criterion.bench_function(&format!("plan/build {algorithm}, 256 ranks"), |bench| {
            bench.iter(|| build(black_box(&params), 17));
        });
        let plan = build(&params, 17).expect("an all-reduce of 256 ranks");
        criterion.bench_function(&format!("plan/one step of {algorithm}, 256 ranks"), |bench| {
            let mut index = 0;
            bench.iter(|| {
                index = (index + 1) % plan.len();
                plan.step(index)
            });
        });
    }
}
