//! Two ranks in one process: what callers get when the library itself fails, how they wait for several
//! operations at once, means in which ranks have weights, and numbers that Rust has no type for.

use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use super::*;
use crate::error::Scope;
use crate::types::{DataType, ReduceOp};

/// Two ranks in this process that meet in a directory, each in a thread of its own.
fn in_a_world_of_two(play: impl Fn(Communicator) + Sync) {
    with_two_ranks(|config| play(Communicator::create(config).unwrap()));
}

fn with_two_ranks(play: impl Fn(&Config) + Sync) {
    // Tests run side by side in one process: each world is a job of its own.
    static WORLDS: AtomicU32 = AtomicU32::new(0);
    let job = format!("world-{}", WORLDS.fetch_add(1, Ordering::Relaxed));
    let meeting = std::env::temp_dir().join(format!("kirsh-comm-{}-{job}", std::process::id()));
    std::fs::create_dir_all(&meeting).unwrap();
    let rendezvous = format!("file://{}", meeting.display());
    std::thread::scope(|scope| {
        for rank in 0..2 {
            let config = Config {
                rank: Some(rank),
                world_size: Some(2),
                rendezvous: Some(rendezvous.clone()),
                job_id: Some(job.clone()),
                timeout: Timeout::After(Duration::from_secs(20)),
                ..Config::default()
            };
            let play = &play;
            scope.spawn(move || play(&config));
        }
    });
    std::fs::remove_dir_all(&meeting).unwrap();
}

