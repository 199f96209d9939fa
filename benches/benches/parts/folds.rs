//! Folds, beside a memcpy: how fast each moves bytes between the processor and the memory or cache.
//!
//! A fold reads two arrays and writes one, so its traffic is 3 times the length; a copy's is twice.
//! In place the array that is written is one of those that are read. Arrays lie where the allocator
//! puts them, which is 16 bytes behind a page: on a page's start folds of wide vectors are faster. At the end a line for each says
//! the traffic and its ratio to that of the copy of the same length, both from the shortest sample,
//! which other work on the machine disturbs least.

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{Bencher, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use kirsh_core::plan::Finish;
use kirsh_core::reduce::Kernel;
use kirsh_core::{DataType, ReduceOp};

const CASES: [(DataType, ReduceOp); 16] = [
    (DataType::Float32, ReduceOp::Sum),
    (DataType::Float32, ReduceOp::Max),
    (DataType::Float32, ReduceOp::Avg),
    (DataType::Float64, ReduceOp::Sum),
    (DataType::Float16, ReduceOp::Sum),
    (DataType::Float16, ReduceOp::Max),
    (DataType::Float16, ReduceOp::Avg),
    (DataType::Bfloat16, ReduceOp::Sum),
    (DataType::Bfloat16, ReduceOp::Max),
    (DataType::Bfloat16, ReduceOp::Avg),
    (DataType::Int32, ReduceOp::Sum),
    (DataType::Int8, ReduceOp::Sum),
    (DataType::Int64, ReduceOp::Prod),
    (DataType::Complex64, ReduceOp::Sum),
    (DataType::Complex64, ReduceOp::Prod),
    (DataType::Complex128, ReduceOp::Prod),
];

/// In the second-level cache, and in none.
const SIZES: [(&str, usize); 2] = [("256 KiB", 1 << 18), ("64 MiB", 64 << 20)];

pub(crate) fn bench(criterion: &mut Criterion) {
    for (name, len) in SIZES {
        let mut arrays = Arrays::new(len);
        let mut group = criterion.benchmark_group(format!("fold {name}"));
        group.throughput(Throughput::Bytes(len as u64));
        group.warm_up_time(Duration::from_millis(100)).sample_size(20);
        group.measurement_time(Duration::from_millis(400));
        let mut lines = Vec::new();
        let copy = timed(&mut group, "memcpy".to_owned(), || arrays.copy());
        for (dtype, op) in CASES {
            arrays.fill(dtype);
            let kernels = Kernel::all(dtype, op).expect("each case is a pair that goes together");
            // Memory is the limit of all of them.
            let kept = if len > 1 << 20 { 1 } else { kernels.len() };
            for kernel in &kernels[..kept] {
                for in_place in [true, false] {
                    let way = if in_place { "in place" } else { "apart" };
                    let case = format!("{dtype} {op} {} {way}", kernel.name());
                    let fold =
                        timed(&mut group, case.clone(), || arrays.fold(kernel, op, in_place));
                    lines.extend(fold.map(|ns| line(&case, len, ns, copy)));
                }
            }
        }
        group.finish();
        lines.iter().for_each(|line| println!("fold {name}: {line}"));
    }
}

/// Measures under this name, and gives the nanoseconds of one run in the shortest sample; `None` where
/// the name was not asked for.
fn timed(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: String,
    mut run: impl FnMut(),
) -> Option<f64> {
    let mut shortest: Option<f64> = None;
    group.bench_function(BenchmarkId::from_parameter(name), |bench: &mut Bencher<'_>| {
        bench.iter_custom(|times| {
            let begin = Instant::now();
            (0..times).for_each(|_| run());
            let took = begin.elapsed();
            let each = took.as_nanos() as f64 / times as f64;
            shortest = Some(shortest.map_or(each, |before| before.min(each)));
            took
        });
    });
    shortest
}

fn line(case: &str, len: usize, fold_ns: f64, copy_ns: Option<f64>) -> String {
    let fold_gbs = 3.0 * len as f64 / fold_ns;
    let ratio = match copy_ns {
        Some(copy_ns) => format!("{:.2}", fold_gbs / (2.0 * len as f64 / copy_ns)),
        // Only folds were asked for.
        None => "?".to_owned(),
    };
    format!("{case:<38} {fold_gbs:6.1} GB/s, {ratio} of memcpy")
}

struct Arrays {
    len: usize,
    with: Vec<u8>,
    received: Vec<u8>,
    into: Vec<u8>,
}

impl Arrays {
    fn new(len: usize) -> Self {
        // Written, so that each has memory of its own: fresh zeros are all one page.
        let of = || vec![1u8; len];
        Arrays { len, with: of(), received: of(), into: of() }
    }

    /// Ones, which stay what they are under most operators and never become subnormal.
    fn fill(&mut self, dtype: DataType) {
        let one: &[u8] = match dtype {
            DataType::Float16 => &[0, 0x3c],
            DataType::Bfloat16 => &[0x80, 0x3f],
            DataType::Float32 => &1f32.to_le_bytes(),
            DataType::Complex64 => &[0, 0, 0x80, 0x3f, 0, 0, 0, 0],
            DataType::Float64 => &1f64.to_le_bytes(),
            DataType::Complex128 => &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => &1u64.to_le_bytes()[..dtype.size()],
        };
        for array in [&mut self.with, &mut self.received, &mut self.into] {
            array.chunks_exact_mut(one.len()).for_each(|element| element.copy_from_slice(one));
        }
    }

    fn copy(&mut self) {
        self.into.copy_from_slice(black_box(&self.received));
    }

    fn fold(&mut self, kernel: &Kernel, op: ReduceOp, in_place: bool) {
        let into = self.into.as_mut_ptr();
        let with = if in_place { into.cast_const() } else { self.with.as_ptr() };
        let finish = if op == ReduceOp::Avg { Finish::Average } else { Finish::Keep };
        let received = black_box(self.received.as_ptr());
        // SAFETY: the arrays are `len` bytes of whole elements each, none overlaps another, and `with`
        // is one of them or `into` itself.
        unsafe { kernel.fold(with, received, into, self.len, finish, 2) };
    }
}
