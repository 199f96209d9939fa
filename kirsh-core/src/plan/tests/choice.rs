//! The table of choice.

use crate::error::ErrorKind;
use crate::plan::algorithms;
use crate::plan::choice::{Choice, Layout, Selection};
use crate::types::{Algorithm, Collective, DataType};

const PAIR: Layout = Layout { world: 2, ranks_per_host_max: 2 };
const SPREAD: Layout = Layout { world: 8, ranks_per_host_max: 1 };

fn chosen(selection: &Selection, layout: Layout, collective: Collective, bytes: u64) -> Choice {
    selection.choose(layout, collective, bytes, DataType::Float32, None)
}

#[test]
fn small_arrays_go_by_few_turns_and_large_ones_by_few_bytes() {
    let table = Selection::built_in();
    let allreduce = |layout, bytes| chosen(&table, layout, Collective::Allreduce, bytes).algorithm;
    assert_eq!(allreduce(PAIR, 0), Algorithm::RecursiveDoubling);
    assert_eq!(allreduce(PAIR, (64 << 10) - 1), Algorithm::RecursiveDoubling);
    assert_eq!(allreduce(PAIR, 64 << 10), Algorithm::Ring);
    assert_eq!(allreduce(SPREAD, 64 << 10), Algorithm::RecursiveDoubling);
    assert_eq!(allreduce(SPREAD, 256 << 10), Algorithm::Ring);
    let broadcast = |bytes| chosen(&table, SPREAD, Collective::Broadcast, bytes).algorithm;
    assert_eq!(broadcast((12 << 10) - 1), Algorithm::Binomial);
    assert_eq!(broadcast(12 << 10), Algorithm::Chain);
    let barrier = chosen(&table, SPREAD, Collective::Barrier, 0).algorithm;
    assert_eq!(barrier, Algorithm::Dissemination);
}

#[test]
fn slices_follow_the_layout_and_hold_whole_elements() {
    let table = Selection::built_in();
    let slice = |layout| chosen(&table, layout, Collective::Allreduce, 1 << 30).slice;
    assert!(slice(PAIR) > slice(SPREAD));
    for dtype in DataType::ALL {
        let choice = table.choose(SPREAD, Collective::Allreduce, 1 << 30, *dtype, None);
        assert_eq!(choice.slice as usize % dtype.size(), 0);
    }
}

#[test]
fn a_forced_algorithm_holds_for_every_size_and_no_other_collective() {
    let table = Selection::built_in();
    for collective in Collective::ALL {
        for algorithm in algorithms(*collective) {
            let forced = table.clone().with_forced(&format!(" {collective}:{algorithm} ,"));
            let forced = forced.expect("a valid text");
            for bytes in [0, 1, 1 << 16, 1 << 40] {
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
        let error = Selection::built_in().with_forced(text).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.message().contains(word), "{error}");
    }
}

#[test]
fn a_table_survives_the_hand_out_and_its_hash_tells_tables_apart() {
    let table = Selection::built_in();
    let forced = table.clone().with_forced("broadcast:binomial,allreduce:tree").expect("valid");
    let turned = table.clone().with_forced("allreduce:tree,broadcast:binomial").expect("valid");
    assert_eq!(forced.hash(), turned.hash());
    assert_ne!(forced.hash(), table.hash());
    for table in [table, forced] {
        let copy = Selection::from_bytes(&table.to_bytes()).expect("what was written");
        assert_eq!(copy, table);
        assert_eq!(copy.hash(), table.hash());
    }
}

#[test]
fn no_bytes_make_a_table_that_cannot_be_followed() {
    let bytes = Selection::built_in().with_forced("allreduce:ring").expect("valid").to_bytes();
    for len in 0..bytes.len() {
        if let Ok(table) = Selection::from_bytes(&bytes[..len]) {
            assert_ne!(table, Selection::built_in());
        }
    }
    for position in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[position] ^= flip;
            let Ok(table) = Selection::from_bytes(&bytes) else { continue };
            for collective in Collective::ALL {
                for size in [0, 1 << 20, 1 << 40] {
                    let choice = chosen(&table, SPREAD, *collective, size);
                    assert!(algorithms(*collective).contains(&choice.algorithm));
                    assert!((4..=1 << 20).contains(&choice.slice));
                }
            }
        }
    }
    let long = [bytes.as_slice(), &[0; 23 * 300]].concat();
    assert_eq!(Selection::from_bytes(&long).expect_err("too long").kind(), ErrorKind::Protocol);
}
