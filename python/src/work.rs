//! `Work`: an operation that was started, and the arrays that it has borrowed.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kirsh_core::{Error, ErrorKind, RawWork, Timeout};
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyException, PyRuntimeError, PyTypeError};
use pyo3::prelude::*;

use crate::arguments::{self, Refusal};
use crate::exceptions::raise;
use crate::graveyard::{self, Running};
use crate::message::Received;
use crate::operand::Lent;

/// An operation that was started with ``async_op=True``.
///
/// It has borrowed its arrays: leave them alone until ``wait()`` has returned or ``done`` is true.
/// A ``Work`` that is dropped lets its operation go on, and the arrays live until it is over.
#[pyclass(frozen, weakref, generic, module = "kirsh")]
pub(crate) struct Work {
    state: Mutex<State>,
    rank: u32,
    operation: &'static str,
    /// `None` for a message.
    sequence: Option<u64>,
}

enum State {
    /// Shared with the threads that wait, which hold no lock meanwhile.
    Running(Arc<Running>),
    Finished(Py<PyAny>),
    Failed(Error),
    /// The object is being collected.
    Dropped,
}

/// What a look at the state finds: an end, or something to ask.
pub(crate) enum Look {
    Running(Arc<Running>),
    Finished(Py<PyAny>),
}

impl Work {
    pub(crate) fn new(work: RawWork, lent: Arc<Lent>, rank: u32, operation: &'static str) -> Self {
        let sequence = work.sequence();
        let state = Mutex::new(State::Running(Arc::new(Running { work, lent })));
        Work { state, rank, operation, sequence }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn is_done(&self) -> bool {
        match &*self.state() {
            State::Running(running) => running.work.is_over(),
            State::Finished(_) | State::Failed(_) | State::Dropped => true,
        }
    }

    pub(crate) fn look(&self, py: Python<'_>) -> PyResult<Look> {
        match &*self.state() {
            State::Running(running) => Ok(Look::Running(running.clone())),
            State::Finished(result) => Ok(Look::Finished(result.clone_ref(py))),
            State::Failed(error) => Err(raise(py, error)),
            State::Dropped => Err(PyRuntimeError::new_err("this kirsh.Work is being collected")),
        }
    }

    /// Takes down how the operation ended and lets its arrays go.
    pub(crate) fn settle(
        &self,
        py: Python<'_>,
        running: Arc<Running>,
        end: Result<(), Error>,
    ) -> PyResult<Py<PyAny>> {
        let (state, answer) = match end {
            Ok(()) => {
                let result = running.result(py)?;
                (State::Finished(result.clone_ref(py)), Ok(result))
            }
            Err(error) => {
                let raised = raise(py, &error);
                (State::Failed(error), Err(raised))
            }
        };
        let before = std::mem::replace(&mut *self.state(), state);
        // Outside the lock, because arrays that go may run Python code.
        retire(running);
        if let State::Running(shared) = before {
            retire(shared);
        }
        answer
    }
}

/// Gives up one share of an operation; the last one lets it go without waiting for it.
pub(crate) fn retire(running: Arc<Running>) {
    if let Some(running) = Arc::into_inner(running)
        && !running.work.is_over()
    {
        graveyard::lay_down(running);
    }
}

#[pymethods]
impl Work {
    /// Wait for the operation, and return its result: what the blocking call returns.
    ///
    /// Runs without the GIL. ``timeout`` is in seconds; None and math.inf wait as long as the
    /// operation itself may take. When it runs out first, KirshTimeoutError is raised with the
    /// scope "call": the operation goes on, the arrays stay lent, and wait() may be called again.
    /// Raises what ended the operation if it failed.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
        let limit = arguments::timeout_or_zero(timeout).map_err(|refusal| refused(py, refusal))?;
        graveyard::sweep(py);
        let running = match self.look(py)? {
            Look::Running(running) => running,
            Look::Finished(result) => return Ok(result),
        };
        match py.detach(|| running.work.wait(limit)) {
            Ok(true) => self.settle(py, running, Ok(())),
            Err(error) => self.settle(py, running, Err(error)),
            Ok(false) => {
                retire(running);
                let error = ran_out(limit, "not over", "it goes on, its arrays stay lent");
                let error = error.with_rank(self.rank);
                let error = error.with_operation(self.operation, self.sequence);
                Err(raise(py, &error))
            }
        }
    }

    /// Tell whether the operation has finished, without waiting; raise its error if it failed.
    fn test(&self, py: Python<'_>) -> PyResult<bool> {
        graveyard::sweep(py);
        let running = match self.look(py)? {
            Look::Running(running) => running,
            Look::Finished(_) => return Ok(true),
        };
        match py.detach(|| running.work.test()) {
            Ok(true) => self.settle(py, running, Ok(())).map(|_| true),
            Ok(false) => {
                retire(running);
                Ok(false)
            }
            Err(error) => self.settle(py, running, Err(error)).map(|_| true),
        }
    }

    /// Whether the operation is over, well or not, and the arrays are the caller's again.
    #[getter]
    fn done(&self) -> bool {
        self.is_done()
    }

    /// What a receive has received, once it has ended well; None before, and for what receives
    /// no message.
    #[getter]
    fn received(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let found = match &*self.state() {
            State::Running(running) => running.received(),
            State::Finished(result) if result.bind(py).is_instance_of::<Received>() => {
                return Ok(Some(result.clone_ref(py)));
            }
            State::Finished(_) | State::Failed(_) | State::Dropped => None,
        };
        // Outside the lock, because making an object may run Python code.
        found.map(|received| received.into_py_any(py)).transpose()
    }

    /// The number of the operation within its communicator, as errors and the log give it; None
    /// for a message.
    #[getter]
    fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    fn __repr__(&self) -> String {
        let state = match &*self.state() {
            State::Running(running) if running.work.is_over() => "over",
            State::Running(_) => "running",
            State::Finished(_) => "finished",
            State::Failed(_) => "failed",
            State::Dropped => "dropped",
        };
        let number = self.sequence.map_or_else(String::new, |number| format!(" #{number}"));
        format!("<kirsh.Work {}{number} of rank {}: {state}>", self.operation, self.rank)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a kirsh.Work cannot be pickled or copied: it is an operation of this process",
        ))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Shared with nobody: whoever waits holds a reference to this object.
        if let State::Running(running) = std::mem::replace(state, State::Dropped) {
            retire(running);
        }
    }
}

/// What a wait raises whose own time is over before the operation is.
pub(crate) fn ran_out(limit: Timeout, what: &str, state: &str) -> Error {
    let waited = match limit {
        Timeout::After(duration) => duration,
        Timeout::Default | Timeout::Forever => Duration::MAX,
    };
    Error::new(
        ErrorKind::Timeout,
        format!(
            "{what} within the {} s of this wait; {state}, and you may wait again",
            waited.as_secs_f64()
        ),
    )
}

/// The exception for a bad argument.
pub(crate) fn refused(py: Python<'_>, refusal: Refusal) -> PyErr {
    match refusal.cause {
        // Ctrl-C while an argument was read, say: that is all there is to tell.
        Some(cause) if !cause.is_instance_of::<PyException>(py) => cause,
        cause => {
            let raised = raise(py, &refusal.error);
            raised.set_cause(py, cause);
            raised
        }
    }
}
