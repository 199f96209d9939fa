//! Defects made on purpose. Each must be found, and as what it is.

use std::sync::Arc;

use kirsh_core::plan::{Finish, Map, Params, Plan, Step, build};
use kirsh_core::sim::{Calling, Scenario, Violation, run, walk};
use kirsh_core::types::{Span, Wire};
use kirsh_core::{Algorithm, Collective, Rank, ReduceOp};

use super::catalogue::{Pair, params};

pub(crate) const SEEDS: u64 = 20;

const RING: Pair = (Collective::Allreduce, Algorithm::Ring);
const DOUBLING: Pair = (Collective::Allreduce, Algorithm::RecursiveDoubling);
const CHAIN: Pair = (Collective::Broadcast, Algorithm::Chain);
const BARRIER: Pair = (Collective::Barrier, Algorithm::Dissemination);

/// What is found, over some seeds, in a world of this size: all of them find the same, and so does
/// a walk by the rules of plans.
pub(crate) fn found(world: u32, calling: &Calling) -> Option<Violation> {
    let found = |seed| {
        let scenario = Scenario::new(world, vec![calling.clone()], seed);
        run(&scenario).err().map(|failure| failure.violation)
    };
    let first = found(0);
    for seed in 1..SEEDS {
        assert_eq!(found(seed), first, "seed {seed}");
    }
    let by_rules = walk(calling).err().map(|failure| failure.violation);
    assert_eq!(by_rules, first, "by the rules of plans alone");
    first
}

/// A call that is right, and the same with something else in its plans' place.
fn pair(
    world: u32,
    pair: Pair,
    in_place: bool,
    replace: fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan>,
) -> [Calling; 2] {
    let right = Calling::new(params(world, pair, ReduceOp::Sum, 0, 40), in_place);
    [right.clone(), Calling { replace: Some(replace), ..right }]
}

/// A plan with one step changed.
pub(crate) struct Changed {
    pub(crate) inner: Arc<dyn Plan>,
    pub(crate) change: fn(u64, Step) -> Step,
}

impl Plan for Changed {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn step(&self, index: u64) -> Option<Step> {
        self.inner.step(index).map(|step| (self.change)(index, step))
    }

    fn scratch_len(&self) -> u64 {
        self.inner.scratch_len()
    }

    fn encoded_len(&self) -> u64 {
        self.inner.encoded_len()
    }
}

/// A list of steps.
pub(crate) struct Listed {
    pub(crate) steps: Vec<Step>,
    pub(crate) scratch: u64,
    pub(crate) encoded: u64,
}

impl Plan for Listed {
    fn len(&self) -> u64 {
        self.steps.len() as u64
    }

    fn step(&self, index: u64) -> Option<Step> {
        Some(self.steps[index as usize])
    }

    fn scratch_len(&self) -> u64 {
        self.scratch
    }

    fn encoded_len(&self) -> u64 {
        self.encoded
    }
}

/// A plan of these steps, which need no scratch.
fn listed(steps: Vec<Step>) -> Arc<dyn Plan> {
    Arc::new(Listed { steps, scratch: 0, encoded: 0 })
}

pub(crate) fn steps(plan: &dyn Plan) -> Vec<Step> {
    (0..plan.len()).filter_map(|index| plan.step(index)).collect()
}

#[test]
fn a_missing_contribution_is_found() {
    let [right, wrong] = pair(4, RING, false, |rank, inner| {
        if rank != 2 {
            return inner;
        }
        // The first frame is kept as it comes, and this rank's own elements are left out.
        let change = |index, step| match step {
            Step::RecvReduce { peer, into, .. } if index == 1 => Step::Recv { peer, target: into },
            other => other,
        };
        Arc::new(Changed { inner, change })
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Missing));
}

#[test]
fn a_doubled_contribution_is_found() {
    let [right, wrong] = pair(4, DOUBLING, false, |rank, inner| {
        let mut steps = steps(&*inner);
        if rank == 1 {
            let last = steps.iter().rposition(|step| matches!(step, Step::RecvReduce { .. }));
            if let Some(Step::RecvReduce { into, .. }) = last.map(|last| steps[last]) {
                let with = Span::input(into.offset, into.len);
                steps.push(Step::Reduce { with, into, finish: Finish::Keep });
            }
        }
        listed(steps)
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Doubled));
}

