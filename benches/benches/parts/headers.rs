//! Frame headers, there and back.

use std::hint::black_box;

use criterion::Criterion;
use kirsh_core::wire::header::{FrameKind, Header};
use kirsh_core::wire::plan_key;

use crate::CALL;

pub(crate) fn bench(criterion: &mut Criterion) {
    let header = Header {
        kind: FrameKind::Collective,
        communicator: 7,
        epoch: 1,
        step: 3,
        sequence: 99,
        key: plan_key(&CALL, 4, 1 << 18, 1, 1, &[]),
        length: 1 << 18,
        call: Some(CALL),
        checksummed: false,
    };
    let bytes = header.encode();
    criterion.bench_function("header/encode", |bench| bench.iter(|| black_box(&header).encode()));
    criterion.bench_function("header/decode", |bench| {
        bench.iter(|| Header::decode(black_box(&bytes)));
    });
    criterion.bench_function("header/plan key", |bench| {
        bench.iter(|| plan_key(black_box(&CALL), 4, 1 << 18, 1, 1, &[]));
    });
}
