//! The way of the library's log into Python's `logging`.
//!
//! Threads that log never wait: a record goes into a bounded queue, or is counted as lost. A
//! daemon thread of Python (`kirsh._logging`) takes records out and hands them to the logger
//! "kirsh", so that a warning about late ranks appears while the caller still waits for them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use pyo3::prelude::*;

/// Records that wait for Python. A thousand lines are more than anybody reads of one stall.
const QUEUE_RECORDS: usize = 1024;

/// How long `log_stop` waits for room for its mark.
const STOP_WAIT: Duration = Duration::from_millis(100);

enum Entry {
    Record { level: u8, text: String },
    Stop,
}

static QUEUE: LazyLock<(Sender<Entry>, Receiver<Entry>)> = LazyLock::new(|| bounded(QUEUE_RECORDS));
static LOST: AtomicU64 = AtomicU64::new(0);
/// What the core was told last. No level at first.
static LEVEL: AtomicU8 = AtomicU8::new(u8::MAX);
/// The process that empties the queue; 0 while nobody does.
static READER_PID: AtomicU32 = AtomicU32::new(0);

/// Makes the core log into the queue.
pub(crate) fn install() {
    kirsh_core::log::set_sink(sink);
}

fn sink(level: u8, text: &str) {
    // In a forked child nobody reads, and the queue may have been in anybody's hands at the fork.
    if READER_PID.load(Ordering::Relaxed) != std::process::id() {
        return;
    }
    if QUEUE.0.try_send(Entry::Record { level, text: text.to_owned() }).is_err() {
        LOST.fetch_add(1, Ordering::Relaxed);
    }
}

/// Set which levels are wanted, from 0 (none) to 5 (trace), and say that this process reads them.
#[pyfunction]
pub(crate) fn log_level(level: u8) {
    // The core goes through all its call sites on a change.
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        kirsh_core::log::set_level(level);
    }
    READER_PID.store(std::process::id(), Ordering::Relaxed);
}

/// Wait for the next record: its level, its text, and how many were lost before it.
///
/// None once `log_stop` was called and all earlier records have been read.
#[pyfunction]
pub(crate) fn log_next(py: Python<'_>) -> Option<(u8, String, u64)> {
    match py.detach(|| QUEUE.1.recv()) {
        Ok(Entry::Record { level, text }) => Some((level, text, LOST.swap(0, Ordering::Relaxed))),
        Ok(Entry::Stop) | Err(_) => None,
    }
}

/// End the thread that calls `log_next`, behind the records that are there already.
#[pyfunction]
pub(crate) fn log_stop(py: Python<'_>) {
    READER_PID.store(0, Ordering::Relaxed);
    // Without room for the mark the reader is stuck in a handler, and exits with the process.
    let _ = py.detach(|| QUEUE.0.send_timeout(Entry::Stop, STOP_WAIT));
}
