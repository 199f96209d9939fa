//! The host language's way to break off a blocking call: Ctrl-C in Python.

use std::sync::OnceLock;

static CHECK: OnceLock<fn() -> bool> = OnceLock::new();

/// Sets what blocking waits call when a signal arrives, and now and then while they spin. When it
/// answers `true` the wait gives up: its communicator is aborted with `ErrorKind::Interrupted`,
/// and the peers are told. It runs on the waiting thread and may take the language's own lock.
/// Should it panic, the communicator ends for all ranks, and the panic goes on to the caller.
/// Only the first call of a process has an effect.
pub fn set_interrupt_check(check: fn() -> bool) {
    let _ = CHECK.set(check);
}

pub(crate) fn is_set() -> bool {
    CHECK.get().is_some()
}

pub(crate) fn check() -> bool {
    CHECK.get().is_some_and(|check| check())
}