#[test]
fn a_write_to_a_lent_span_is_found() {
    // The session is not told that input and output are one, so it sees no conflict between
    // sending from the one and folding into the other.
    let right = Calling::new(params(4, DOUBLING, ReduceOp::Sum, 0, 40), true);
    let wrong = Calling { alias_hidden: true, ..right.clone() };
    assert_eq!(found(4, &right), None);
    let violations: Vec<_> = (0..SEEDS)
        .filter_map(|seed| run(&Scenario::new(4, vec![wrong.clone()], seed)).err())
        .map(|failure| failure.violation)
        .collect();
    // Whether a send is still unreleased when the fold comes is a matter of chance.
    assert!(violations.len() as u64 > SEEDS / 2, "{violations:?}");
    assert!(violations.iter().all(|found| *found == Violation::LentWrite), "{violations:?}");
}

#[test]
fn a_deadlock_is_found() {
    // In place, receiving straight over what is being sent: every rank's receive waits for its
    // own send, and that for the partner's receive.
    let [right, wrong] = pair(4, DOUBLING, true, |_, inner| {
        let change = |_, step| match step {
            Step::RecvReduce { peer, into, .. } => Step::Recv { peer, target: into },
            other => other,
        };
        Arc::new(Changed { inner, change })
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Deadlock));
}

#[test]
fn a_swapped_order_of_folds_is_found() {
    // Everybody sends to everybody and folds from its right-hand neighbour on: every contribution
    // counts once, in an order that each rank has for itself.
    let [right, wrong] = pair(3, RING, false, |rank, inner| {
        let (whole, finish) = (4 * 40, Finish::Keep);
        let (input, output) = (Span::input(0, whole), Span::output(0, whole));
        let (right, left) = ((rank + 1) % 3, (rank + 2) % 3);
        assert!(!inner.is_empty());
        listed(vec![
            Step::Send { peer: right, source: input },
            Step::Send { peer: left, source: input },
            Step::RecvReduce { peer: right, with: input, into: output, finish, wire: Wire::Plain },
            Step::RecvReduce { peer: left, with: output, into: output, finish, wire: Wire::Plain },
        ])
    });
    assert_eq!(found(3, &right), None);
    assert_eq!(found(3, &wrong), Some(Violation::Order));
}

#[test]
fn slices_that_land_in_one_anothers_place_are_found() {
    let [right, wrong] = pair(4, CHAIN, false, |rank, inner| {
        let mut steps = steps(&*inner);
        if rank == 3 {
            steps.swap(0, 1);
        }
        listed(steps)
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Misplaced));
}

#[test]
fn a_division_before_the_last_fold_is_found() {
    let avg = Params { ..params(4, DOUBLING, ReduceOp::Avg, 0, 40) };
    let right = Calling::new(avg, false);
    let replace: fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan> = |_, inner| {
        let change = |_, step| match step {
            Step::RecvReduce { peer, with, into, .. } => {
                Step::RecvReduce { peer, with, into, finish: Finish::Average, wire: Wire::Plain }
            }
            other => other,
        };
        Arc::new(Changed { inner, change })
    };
    let wrong = Calling { replace: Some(replace), ..right.clone() };
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Finish));
}

#[test]
fn a_barrier_that_does_not_hold_is_found() {
    // Only the first round: a rank hears of its left-hand neighbour and of nobody else.
    let barrier = params(5, BARRIER, ReduceOp::Sum, 0, 0);
    let right = Calling::new(barrier.clone(), false);
    let replace: fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan> =
        |_, inner| listed(steps(&*inner)[..2].to_vec());
    let wrong = Calling { replace: Some(replace), ..right.clone() };
    assert!(build(&barrier, 0).is_ok());
    assert_eq!(found(5, &right), None);
    // A run in which all come before any leaves shows nothing.
    let violations: Vec<_> = (0..SEEDS)
        .filter_map(|seed| run(&Scenario::new(5, vec![wrong.clone()], seed)).err())
        .map(|failure| failure.violation)
        .collect();
    assert!(!violations.is_empty());
    assert!(violations.iter().all(|found| *found == Violation::Barrier), "{violations:?}");
}

