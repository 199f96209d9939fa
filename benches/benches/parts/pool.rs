//! The pool of slabs.

use criterion::Criterion;
use kirsh_core::memory::Pool;

pub(crate) fn bench(criterion: &mut Criterion) {
    let pool = Pool::new(1 << 18, 4);
    criterion.bench_function("pool/lease and return", |bench| bench.iter(|| pool.lease()));
    let held: Vec<_> = (0..3).map(|_| pool.lease()).collect();
    criterion.bench_function("pool/lease and return, three others out", |bench| {
        bench.iter(|| pool.lease());
    });
    drop(held);
}
