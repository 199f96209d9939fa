//! Plans whose elements travel encoded: what they send, how much memory of the library they speak of,
//! and what is refused.

use super::*;
use crate::plan::algorithms_with;

const FORMATS: [Wire; 3] = [Wire::Bf16, Wire::F16, Wire::Int8];

fn able() -> Vec<(Collective, Algorithm)> {
    let of = |collective: &Collective| {
        let collective = *collective;
        algorithms_with(collective, Wire::Int8).iter().map(move |by| (collective, *by))
    };
    let even = |collective: &&Collective| {
        !matches!(collective, Collective::Allgatherv | Collective::ReduceScatterv)
    };
    Collective::ALL.iter().filter(even).flat_map(of).collect()
}

fn encoded(
    (collective, algorithm): (Collective, Algorithm),
    wire: Wire,
    world: u32,
    count: u64,
    slice: u32,
) -> Params {
    let op = ReduceOp::Sum;
    let dtype = DataType::Float32;
    let call = Call { collective, algorithm, dtype, op, root: 0, count, wire };
    Params::new(call, world, slice)
}

fn steps(plan: &dyn Plan) -> Vec<Step> {
    (0..plan.len()).filter_map(|index| plan.step(index)).collect()
}

#[test]
fn frames_are_encodings_of_the_lengths_that_their_receivers_expect() {
    for (pair, wire) in able().into_iter().flat_map(|pair| FORMATS.map(|wire| (pair, wire))) {
        for world in [2, 3, 5, 8] {
            for (count, slice) in [(0, 64), (1, 4), (7, 16), (5_000, 4096), (5_003, 1 << 20)] {
                let params = encoded(pair, wire, world, count, slice);
                let mut frames: BTreeMap<(Rank, Rank), Vec<u64>> = BTreeMap::new();
                let plans: Vec<_> =
                    (0..world).map(|rank| build(&params, rank).expect("a plan")).collect();
                for (rank, plan) in (0..).zip(&plans) {
                    for step in steps(&**plan) {
                        if let Step::Send { peer, source } = step {
                            assert_eq!(source.space, Space::Encoded, "{params:?}");
                            frames.entry((rank, peer)).or_default().push(source.len);
                        }
                    }
                }
                for (rank, plan) in (0..).zip(&plans) {
                    let mut taken: BTreeMap<Rank, usize> = BTreeMap::new();
                    for step in steps(&**plan).into_iter().filter(Step::receives) {
                        let (Step::Recv { peer, .. } | Step::RecvReduce { peer, .. }) = step else {
                            continue;
                        };
                        let next = taken.entry(peer).or_default();
                        let sent = frames[&(peer, rank)][*next];
                        assert_eq!(step.frame_len(), sent, "{params:?}, rank {rank}");
                        assert!(sent <= SLICE_BYTES_MAX as u64);
                        *next += 1;
                    }
                    for (peer, taken) in taken {
                        assert_eq!(frames[&(peer, rank)].len(), taken, "{params:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn as_few_bytes_are_sent_as_the_format_promises() {
    for pair in able() {
        let count = 4096 * 8;
        let sent = |wire| {
            let params = encoded(pair, wire, 8, count, 64 << 10);
            bytes_sent(&*build(&params, 3).expect("a plan")).values().sum::<u64>()
        };
        let plain = sent(Wire::Plain);
        assert_eq!((sent(Wire::Bf16), sent(Wire::F16)), (plain / 2, plain / 2), "{pair:?}");
        assert_eq!(sent(Wire::Int8), plain / 4 * 260 / 256, "{pair:?}");
    }
}

#[test]
fn spans_lie_within_what_a_plan_asks_for_and_a_ring_asks_for_one_part_and_some_slices() {
    for (pair, wire) in able().into_iter().flat_map(|pair| FORMATS.map(|wire| (pair, wire))) {
        for (world, count, slice) in [(2, 100, 40), (5, 3_001, 1024), (8, 40_000, 8192)] {
            let params = encoded(pair, wire, world, count, slice);
            for rank in 0..world {
                let plan = build(&params, rank).expect("a plan");
                let limit = |span: Span| match span.space {
                    Space::Input => 4 * params.input_elements(rank),
                    Space::Output => 4 * params.output_elements(rank),
                    Space::Scratch => plan.scratch_len(),
                    Space::Encoded => plan.encoded_len(),
                };
                for step in steps(&*plan) {
                    let spans = match step {
                        Step::Send { source, .. } => [source, source],
                        Step::Recv { target, .. } => [target, target],
                        Step::RecvReduce { with, into, .. } | Step::Reduce { with, into, .. } => {
                            [with, into]
                        }
                        Step::Map { source, target, map } => {
                            let (plain, encoding) = match map {
                                Map::Decode(_) => (target, source),
                                _ => (source, target),
                            };
                            assert_eq!(encoding.len, wire.encoded(plain.len), "{params:?}");
                            [source, target]
                        }
                    };
                    for span in spans {
                        assert!(span.len > 0 && span.end() <= limit(span), "{params:?} {step:?}");
                    }
                }
            }
        }
    }
    let ring = (Collective::Allreduce, Algorithm::Ring);
    let plan = build(&encoded(ring, Wire::Bf16, 4, 16 << 20, 256 << 10), 0).expect("a plan");
    assert_eq!(plan.encoded_len(), (16 << 20) / 4 * 2 + 8 * (128 << 10));
}

#[test]
fn a_run_cut_between_blocks_has_the_bytes_of_its_parts() {
    for wire in Wire::ALL {
        for blocks in [0, 1, 5] {
            for rest in [0, 1, 255, 700] {
                let (front, rest) = (4 * blocks * wire.block(), 4 * rest);
                assert_eq!(wire.encoded(front + rest), wire.encoded(front) + wire.encoded(rest));
            }
        }
    }
    assert_eq!([4, 1024, 1028].map(|bytes| Wire::Int8.encoded(bytes)), [5, 260, 265]);
    assert_eq!([4, 1024, 1028].map(|bytes| Wire::Bf16.encoded(bytes)), [2, 512, 514]);
}

#[test]
fn alone_a_rank_encodes_nothing() {
    for pair in able() {
        let plan = build(&encoded(pair, Wire::Int8, 1, 100, 64), 0).expect("a plan");
        assert_eq!(plan.encoded_len(), 0);
        let copies = |step: &Step| matches!(step, Step::Map { map: Map::Copy, .. });
        assert!(steps(&*plan).iter().all(copies), "{pair:?}");
    }
}

#[test]
fn what_cannot_be_encoded_is_refused_by_name() {
    let good = encoded((Collective::Allreduce, Algorithm::Ring), Wire::Int8, 4, 100, 64);
    assert!(build(&good, 0).is_ok());
    let refused = |call: Call, text: &str| {
        let error = build(&Params { call, ..good.clone() }, 0).err().expect("refused");
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    };
    let call = good.call;
    refused(Call { dtype: DataType::Float64, ..call }, "wire=int8 of float64");
    refused(Call { dtype: DataType::Bfloat16, ..call }, "float32 alone");
    refused(Call { op: ReduceOp::Prod, ..call }, "wire=int8 with prod");
    refused(Call { algorithm: Algorithm::Tree, ..call }, "choose from ring, halving_doubling");
    let (collective, algorithm) = (Collective::Broadcast, Algorithm::Chain);
    refused(Call { collective, algorithm, ..call }, "wire=int8 in broadcast");
}
