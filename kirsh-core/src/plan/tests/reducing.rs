//! The collectives that reduce, and the broadcasts: what they send, what they hold, what comes of
//! it in worlds that are too large to simulate call by call.

use std::collections::HashMap;

use super::prints::{Print, both, outputs, own};
use super::*;
use crate::plan::Counts;

pub(super) type Pair = (Collective, Algorithm);

const REDUCING: [Collective; 6] = [
    Collective::Allreduce,
    Collective::Reduce,
    Collective::ReduceScatter,
    Collective::ReduceScatterv,
    Collective::Scan,
    Collective::Exscan,
];

pub(super) fn pairs() -> impl Iterator<Item = Pair> {
    REDUCING
        .into_iter()
        .chain([Collective::Broadcast])
        .flat_map(|collective| algorithms(collective).iter().map(move |by| (collective, *by)))
}

/// Elements of a rank's block in a reduce_scatterv: some none, some few, some many.
fn uneven(rank: Rank, count: u64) -> u64 {
    [count, 0, 1, 3 * count, count / 2][rank as usize % 5]
}

pub(super) fn params_of(
    (collective, algorithm): Pair,
    world: u32,
    root: Rank,
    count: u64,
) -> Params {
    let root = if collective.has_root() { root } else { 0 };
    let call = Call {
        collective,
        algorithm,
        dtype: DataType::Float32,
        op: ReduceOp::Sum,
        root,
        count,
        wire: Wire::Plain,
    };
    if collective != Collective::ReduceScatterv {
        return Params::new(call, world, SLICE);
    }
    let counts: Arc<[u64]> = (0..world).map(|rank| uneven(rank, count)).collect();
    let call = Call { count: counts.iter().sum(), ..call };
    Params::new(call, world, SLICE).with_counts(Counts::Known(counts))
}

fn sent(params: &Params, rank: Rank) -> u64 {
    bytes_sent(&*build(params, rank).expect("a plan")).values().sum::<u64>()
}

/// What the documents say that a rank sends; `None` where they only give bounds.
fn promised(params: &Params, rank: Rank) -> Option<u64> {
    use {Algorithm as A, Collective as C};
    let Params { call, world, .. } = params;
    let (world, bytes) = (*world, call.bytes());
    let own = params.output_elements(rank) * 4;
    let up = |lowest: Rank| {
        let sends = |k: &u32| rank >= lowest && u64::from(rank) + (1 << k) < world.into();
        (0..17).filter(sends).count() as u64
    };
    let array_if = |sends: bool| Some(if sends { bytes } else { 0 });
    let part = bytes / u64::from(world);
    match (call.collective, call.algorithm) {
        (C::Allreduce, A::HalvingDoubling) => Some(2 * (bytes - part)),
        (C::Reduce, A::Binomial | A::Chain | A::DoubleTree) => array_if(rank != call.root),
        (C::Reduce, A::ReduceScatterGather) => {
            Some(if rank == call.root { bytes - part } else { bytes })
        }
        (C::ReduceScatter, _) => Some(own * u64::from(world) - own),
        (C::ReduceScatterv, _) => Some(bytes - own),
        (C::Scan, A::RecursiveDoubling) => Some(up(0) * bytes),
        (C::Exscan, A::RecursiveDoubling) => Some((u64::from(rank + 1 < world) + up(1)) * bytes),
        (C::Scan | C::Exscan, _) => array_if(rank + 1 < world),
        (C::Broadcast, A::ScatterAllgather) => {
            let place = (rank + world - call.root) % world;
            let subtree = |place: Rank| match place {
                0 => world,
                _ => (world - place).min(1 << place.trailing_zeros()),
            };
            let chunks = subtree(place) - 1 + world - subtree((place + 1) % world);
            Some(part * u64::from(chunks))
        }
        _ => None,
    }
}

