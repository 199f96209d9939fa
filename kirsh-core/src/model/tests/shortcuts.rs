//! What saves effort gives what it stands for.

use super::*;
use crate::model::load::{load, load_of_alike};
use crate::model::{Effort, Symmetry, Walk, predict};

fn whole(params: &Params, layout: Layout) -> u64 {
    let mut walk = Walk::new(layout, &network());
    walk.run(params, Symmetry::None).expect("a plan that comes to an end").time_ps
}

#[test]
fn ranks_that_stand_for_others_take_as_long_as_they() {
    let mut stood_in = 0;
    for (collective, algorithm) in everything() {
        for (world, per_host) in [(8, 1), (12, 1), (16, 2), (16, 4), (24, 4), (32, 1)] {
            for count in [1, 4096, 40_000] {
                let count = count * u64::from(world);
                let params = params(collective, algorithm, count, world, 32 << 10);
                let symmetry = Symmetry::find(&params, per_host).expect("plans");
                if symmetry == Symmetry::None {
                    continue;
                }
                stood_in += 1;
                let layout = packed(world, per_host);
                let mut walk = Walk::new(layout, &network());
                let few = walk.run(&params, symmetry).expect("an end").time_ps;
                let all = whole(&params, layout);
                assert!(
                    few.abs_diff(all) <= all / 100,
                    "{collective} by {algorithm}, {world} ranks, {per_host} a host, {count}: {few} {all}"
                );
            }
        }
    }
    assert!(stood_in >= 30, "{stood_in}");
}

/// Trees whose pipelines keep filling for longer than is walked, a scatter and a gather whose runs
/// of parts only overlap once they are longer than the view ahead, and an allgather whose rounds
/// are not alike where the world is no power of two: how far these may be off, in
/// percent, where half of what there is to walk is left out.
const SETTLE_SLOWLY: [(Collective, Algorithm, f64); 7] = [
    (Collective::Allreduce, Algorithm::Tree, 20.0),
    (Collective::Allreduce, Algorithm::DoubleTree, 15.0),
    (Collective::Reduce, Algorithm::Binomial, 10.0),
    (Collective::Scatter, Algorithm::Binomial, 40.0),
    (Collective::Gather, Algorithm::Binomial, 20.0),
    (Collective::Allgather, Algorithm::RecursiveDoubling, 50.0),
    (Collective::Alltoall, Algorithm::Bruck, 20.0),
];

#[test]
fn plans_with_many_gaps_are_not_taken_to_be_alike() {
    for world in [64, 128, 256] {
        let (collective, algorithm) = (Collective::Allgather, Algorithm::RecursiveDoubling);
        let params = params(collective, algorithm, 1 << 18, world, 1 << 20);
        assert_eq!(Symmetry::find(&params, 1).expect("plans"), Symmetry::None, "{world}");
        assert!(predict(&params, spread(world), &network(), Effort::of(100_000)).is_ok());
    }
}

#[test]
fn what_few_plans_say_of_a_host_is_what_its_plans_add_up_to() {
    let mut seen = [0; 2];
    let mut wrong = Vec::new();
    let few_cores = Network::new(Costs { cores: 2, ..ROUND });
    for (collective, algorithm) in everything() {
        for (world, per_host) in [(64, 8), (96, 8), (60, 4), (255, 8)] {
            let params = params(collective, algorithm, 40_000 * u64::from(world), world, 32 << 10);
            let layout = packed(world, per_host);
            let exact = Symmetry::find(&params, 1).expect("plans");
            let (alike, few, percent) = match (exact, Symmetry::in_load(&params)) {
                (Symmetry::None, Symmetry::None) => continue,
                (Symmetry::None, about) => (about, vec![0, 1, world / 3, world / 2, world - 1], 3),
                (exact, _) => (exact, vec![0], 1),
            };
            seen[few.len().min(2) - 1] += 1;
            for network in [network(), few_cores] {
                let all = load(&params, layout, &network, false).expect("plans");
                let few = load_of_alike(&params, layout, &network, alike, &few).expect("plans");
                for (all, few) in [(all.busy_ps, few.busy_ps), (all.bytes_sent, few.bytes_sent)] {
                    if all.abs_diff(few) > all * percent / 100 {
                        wrong.push(format!(
                            "{collective} by {algorithm}, {world} ranks, {per_host} a host: {few} for {all}"
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(seen[0] >= 20 && seen[1] >= 8, "{seen:?}");
}

#[test]
fn ranks_alike_one_by_one_are_alike_in_blocks() {
    let mut alike = 0;
    for (collective, algorithm) in everything() {
        for (world, block) in [(64, 8), (96, 8), (60, 4), (60, 7), (8, 8)] {
            let params = params(collective, algorithm, 4_096 * u64::from(world), world, 32 << 10);
            let ranks = Symmetry::find(&params, 1).expect("plans");
            if ranks != Symmetry::None {
                alike += 1;
                let blocks = Symmetry::find(&params, block).expect("plans");
                assert_eq!(
                    ranks.in_blocks(world, block),
                    blocks,
                    "{collective} by {algorithm}, {world} ranks, {block} in a block"
                );
            }
        }
    }
    assert!(alike >= 20, "{alike}");
}

#[test]
fn fewer_slices_and_smaller_worlds_lead_to_the_same_time_within_3_percent() {
    let mut shortened = 0;
    let mut wrong = Vec::new();
    for (collective, algorithm) in everything() {
        let slow = SETTLE_SLOWLY.iter().find(|(c, a, _)| (*c, *a) == (collective, algorithm));
        let most = slow.map_or(3.0, |(_, _, most)| *most);
        for (world, per_host, bytes) in
            [(4, 1, 64 << 20), (16, 1, 64 << 20), (48, 1, 48 << 20), (64, 4, 32 << 20)]
        {
            let params = params(collective, algorithm, bytes / u64::from(world), world, 16 << 10);
            let layout = packed(world, per_host);
            let few = predict(&params, layout, &network(), Effort::of(40_000)).expect("a plan");
            let all = predict(&params, layout, &network(), Effort::ALL).expect("a plan");
            assert!(all.whole);
            shortened += u32::from(!few.whole);
            let off = few.time_ps as f64 * 100.0 / all.time_ps as f64 - 100.0;
            if off.abs() > most {
                wrong.push(format!(
                    "{collective} by {algorithm}, {world} ranks, {per_host} a host: {off:.1} % off"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(shortened >= 10, "{shortened}");
}
