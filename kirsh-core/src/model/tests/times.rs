//! Times worked out by hand for worlds of two and four.
//!
//! With the costs of [`ROUND`](super::ROUND) a frame of `n` bytes takes 1 µs and 0.1 ns a byte of
//! the sender's processor, 64 + n ns on the wire from the end of that first microsecond on, 10 µs
//! of latency, and, from its arrival, 1 µs at the receiver, who copies while it comes; a fold
//! takes 0.2 ns a byte. So a hop of `n` bytes takes 12 µs and 64 + n ns.

use super::*;
use crate::model::{Straggler, Switch, Symmetry, Walk};

/// Picoseconds in a nanosecond.
const NS: u64 = 1_000;

/// The time of a call, all ranks walked, and of the same with those that stand for all.
fn time(params: &Params, layout: Layout, network: &Network) -> u64 {
    let mut walk = Walk::new(layout, network);
    let all = walk.run(params, Symmetry::None).expect("an end").time_ps;
    if network.straggler.is_none() && network.switch.is_none() {
        let symmetry = Symmetry::find(params, layout.ranks_per_host_max).expect("plans");
        let few = walk.run(params, symmetry).expect("an end").time_ps;
        assert_eq!(all, few, "those that stand in: {symmetry:?}");
    }
    all
}

/// The time of a hop of so many bytes between hosts.
const fn hop(bytes: u64) -> u64 {
    12 * US + (64 + bytes) * NS
}

const fn fold(bytes: u64) -> u64 {
    bytes * 200
}

#[test]
fn a_broadcast_from_one_to_the_other_is_one_hop() {
    let two = params(Collective::Broadcast, Algorithm::Binomial, 10_000, 2, 1 << 20);
    assert_eq!(time(&two, spread(2), &network()), hop(10_000));
    // Within a host there is no wire: a frame is there 2 µs after the sender is through with it,
    // and the receiver has copied all but the last of it by then.
    let local = time(&two, packed(2, 2), &network());
    assert_eq!(local, US + 1_000 * NS + 2 * US + US);
}

#[test]
fn two_ranks_exchange_everything_in_one_round_of_recursive_doubling() {
    let two = params(Collective::Allreduce, Algorithm::RecursiveDoubling, 10_000, 2, 1 << 20);
    assert_eq!(time(&two, spread(2), &network()), hop(10_000) + fold(10_000));
}

#[test]
fn four_ranks_need_two_rounds_of_recursive_doubling() {
    let four = params(Collective::Allreduce, Algorithm::RecursiveDoubling, 10_000, 4, 1 << 20);
    assert_eq!(time(&four, spread(4), &network()), 2 * (hop(10_000) + fold(10_000)));
}

#[test]
fn what_travels_encoded_is_encoded_before_and_decoded_behind_each_hop() {
    let two = params(Collective::Allreduce, Algorithm::Ring, 5_000, 2, 1 << 20);
    let call = Call { dtype: DataType::Float32, wire: Wire::Bf16, ..two.call };
    // Of 10,000 bytes each rank owns: encoded, sent, decoded and folded by the other; then what is
    // complete encoded, decoded for its owner before it is sent, and decoded by the other.
    let work = fold(10_000);
    let there = work + hop(5_000) + 2 * work;
    let back = 2 * work + hop(5_000) + work;
    assert_eq!(time(&Params { call, ..two }, spread(2), &network()), there + back);
}

#[test]
fn a_ring_passes_its_parts_twice_round() {
    // Two ranks: half an array there and folded, half of it back.
    let two = params(Collective::Allreduce, Algorithm::Ring, 20_000, 2, 1 << 20);
    assert_eq!(time(&two, spread(2), &network()), 2 * hop(10_000) + fold(10_000));
    // Four: three turns that fold and three that do not, a quarter each.
    let four = params(Collective::Allreduce, Algorithm::Ring, 40_000, 4, 1 << 20);
    assert_eq!(time(&four, spread(4), &network()), 6 * hop(10_000) + 3 * fold(10_000));
}

#[test]
fn a_binomial_broadcast_to_four_goes_by_two_hops_one_behind_the_other() {
    // The root sends to rank 2 first, then to rank 1, and rank 2 to rank 3 meanwhile. Rank 3 has
    // it last: two hops.
    let four = params(Collective::Broadcast, Algorithm::Binomial, 10_000, 4, 1 << 20);
    assert_eq!(time(&four, spread(4), &network()), 2 * hop(10_000));
}

