//! What is chosen, and that every rank chooses alike.

use super::*;
use crate::error::ErrorKind;
use crate::model::choice::{Choice, Chooser, Selection, built_in_hash};
use crate::model::{Class, Effort, predict};
use crate::plan::algorithms_with;

const PAIR: Layout = packed(2, 2);
const SPREAD: Layout = spread(8);

fn by_class(class: Class) -> Selection {
    Selection::built_in(class, 8)
}

fn of_bytes(collective: Collective, bytes: u64) -> Call {
    let dtype = DataType::Float32;
    Call { dtype, ..call(collective, algorithms(collective)[0], bytes / 4) }
}

fn chosen(selection: &Selection, layout: Layout, collective: Collective, bytes: u64) -> Choice {
    selection.choose(layout, &of_bytes(collective, bytes), None)
}

#[test]
fn small_arrays_go_by_few_turns_and_large_ones_by_few_bytes() {
    for class in Class::ALL {
        let table = by_class(class);
        for layout in [SPREAD, spread(64), packed(64, 8)] {
            let of = |bytes| chosen(&table, layout, Collective::Allreduce, bytes).algorithm;
            assert_ne!(of(64), Algorithm::Ring, "{class:?} {layout:?}");
            let large = of(64 << 20);
            assert!(
                !matches!(large, Algorithm::RecursiveDoubling | Algorithm::Tree),
                "{large} {class:?} {layout:?}"
            );
        }
        let broadcast = |bytes| chosen(&table, SPREAD, Collective::Broadcast, bytes).algorithm;
        assert_eq!(broadcast(64), Algorithm::Binomial);
        assert_ne!(broadcast(64 << 20), Algorithm::Binomial);
    }
}

#[test]
fn elements_that_travel_encoded_take_less_of_a_slow_wire_and_go_by_what_can_encode_them() {
    for class in [Class::Gbit1, Class::Gbit10] {
        let (table, layout) = (by_class(class), spread(4));
        let network = Network::new(*table.costs());
        for collective in [Collective::Allreduce, Collective::Allgather, Collective::ReduceScatter]
        {
            let time = |wire, bytes| {
                let call = Call { wire, ..of_bytes(collective, bytes) };
                let Choice { algorithm, slice, .. } = table.choose(layout, &call, None);
                assert!(algorithms_with(collective, wire).contains(&algorithm), "{algorithm}");
                let params = Params::new(Call { algorithm, ..call }, layout.world, slice);
                predict(&params, layout, &network, Effort::ALL).expect("a plan").time_ps as f64
            };
            time(Wire::Int8, 64);
            let times = Wire::ALL.iter().map(|wire| time(*wire, 16 << 20));
            let [plain, bf16, f16, int8] = times.collect::<Vec<_>>().try_into().expect("four");
            let (half, quarter) = if class == Class::Gbit1 { (1.9, 3.5) } else { (1.2, 1.2) };
            assert!(bf16 == f16 && plain / bf16 > half, "{collective} {}", plain / bf16);
            assert!(plain / int8 > quarter, "{collective} {}", plain / int8);
        }
    }
}

#[test]
fn what_is_chosen_is_near_the_best_there_is() {
    let slices = [16 << 10, 64 << 10, 256 << 10, 1 << 20];
    for class in [Class::Gbit1, Class::Gbit100] {
        let table = by_class(class);
        let network = Network::new(*table.costs());
        for layout in [spread(4), spread(12), packed(16, 4)] {
            for collective in [Collective::Allreduce, Collective::Broadcast, Collective::Allgather]
            {
                for count in [1_000, 60_000, 3_000_000] {
                    let call = call(collective, algorithms(collective)[0], count);
                    let time = |algorithm, slice| {
                        let call = Call { algorithm, ..call };
                        let params = Params::new(call, layout.world, slice);
                        predict(&params, layout, &network, Effort::ALL).ok().map(|p| p.time_ps)
                    };
                    let choice = table.choose(layout, &call, None);
                    let Some(ours) = time(choice.algorithm, choice.slice) else { continue };
                    let all = algorithms(collective)
                        .iter()
                        .flat_map(|algorithm| slices.map(|slice| time(*algorithm, slice)));
                    let best = all.flatten().min().expect("at least the chosen one");
                    // The choice is for a count of four significant bits, which may be a slice
                    // less; and where ranks share a NIC, who comes first is a matter of few bytes.
                    let most = if layout.ranks_per_host_max > 1 { best / 4 } else { best / 6 };
                    assert!(
                        ours <= best + most,
                        "{collective} of {count} on {layout:?}, {class:?}: {choice:?} takes {ours}, the best {best}"
                    );
                }
            }
        }
    }
}