#[test]
fn a_progress_thread_that_panics_is_an_error_for_all_and_no_silence() {
    in_a_world_of_two(|comm| {
        let began = Instant::now();
        let options = Options::default();
        comm.barrier(&options).unwrap();
        let work = comm.start_allreduce(vec![1.0f32; 100], ReduceOp::Sum, &options).unwrap();
        assert_eq!(work.wait().unwrap(), [2.0; 100]);
        if comm.rank() == 1 {
            // Rank 0 has a call under way that needs rank 1.
            let text = "which is a defect of Kirsh: asked to";
            comm.0.process.break_progress();
            let late = |error: Error| {
                assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
                assert!(error.message().contains(text), "{error}");
                assert_eq!(error.scope(), Scope::Communicator);
            };
            // Started before or after the end of the thread, driven by nobody else.
            while let Ok(work) = comm.start_broadcast(vec![0u8; 1 << 20], 0, &options) {
                if let Err((error, _)) = work.wait() {
                    late(error);
                    break;
                }
            }
            late(comm.barrier(&options).unwrap_err());
            let (error, buffer) = comm
                .start_allreduce(vec![1u8; 9], ReduceOp::Max, &options)
                .unwrap()
                .wait()
                .unwrap_err();
            late(error);
            assert_eq!(buffer.len(), 9);
        } else {
            let error = loop {
                if let Err(error) = comm.broadcast(&mut vec![1u8; 1 << 20], 0, &options) {
                    break error;
                }
            };
            assert_eq!((error.kind(), error.peer()), (ErrorKind::PeerLost, Some(1)), "{error}");
        }
        drop(comm);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn a_channels_thread_that_panics_ends_all_channels_on_every_rank() {
    let begun = std::sync::Barrier::new(2);
    in_a_world_of_two(|comm| {
        let options = Options::default();
        let inner = &comm.0;
        inner.channels.have(2, |number| inner.make_channel(number)).unwrap();
        comm.barrier(&options).unwrap();
        let text = "the thread of channel 2 has failed, which is a defect of Kirsh: asked to";
        if comm.rank() == 1 {
            // In which rank 0 takes no part.
            let work = comm.start_allreduce(vec![1.0f32; 100], ReduceOp::Sum, &options).unwrap();
            inner.channels.iter().last().unwrap().break_driver();
            let (error, _) = work.wait().unwrap_err();
            begun.wait();
            assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
            // From the thread itself, or from what all ranks were told of it.
            assert!(error.message().starts_with(text), "{error}");
            assert_eq!(error.scope(), Scope::Communicator);
        } else {
            begun.wait();
        }
        // Rank 0 may have all that it needs of rank 1's call, and hear of the end in its next.
        let error = loop {
            if let Err(error) = comm.allreduce(&mut [1.0f32; 100], ReduceOp::Sum, &options) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        assert!(error.message().contains(text), "{error}");
        comm.close().unwrap();
    });
}

#[test]
fn a_call_that_waits_when_the_progress_thread_panics_fails() {
    let failed = std::sync::Barrier::new(2);
    in_a_world_of_two(|comm| {
        let options = Options::default();
        comm.barrier(&options).unwrap();
        if comm.rank() == 1 {
            // Not before rank 0 has failed: this call does not match, which it would hear of.
            failed.wait();
            let error = comm.broadcast(&mut [1u8; 100], 0, &options).unwrap_err();
            // Whichever comes first: the frame of rank 0's call or the end of its links.
            let kinds = [ErrorKind::PeerLost, ErrorKind::Mismatch];
            assert!(kinds.contains(&error.kind()), "{error}");
            return;
        }
        // Rank 1 never makes this call, so both wait: one in the kernel, one behind it.
        let wait = || comm.allreduce(&mut [1.0f32], ReduceOp::Sum, &options).unwrap_err();
        let errors = std::thread::scope(|scope| {
            let waiting = [scope.spawn(wait), scope.spawn(wait)];
            comm.0.process.break_progress();
            waiting.map(|thread| thread.join())
        });
        failed.wait();
        for error in errors {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        }
    });
}

fn alone() -> Communicator {
    let config = Config { rank: Some(0), world_size: Some(1), ..Config::default() };
    Communicator::create(&config).unwrap()
}

#[test]
fn a_call_started_while_the_communicator_closes_gets_an_outcome() {
    let comm = alone();
    // As if another thread closed between the look at `closed` and the start.
    let inner = &comm.0;
    let (_, outcome) = inner.lane.close(CLOSE_PATIENCE);
    outcome.unwrap();
    inner.process.close_lane(&inner.lane, 0);
    let work = comm.start_barrier(&Options::default()).unwrap();
    let patience = Timeout::After(Duration::from_secs(20));
    let error = work.wait(patience).expect_err("it must not be left without an outcome");
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert_eq!(inner.lane.waiting(), 0);
    inner.closed.store(true, Ordering::Release);
}

#[test]
fn showing_a_work_does_not_look_into_its_buffer() {
    let comm = alone();
    let work =
        comm.start_allreduce(vec![123_456_789u32], ReduceOp::Sum, &Options::default()).unwrap();
    assert!(!format!("{work:?}").contains("123456789"), "{work:?}");
    assert_eq!(work.wait().unwrap(), [123_456_789]);
}

const PATIENCE: Timeout = Timeout::After(Duration::from_secs(20));

#[test]
fn waiting_for_any_gives_the_first_that_is_over_and_waiting_for_all_waits_for_the_last() {
    let gate = std::sync::Barrier::new(2);
    in_a_world_of_two(|comm| {
        let options = Options::default();
        if comm.rank() == 1 {
            gate.wait();
            comm.barrier(&options).unwrap();
            gate.wait();
            return comm.barrier(&options).unwrap();
        }
        let (first, second) =
            (comm.start_barrier(&options).unwrap(), comm.start_barrier(&options).unwrap());
        let (works, moment) = ([&second, &first], Timeout::After(Duration::from_millis(1)));
        assert_eq!(RawWork::wait_any(&works, moment).unwrap(), None);
        assert!(!RawWork::wait_all(&works, moment).unwrap());
        gate.wait();
        assert_eq!(RawWork::wait_any(&works, PATIENCE).unwrap(), Some(1));
        // Again, since it is over: only who leaves it out waits for another.
        assert_eq!(RawWork::wait_any(&works, PATIENCE).unwrap(), Some(1));
        assert_eq!(RawWork::wait_any(&[&second], moment).unwrap(), None);
        gate.wait();
        assert!(RawWork::wait_all(&works, PATIENCE).unwrap());
        assert_eq!(RawWork::wait_any(&works, PATIENCE).unwrap(), Some(0));
    });
    assert!(RawWork::wait_all(&[], Timeout::Forever).unwrap());
    assert_eq!(RawWork::wait_any(&[], Timeout::Forever).unwrap(), None);
}

#[test]
fn waiting_for_all_ends_with_the_first_failure_though_others_still_run() {
    let seen = std::sync::Barrier::new(2);
    with_two_ranks(|config| {
        let options = Options::default();
        let [stuck, doomed] = [0, 1].map(|_| Communicator::create(config).unwrap());
        if stuck.rank() == 1 {
            doomed.abort("enough");
            seen.wait();
            return stuck.barrier(&options).unwrap();
        }
        let waits = stuck.start_barrier(&options).unwrap();
        let fails = doomed.start_barrier(&options).unwrap();
        let error = RawWork::wait_all(&[&waits, &fails], PATIENCE).unwrap_err();
        assert_eq!((error.kind(), error.operation()), (ErrorKind::Aborted, Some("barrier")));
        assert!(error.message().starts_with("operation 2 of 2: "), "{error}");
        assert!(error.message().contains("enough"), "{error}");
        assert!(!waits.is_over() && fails.is_over());
        // It is over, however it ended.
        assert_eq!(RawWork::wait_any(&[&waits, &fails], PATIENCE).unwrap(), Some(1));
        seen.wait();
        assert!(waits.wait(PATIENCE).unwrap());
    });
}

/// Options with a weight and nothing else.
fn weight(weight: f64) -> Options<'static> {
    Options { weight: Some(weight), ..Options::default() }
}

#[test]
fn complex_numbers_reduce_and_floats_of_8_bits_move() {
    in_a_world_of_two(|comm| {
        let options = Options::default();
        let complex = |re: f32, im: f32| Complex { re, im };
        let mut data =
            [[complex(1.0, 2.0), complex(0.0, -1.0)], [complex(3.0, 4.0); 2]][comm.rank() as usize];
        let input = data;
        comm.allreduce(&mut data, ReduceOp::Prod, &options).unwrap();
        assert_eq!(data, [complex(-5.0, 10.0), complex(4.0, -3.0)]);
        comm.allreduce_into(&input, &mut data, ReduceOp::Avg, &options).unwrap();
        assert_eq!(data, [complex(2.0, 3.0), complex(1.5, 1.5)]);
        let factor = f64::from(comm.rank()) + 0.5;
        let scaled = Options { scale: Some(factor), ..Options::default() };
        let own = vec![Complex { re: 1.0, im: factor }; 3];
        let started = comm.start_allreduce(own, ReduceOp::PremulSum, &scaled).unwrap();
        assert_eq!(started.wait().unwrap(), [Complex { re: 2.0, im: 2.5 }; 3]);
        let refused = comm.allreduce(&mut data, ReduceOp::Max, &options).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");

        let mut bytes = [Float8E4m3fn(comm.rank() as u8 ^ 0x7e); 3];
        comm.broadcast(&mut bytes, 1, &options).unwrap();
        assert_eq!(bytes, [Float8E4m3fn(0x7f); 3]);
        let mut all = [Float8E5m2(0); 2];
        comm.allgather(&[Float8E5m2(comm.rank() as u8 + 1)], &mut all, &options).unwrap();
        assert_eq!(all, [Float8E5m2(1), Float8E5m2(2)]);
        let refused = comm.allreduce(&mut all, ReduceOp::Sum, &options).unwrap_err();
        assert!(refused.message().contains("float8_e5m2: it moves"), "{refused}");
    });
}

#[test]
fn a_mean_counts_each_rank_by_its_weight() {
    in_a_world_of_two(|comm| {
        let rank = comm.rank();
        // 3 samples of mean 2 and one of mean 10.
        let (own, mean) = (weight([3.0, 1.0][rank as usize]), [2.0f32, 10.0][rank as usize]);
        let mut data = vec![mean; 1000];
        comm.allreduce(&mut data, ReduceOp::Avg, &own).unwrap();
        assert_eq!(data, [4.0; 1000]);
        let input = [mean; 10];
        comm.allreduce_into(&input, &mut data[..10], ReduceOp::Avg, &own).unwrap();
        assert_eq!((input, &data[..10]), ([mean; 10], &[4.0; 10][..]));
        let started = comm.start_allreduce(vec![half::bf16::from_f32(mean)], ReduceOp::Avg, &own);
        assert_eq!(started.unwrap().wait().unwrap(), [half::bf16::from_f32(4.0)]);
        let mut data = [f64::from(mean); 3];
        comm.reduce(&mut data, ReduceOp::Avg, 1, &own).unwrap();
        assert_eq!(data, [[2.0; 3], [4.0; 3]][rank as usize]);
        let mut part = [0.0f32; 1];
        comm.reduce_scatter(&[mean, 2.0 * mean], &mut part, ReduceOp::Avg, &own).unwrap();
        assert_eq!(part, [[4.0], [8.0]][rank as usize]);
        let whole = vec![mean; 3];
        let mut part = vec![0.0; 1 + rank as usize];
        comm.reduce_scatterv(&whole, &mut part, &[1, 2], ReduceOp::Avg, &own).unwrap();
        assert!(part.iter().all(|x| *x == 4.0), "{part:?}");
        // Prepared: the shares stay what they were.
        let mut plan = comm.plan_allreduce(vec![mean], ReduceOp::Avg, &own).unwrap();
        for _ in 0..3 {
            plan.elements_mut()[0] = mean;
            plan.run().unwrap();
            assert_eq!(plan.elements_mut(), [4.0]);
        }
        // A rank that has nothing to say.
        let mut data = [mean];
        comm.allreduce(&mut data, ReduceOp::Avg, &weight(f64::from(rank))).unwrap();
        assert_eq!(data, [10.0]);
    });
}

#[test]
fn weights_that_make_no_mean_are_refused_and_the_communicator_goes_on() {
    in_a_world_of_two(|comm| {
        let mut data = [1.0f32];
        let mut refused = |op, options: &Options<'_>, text: &str| {
            let error = comm.allreduce(&mut data, op, options).unwrap_err();
            assert_eq!((error.kind(), error.scope()), (ErrorKind::InvalidArgument, Scope::Call));
            assert!(error.message().contains(text), "{error}");
        };
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            refused(ReduceOp::Avg, &weight(wrong), "finite and not negative");
        }
        refused(ReduceOp::Sum, &weight(1.0), "weight is for avg");
        let both = Options { scale: Some(1.0), ..weight(1.0) };
        refused(ReduceOp::Avg, &both, "both a weight and a scale");
        refused(ReduceOp::Avg, &weight(0.0), "sum up to 0");
        refused(ReduceOp::Avg, &weight(f64::MAX), "sum up to inf");
        let error = comm.allreduce(&mut [1i32], ReduceOp::Avg, &weight(1.0)).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::Unsupported, Scope::Call), "{error}");
        let error = comm.scan(&mut [1.0f32], ReduceOp::Avg, &weight(1.0)).unwrap_err();
        assert!(error.message().contains("weight is for avg"), "{error}");
        comm.allreduce(&mut data, ReduceOp::Avg, &weight(1.0)).unwrap();
        assert_eq!(data, [1.0]);
    });
}

