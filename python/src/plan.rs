//! `Plan`: a call that was prepared once, to be made many times on the same arrays.

use std::sync::Arc;

use kirsh_core::Collective;
use kirsh_core::comm::RawPlan;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::communicator::Communicator;
use crate::exceptions::raise;
use crate::graveyard;
use crate::operand::Lent;
use crate::work::Work;

/// A call that was prepared by one of the ``plan_`` methods and works on the same arrays each time.
///
/// It holds its arrays: fill them, ``run()``, read the result, and so on. Each run is one call of
/// the communicator, which every rank makes in the same order with its other calls, planned or not.
#[pyclass(frozen, weakref, generic, module = "kirsh")]
pub(crate) struct Plan {
    plan: RawPlan,
    lent: Arc<Lent>,
    /// Last, because the communicator must not end with the plan's share of it.
    comm: Py<Communicator>,
    collective: Collective,
}

impl Plan {
    pub(crate) fn new(
        plan: RawPlan,
        lent: Arc<Lent>,
        comm: Py<Communicator>,
        collective: Collective,
    ) -> Self {
        Plan { plan, lent, comm, collective }
    }
}

#[pymethods]
impl Plan {
    /// Make the call on the arrays as they are now, and return its result.
    ///
    /// Collective; blocks without the GIL. The result is the same object each time.
    fn run(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        graveyard::sweep(py);
        // SAFETY: `lent` keeps the arrays that were found in order when this was planned.
        let done = py.detach(|| unsafe { self.plan.run() });
        done.map_err(|error| raise(py, &error))?;
        self.lent.result(py)
    }

    /// Start the call, and return its Work. Collective; the arrays are lent until it is over.
    fn start(&self, py: Python<'_>) -> PyResult<Work> {
        graveyard::sweep(py);
        // SAFETY: as in `run`; the `Work` or the graveyard holds `lent` until the operation is over.
        let work = py.detach(|| unsafe { self.plan.start() });
        let work = work.map_err(|error| raise(py, &error))?;
        let rank = self.comm.get().comm().rank();
        Ok(Work::new(work, Arc::clone(&self.lent), rank, self.collective.name()))
    }

    fn __repr__(&self) -> String {
        format!("<kirsh.Plan of {}>", self.collective)
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a kirsh.Plan cannot be pickled or copied: it is about memory of this process",
        ))
    }
}
