//! What calls leave in their arrays, and what they leave behind.

use kirsh_core::comm::RawCall;
use kirsh_core::{Algorithm, Collective, Communicator, Config, DataType, Options, ReduceOp, Wire};

use super::common::{comm, config, said};

/// Elements of one block: none, fewer than there are channels, a few cache lines, and many slices.
const COUNTS: [usize; 8] = [0, 1, 2, 3, 17, 100, 1000, 30_001];

/// The element that a rank gives at this place.
fn given(rank: u32, at: usize) -> i64 {
    i64::from(rank + 1) * 1_000_003 + at as i64 * 7
}

fn input(rank: u32, len: usize) -> Vec<i64> {
    (0..len).map(|at| given(rank, at)).collect()
}

fn sum(world: u32, at: usize) -> i64 {
    (0..world).map(|rank| given(rank, at)).sum()
}

/// A collective of these on blocks of `count`: what this rank gives and must get.
fn expected(collective: Collective, comm: &Communicator, root: u32, count: usize) -> Case {
    use Collective::*;
    let (rank, world) = (comm.rank(), comm.size());
    let (all, at_root) = (world as usize * count, rank == root);
    let gathered = || (0..world).flat_map(|from| input(from, count)).collect::<Vec<i64>>();
    let first = rank as usize * count;
    let (send, recv) = match collective {
        Broadcast => (Vec::new(), input(root, count)),
        Allreduce => (input(rank, count), (0..count).map(|at| sum(world, at)).collect()),
        Reduce if at_root => (input(rank, count), (0..count).map(|at| sum(world, at)).collect()),
        Reduce => (input(rank, count), Vec::new()),
        Allgather => (input(rank, count), gathered()),
        Gather if at_root => (input(rank, count), gathered()),
        Gather => (input(rank, count), Vec::new()),
        ReduceScatter => {
            (input(rank, all), (first..first + count).map(|at| sum(world, at)).collect())
        }
        Scatter => {
            let send = if at_root { input(root, all) } else { Vec::new() };
            (send, (first..first + count).map(|at| given(root, at)).collect())
        }
        Alltoall => {
            let from = |from| (first..first + count).map(move |at| given(from, at));
            (input(rank, all), (0..world).flat_map(from).collect())
        }
        other => panic!("{other} is not cut"),
    };
    Case { send, recv }
}

struct Case {
    send: Vec<i64>,
    recv: Vec<i64>,
}

/// Where the arrays lie.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    Apart,
    InPlace,
    /// Both in several runs.
    Scattered,
}

/// Runs of odd lengths that hold an array.
fn runs(data: &mut [i64]) -> Vec<(*mut u8, usize)> {
    let mut runs = Vec::new();
    let mut rest = data;
    let mut len = 1;
    while !rest.is_empty() {
        let (run, more) = rest.split_at_mut(len.min(rest.len()));
        runs.push((run.as_mut_ptr().cast(), run.len()));
        (rest, len) = (more, len * 3);
    }
    runs
}

