//! Ctrl-C: what a blocking wait asks now and then.
//!
//! Python's own signal handler only leaves a note; handlers written in Python run when the main
//! thread next looks for it. A wait that is detached from the interpreter has to look by itself.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use pyo3::prelude::*;

/// What `pthread_self` says in the thread that Python runs signal handlers in; 0 before any
/// communicator was created.
static MAIN_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What a handler raised in this thread, until the call that it ended returns.
    static RAISED: RefCell<Option<PyErr>> = const { RefCell::new(None) };
}

/// Makes the core ask this module.
pub(crate) fn install() {
    kirsh_core::comm::set_interrupt_check(check);
}

/// Learns which thread runs Python's signal handlers. It changes only in a forked child.
pub(crate) fn remember_main_thread(py: Python<'_>) -> PyResult<()> {
    let main = PyModule::import(py, "threading")?.call_method0("main_thread")?;
    let ident: Option<usize> = main.getattr("ident")?.extract()?;
    MAIN_THREAD.store(ident.unwrap_or(0), Ordering::Relaxed);
    Ok(())
}

/// What a signal handler raised while this thread was in a call, if one did.
pub(crate) fn take() -> Option<PyErr> {
    RAISED.with_borrow_mut(Option::take)
}

/// Keeps what a handler raised within Python code that the core called in this thread.
pub(crate) fn keep(raised: PyErr) {
    RAISED.set(Some(raised));
}

/// Runs pending signal handlers; true if one raised, so that the wait should be given up.
fn check() -> bool {
    // Python does nothing in other threads, so they are spared the wait for the GIL.
    // SAFETY: pthread_self has no preconditions.
    let this_thread = unsafe { libc::pthread_self() } as usize;
    if this_thread != MAIN_THREAD.load(Ordering::Relaxed) {
        return false;
    }
    Python::attach(|py| match py.check_signals() {
        Ok(()) => false,
        Err(raised) => {
            keep(raised);
            true
        }
    })
}
