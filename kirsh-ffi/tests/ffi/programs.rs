//! Programs under tests/programs, each run as ranks; what they check is written in them.

use crate::support::{Linkage, compile, program, run_ranks};

/// Compiles a program and runs it as so many ranks, which all have to end well.
fn runs(name: &str, linkage: Linkage, ranks: u32) {
    run_ranks(&compile(&program(name), linkage), &[], ranks);
}

#[test]
fn collectives_give_the_right_values_in_c_with_the_shared_library() {
    runs("values.c", Linkage::Shared, 3);
}

#[test]
fn collectives_give_the_right_values_in_c_with_the_static_library() {
    runs("values.c", Linkage::Static, 2);
}

/// Compiles a program and runs it as 1, 2 and 3 ranks.
fn runs_in_worlds_of_three_sizes(name: &str) {
    let program = compile(&program(name), Linkage::Shared);
    (1..=3).for_each(|ranks| _ = run_ranks(&program, &[], ranks));
}

#[test]
fn every_collective_gives_the_right_values_called_started_and_planned() {
    runs_in_worlds_of_three_sizes("collectives.c");
}

#[test]
fn parts_may_have_counts_of_their_own_and_lie_anywhere() {
    runs_in_worlds_of_three_sizes("unequal.c");
}

#[test]
fn wrong_arguments_of_any_collective_are_refused_and_touch_nothing() {
    runs_in_worlds_of_three_sizes("wrong.c");
}

#[test]
fn plans_run_often_and_beside_calls_that_were_not_prepared() {
    runs_in_worlds_of_three_sizes("plans.c");
}

#[test]
fn means_count_each_rank_by_its_weight() {
    runs_in_worlds_of_three_sizes("weights.c");
}

#[test]
fn elements_travel_encoded_and_end_the_same_on_every_rank() {
    runs_in_worlds_of_three_sizes("wires.c");
    runs("wires.cpp", Linkage::Shared, 3);
}

#[test]
fn several_operations_are_waited_for_together_or_one_by_one() {
    runs("waits.c", Linkage::Shared, 2);
}

#[test]
fn cpp_has_every_collective_called_started_and_planned() {
    runs_in_worlds_of_three_sizes("collectives.cpp");
}

#[test]
fn started_operations_are_pending_until_the_peers_come() {
    runs("started.c", Linkage::Shared, 2);
}

#[test]
fn destroying_a_work_waits_until_the_buffer_is_the_callers_again() {
    runs("lent.c", Linkage::Shared, 2);
}

#[test]
fn impossible_arguments_are_refused_by_name_and_write_no_output() {
    runs("arguments.c", Linkage::Shared, 1);
}

#[test]
fn peers_hear_at_once_of_a_call_that_the_binding_refuses() {
    runs("refused.c", Linkage::Shared, 3);
}

#[test]
fn ranks_that_call_different_things_both_hear_of_it() {
    runs("mismatch.c", Linkage::Shared, 2);
}

#[test]
fn abort_reaches_every_rank_with_its_reason() {
    runs("aborted.c", Linkage::Shared, 3);
}

#[test]
fn messages_go_from_one_rank_to_another() {
    runs("messages.c", Linkage::Shared, 3);
    runs("messages.cpp", Linkage::Shared, 3);
}

#[test]
fn communicators_are_made_from_communicators() {
    runs("groups.c", Linkage::Shared, 3);
    runs("groups.cpp", Linkage::Shared, 3);
}

#[test]
fn a_deadline_of_one_call_ends_it() {
    runs("timeout.c", Linkage::Shared, 2);
}

#[test]
fn a_communicator_can_be_made_anew_after_it_was_destroyed() {
    runs("again.c", Linkage::Shared, 2);
}

#[test]
fn in_a_forked_child_handles_are_dead_and_the_parents_live_on() {
    runs("forked.c", Linkage::Shared, 2);
}

#[test]
fn the_log_reaches_a_callback_until_it_is_taken_away() {
    runs("log.c", Linkage::Shared, 2);
}

#[test]
fn cpp_elements_spans_and_operators_give_the_right_values() {
    runs("values.cpp", Linkage::Shared, 3);
}

#[test]
fn cpp_works_own_or_borrow_their_buffers_and_never_leave_one_lent() {
    runs("works.cpp", Linkage::Static, 2);
}

#[test]
fn cpp_exceptions_have_the_class_of_their_kind_and_its_parts() {
    runs("errors.cpp", Linkage::Shared, 2);
}

#[test]
fn ranks_meet_in_a_store_that_the_program_brings() {
    let directory = tempfile::tempdir().unwrap();
    let store = compile(&program("store.cpp"), Linkage::Shared);
    run_ranks(&store, &[directory.path().to_str().unwrap()], 2);
}
