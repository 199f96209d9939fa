//! Defects made on purpose in each family of plans: gathering, scattering, reducing to a root,
//! exchanging. Each must be found, and as what it is.

use std::sync::Arc;

use kirsh_core::plan::{Finish, Plan, Step};
use kirsh_core::sim::{Calling, Replace, Scenario, Violation, run};
use kirsh_core::types::{Span, Wire};
use kirsh_core::{Algorithm, Collective, Rank, ReduceOp};

use super::canary::{Changed, Listed, SEEDS, found, steps};
use super::catalogue::{Pair, params};

const WORLD: u32 = 5;
const GATHERING: Pair = (Collective::Allgather, Algorithm::Ring);
const TO_ROOT: Pair = (Collective::Gather, Algorithm::Binomial);
const SCATTERING: Pair = (Collective::Scatter, Algorithm::Binomial);
const REDUCING: Pair = (Collective::Reduce, Algorithm::Binomial);
const EXCHANGING: Pair = (Collective::Alltoall, Algorithm::Pairwise);
const BRUCK: Pair = (Collective::Alltoall, Algorithm::Bruck);

/// What is found when something stands in the plans' place, where the plans themselves are right.
fn found_instead(pair: Pair, replace: Replace) -> Option<Violation> {
    let right = Calling::new(params(WORLD, pair, ReduceOp::Sum, 0, 10), false);
    assert_eq!(found(WORLD, &right), None, "{pair:?}");
    found(WORLD, &Calling { replace: Some(replace), ..right })
}

/// The plan with its last step of a kind left out on one rank.
fn without(inner: &dyn Plan, what: fn(&Step) -> bool) -> Arc<dyn Plan> {
    let mut steps = steps(inner);
    let last = steps.iter().rposition(what).expect("a step of this kind");
    steps.remove(last);
    let scratch = inner.scratch_len();
    Arc::new(Listed { steps, scratch, encoded: 0 })
}

fn moves(step: &Step) -> bool {
    matches!(step, Step::Map { .. })
}

fn folds(step: &Step) -> bool {
    matches!(step, Step::RecvReduce { .. })
}

#[test]
fn a_block_that_nobody_moves_is_missing() {
    for pair in [GATHERING, TO_ROOT, SCATTERING, EXCHANGING] {
        let found = found_instead(pair, |rank, inner| match rank {
            0 => without(&*inner, moves),
            _ => inner,
        });
        assert_eq!(found, Some(Violation::Missing), "{pair:?}");
    }
}

#[test]
fn a_contribution_that_the_root_keeps_out_is_missing() {
    let found = found_instead(REDUCING, |rank, inner| {
        let change = |_, step| match step {
            Step::RecvReduce { peer, into, .. } => Step::Recv { peer, target: into },
            other => other,
        };
        if rank == 0 { Arc::new(Changed { inner, change }) } else { inner }
    });
    assert_eq!(found, Some(Violation::Missing));
}

#[test]
fn a_contribution_that_the_root_folds_twice_is_doubled() {
    let found = found_instead(REDUCING, |rank, inner| {
        let mut steps = steps(&*inner);
        if rank == 0
            && let Some(Step::RecvReduce { into, .. }) = steps.iter().copied().rfind(folds)
        {
            let with = Span::input(into.offset, into.len);
            steps.push(Step::Reduce { with, into, finish: Finish::Keep });
        }
        Arc::new(Listed { steps, scratch: inner.scratch_len(), encoded: 0 })
    });
    assert_eq!(found, Some(Violation::Doubled));
}

#[test]
fn blocks_that_land_in_one_anothers_place_are_found() {
    // The elements of a block change places with one another: whose they are is still right.
    for pair in [GATHERING, TO_ROOT, SCATTERING, EXCHANGING, BRUCK] {
        let found = found_instead(pair, |rank, inner| {
            let mut steps = steps(&*inner);
            if rank == 0 {
                let mut moved = steps.iter_mut().filter_map(|step| match step {
                    Step::Map { source, .. } => Some(source),
                    _ => None,
                });
                let first = moved.next().expect("a first move");
                let other = moved.find(|source| source.len == first.len).expect("another move");
                std::mem::swap(first, other);
            }
            Arc::new(Listed { steps, scratch: inner.scratch_len(), encoded: 0 })
        });
        assert_eq!(found, Some(Violation::Misplaced), "{pair:?}");
    }
}

#[test]
fn a_block_of_another_rank_is_found() {
    // Two neighbours' blocks change places on their way.
    let found = found_instead(EXCHANGING, |rank, inner| {
        let change = |_, step| match step {
            Step::Send { peer, source } => {
                let offset = (source.offset + 40) % 200;
                Step::Send { peer, source: Span::input(offset, source.len) }
            }
            other => other,
        };
        if rank == 2 { Arc::new(Changed { inner, change }) } else { inner }
    });
    assert_eq!(found, Some(Violation::Misplaced));
}

#[test]
fn a_plan_that_writes_to_its_input_is_found() {
    for pair in [GATHERING, SCATTERING, REDUCING, EXCHANGING] {
        let found = found_instead(pair, |rank, inner| {
            let mut steps = steps(&*inner);
            if rank == 0 {
                let (source, target) = (Span::input(4, 4), Span::input(0, 4));
                steps.push(Step::Map { source, target, map: kirsh_core::plan::Map::Copy });
            }
            Arc::new(Listed { steps, scratch: inner.scratch_len(), encoded: 0 })
        });
        assert_eq!(found, Some(Violation::Input), "{pair:?}");
    }
}

