//! Into how many parts calls are cut.

use super::*;
use crate::limits::CHANNELS_MAX;
use crate::model::choice::Selection;
use crate::model::{ChannelRule, Class, Effort, predict};

const MIB: u64 = 1 << 20;

fn channels(class: Class, rule: ChannelRule, layout: Layout, bytes: u64) -> u16 {
    let call = call(Collective::Allreduce, Algorithm::Ring, bytes);
    Selection::built_in(class, 64).with_channels(rule).choose(layout, &call, None).channels
}

#[test]
fn a_call_is_cut_where_its_link_its_cores_and_its_size_allow() {
    let of = |class, cores, bytes| channels(class, ChannelRule::auto(cores), spread(4), bytes);
    // What one core fills has one channel, whatever there is.
    for class in [Class::Gbit1, Class::Gbit10] {
        assert_eq!(of(class, 64, 1 << 30), 1, "{class:?}");
    }
    assert_eq!(of(Class::Gbit25, 64, 64 * MIB), 2);
    assert_eq!(of(Class::Gbit100, 64, 64 * MIB), 8);
    // Two cores for each.
    for (cores, expected) in [(1, 1), (2, 1), (3, 1), (4, 2), (7, 2), (8, 4), (15, 4), (16, 8)] {
        assert_eq!(of(Class::Gbit100, cores, 64 * MIB), expected, "{cores} cores");
    }
    // 4 MiB for each.
    for (bytes, expected) in [(0, 1), (4, 1), (7, 1), (8, 2), (15, 2), (16, 4), (31, 4), (32, 8)] {
        assert_eq!(of(Class::Gbit100, 64, bytes * MIB), expected, "{bytes} MiB");
    }
}

#[test]
fn ranks_of_one_host_share_its_link() {
    let of = |layout| channels(Class::Gbit100, ChannelRule::auto(16), layout, 64 * MIB);
    assert_eq!([1, 2, 4, 8].map(|ranks| of(packed(16, ranks))), [8, 4, 2, 1]);
    // Within a host there is no link: a core copies as fast as memory lends it.
    assert_eq!(of(packed(8, 8)), 4);
    assert_eq!(of(packed(1, 1)), 1);
}

#[test]
fn what_is_forced_holds_for_calls_that_can_be_cut_and_the_default_is_one() {
    let forced = ChannelRule { forced: Some(3), cores_per_rank: 1 };
    let selection = Selection::built_in(Class::Gbit1, 2);
    for (collective, algorithm) in everything() {
        let call = call(collective, algorithm, 10);
        let of = |selection: &Selection| selection.choose(spread(3), &call, None).channels;
        assert_eq!(of(&selection), 1);
        let uncut =
            matches!(collective, Collective::Barrier | Collective::Scan | Collective::Exscan);
        let expected = if uncut { 1 } else { 3 };
        assert_eq!(of(&selection.clone().with_channels(forced)), expected, "{collective}");
    }
    let sum = call(Collective::Allgatherv, Algorithm::Ring, 100);
    assert_eq!(selection.with_channels(forced).choose(spread(3), &sum, None).channels, 1);
}

#[test]
fn parts_share_the_link_and_have_cores_of_their_own() {
    let layout = spread(4);
    let whole = params(Collective::Allreduce, Algorithm::Ring, 64 * MIB, 4, 1 << 20);
    let time = |wire_fs, channels: u16| {
        let remote = Link { wire_fs, ..ROUND.remote };
        let costs = Costs { remote, ..ROUND }.of_part(channels);
        let part = Params { channels, ..whole.clone() }.part(0).params;
        predict(&part, layout, &Network::new(costs), Effort::ALL).expect("a plan").time_ps as f64
    };
    // A slow link is as slow for many; without one, twice as many take half as long.
    let slow = time(10_000_000, CHANNELS_MAX) / time(10_000_000, 1);
    assert!((0.9..1.1).contains(&slow), "{slow}");
    let fast = time(1, 2) / time(1, 1);
    assert!((0.45..0.6).contains(&fast), "{fast}");
}