#[test]
fn a_rank_that_gives_no_weight_where_others_do_is_found_out() {
    in_a_world_of_two(|comm| {
        let options = if comm.rank() == 0 { weight(1.0) } else { Options::default() };
        let error = comm.allreduce(&mut [1.0f32], ReduceOp::Avg, &options).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::Mismatch, Scope::Communicator));
        let exchange =
            error.message().starts_with("exchanging the weights of allreduce(1 x float32");
        assert_eq!(exchange, comm.rank() == 0, "{error}");
    });
}

/// Calls an allgatherv and a reduce_scatterv of one element from and for rank 0 and two for rank 1,
/// whose parts lie at these places of an array, in place.
fn in_place_by_parts(comm: &Communicator, places: [usize; 2]) -> Result<[i32; 8]> {
    let mut memory = [-1i32; 8];
    let (rank, base) = (comm.rank() as usize, memory.as_mut_ptr().cast::<u8>());
    let counts = [1, 2];
    let at = |element: usize| base.wrapping_add(4 * element);
    let runs = [(at(places[0]), 1), (at(places[1]), 2)];
    let own = at(places[rank]);
    let call = RawCall::new(Collective::Allgatherv, DataType::Int32, 0);
    let call = call.counts(RawCounts::Known(&counts)).send(own).recv_many(&runs);
    // SAFETY: all of it lies in `memory`, which nobody else uses.
    unsafe {
        own.cast::<i32>().write(10 + rank as i32);
        comm.call_raw(&call, &Options::default())?;
    }
    let call = RawCall::new(Collective::ReduceScatterv, DataType::Int32, 0);
    let call = call.counts(RawCounts::Known(&counts)).send_many(&runs).recv(own);
    // SAFETY: as above.
    unsafe { comm.call_raw(&call, &Options::default())? };
    Ok(memory)
}

#[test]
fn in_place_may_be_one_part_of_an_array_whose_parts_lie_anywhere() {
    in_a_world_of_two(|comm| {
        // Rank 1's part comes first, there is room between the two, and its second element is unset.
        let memory = in_place_by_parts(&comm, [5, 1]).unwrap();
        let expected = [[-1, 11, -1, -1, -1, 20, -1, -1], [-1, 22, -2, -1, -1, 10, -1, -1]]
            [comm.rank() as usize];
        assert_eq!(memory, expected);
        let error = in_place_by_parts(&comm, [2, 1]).unwrap_err();
        assert_eq!((error.kind(), error.scope()), (ErrorKind::InvalidArgument, Scope::Call));
        assert!(error.message().contains("overlap by 4 bytes"), "{error}");
        comm.barrier(&Options::default()).unwrap();
    });
}
