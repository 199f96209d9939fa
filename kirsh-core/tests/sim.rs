//! Every algorithm in the simulator's harsh world: no buffering between ranks, one slab per link,
//! completions in any order, sent bytes lent for as long as anything else can move. And, where the
//! sessions of all ranks would take too long, by the rules of plans alone (`walk`).
//!
//! What is simulated with sessions: worlds of 1 to 32 ranks, every count; 33 to 130, one count of each
//! algorithm in each world, all of them in any eight worlds; 256, every algorithm; 1000, 1024 and 4096, every
//! algorithm but those with a frame for each pair of ranks, of which the forms with unequal counts
//! stand in. `KIRSH_SIM_LONG` adds these: a minute and 400 MB for 1000 ranks. What is walked: worlds of 1
//! to 32, to see that both give the same; 33 to 130, every count; 256 to 4096, every algorithm.
//!
//! A run depends on nothing but what its failure prints. `KIRSH_SIM_WORLD` and `KIRSH_SIM_SEED`
//! narrow a test to one world size and one seed; `KIRSH_SIM_SEEDS` draws more than the usual few.
#![cfg(feature = "sim")]

#[path = "sim/canary.rs"]
mod canary;
#[path = "sim/canary_family.rs"]
mod canary_family;
#[path = "sim/catalogue.rs"]
mod catalogue;
#[path = "sim/fault.rs"]
mod fault;

use std::ops::Range;

use catalogue::{
    calls, counted_calls, encoded_calls, large_calls, large_counts_calls, rooted_calls, some_calls,
};
use kirsh_core::plan::Pattern;
use kirsh_core::sim::{Calling, Report, Scenario, run, walk};

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
            "{failure:?}\nworld {world}, seed {seed}, look-ahead {}, slabs {}, stripes {} by {:?}, {:?}; again: KIRSH_SIM_WORLD={world} KIRSH_SIM_SEED={seed} cargo test -p kirsh-core --features sim --test sim {test}",
            scenario.look_ahead,
            scenario.slabs_per_link,
            scenario.calls.first().map_or(1, |calling| calling.params.stripes),
            scenario.pattern.round(),
            scenario.fault,
            world = scenario.world,
            seed = scenario.seed,
        )
    })
}

/// A run that must go well, in which every call gives every rank its result.
fn simulate_well(test: &str, scenario: &Scenario) -> Report {
    let report = simulate(test, scenario);
    let outcomes = report.outcomes.iter().flatten();
    assert!(outcomes.flatten().all(|outcome| outcome.is_ok()));
    report
}

/// The calls with up to four sockets between two ranks, and frames dealt out to them evenly or by weight.
fn striped(mut calls: Vec<Calling>, turn: u64) -> (Vec<Calling>, Pattern) {
    let (stripes, weights): (u16, &[u32]) = match turn % 6 {
        0 => (1, &[1]),
        1 => (2, &[1]),
        2 => (3, &[1]),
        3 => (2, &[3, 1]),
        4 => (4, &[2, 1]),
        _ => (4, &[1]),
    };
    for calling in &mut calls {
        if !calling.params.call.collective.has_own_counts() {
            calling.params.stripes = stripes;
        }
    }
    (calls, Pattern::of_weights(weights).expect("weights that fit"))
}

/// With one slab for each link or two, and one link between two ranks or more.
fn scenario(world: u32, calls: Vec<Calling>, seed: u64) -> Scenario {
    let slabs_per_link = 1 + ((seed + u64::from(world)) % 2) as u8;
    let (calls, pattern) = striped(calls, seed + u64::from(world / 2));
    Scenario { slabs_per_link, pattern, ..Scenario::new(world, calls, seed) }
}

#[test]
fn every_algorithm_gives_the_right_result_in_every_small_world() {
    let test = "every_algorithm_gives_the_right_result_in_every_small_world";
    for world in worlds(1..33) {
        let mut orders = None;
        // Small worlds are cheap, and there chance finds more.
        let count = if world <= 12 { 6 } else { 1 };
        for in_place in [false, true] {
            let calls = calls(world, in_place);
            for seed in seeds(count) {
                let report = simulate_well(test, &scenario(world, calls.clone(), seed));
                // The same bits in every run, in place or not.
                let orders = orders.get_or_insert_with(|| report.orders.clone());
                assert_eq!(&report.orders, orders, "world {world}, seed {seed}");
            }
            // And the same as by the rules of plans alone, by however many sockets.
            for turn in [0, 1 + u64::from(world % 5)] {
                let (calls, _) = striped(calls.clone(), turn);
                let by_rules: Vec<_> =
                    calls.iter().map(|calling| walk(calling).expect("a right plan")).collect();
                assert_eq!(orders.as_ref(), Some(&by_rules), "world {world}, turn {turn}");
            }
        }
    }
}

