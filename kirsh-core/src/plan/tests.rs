//! Plans of whole worlds against each other: frames that fit, and every contribution once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::*;
use crate::error::ErrorKind;
use crate::limits::{CHANNELS_MAX, SLICE_BYTES_MAX};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Space, Wire};

mod association;
mod encoded;
mod prints;
mod reducing;

/// Small enough that a few hundred elements are many slices.
const SLICE: u32 = 28;

fn params(algorithm: Algorithm, op: ReduceOp, root: Rank, world: u32, count: u64) -> Params {
    let collective = *Collective::ALL
        .iter()
        .find(|collective| algorithms(**collective).contains(&algorithm))
        .expect("an algorithm of no collective");
    let call = Call {
        collective,
        algorithm,
        dtype: DataType::Float32,
        op,
        root,
        count,
        wire: Wire::Plain,
    };
    Params::new(call, world, SLICE)
}

fn plans(params: &Params) -> Vec<Arc<dyn Plan>> {
    (0..params.world).map(|rank| build(params, rank).expect("a plan")).collect()
}

fn steps(plan: &dyn Plan) -> impl Iterator<Item = Step> + '_ {
    (0..plan.len()).filter_map(|index| plan.step(index))
}

fn counts(world: u32) -> Vec<u64> {
    let world = u64::from(world);
    vec![0, 1, world - 1, world, world + 1, 97, 211, 14 * world + 5]
}

/// Every algorithm, and allreduces under the operators that change a plan.
fn cases(world: u32) -> Vec<Params> {
    let mut cases = Vec::new();
    for count in counts(world) {
        for algorithm in [Algorithm::Ring, Algorithm::RecursiveDoubling, Algorithm::Tree] {
            for op in [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::PremulSum] {
                cases.push(params(algorithm, op, 0, world, count));
            }
        }
        for algorithm in [Algorithm::Binomial, Algorithm::Chain] {
            for root in [0, world / 2, world - 1] {
                cases.push(params(algorithm, ReduceOp::Sum, root, world, count));
            }
        }
    }
    cases.push(params(Algorithm::Dissemination, ReduceOp::Sum, 0, world, 0));
    cases
}

#[test]
fn frames_sent_are_the_frames_expected() {
    for world in 1..=33 {
        for params in cases(world) {
            let (mut sent, mut expected) = (BTreeMap::new(), BTreeMap::new());
            for (rank, plan) in (0..).zip(plans(&params)) {
                for step in steps(&*plan) {
                    let (frames, link, len) = match step {
                        Step::Send { peer, source } => (&mut sent, (rank, peer), source.len),
                        Step::Recv { peer, target } => (&mut expected, (peer, rank), target.len),
                        Step::RecvReduce { peer, into, .. } => {
                            (&mut expected, (peer, rank), into.len)
                        }
                        _ => continue,
                    };
                    assert_ne!(link.0, link.1, "{params:?} talks to itself");
                    frames.entry(link).or_insert_with(Vec::new).push(len);
                }
            }
            assert_eq!(sent, expected, "{params:?}");
        }
    }
}

#[test]
fn spans_are_slices_of_whole_elements_within_the_array() {
    for world in 1..=33 {
        for params in cases(world) {
            let bytes = params.call.bytes();
            let barrier = params.call.collective == Collective::Barrier;
            let fits = |span: Span| {
                assert!(span.len <= u64::from(SLICE) && span.end() <= bytes, "{params:?} {span:?}");
                assert!(
                    span.len.is_multiple_of(4) && span.offset.is_multiple_of(4),
                    "{params:?} {span:?}"
                );
                // P-13
                assert_eq!(span.len == 0, barrier, "{params:?} {span:?}");
            };
            for plan in plans(&params) {
                for step in steps(&*plan) {
                    match step {
                        Step::Send { source, .. } => fits(source),
                        Step::Recv { target, .. } => {
                            assert_eq!(target.space, Space::Output);
                            fits(target);
                        }
                        Step::RecvReduce { with, into, .. } | Step::Reduce { with, into, .. } => {
                            assert_eq!((with.offset, with.len), (into.offset, into.len));
                            assert_eq!(into.space, Space::Output);
                            fits(into);
                        }
                        Step::Map { source, target, .. } => {
                            assert_eq!((source.offset, source.len), (target.offset, target.len));
                            assert_eq!(target.space, Space::Output);
                            fits(target);
                        }
                    }
                }
            }
        }
    }
}

