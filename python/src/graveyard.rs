//! Operations that run on although their `Work` object is gone.
//!
//! A `Work` may be collected while its operation still reads and writes the caller's arrays. It
//! must neither block there, holding the GIL, nor let the arrays go. So it lays both down here, and
//! later calls bury what is over. The progress thread never comes by: it owns no Python reference.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use kirsh_core::RawWork;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::message::Received;
use crate::operand::Lent;

/// A running operation and the memory it works on. Fields drop in this order: first the operation.
pub(crate) struct Running {
    pub(crate) work: RawWork,
    pub(crate) lent: Arc<Lent>,
}

impl Running {
    /// What has been received, once a receive has ended well.
    pub(crate) fn received(&self) -> Option<Received> {
        let received = self.work.received()?;
        Some(Received::new(received, self.lent.element_size()))
    }

    /// What the caller gets back, once the operation has ended well.
    pub(crate) fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.received() {
            Some(received) => received.into_py_any(py),
            None => self.lent.result(py),
        }
    }
}

static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());
/// How many are in there, so that the usual call pays one load.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Keeps an operation's memory alive until a later `sweep` finds the operation over.
pub(crate) fn lay_down(running: Running) {
    let mut all = RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    all.push(running);
    COUNT.store(all.len(), Ordering::Release);
}

/// Drops what is over. Never blocks: where another thread is at it, that one does the work.
pub(crate) fn sweep(_attached: Python<'_>) {
    if COUNT.load(Ordering::Acquire) == 0 {
        return;
    }
    let over: Vec<Running> = match RUNNING.try_lock() {
        Ok(mut all) => {
            let over = all.extract_if(.., |running| running.work.is_over()).collect();
            COUNT.store(all.len(), Ordering::Release);
            over
        }
        Err(_) => return,
    };
    // Outside the lock: the last reference to an array may run any Python code.
    drop(over);
}