#[test]
fn parts_that_go_together_in_a_step_are_not_cut_from_each_other_for_nothing() {
    let table = Selection::built_in(Class::Gbit10, 2);
    let layout = packed(4, 4);
    let network = Network::new(*table.costs());
    for (collective, algorithm) in [
        (Collective::ReduceScatter, Algorithm::RecursiveHalving),
        (Collective::Allgather, Algorithm::RecursiveDoubling),
    ] {
        // One rank's part: the first step, or the last, exchanges two.
        let call = of_bytes(collective, 16 << 10);
        let time = |slice| {
            let params = Params::new(Call { algorithm, ..call }, layout.world, slice);
            predict(&params, layout, &network, Effort::ALL).expect("a plan").time_ps
        };
        let choice = table.choose(layout, &call, Some(algorithm));
        assert!(choice.slice >= 32 << 10, "{collective} {}", choice.slice);
        assert!(time(choice.slice) < time(16 << 10), "{collective}");
    }
}

/// By the walk of twenty times the steps that a choice affords. Over a grid of all worlds some cells are
/// further off (`cargo bench --bench choice -- grid` lists them).
#[test]
fn in_large_worlds_the_algorithm_chosen_is_near_the_best() {
    let mut wrong = Vec::new();
    let mut cells = 0;
    let table = by_class(Class::Gbit25);
    let network = Network::new(*table.costs());
    for layout in [spread(32), spread(100), spread(256), packed(64, 8), packed(256, 2)] {
        for collective in [
            Collective::Allreduce,
            Collective::Broadcast,
            Collective::Alltoall,
            Collective::ReduceScatter,
        ] {
            for bytes in [64u64, 64 << 10, 4 << 20, 64 << 20] {
                let parts = match collective {
                    Collective::Alltoall | Collective::ReduceScatter => layout.world.into(),
                    _ => 1,
                };
                let call = of_bytes(collective, (bytes / parts).max(4));
                let time = |algorithm| {
                    let slice = table.choose(layout, &call, Some(algorithm)).slice;
                    let params = Params::new(Call { algorithm, ..call }, layout.world, slice);
                    predict(&params, layout, &network, Effort::of(20_000)).expect("plans").time_ps
                };
                let best = algorithms(collective).iter().map(|algorithm| time(*algorithm)).min();
                let best = best.expect("an algorithm");
                let chosen = table.choose(layout, &call, None);
                let ours = time(chosen.algorithm);
                cells += 1;
                if ours > best + best / 8 {
                    wrong.push(format!(
                        "{collective} of {bytes} bytes on {layout:?}: {chosen:?} takes {ours}, the best {best}"
                    ));
                }
            }
        }
    }
    assert!(cells >= 80 && wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_choice_is_the_same_however_often_and_in_whatever_order_it_is_made() {
    let table = by_class(Class::Gbit10);
    let sizes: Vec<u64> =
        (0..40).map(|step| 97u64.saturating_mul(1 << (step / 2)) + step).collect();
    let ranks: Vec<Chooser> = (0..3).map(|_| Chooser::new(SPREAD, table.clone())).collect();
    let mut said: Vec<Vec<Choice>> = Vec::new();
    for (index, chooser) in ranks.iter().enumerate() {
        let mut order: Vec<u64> = sizes.clone();
        order.rotate_left(index * 7);
        for count in order {
            chooser.choose(&call(Collective::Allreduce, Algorithm::Ring, count), None);
        }
        let again = sizes.iter().map(|count| {
            chooser.choose(&call(Collective::Allreduce, Algorithm::Ring, *count), None)
        });
        said.push(again.collect());
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]));
    let fresh: Vec<Choice> = sizes
        .iter()
        .map(|count| {
            table.choose(SPREAD, &call(Collective::Allreduce, Algorithm::Tree, *count), None)
        })
        .collect();
    assert_eq!(said[0], fresh, "the memory of a chooser changes nothing");
}

#[test]
fn slices_hold_whole_elements_and_what_no_rank_knows_changes_nothing() {
    let table = by_class(Class::Gbit10);
    for dtype in DataType::ALL {
        let large =
            Call { dtype: *dtype, ..call(Collective::Broadcast, Algorithm::Chain, 1 << 27) };
        let slice = table.choose(SPREAD, &large, None).slice as usize;
        assert!(slice.is_multiple_of(dtype.size()) && slice >= 16 << 10);
    }
    for collective in [Collective::Gatherv, Collective::Scatterv, Collective::Alltoallv] {
        let own =
            |layout| table.choose(layout, &call(collective, algorithms(collective)[0], 0), None);
        assert_eq!(own(SPREAD), own(PAIR));
    }
}