#[test]
fn a_frame_that_never_comes_is_a_deadlock() {
    // Every rank receives over what it is about to send, before its partner has it.
    let found = found_instead(EXCHANGING, |rank, _| {
        let (right, left) = ((rank + 1) % WORLD, (rank + WORLD - 1) % WORLD);
        let whole = Span::output(0, 40);
        Arc::new(Listed {
            steps: vec![
                Step::Recv { peer: left, target: whole },
                Step::Send { peer: right, source: whole },
            ],
            scratch: 0,
            encoded: 0,
        })
    });
    assert_eq!(found, Some(Violation::Deadlock));
    for pair in [GATHERING, TO_ROOT, SCATTERING, REDUCING, EXCHANGING, BRUCK] {
        let found = found_instead(pair, |rank, inner| {
            let sends = |step: &Step| matches!(step, Step::Send { .. });
            match steps(&*inner).iter().any(sends) {
                true if rank < 2 => without(&*inner, sends),
                _ => inner,
            }
        });
        assert_eq!(found, Some(Violation::Deadlock), "{pair:?}");
    }
}

/// What is found over some seeds in calls of which the session is not told that they are in place.
fn found_hidden(pair: Pair) -> Vec<Violation> {
    let right = Calling::new(params(WORLD, pair, ReduceOp::Sum, 0, 40), true);
    assert_eq!(found(WORLD, &right), None, "{pair:?}");
    let wrong = Calling { alias_hidden: true, ..right };
    let failure = |seed| run(&Scenario::new(WORLD, vec![wrong.clone()], seed)).err();
    (0..SEEDS).filter_map(failure).map(|failure| failure.violation).collect()
}

#[test]
fn a_write_to_a_lent_block_is_found() {
    // The own block is moved onto itself while it is being sent: to the session, to another place.
    for pair in [GATHERING, TO_ROOT, SCATTERING] {
        let violations = found_hidden(pair);
        let lent = |found: &Violation| matches!(found, Violation::LentWrite | Violation::TornRead);
        match pair {
            GATHERING => assert!(!violations.is_empty(), "{pair:?}"),
            // The root alone is in place, and it never sends or receives its own block.
            _ => assert!(violations.is_empty(), "{pair:?}: {violations:?}"),
        }
        assert!(violations.iter().all(lent), "{pair:?}: {violations:?}");
    }
}

#[test]
fn a_write_to_the_roots_lent_block_is_found_in_a_gather_and_a_scatter() {
    // The root lends its own block to rank 1, gets it back, and only then goes on. In place it has to
    // wait with the receive until the send is released.
    let bounce: Replace = |rank, inner| {
        let (scratch, block) = (inner.scratch_len(), 16);
        let there = Span::scratch(scratch, block);
        let mut steps = steps(&*inner);
        let first = match rank {
            0 => vec![
                Step::Send { peer: 1, source: Span::input(0, block) },
                Step::Recv { peer: 1, target: Span::output(0, block) },
            ],
            1 => {
                vec![Step::Recv { peer: 0, target: there }, Step::Send { peer: 0, source: there }]
            }
            _ => Vec::new(),
        };
        steps.splice(0..0, first);
        Arc::new(Listed { steps, scratch: scratch + block, encoded: 0 })
    };
    for algorithm in [Algorithm::Linear, Algorithm::Binomial] {
        for collective in [Collective::Gather, Collective::Scatter] {
            let params = params(WORLD, (collective, algorithm), ReduceOp::Sum, 0, 40);
            let right = Calling { replace: Some(bounce), ..Calling::new(params, true) };
            assert_eq!(found(WORLD, &right), None, "{collective} {algorithm}");
            let hidden = Calling { alias_hidden: true, ..right };
            for seed in 0..SEEDS {
                let failure = run(&Scenario::new(WORLD, vec![hidden.clone()], seed)).err();
                let violation = failure.map(|failure| failure.violation);
                assert_eq!(violation, Some(Violation::LentWrite), "{collective} {algorithm}");
            }
        }
    }
}

#[test]
fn folding_to_the_root_in_another_order_is_another_result() {
    // The results of a reduce are on one rank, so only another run can tell.
    let order = |replace: Option<Replace>| {
        let right = Calling::new(params(WORLD, REDUCING, ReduceOp::Sum, 0, 10), false);
        let calling = Calling { replace, ..right };
        run(&Scenario::new(WORLD, vec![calling], 3)).expect("every contribution once").orders
    };
    let straight: Replace = |rank, _| {
        let (input, output, finish) = (Span::input(0, 40), Span::output(0, 40), Finish::Keep);
        let fold = |peer: Rank| Step::RecvReduce {
            peer,
            with: if peer == 4 { input } else { output },
            into: output,
            finish,
            wire: Wire::Plain,
        };
        let steps = match rank {
            0 => (1..WORLD).rev().map(fold).collect(),
            _ => vec![Step::Send { peer: 0, source: input }],
        };
        Arc::new(Listed { steps, scratch: 0, encoded: 0 })
    };
    assert_eq!(order(None), order(Some(|_, inner| inner)));
    assert_ne!(order(None), order(Some(straight)));
}
