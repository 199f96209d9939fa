//! The parts of an all-reduce, each by itself: frame headers, folds, plans, slabs.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kirsh_core::memory::Pool;
use kirsh_core::model::choice::Selection;
use kirsh_core::model::{Class, Layout};
use kirsh_core::plan::{Finish, Params, build};
use kirsh_core::reduce::{Codec, Kernel};
use kirsh_core::wire::header::{FrameKind, Header};
use kirsh_core::wire::plan_key;
use kirsh_core::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

const CALL: Call = Call {
    collective: Collective::Allreduce,
    algorithm: Algorithm::Ring,
    dtype: DataType::Float32,
    op: ReduceOp::Sum,
    root: 0,
    count: 1 << 20,
    wire: Wire::Plain,
};

fn headers(criterion: &mut Criterion) {
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
}

/// A fold of a slab into an array, and a memcpy that moves as many bytes: a fold reads two and
/// writes one, so its traffic is 3 times the length, and a copy's twice.
fn folds(criterion: &mut Criterion) {
    const LEN: usize = 1 << 18;
    let mut group = criterion.benchmark_group("fold/256KiB");
    group.throughput(Throughput::Bytes(LEN as u64));
    let received = vec![1u8; LEN];
    let mut into = vec![2u8; LEN];
    for dtype in [DataType::Float32, DataType::Float64, DataType::Float16, DataType::Bfloat16] {
        let Ok(kernel) = Kernel::choose(dtype, ReduceOp::Sum) else { continue };
        group.bench_function(BenchmarkId::new(kernel.name(), dtype), |bench| {
            bench.iter(|| {
                let target = into.as_mut_ptr();
                // SAFETY: both arrays are LEN bytes of whole elements and do not overlap; `with`
                // is `into`, which is allowed.
                unsafe {
                    kernel.fold(target, black_box(received.as_ptr()), target, LEN, Finish::Keep, 2);
                }
            });
        });
    }
    group.bench_function("memcpy", |bench| {
        bench.iter(|| into.copy_from_slice(black_box(&received)));
    });
    group.finish();
}

/// Encoding, decoding and folding of what came encoded, by bytes of float32.
fn codecs(criterion: &mut Criterion) {
    const LEN: usize = 1 << 18;
    let mut group = criterion.benchmark_group("wire/256KiB");
    group.throughput(Throughput::Bytes(LEN as u64));
    let source: Vec<f32> = (0..LEN / 4).map(|at| (at % 1009) as f32 / 99.0 - 5.0).collect();
    let source = source.as_ptr().cast::<u8>();
    let mut into = vec![0.0f32; LEN / 4];
    let target = into.as_mut_ptr().cast::<u8>();
    for wire in [Wire::Bf16, Wire::F16, Wire::Int8] {
        let kernel = Kernel::choose(DataType::Float32, ReduceOp::Sum);
        let (Some(codec), Ok(kernel)) = (Codec::choose(wire), kernel) else { continue };
        let mut encoding = vec![0u8; wire.encoded(LEN as u64) as usize];
        let encoded = encoding.as_mut_ptr();
        group.bench_function(BenchmarkId::new("encode", wire), |bench| {
            // SAFETY: arrays of LEN bytes of float32 and of as many as their encoding takes.
            bench.iter(|| unsafe { codec.encode(black_box(source), encoded, LEN / 4) });
        });
        group.bench_function(BenchmarkId::new("decode", wire), |bench| {
            // SAFETY: as above.
            bench.iter(|| unsafe { codec.decode(black_box(encoded), target, 0, LEN / 4) });
        });
        group.bench_function(BenchmarkId::new("fold", wire), |bench| {
            let all = (0, LEN / 4);
            // SAFETY: as above; `with` is `into`.
            bench.iter(|| unsafe {
                codec.fold(&kernel, target, black_box(encoded), target, all, Finish::Keep, 2);
            });
        });
    }
    group.finish();
}

fn plans(criterion: &mut Criterion) {
    let layout = Layout { world: 256, ranks_per_host_max: 1 };
    let selection = Selection::built_in(Class::Gbit10, 8);
    for (what, count) in [("1 KiB", 1 << 8), ("1 MiB", 1 << 18), ("100 MB", 25_000_000)] {
        let call = Call { count, ..CALL };
        criterion.bench_function(&format!("plan/choose allreduce of {what}, 256 ranks"), |bench| {
            bench.iter(|| selection.choose(layout, black_box(&call), None));
        });
    }
    let plan = build(&Params::new(CALL, 256, 1 << 18), 17).expect("a ring of 256 ranks");
    criterion.bench_function("plan/one step of a ring, 256 ranks", |bench| {
        let mut index = 0;
        bench.iter(|| {
            index = (index + 1) % plan.len();
            plan.step(index)
        });
    });
}

fn slabs(criterion: &mut Criterion) {
    let pool = Pool::new(1 << 18, 4);
    criterion.bench_function("pool/lease and return", |bench| bench.iter(|| pool.lease()));
}

criterion_group!(parts, headers, folds, codecs, plans, slabs);
criterion_main!(parts);
