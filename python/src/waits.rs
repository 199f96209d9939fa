//! Waiting for several operations at once.

use std::sync::Arc;

use kirsh_core::RawWork;
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::arguments::{self, Refusal};
use crate::exceptions::raise;
use crate::graveyard::{self, Running};
use crate::work::{Look, Work, ran_out, refused, retire};

/// What was found of each work: the operation, where it may still run.
struct Found<'py> {
    works: Vec<Bound<'py, Work>>,
    /// Places among the works, and the operations there.
    running: Vec<(usize, Arc<Running>)>,
    /// The results at the others' places.
    finished: Vec<(usize, Py<PyAny>)>,
}

impl<'py> Found<'py> {
    fn look(works: Vec<Bound<'py, Work>>) -> PyResult<Self> {
        let mut found = Found { works: Vec::new(), running: Vec::new(), finished: Vec::new() };
        for (place, work) in works.iter().enumerate() {
            match work.get().look(work.py()) {
                Ok(Look::Running(running)) => found.running.push((place, running)),
                Ok(Look::Finished(result)) => found.finished.push((place, result)),
                Err(error) => {
                    found.retire();
                    return Err(error);
                }
            }
        }
        found.works = works;
        Ok(found)
    }

    fn raw(&self) -> Vec<&RawWork> {
        self.running.iter().map(|(_, running)| &running.work).collect()
    }

    fn retire(self) {
        for (_, running) in self.running {
            retire(running);
        }
    }
}

/// Wait for all of these operations, and return their results in a list.
///
/// They may be of several communicators. Runs without the GIL. When the timeout, in seconds, runs
/// out first, KirshTimeoutError is raised with the scope "call": all operations go on. When one
/// fails, its error is raised at once, and others may still run.
#[pyfunction]
#[pyo3(signature = (works, timeout=None))]
pub(crate) fn wait_all<'py>(
    py: Python<'py>,
    works: Vec<Bound<'py, Work>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Bound<'py, PyList>> {
    let limit = arguments::timeout_or_zero(timeout).map_err(|refusal| refused(py, refusal))?;
    graveyard::sweep(py);
    let found = Found::look(works)?;
    let waited = {
        let raw = found.raw();
        py.detach(|| RawWork::wait_all(&raw, limit))
    };
    match waited {
        Ok(true) => {
            let Found { works, running, finished: mut results } = found;
            for (place, running) in running {
                results.push((place, works[place].get().settle(py, running, Ok(()))?));
            }
            results.sort_by_key(|(place, _)| *place);
            PyList::new(py, results.into_iter().map(|(_, result)| result))
        }
        Ok(false) => {
            let still = found.running.iter().filter(|(_, one)| !one.work.is_over()).count();
            let error = ran_out(
                limit,
                &format!("{still} of {} operations were not over", found.works.len()),
                "they go on, their arrays stay lent",
            );
            found.retire();
            Err(raise(py, &error))
        }
        Err(error) => {
            found.retire();
            Err(raise(py, &error))
        }
    }
}

/// Wait until one of these operations is over, well or not, and return its place in the list.
///
/// ``works[place].wait()`` then gives its result or raises its error. The first place is returned
/// where several are over. Otherwise as wait_all; an empty list is an error.
#[pyfunction]
#[pyo3(signature = (works, timeout=None))]
pub(crate) fn wait_any(
    py: Python<'_>,
    works: Vec<Bound<'_, Work>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<usize> {
    let limit = arguments::timeout_or_zero(timeout).map_err(|refusal| refused(py, refusal))?;
    graveyard::sweep(py);
    if works.is_empty() {
        let refusal = Refusal::invalid("there is nothing to wait for: the list has no works");
        return Err(refused(py, refusal));
    }
    if let Some(place) = works.iter().position(|work| work.get().is_done()) {
        return Ok(place);
    }
    let found = Found::look(works)?;
    if let Some(&(place, _)) = found.finished.first() {
        found.retire();
        return Ok(place);
    }
    let waited = {
        let raw = found.raw();
        py.detach(|| RawWork::wait_any(&raw, limit))
    };
    let place = waited.map(|place| place.map(|number| found.running[number].0));
    let count = found.works.len();
    found.retire();
    match place {
        Ok(Some(place)) => Ok(place),
        Ok(None) => {
            let what = format!("none of {count} operations was over");
            Err(raise(py, &ran_out(limit, &what, "they go on, their arrays stay lent")))
        }
        Err(error) => Err(raise(py, &error)),
    }
}
