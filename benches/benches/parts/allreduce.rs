//! A whole all-reduce between two ranks that are threads of this process, over loopback.
//!
//! Criterion runs on rank 0; rank 1 is told how many calls are coming and makes as many.

use std::thread;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput};
use kirsh_benches::pair;

/// Elements of 4 bytes: 4 B, 64 KiB, 1 MiB.
const COUNTS: [usize; 3] = [1, 1 << 14, 1 << 18];

pub(crate) fn bench(criterion: &mut Criterion) {
    for driver in ["poll", "uring"] {
        // SAFETY: this process has one thread now: those of the ranks before have ended with them.
        unsafe { std::env::set_var("KIRSH_DRIVER", driver) };
        let [comm, other] = match pair::create() {
            Ok(both) => both,
            Err(error) => {
                println!("allreduce/{driver}: left out: {error}");
                continue;
            }
        };
        let (say, said) = std::sync::mpsc::channel::<(usize, u64)>();
        let peer = thread::spawn(move || {
            for (count, calls) in said {
                let mut data = vec![0.0f32; count];
                for _ in 0..calls {
                    pair::reduce(&other, &mut data);
                }
            }
            other
        });
        let mut group = criterion.benchmark_group(format!("allreduce/{driver}"));
        for count in COUNTS {
            let bytes = 4 * count as u64;
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(BenchmarkId::from_parameter(format!("{bytes} B")), |bench| {
                let mut data = vec![0.0f32; count];
                bench.iter_custom(|calls| {
                    say.send((count, calls)).expect("rank 1 listens");
                    let begin = Instant::now();
                    (0..calls).for_each(|_| pair::reduce(&comm, &mut data));
                    begin.elapsed()
                });
            });
        }
        group.finish();
        drop(say);
        drop(peer.join().expect("rank 1 made all of its calls"));
    }
}