fn check(comm: &Communicator, collective: Collective, count: usize, lie: Lie, started: bool) {
    use Collective::*;
    let root = count as u32 % comm.size();
    let Case { mut send, recv } = expected(collective, comm, root, count);
    let rank = comm.rank() as usize;
    let call = RawCall::new(collective, DataType::Int64, count).op(ReduceOp::Sum).root(root);
    let mut output = vec![-1i64; recv.len()];
    if collective == Broadcast && comm.rank() == root {
        output.clone_from(&recv);
    }
    // Of arrays in place the larger holds all.
    let mut place = vec![-1i64; send.len().max(recv.len())];
    let (mut from, mut to) = (Vec::new(), Vec::new());
    let (call, result): (RawCall<'_>, (*const i64, usize)) = match lie {
        Lie::Apart => {
            let call = call.send(send.as_ptr().cast()).recv(output.as_mut_ptr().cast());
            (call, (output.as_ptr(), output.len()))
        }
        Lie::Scattered => {
            from.extend(runs(&mut send));
            to.extend(runs(&mut output));
            (call.send_many(&from).recv_many(&to), (output.as_ptr(), output.len()))
        }
        Lie::InPlace => {
            let (large, own) = (place.as_mut_ptr(), rank * count);
            // SAFETY: each rank's part lies in an array of a part for each rank.
            let (give, get) = unsafe {
                match collective {
                    Allgather => (large.add(own), large),
                    Gather if comm.rank() == root => (large.add(own), large),
                    ReduceScatter => (large, large.add(own)),
                    Scatter if comm.rank() == root => (large, large.add(own)),
                    _ => (large, large),
                }
            };
            if collective == Broadcast {
                place.copy_from_slice(&output);
            } else {
                // SAFETY: the array is as long as the longer of the two, from there on.
                unsafe { std::ptr::copy_nonoverlapping(send.as_ptr(), give, send.len()) };
            }
            (call.send(give.cast()).recv(get.cast()), (get.cast_const(), recv.len()))
        }
    };
    let options = Options::default();
    // SAFETY: the arrays are as long as the call says, live until it is over, and are touched by
    // nobody else.
    unsafe {
        if started {
            let work = comm.start_raw(&call, &options).unwrap();
            assert!(work.wait(kirsh_core::Timeout::Default).unwrap());
        } else {
            comm.call_raw(&call, &options).unwrap();
        }
    }
    // SAFETY: the result lies in an array that lives, and the call is over.
    let result = unsafe { std::slice::from_raw_parts(result.0, result.1) };
    assert!(result == recv, "{collective} of {count}, {lie:?}, started: {started}");
}

pub(crate) fn all() {
    use Collective::*;
    let comm = comm();
    let cut = [Broadcast, Allreduce, Reduce, Allgather, ReduceScatter, Gather, Scatter, Alltoall];
    for collective in cut {
        for count in COUNTS {
            for started in [false, true] {
                check(&comm, collective, count, Lie::Apart, started);
                check(&comm, collective, count, Lie::InPlace, started);
                check(&comm, collective, count, Lie::Scattered, started);
            }
        }
    }
    every_algorithm(&comm);
    encoded(&comm);
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let threads = threads.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    let own: Vec<String> = threads.filter(|name| name.starts_with("kirsh-")).collect();
    // The progress thread, and one for each channel but the first.
    assert_eq!(own.len(), 3, "{own:?}");
    comm.close().unwrap();
}

fn every_algorithm(comm: &Communicator) {
    let expected: Vec<i64> = (0..5000).map(|at| sum(comm.size(), at)).collect();
    for algorithm in kirsh_core::plan::algorithms(Collective::Allreduce) {
        let mut data = input(comm.rank(), expected.len());
        let options = Options { algorithm: Some(*algorithm), ..Options::default() };
        comm.allreduce(&mut data, ReduceOp::Sum, &options).unwrap();
        assert!(data == expected, "{algorithm}");
    }
}

/// Encoded elements come out alike on every rank, and as near as their format allows.
fn encoded(comm: &Communicator) {
    for wire in [Wire::Bf16, Wire::Int8] {
        let mut data: Vec<f32> = (0..9001).map(|at| (at % 100) as f32).collect();
        let options =
            Options { wire: Some(wire), algorithm: Some(Algorithm::Ring), ..Options::default() };
        comm.allreduce(&mut data, ReduceOp::Avg, &options).unwrap();
        let near = |(at, value): (usize, &f32)| (value - (at % 100) as f32).abs() <= 3.0;
        assert!(data.iter().enumerate().all(near), "{wire}");
        let bits: Vec<u32> = data.iter().map(|value| value.to_bits()).collect();
        let (mut least, mut most) = (bits.clone(), bits);
        comm.allreduce(&mut least, ReduceOp::Min, &Options::default()).unwrap();
        comm.allreduce(&mut most, ReduceOp::Max, &Options::default()).unwrap();
        assert!(least == most, "{wire}");
    }
}

