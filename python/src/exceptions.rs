//! From `kirsh_core::Error` to the exceptions of `kirsh._errors`.
//!
//! The classes are written in Python, because some have two bases; they are looked up once.

use kirsh_core::{Error, ErrorKind, Scope};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::interrupt;

static MODULE: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The exception to raise for an error of the core.
///
/// Where a signal ended the call, that is what the signal's Python handler raised in this thread,
/// such as `KeyboardInterrupt`.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    if error.kind() == ErrorKind::Interrupted
        && let Some(raised) = interrupt::take()
    {
        return raised;
    }
    build(py, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let module =
        MODULE.get_or_try_init(py, || PyModule::import(py, "kirsh._errors").map(Bound::unbind))?;
    let attributes = PyDict::new(py);
    attributes.set_item("kind", error.kind().name())?;
    attributes.set_item("scope", scope_name(error.scope()))?;
    attributes.set_item("rank", error.rank())?;
    attributes.set_item("peer", error.peer())?;
    attributes.set_item("operation", error.operation())?;
    attributes.set_item("sequence", error.sequence())?;
    let class = module.bind(py).getattr(class_name(error.kind()))?;
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&attributes))?))
}

fn class_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Timeout => "KirshTimeoutError",
        ErrorKind::PeerLost => "PeerLostError",
        ErrorKind::Mismatch => "MismatchError",
        ErrorKind::Refused => "RefusedError",
        ErrorKind::Aborted | ErrorKind::Interrupted => "AbortedError",
        ErrorKind::InvalidArgument => "InvalidArgumentError",
        ErrorKind::Unsupported => "UnsupportedError",
        _ => "KirshError",
    }
}

fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Call => "call",
        Scope::Link => "link",
        Scope::Communicator => "communicator",
    }
}