#[test]
fn a_chain_is_a_hop_for_each_rank_and_a_slice_for_each_slice() {
    let four = params(Collective::Broadcast, Algorithm::Chain, 10_000, 4, 1 << 20);
    assert_eq!(time(&four, spread(4), &network()), 3 * hop(10_000));
    // Five slices of 64 KiB: the last comes four slices' time on the wire behind the first, and
    // each passes on before the next is there.
    let long = params(Collective::Broadcast, Algorithm::Chain, 5 << 16, 4, 1 << 16);
    let wire = ((1 << 16) + 64) * NS;
    assert_eq!(time(&long, spread(4), &network()), 3 * hop(1 << 16) + 4 * wire);
}

#[test]
fn ranks_of_one_host_share_its_nic() {
    // Ranks 0 and 1 send a quarter each to the other host's two and back, all at one time: twice
    // as much on each wire as with a host for each.
    let count = 40 << 20;
    let four = params(Collective::Alltoall, Algorithm::Pairwise, count / 4, 4, 1 << 20);
    if crate::plan::build(&four, 0).is_err() {
        return;
    }
    let mut walk = Walk::new(packed(4, 2), &network());
    let shared = walk.run(&four, Symmetry::None).expect("an end").time_ps;
    let wire = 4 * (count / 4) * NS;
    assert!(shared >= wire && shared < wire + wire / 5, "{shared} {wire}");
}

#[test]
fn more_bytes_never_take_less_time() {
    for (collective, algorithm) in everything() {
        for world in [2, 4, 7] {
            let mut last = 0;
            for count in [1u64, 64, 4096, 1 << 16, 1 << 19, 1 << 22] {
                let params =
                    params(collective, algorithm, count * u64::from(world), world, 1 << 16);
                let mut walk = Walk::new(spread(world), &network());
                let time = walk.run(&params, Symmetry::None).expect("an end").time_ps;
                assert!(time >= last, "{collective} by {algorithm}: {count} x {world}");
                last = time;
            }
        }
    }
}

#[test]
fn a_straggler_slows_everybody_and_a_narrow_uplink_those_that_cross_it() {
    let ring = params(Collective::Allreduce, Algorithm::Ring, 8 << 20, 8, 1 << 18);
    let plain = time(&ring, spread(8), &network());
    let straggler = Some(Straggler { rank: 3, factor_milli: 2_000 });
    let slow = time(&ring, spread(8), &Network { straggler, ..network() });
    assert!(slow > plain + plain / 2 && slow < 3 * plain, "{plain} {slow}");

    let doubling = params(Collective::Allreduce, Algorithm::RecursiveDoubling, 8 << 20, 8, 1 << 18);
    let plain = time(&doubling, spread(8), &network());
    let wide = Switch { hosts: 4, oversubscription: 1 };
    let narrow = Switch { hosts: 4, oversubscription: 4 };
    let with = |switch| time(&doubling, spread(8), &Network { switch: Some(switch), ..network() });
    assert!(with(wide) < plain + plain / 10, "a wide uplink holds nobody up");
    // One of three rounds crosses, and takes four times as long there.
    assert!(with(narrow) > plain + plain / 2, "{} {plain}", with(narrow));
}

#[test]
fn cores_are_shared_where_ranks_outnumber_them() {
    let ring = params(Collective::Allreduce, Algorithm::Ring, 8 << 20, 8, 1 << 18);
    let with = |cores| {
        let network = Network::new(Costs { cores, ..ROUND });
        let mut walk = Walk::new(packed(8, 8), &network);
        walk.run(&ring, Symmetry::None).expect("an end").time_ps
    };
    assert_eq!(with(8), with(64));
    assert!(with(2) > 2 * with(8), "{} {}", with(2), with(8));
}

#[test]
fn every_plan_comes_to_an_end_and_sends_what_it_says() {
    for (collective, algorithm) in everything() {
        for (world, layout) in [(1, spread(1)), (5, packed(5, 2)), (8, spread(8))] {
            let params = params(collective, algorithm, 5_000 * u64::from(world), world, 1 << 10);
            let plans = (0..world).map(|rank| build(&params, rank).expect("a plan"));
            let sent = plans.map(|plan| crate::plan::bytes_sent(&*plan).values().sum::<u64>());
            let outcome = Walk::new(layout, &network()).run(&params, Symmetry::None);
            let outcome =
                outcome.unwrap_or_else(|error| panic!("{collective} {algorithm}: {error}"));
            assert_eq!(outcome.bytes_sent, sent.max().unwrap_or(0), "{collective} by {algorithm}");
        }
    }
}