#[test]
fn two_receives_into_one_span_happen_in_the_order_of_the_plan() {
    // No algorithm leans on this rule, so a plan of its own does: rank 0 gets rank 1's worthless
    // array first and the root's afterwards.
    let right = Calling {
        replace: Some(|rank, _| {
            let whole = Span::output(0, 4 * 40);
            listed(match rank {
                0 => vec![
                    Step::Recv { peer: 1, target: whole },
                    Step::Recv { peer: 2, target: whole },
                ],
                1 => vec![
                    Step::Send { peer: 0, source: whole },
                    Step::Recv { peer: 2, target: whole },
                ],
                _ => vec![
                    Step::Send { peer: 0, source: whole },
                    Step::Send { peer: 1, source: whole },
                ],
            })
        }),
        ..Calling::new(Params { slice: 4 * 40, ..params(3, CHAIN, ReduceOp::Sum, 2, 40) }, false)
    };
    assert_eq!(found(3, &right), None);
}

#[test]
fn frames_that_overtake_each_other_do_so_in_no_memory() {
    // The root sends a worthless array first and the true one afterwards, each by a socket of its own, and
    // both to one place: what keeps them apart is that they conflict there, and nothing else.
    let mut params = Params { slice: 4 * 40, ..params(3, CHAIN, ReduceOp::Sum, 1, 40) };
    params.stripes = 2;
    let right = Calling {
        replace: Some(|rank, _| {
            let (whole, worthless) = (Span::output(0, 4 * 40), Span::scratch(0, 4 * 40));
            let steps = match rank {
                0 => vec![
                    Step::Recv { peer: 1, target: whole },
                    Step::Recv { peer: 1, target: whole },
                    Step::Send { peer: 2, source: whole },
                ],
                1 => vec![
                    Step::Send { peer: 0, source: worthless },
                    Step::Send { peer: 0, source: whole },
                ],
                _ => vec![Step::Recv { peer: 0, target: whole }],
            };
            Arc::new(Listed { steps, scratch: 4 * 40, encoded: 0 })
        }),
        ..Calling::new(params, false)
    };
    assert_eq!(found(3, &right), None);
    // Two places instead of one: what the second rank passes on then is what came first.
    let apart: fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan> = |rank, _| {
        let (whole, other) = (Span::output(0, 4 * 40), Span::scratch(0, 4 * 40));
        let steps = match rank {
            0 => vec![
                Step::Recv { peer: 1, target: whole },
                Step::Recv { peer: 1, target: other },
                Step::Send { peer: 2, source: whole },
            ],
            1 => {
                vec![Step::Send { peer: 0, source: other }, Step::Send { peer: 0, source: whole }]
            }
            _ => vec![Step::Recv { peer: 0, target: whole }],
        };
        Arc::new(Listed { steps, scratch: 4 * 40, encoded: 0 })
    };
    let wrong = Calling { replace: Some(apart), ..right.clone() };
    assert_eq!(found(3, &wrong), Some(Violation::Missing));
}

/// A call whose elements travel encoded, and the same with something else in its plans' place.
fn encoded_pair(
    wire: Wire,
    pair: Pair,
    replace: fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan>,
) -> [Calling; 2] {
    let mut params = params(4, pair, ReduceOp::Sum, 0, 700);
    params.call.wire = wire;
    let right = Calling::new(params, false);
    [right.clone(), Calling { replace: Some(replace), ..right }]
}

const ENCODED: [Pair; 4] = [
    RING,
    (Collective::Allreduce, Algorithm::HalvingDoubling),
    (Collective::Allgather, Algorithm::Ring),
    (Collective::Allgather, Algorithm::Bruck),
];