/// What one element stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Symbol {
    /// Three bits per rank: how often its array was folded in.
    contributions: u128,
    averaged: u32,
    scaled: u32,
    /// The tree of folds, without regard to the order of two operands.
    association: u64,
}

fn symbol(rank: Rank) -> Symbol {
    Symbol {
        contributions: 1 << (3 * rank),
        association: mix(u64::from(rank)),
        ..Symbol::default()
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^ (value >> 31)
}

fn fold(a: Symbol, b: Symbol, finish: Finish) -> Symbol {
    let (low, high) =
        (a.association.min(b.association), a.association.max(b.association).rotate_left(17));
    Symbol {
        contributions: a.contributions + b.contributions,
        averaged: a.averaged + b.averaged + u32::from(finish == Finish::Average),
        scaled: a.scaled + b.scaled,
        association: mix(low ^ mix(high)),
    }
}

struct Memory {
    input: Vec<Symbol>,
    output: Vec<Symbol>,
}

impl Memory {
    fn slot(&mut self, span: Span) -> &mut [Symbol] {
        let range = (span.offset / 4) as usize..(span.end() / 4) as usize;
        match span.space {
            Space::Input => &mut self.input[range],
            Space::Output => &mut self.output[range],
            Space::Scratch | Space::Encoded => panic!("no plan here asks for scratch"),
        }
    }

    fn read(&mut self, span: Span) -> Vec<Symbol> {
        self.slot(span).to_vec()
    }
}

/// Runs the plans step by step, each link an unbounded queue, and gives what the outputs hold.
fn execute(params: &Params) -> Vec<Vec<Symbol>> {
    let plans = plans(params);
    let count = params.call.count as usize;
    let broadcast = params.call.collective == Collective::Broadcast;
    let mut memories: Vec<_> = (0..params.world)
        .map(|rank| {
            let mine = vec![symbol(rank); count];
            let empty = vec![Symbol::default(); count];
            match broadcast {
                true if rank == params.call.root => Memory { input: empty, output: mine },
                true => Memory { input: empty.clone(), output: empty },
                false => Memory { input: mine, output: empty },
            }
        })
        .collect();
    let mut links: BTreeMap<(Rank, Rank), VecDeque<Vec<Symbol>>> = BTreeMap::new();
    let mut positions = vec![0; plans.len()];
    loop {
        let mut moved = false;
        for (rank, plan) in (0..).zip(&plans) {
            let memory = &mut memories[rank as usize];
            let position = &mut positions[rank as usize];
            while *position < plan.len() {
                match plan.step(*position) {
                    None => {}
                    Some(Step::Send { peer, source }) => {
                        links.entry((rank, peer)).or_default().push_back(memory.read(source));
                    }
                    Some(Step::Recv { peer, target }) => {
                        let Some(frame) =
                            links.get_mut(&(peer, rank)).and_then(VecDeque::pop_front)
                        else {
                            break;
                        };
                        memory.slot(target).copy_from_slice(&frame);
                    }
                    Some(Step::RecvReduce { peer, with, into, finish, .. }) => {
                        let Some(frame) =
                            links.get_mut(&(peer, rank)).and_then(VecDeque::pop_front)
                        else {
                            break;
                        };
                        let with = memory.read(with);
                        for ((into, a), b) in memory.slot(into).iter_mut().zip(with).zip(frame) {
                            *into = fold(a, b, finish);
                        }
                    }
                    Some(Step::Reduce { with, into, finish }) => {
                        let with = memory.read(with);
                        for (into, a) in memory.slot(into).iter_mut().zip(with) {
                            *into = fold(a, *into, finish);
                        }
                    }
                    Some(Step::Map { source, target, map }) => {
                        let source = memory.read(source);
                        for (target, a) in memory.slot(target).iter_mut().zip(source) {
                            let scaled = a.scaled + u32::from(map == Map::Scale);
                            *target = Symbol { scaled, ..a };
                        }
                    }
                }
                *position += 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    for (rank, plan) in plans.iter().enumerate() {
        assert_eq!(positions[rank], plan.len(), "rank {rank} is stuck in {params:?}");
    }
    assert!(links.values().all(VecDeque::is_empty), "frames nobody wanted in {params:?}");
    memories.into_iter().map(|memory| memory.output).collect()
}

#[test]
fn every_contribution_counts_once_and_all_ranks_fold_alike() {
    for world in 1..=33 {
        for params in cases(world) {
            let (collective, op) = (params.call.collective, params.call.op);
            let everyone = (0..world).map(|rank| symbol(rank).contributions).sum::<u128>();
            let outputs = execute(&params);
            for (rank, output) in outputs.iter().enumerate() {
                assert_eq!(output, &outputs[0], "rank {rank} differs from rank 0 in {params:?}");
            }
            for element in &outputs[0] {
                if collective == Collective::Broadcast {
                    assert_eq!(*element, symbol(params.call.root), "{params:?}");
                    continue;
                }
                assert_eq!(element.contributions, everyone, "{params:?}");
                let scaled = if op == ReduceOp::PremulSum { world } else { 0 };
                assert_eq!(element.scaled, scaled, "{params:?}");
                // Once at the top of the tree of folds; a world of one has nothing to divide.
                let averaged = u32::from(op == ReduceOp::Avg && world > 1);
                assert_eq!(element.averaged, averaged, "{params:?}");
            }
        }
    }
}

#[test]
fn the_first_touch_of_an_element_reads_input_and_every_other_output() {
    for world in 2..=33 {
        for params in cases(world) {
            if params.call.collective != Collective::Allreduce {
                continue;
            }
            for plan in plans(&params) {
                let mut written = vec![false; params.call.count as usize];
                let read = |span: Span, written: &[bool]| {
                    let range = (span.offset / 4) as usize..(span.end() / 4) as usize;
                    let wants = span.space == Space::Output;
                    assert!(written[range].iter().all(|have| *have == wants), "{params:?}");
                };
                for step in steps(&*plan) {
                    let target = match step {
                        Step::Send { source, .. } => {
                            read(source, &written);
                            continue;
                        }
                        Step::Recv { target, .. } => target,
                        Step::RecvReduce { with, into, .. } => {
                            read(with, &written);
                            into
                        }
                        Step::Map { source, target, .. } => {
                            read(source, &written);
                            target
                        }
                        Step::Reduce { .. } => panic!("no plan here folds locally"),
                    };
                    written[(target.offset / 4) as usize..(target.end() / 4) as usize].fill(true);
                }
                assert!(written.iter().all(|have| *have), "{params:?}");
            }
        }
    }
}

#[test]
fn ranks_send_what_the_algorithm_promises() {
    let total = |params: &Params, rank: Rank| {
        bytes_sent(&*build(params, rank).expect("a plan")).values().sum::<u64>()
    };
    let ring = params(Algorithm::Ring, ReduceOp::Sum, 0, 8, 800);
    let doubling = params(Algorithm::RecursiveDoubling, ReduceOp::Sum, 0, 6, 800);
    let tree = params(Algorithm::Tree, ReduceOp::Sum, 0, 8, 800);
    for rank in 0..8 {
        assert_eq!(total(&ring, rank), 3200 * 2 * 7 / 8);
    }
    let doubled: Vec<_> = (0..6).map(|rank| total(&doubling, rank) / 3200).collect();
    assert_eq!(doubled, [1, 3, 1, 3, 2, 2]);
    let risen: Vec<_> = (0..8).map(|rank| total(&tree, rank) / 3200).collect();
    assert_eq!(risen, [3, 1, 2, 1, 3, 1, 2, 1]);
    let chain = params(Algorithm::Chain, ReduceOp::Sum, 3, 5, 800);
    let passed: Vec<_> = (0..5).map(|rank| total(&chain, rank) / 3200).collect();
    assert_eq!(passed, [1, 1, 0, 1, 1]);
}

#[test]
fn a_plan_of_a_huge_array_answers_at_once() {
    let call = Call { count: 1 << 40, ..params(Algorithm::Ring, ReduceOp::Avg, 0, 1, 0).call };
    for world in [2, 3, 65_535, 65_536] {
        for algorithm in [Algorithm::Ring, Algorithm::RecursiveDoubling, Algorithm::Tree] {
            let params = Params::new(Call { algorithm, ..call }, world, 4);
            let plan = build(&params, world - 1).expect("a plan");
            for index in [0, plan.len() / 3, plan.len() / 2, plan.len() - 1] {
                plan.step(index);
            }
        }
    }
}

#[test]
fn parameters_that_cannot_work_are_refused_by_name() {
    let good = params(Algorithm::Ring, ReduceOp::Sum, 0, 4, 100);
    let call = good.call;
    let refused = |params: Params, rank, kind, word: &str| {
        let error = build(&params, rank).err().expect("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    use ErrorKind::{InvalidArgument, Unsupported};
    assert!(build(&good, 3).is_ok());
    refused(good.clone(), 4, InvalidArgument, "rank 4");
    refused(Params { world: 0, ..good.clone() }, 0, InvalidArgument, "world size 0");
    refused(
        Params { call: Call { root: 4, ..call }, ..good.clone() },
        0,
        InvalidArgument,
        "root 4",
    );
    refused(Params { slice: 3, ..good.clone() }, 0, InvalidArgument, "slices of 3 bytes");
    let slice = SLICE_BYTES_MAX as u32 + 4;
    refused(Params { slice, ..good.clone() }, 0, InvalidArgument, "slices of");
    let count = u64::MAX / 4;
    refused(Params { call: Call { count, ..call }, ..good.clone() }, 0, InvalidArgument, "float32");
    refused(Params { channels: 2, ..good.clone() }, 0, Unsupported, "2 channels");
    refused(Params { channels: 0, ..good.clone() }, 0, Unsupported, "0 channels");
    refused(Params { stripes: 9, ..good.clone() }, 0, Unsupported, "9 stripes");
    refused(Params { stripes: 0, ..good.clone() }, 0, Unsupported, "0 stripes");
    assert!(build(&Params { stripes: 8, ..good.clone() }, 0).is_ok());
    assert!(Params { channels: CHANNELS_MAX, ..good.clone() }.check().is_ok());
    let channels = CHANNELS_MAX + 1;
    assert!(Params { channels, ..good.clone() }.check().is_err());
    let scan = Call { collective: Collective::Scan, algorithm: Algorithm::Chain, ..call };
    let error = Params { channels: 2, call: scan, ..good.clone() }.check().unwrap_err();
    assert!(error.to_string().contains("scan is carried out by one alone"), "{error}");
    let wrong = Call { algorithm: Algorithm::Chain, ..call };
    refused(
        Params { call: wrong, ..good.clone() },
        0,
        Unsupported,
        "chain does not carry out allreduce",
    );
    let wrong = Call { op: ReduceOp::Avg, dtype: DataType::Int32, ..call };
    refused(Params { call: wrong, ..good.clone() }, 0, Unsupported, "avg is not defined on int32");
}
