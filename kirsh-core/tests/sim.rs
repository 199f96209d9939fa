//! Every algorithm in the simulator's harsh world: no buffering between ranks, one slab per link,
//! completions in any order, sent bytes lent for as long as anything else can move.
//!
//! A run depends on nothing but what its failure prints. `KIRSH_SIM_WORLD` and `KIRSH_SIM_SEED`
//! narrow a test to one world size and one seed; `KIRSH_SIM_SEEDS` draws more than the usual few.
#![cfg(feature = "sim")]

#[path = "sim/canary.rs"]
mod canary;
#[path = "sim/fault.rs"]
mod fault;

use std::ops::Range;

use kirsh_core::plan::{Params, algorithms, build, bytes_sent};
use kirsh_core::sim::{Calling, Report, Scenario, run};
use kirsh_core::{Algorithm, Call, Collective, DataType, Rank, ReduceOp};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

fn worlds(all: Range<u32>) -> Range<u32> {
    setting("KIRSH_SIM_WORLD").map_or(all, |world| world as u32..world as u32 + 1)
}

fn seeds(usual: u64) -> Range<u64> {
    match setting("KIRSH_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("KIRSH_SIM_SEEDS").unwrap_or(usual),
    }
}

fn simulate(test: &str, scenario: &Scenario) -> Report {
    run(scenario).unwrap_or_else(|failure| {
        panic!(
            "{failure:?}\nworld {world}, seed {seed}, look-ahead {}, slabs {}, {:?}; again: KIRSH_SIM_WORLD={world} KIRSH_SIM_SEED={seed} cargo test -p kirsh-core --features sim --test sim {test}",
            scenario.look_ahead,
            scenario.slabs_per_link,
            scenario.fault,
            world = scenario.world,
            seed = scenario.seed,
        )
    })
}

fn params(world: u32, algorithm: Algorithm, op: ReduceOp, root: Rank, count: u64) -> Params {
    let carries = |collective: &&Collective| algorithms(**collective).contains(&algorithm);
    let collective = *Collective::ALL.iter().find(carries).expect("a collective");
    let dtype = DataType::Float32;
    // Few slices in large worlds, for time's sake; in small ones more than a session looks at.
    let slices = if world <= 8 { 40 } else { 5 };
    let run = match algorithm {
        Algorithm::Ring => count.div_ceil(world.into()).div_ceil(if world <= 8 { 9 } else { 2 }),
        _ => count.div_ceil(slices),
    };
    let slice = run.max(1) as u32 * 4;
    Params::new(Call { collective, algorithm, dtype, op, root, count }, world, slice)
}

/// All algorithms with all counts, one call after the other, every operator and many a root.
fn calls(world: u32, in_place: bool) -> Vec<Calling> {
    let size = u64::from(world);
    let mut calls = Vec::new();
    for count in [0, 1, size - 1, size, size + 1, 53, 131, 5 * size + 3] {
        for algorithm in Algorithm::ALL {
            let turn = calls.len() + world as usize;
            let op = match algorithm {
                Algorithm::Ring | Algorithm::RecursiveDoubling | Algorithm::Tree => {
                    [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::PremulSum][turn / 6 % 3]
                }
                _ => ReduceOp::Sum,
            };
            let root = match algorithm {
                Algorithm::Binomial | Algorithm::Chain => (turn % world as usize) as Rank,
                _ => 0,
            };
            let count = if *algorithm == Algorithm::Dissemination { 0 } else { count };
            calls.push(Calling::new(params(world, *algorithm, op, root, count), in_place));
        }
    }
    calls
}

#[test]
fn every_algorithm_gives_the_right_result_in_every_world() {
    for world in worlds(1..65) {
        let mut orders = None;
        // Small worlds are cheap, and there chance finds more.
        let count = if world <= 16 { 8 } else { 1 };
        for in_place in [false, true] {
            let calls = calls(world, in_place);
            let sent: Vec<u64> = (0..world)
                .map(|rank| {
                    let plan = |call: &Calling| build(&call.params, rank).expect("a plan");
                    calls.iter().flat_map(|call| bytes_sent(&*plan(call)).into_values()).sum()
                })
                .collect();
            for seed in seeds(count) {
                let mut scenario = Scenario::new(world, calls.clone(), seed);
                scenario.slabs_per_link = 1 + ((seed + u64::from(world)) % 2) as u8;
                let report =
                    simulate("every_algorithm_gives_the_right_result_in_every_world", &scenario);
                assert_eq!(report.bytes_sent, sent, "world {world}, seed {seed}");
                let outcomes = report.outcomes.iter().flatten();
                assert!(outcomes.flatten().all(|outcome| outcome.is_ok()));
                // The same bits in every run, in place or not.
                let orders = orders.get_or_insert_with(|| report.orders.clone());
                assert_eq!(&report.orders, orders, "world {world}, seed {seed}");
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let scenario = Scenario::new(6, calls(6, true), 11);
    let [first, second] = [(); 2].map(|()| simulate("a_seed_gives_the_same_run_again", &scenario));
    assert_eq!(first.events, second.events);
    assert_eq!(first.orders, second.orders);
}

#[test]
fn a_short_look_ahead_stops_nothing() {
    for world in worlds(2..20) {
        for look_ahead in [4, 5, 16] {
            let mut scenario = Scenario::new(world, calls(world, world % 2 == 0), look_ahead);
            scenario.look_ahead = look_ahead as usize;
            simulate("a_short_look_ahead_stops_nothing", &scenario);
        }
    }
}

#[test]
fn worlds_of_hundreds_of_ranks_agree() {
    for world in worlds(300..301) {
        let call = |algorithm, count| {
            Calling::new(params(world, algorithm, ReduceOp::Avg, 0, count), true)
        };
        let calls = Algorithm::ALL.iter().map(|algorithm| match algorithm {
            Algorithm::Dissemination => call(*algorithm, 0),
            _ => call(*algorithm, 301),
        });
        let scenario = Scenario::new(world, calls.collect(), 5);
        simulate("worlds_of_hundreds_of_ranks_agree", &scenario);
    }
}