pub(crate) fn mixed() {
    let comm = comm();
    let world = comm.size();
    let options = Options::default();
    for round in 0..20 {
        // Of several channels and of one by turns, none waited for.
        let works: Vec<_> = (0..6)
            .map(|at| match at % 3 {
                0 => comm.start_allreduce(input(comm.rank(), 20_000), ReduceOp::Sum, &options),
                1 => comm.start_scan(input(comm.rank(), 500), ReduceOp::Max, &options),
                _ => comm.start_allreduce(input(comm.rank(), 1), ReduceOp::Sum, &options),
            })
            .collect();
        comm.barrier(&options).unwrap();
        for work in works.into_iter().rev() {
            let data = work.unwrap().wait().map_err(|(error, _)| error).unwrap();
            if data.len() != 500 {
                let right = data.iter().enumerate().all(|(at, value)| *value == sum(world, at));
                assert!(right, "round {round}");
            }
        }
    }
    // Threads whose calls may go in any order, being alike.
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let mut data = input(comm.rank(), 10_000);
                    comm.allreduce(&mut data, ReduceOp::Sum, &options).unwrap();
                    let right = data.iter().enumerate().all(|(at, value)| *value == sum(world, at));
                    assert!(right, "one of many");
                }
            });
        }
    });
    // Groups have channels of their own.
    let half = comm.split(Some(comm.rank() / 2), 0, &options).unwrap().unwrap();
    let mut data = vec![1i64; 10_000];
    half.allreduce(&mut data, ReduceOp::Sum, &options).unwrap();
    assert!(data.iter().all(|value| *value == i64::from(half.size())));
    comm.close().unwrap();
    half.allreduce(&mut data, ReduceOp::Max, &options).unwrap();
}

pub(crate) fn counted() {
    let comm = comm();
    let options = Options { algorithm: Some(Algorithm::Ring), ..Options::default() };
    for _ in 0..3 {
        comm.allreduce(&mut vec![1i64; 72_000], ReduceOp::Sum, &options).unwrap();
    }
    let stats = comm.stats();
    assert_eq!((stats.operations, stats.operations_allreduce), (3, 3));
    let peers: u64 = comm.stats_by_peer().iter().map(|peer| peer.collective.bytes_sent).sum();
    assert_eq!(peers, stats.bytes_sent);
    let bytes = [stats.bytes_sent, stats.bytes_received, stats.bytes_sent_direct];
    said("bytes", format_args!("{bytes:?} {}", stats.bytes_copied));
    comm.close().unwrap();
}

fn threads_and_descriptors() -> (usize, usize) {
    let count = |path: &str| std::fs::read_dir(path).unwrap().count();
    (count("/proc/self/task"), count("/proc/self/fd"))
}

pub(crate) fn leaves_nothing() {
    // The first one leaves what is made once for a process.
    let round = |config: &Config| {
        let comm = Communicator::create(config).unwrap();
        let mut data = vec![1i64; 10_000];
        comm.allreduce(&mut data, ReduceOp::Sum, &Options::default()).unwrap();
        let work = comm.start_allreduce(data, ReduceOp::Sum, &Options::default()).unwrap();
        drop(work);
        comm.close().unwrap();
    };
    round(&config());
    let before = threads_and_descriptors();
    for _ in 0..3 {
        round(&config());
    }
    // A thread that has ended may be shown a little longer.
    let until = std::time::Instant::now() + super::common::OPERATION;
    let more = |now: (usize, usize)| now.0 > before.0 || now.1 > before.1;
    while more(threads_and_descriptors()) {
        assert!(std::time::Instant::now() < until, "{before:?} {:?}", threads_and_descriptors());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