#[test]
fn every_rank_sends_what_its_algorithm_promises() {
    for world in (2..24).chain([33, 64, 100]) {
        for pair in pairs() {
            for root in [0, world / 3, world - 1] {
                let params = params_of(pair, world, root, 12 * u64::from(world));
                let mut total = 0;
                for rank in 0..world {
                    let sent = sent(&params, rank);
                    total += sent;
                    if let Some(promised) = promised(&params, rank) {
                        assert_eq!(sent, promised, "rank {rank} in {params:?}");
                    }
                    if pair == (Collective::Broadcast, Algorithm::DoubleTree) {
                        let whole = params.call.bytes();
                        assert!(sent <= whole, "rank {rank} in {params:?}");
                        assert!(rank != root || sent == whole, "{params:?}");
                    }
                    if pair == (Collective::Allreduce, Algorithm::DoubleTree) {
                        assert!(sent <= 2 * params.call.bytes(), "rank {rank} in {params:?}");
                    }
                }
                // Everybody but one gets the array; everybody but one gives it.
                let whole = params.call.bytes() * u64::from(world - 1);
                match pair {
                    (Collective::Broadcast, Algorithm::DoubleTree) => assert_eq!(total, whole),
                    (Collective::Allreduce, Algorithm::DoubleTree) => assert_eq!(total, 2 * whole),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn spans_lie_in_the_arrays_of_their_rank_and_input_is_only_read() {
    for world in 1..=17 {
        for (pair, op) in pairs().flat_map(|pair| {
            [ReduceOp::Sum, ReduceOp::PremulSum].into_iter().map(move |op| (pair, op))
        }) {
            for (turn, count) in counts(world).into_iter().enumerate() {
                let params = params_of(pair, world, turn as Rank % world, count);
                let params = Params { call: Call { op, ..params.call }, ..params };
                for rank in 0..world {
                    let plan = build(&params, rank).expect("a plan");
                    let inside = |span: Span| {
                        let end = match span.space {
                            Space::Input => 4 * params.input_elements(rank),
                            Space::Output => 4 * params.output_elements(rank),
                            Space::Scratch => plan.scratch_len(),
                            Space::Encoded => plan.encoded_len(),
                        };
                        assert!(span.end() <= end, "{span:?} of rank {rank} in {params:?}");
                        assert!((1..=u64::from(SLICE)).contains(&span.len), "{params:?} {span:?}");
                        assert!(span.len.is_multiple_of(4) && span.offset.is_multiple_of(4));
                    };
                    let written = |span: Span| {
                        inside(span);
                        assert_ne!(span.space, Space::Input, "rank {rank} in {params:?}");
                    };
                    for step in steps(&*plan) {
                        match step {
                            Step::Send { source, .. } => inside(source),
                            Step::Recv { target, .. } => written(target),
                            Step::RecvReduce { with, into, .. }
                            | Step::Reduce { with, into, .. } => {
                                inside(with);
                                written(into);
                                assert_eq!(with.len, into.len);
                                assert!(with == into || !with.overlaps(&into), "{params:?}");
                            }
                            Step::Map { source, target, .. } => {
                                inside(source);
                                written(target);
                                assert_eq!(source.len, target.len);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn scratch_does_not_grow_with_the_array_and_steps_answer_at_once() {
    for world in [2, 3, 40, 4095, 65_536] {
        for pair in pairs().filter(|(collective, _)| *collective != Collective::ReduceScatterv) {
            for op in [ReduceOp::Sum, ReduceOp::PremulSum] {
                let count = match pair.0 {
                    Collective::ReduceScatter => (1 << 40) / u64::from(world),
                    _ => 1 << 40,
                };
                let params = params_of(pair, world, world / 2, count);
                let params = Params { call: Call { op, ..params.call }, ..params };
                for rank in [0, 1, world / 2, world - 1] {
                    let plan = build(&params, rank).expect("a plan");
                    let slices = plan.scratch_len() / u64::from(SLICE);
                    let halves = pair.1 == Algorithm::RecursiveHalving;
                    let bound = if halves { u64::from(world / 2) } else { 16 } + 8;
                    assert!(slices <= bound, "{slices} slices of scratch in {params:?}");
                    for part in 0..100 {
                        if !plan.is_empty() {
                            plan.step((plan.len() - 1) / 100 * part);
                        }
                    }
                }
            }
        }
    }
}

/// Holds all results against what they must be.
fn verify(params: &Params) {
    let Params { call, world, .. } = params;
    // The sum of the ranks 0 to `rank`, element by element.
    let mut below: HashMap<u64, Print> = HashMap::new();
    let scan = matches!(call.collective, Collective::Scan | Collective::Exscan);
    for (rank, output) in (0..).zip(outputs(params)) {
        let begin = params.own_part(rank).unwrap_or(0);
        for (element, print) in (begin..).zip(output) {
            let before = below.get(&element).copied().unwrap_or_default();
            let expected = match call.collective {
                Collective::Broadcast => own(call.root, element),
                Collective::Exscan => before,
                Collective::Scan => both(before, own(rank, element)),
                _ => *below.entry(element).or_insert_with(|| {
                    (0..*world).fold(Print::default(), |sum, rank| both(sum, own(rank, element)))
                }),
            };
            assert_eq!(
                print.contents(),
                expected.contents(),
                "element {element} of rank {rank} in {params:?}"
            );
            if scan {
                below.insert(element, both(before, own(rank, element)));
            }
        }
    }
}

#[test]
fn every_algorithm_is_right_in_worlds_of_hundreds() {
    for world in [131, 256, 257] {
        for (turn, pair) in pairs().enumerate() {
            for count in [1, 5, 61] {
                verify(&params_of(pair, world, turn as Rank * 37 % world, count));
            }
        }
    }
}

#[test]
fn every_algorithm_is_right_in_worlds_of_a_thousand_and_those_of_few_turns_beyond() {
    for world in [1000, 1024, 4096] {
        for (turn, pair) in pairs().enumerate() {
            let many_turns = matches!(
                pair.1,
                Algorithm::Ring
                    | Algorithm::Pairwise
                    | Algorithm::ReduceScatterGather
                    | Algorithm::ScatterAllgather
            );
            let count = match pair.0 {
                Collective::ReduceScatter | Collective::ReduceScatterv => 1,
                _ if many_turns => u64::from(world) + 1,
                _ => 37,
            };
            if world == 1000 || !many_turns {
                verify(&params_of(pair, world, turn as Rank * 137 % world, count));
            }
        }
    }
}

#[test]
fn every_rank_can_be_the_root() {
    for world in 1..=24 {
        for pair in pairs().filter(|(collective, _)| collective.has_root()) {
            for root in 0..world {
                verify(&params_of(pair, world, root, 61));
            }
        }
    }
}

#[test]
fn an_average_of_a_scan_is_refused_with_what_to_do_instead() {
    for collective in [Collective::Scan, Collective::Exscan] {
        for algorithm in algorithms(collective) {
            let params = params_of((collective, *algorithm), 4, 0, 10);
            let params = Params { call: Call { op: ReduceOp::Avg, ..params.call }, ..params };
            let error = build(&params, 1).err().expect("refused");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("divide by rank"), "{error}");
        }
    }
}
