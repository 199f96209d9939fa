//! Wire formats: encoding, decoding, and folding what came encoded.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use kirsh_core::plan::Finish;
use kirsh_core::reduce::{Codec, Kernel};
use kirsh_core::{DataType, ReduceOp, Wire};

/// Encoding, decoding and folding of what came encoded, by bytes of float32.
pub(crate) fn bench(criterion: &mut Criterion) {
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