#[test]
fn every_algorithm_gives_the_right_result_in_worlds_of_up_to_130() {
    let test = "every_algorithm_gives_the_right_result_in_worlds_of_up_to_130";
    for world in worlds(33..131) {
        for seed in seeds(1) {
            let calls = some_calls(world, world as usize + seed as usize);
            simulate_well(test, &scenario(world, calls, seed));
        }
    }
}

fn simulate_large(test: &str, world: u32) {
    let long = std::env::var_os("KIRSH_SIM_LONG").is_some();
    for calls in large_calls(world, long).chunks(8) {
        let scenario = Scenario::new(world, calls.to_vec(), world.into());
        // The time of a step grows with those that are looked at together.
        simulate_well(test, &Scenario { look_ahead: 12, ..scenario });
    }
}

#[test]
fn every_algorithm_gives_the_right_result_on_256_ranks() {
    simulate_large("every_algorithm_gives_the_right_result_on_256_ranks", 256);
}

#[test]
fn every_algorithm_gives_the_right_result_on_1000_ranks() {
    simulate_large("every_algorithm_gives_the_right_result_on_1000_ranks", 1000);
}

#[test]
fn every_algorithm_gives_the_right_result_on_1024_ranks() {
    simulate_large("every_algorithm_gives_the_right_result_on_1024_ranks", 1024);
}

#[test]
fn every_algorithm_gives_the_right_result_on_4096_ranks() {
    simulate_large("every_algorithm_gives_the_right_result_on_4096_ranks", 4096);
}

/// Carries the calls out by the rules of plans alone.
fn walk_well(calls: Vec<Calling>) {
    for calling in calls {
        walk(&calling).unwrap_or_else(|failure| panic!("{failure:?}"));
    }
}

#[test]
fn every_count_is_right_by_the_rules_in_worlds_of_up_to_130() {
    worlds(33..131).for_each(|world| walk_well(counted_calls(world)));
}

#[test]
fn every_count_is_right_by_the_rules_in_large_worlds() {
    for world in [256, 1000, 1024, 4096] {
        walk_well(large_counts_calls(world));
    }
}

#[test]
fn every_algorithm_is_right_by_the_rules_on_1000_ranks() {
    walk_well(large_calls(1000, true));
}

#[test]
fn every_algorithm_is_right_by_the_rules_on_1024_ranks() {
    walk_well(large_calls(1024, true));
}

#[test]
fn every_algorithm_is_right_by_the_rules_on_4096_ranks() {
    walk_well(large_calls(4096, true));
}

#[test]
fn what_travels_encoded_is_right_in_worlds_of_up_to_40_and_the_same_on_all_ranks() {
    let test = "what_travels_encoded_is_right_in_worlds_of_up_to_40_and_the_same_on_all_ranks";
    for world in worlds(1..41) {
        for seed in seeds(if world <= 8 { 2 } else { 1 }) {
            let calls = encoded_calls(world, world as usize + seed as usize);
            let report = simulate_well(test, &scenario(world, calls.clone(), seed));
            let by_rules: Vec<_> =
                calls.iter().map(|calling| walk(calling).expect("a right plan")).collect();
            assert_eq!(report.orders, by_rules, "world {world}");
        }
    }
}

#[test]
fn what_travels_encoded_is_right_by_the_rules_in_worlds_of_up_to_130() {
    worlds(41..131).for_each(|world| walk_well(encoded_calls(world, world as usize)));
}

#[test]
fn every_rank_can_be_the_root() {
    for world in worlds(1..65) {
        let calls = rooted_calls(world);
        simulate_well("every_rank_can_be_the_root", &scenario(world, calls, world.into()));
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
            let calls = calls(world, (world + look_ahead) % 2 == 0);
            for calls in [calls, encoded_calls(world, look_ahead as usize)] {
                let (calls, pattern) = striped(calls, u64::from(world + look_ahead));
                let scenario = Scenario::new(world, calls, look_ahead.into());
                let look_ahead = look_ahead as usize;
                let scenario = Scenario { look_ahead, pattern, ..scenario };
                simulate_well("a_short_look_ahead_stops_nothing", &scenario);
            }
        }
    }
}