#[test]
fn a_forced_algorithm_holds_for_every_size_and_no_other_collective() {
    let table = by_class(Class::Gbit1);
    for collective in Collective::ALL {
        for algorithm in algorithms(*collective) {
            let forced = table.clone().with_forced(&format!(" {collective}:{algorithm} ,"));
            let forced = forced.expect("a valid text");
            for bytes in [0, 4, 1 << 16, 1 << 30] {
                for layout in [PAIR, SPREAD] {
                    let choice = chosen(&forced, layout, *collective, bytes);
                    assert_eq!(choice.algorithm, *algorithm);
                    assert!(choice.slice > 0);
                }
            }
        }
    }
    let forced = table.clone().with_forced("allreduce:tree,allreduce:ring").expect("valid");
    assert_eq!(chosen(&forced, PAIR, Collective::Allreduce, 4).algorithm, Algorithm::Ring);
    let wanted = forced.choose(PAIR, &of_bytes(Collective::Allreduce, 4), Some(Algorithm::Tree));
    assert_eq!(wanted.algorithm, Algorithm::Tree, "what the call names goes first");
    assert_eq!(
        chosen(&forced, PAIR, Collective::Broadcast, 4),
        chosen(&table, PAIR, Collective::Broadcast, 4)
    );
}

#[test]
fn a_wrong_word_is_quoted_with_what_it_could_have_been() {
    for (text, word) in [
        ("ring", "collective:algorithm"),
        ("broadcast:chain,sum:ring", "barrier, broadcast, allreduce"),
        ("allreduce:chain", "ring, recursive_doubling, tree"),
    ] {
        let error = by_class(Class::Gbit1).with_forced(text).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn a_selection_survives_the_hand_out_and_other_costs_lead_to_other_choices() {
    let table = by_class(Class::Gbit1);
    let forced = table.clone().with_forced("broadcast:binomial,allreduce:tree").expect("valid");
    let turned = table.clone().with_forced("allreduce:tree,broadcast:binomial").expect("valid");
    assert_eq!(forced.to_bytes(), turned.to_bytes());
    for selection in [table.clone(), forced] {
        let copy = Selection::from_bytes(&selection.to_bytes()).expect("what was written");
        assert_eq!(copy, selection);
    }
    assert_eq!(built_in_hash(), built_in_hash());
    let mut far = *table.costs();
    far.remote.latency_ps = 100_000 * US;
    let far = Selection::new(far);
    let at = |selection: &Selection| {
        let sizes = (0..12).map(|step| 1u64 << (10 + 2 * step));
        let all =
            sizes.map(|bytes| chosen(selection, SPREAD, Collective::Allreduce, bytes).algorithm);
        all.collect::<Vec<_>>()
    };
    assert_ne!(at(&far), at(&table), "a tenth of a second away few turns are worth many bytes");
}

#[test]
fn no_bytes_make_a_selection_that_cannot_be_followed() {
    let bytes = by_class(Class::Gbit1).with_forced("allreduce:ring").expect("valid").to_bytes();
    for len in 0..bytes.len() {
        assert!(Selection::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    for position in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[position] ^= flip;
            let Ok(selection) = Selection::from_bytes(&bytes) else { continue };
            for collective in [Collective::Allreduce, Collective::Broadcast] {
                let choice = chosen(&selection, SPREAD, collective, 1 << 40);
                assert!(algorithms(collective).contains(&choice.algorithm));
                assert!((4..=1 << 20).contains(&choice.slice));
            }
        }
    }
    let long = [bytes.as_slice(), &[0; 300]].concat();
    assert_eq!(Selection::from_bytes(&long).expect_err("too long").kind(), ErrorKind::Protocol);
}

// P-60
#[test]
fn large_steps_between_hosts_go_by_as_many_sockets_as_the_table_says() {
    let params = |algorithm, bytes: u64, slice| {
        let call = Call { algorithm, ..of_bytes(Collective::Allreduce, bytes) };
        Params::new(call, 4, slice)
    };
    let stripes = |class, layout, algorithm, bytes| {
        by_class(class).stripes(layout, &params(algorithm, bytes, 256 << 10))
    };
    let (ring, whole) = (Algorithm::Ring, Algorithm::RecursiveDoubling);
    for (class, number) in Class::ALL.into_iter().zip([1, 1, 2, 4]) {
        assert_eq!(stripes(class, spread(4), ring, 64 << 20), Some(number));
    }
    // A part of the ring's four has to be two slices, or the whole array where there are no parts.
    let of = |algorithm, bytes| stripes(Class::Gbit100, spread(4), algorithm, bytes);
    assert_eq!([of(ring, (2 << 20) - 16), of(ring, 2 << 20)], [None, Some(4)]);
    assert_eq!([of(whole, (512 << 10) - 4), of(whole, 512 << 10)], [None, Some(4)]);
    // Of slices that are larger, two as well.
    let larger = by_class(Class::Gbit100).stripes(spread(4), &params(ring, 4 << 20, 1 << 20));
    assert_eq!(larger, None);
    assert_eq!(stripes(Class::Gbit100, packed(4, 4), ring, 64 << 20), None, "within a host");
}