#[test]
fn an_owner_that_keeps_what_it_had_before_it_was_encoded_is_found() {
    for (wire, by) in [Wire::Bf16, Wire::Int8].iter().flat_map(|wire| ENCODED.map(|by| (wire, by)))
    {
        let [right, wrong] = encoded_pair(*wire, by, |rank, inner| {
            let mut steps = steps(&*inner);
            // The first decode is that of the rank's own: a gather, which leaves the own place empty
            // then, moves the input there as it is.
            let decodes = |step: &Step| matches!(step, Step::Map { map: Map::Decode(_), .. });
            let first = steps.iter().position(decodes).expect("a decode");
            if rank == 2 {
                let Step::Map { target, .. } = steps.remove(first) else { unreachable!() };
                if !steps.iter().any(|step| matches!(step, Step::RecvReduce { .. })) {
                    let own: Vec<_> = steps
                        .iter()
                        .filter_map(|step| match step {
                            Step::Map { source, map: Map::Encode(_), .. } => Some(*source),
                            _ => None,
                        })
                        .collect();
                    let source = own.into_iter().find(|source| source.len == target.len);
                    let source = source.expect("what was encoded");
                    steps.push(Step::Map { source, target, map: Map::Copy });
                }
            }
            Arc::new(Listed { steps, scratch: inner.scratch_len(), encoded: inner.encoded_len() })
        });
        assert_eq!(found(4, &right), None);
        assert_eq!(found(4, &wrong), Some(Violation::Order), "{wire} {by:?}");
    }
}

#[test]
fn a_rank_that_encodes_anew_what_it_passes_on_is_found() {
    for wire in [Wire::Bf16, Wire::Int8] {
        let [right, wrong] = encoded_pair(wire, RING, |rank, inner| {
            let mut changed = Vec::new();
            let mut received = None;
            for step in steps(&*inner) {
                changed.push(step);
                if let Step::Recv { target, .. } = step {
                    received = Some(target);
                }
                if let Step::Map { source, target, map: Map::Decode(wire) } = step
                    && rank == 1
                    && received == Some(source)
                {
                    changed.push(Step::Map {
                        source: target,
                        target: source,
                        map: Map::Encode(wire),
                    });
                }
            }
            let (scratch, encoded) = (inner.scratch_len(), inner.encoded_len());
            Arc::new(Listed { steps: changed, scratch, encoded })
        });
        assert_eq!(found(4, &right), None);
        assert_eq!(found(4, &wrong), Some(Violation::Order), "{wire}");
    }
}

#[test]
fn elements_decoded_by_another_blocks_scale_are_found() {
    let by = (Collective::Allgather, Algorithm::Bruck);
    let [right, wrong] = encoded_pair(Wire::Int8, by, |rank, inner| {
        let mut steps = steps(&*inner);
        // Rank 0's first block gets the scale of its second one, once both are there.
        let decodes = |step: &Step| match step {
            Step::Map { source, map: Map::Decode(_), .. } => source.offset == 0,
            _ => false,
        };
        let first = steps.iter().position(decodes).expect("a decode");
        if rank == 3 {
            let (source, target) = (Span::encoded(260, 4), Span::encoded(0, 4));
            steps.insert(first, Step::Map { source, target, map: Map::Copy });
        }
        Arc::new(Listed { steps, scratch: inner.scratch_len(), encoded: inner.encoded_len() })
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Missing));
}

#[test]
fn elements_decoded_from_within_a_block_are_found() {
    let by = (Collective::Allgather, Algorithm::RecursiveDoubling);
    let [right, wrong] = encoded_pair(Wire::Bf16, by, |rank, inner| {
        if rank != 3 {
            return inner;
        }
        let change = |_, step| match step {
            Step::Map { mut source, target, map: Map::Decode(wire) } if source.offset == 0 => {
                source.offset = 1;
                Step::Map { source, target, map: Map::Decode(wire) }
            }
            other => other,
        };
        Arc::new(Changed { inner, change })
    });
    assert_eq!(found(4, &right), None);
    assert_eq!(found(4, &wrong), Some(Violation::Missing));
}
