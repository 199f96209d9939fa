//! A Python object as the store through which ranks find together.
//!
//! It has the methods of `torch.distributed.Store`: `set(key, value)`, `get(key)`,
//! `wait(keys, timeout)`, `add(key, amount)` and, if it can, `check(keys)`. The core calls it from
//! threads that are detached from the interpreter, and only while a communicator is created; the
//! progress thread never does.

use std::time::{Duration, Instant};

use kirsh_core::rendezvous::identity::{Arguments, identity, process_env};
use kirsh_core::rendezvous::launchers::agent_store;
use kirsh_core::rendezvous::{Store, settings};
use kirsh_core::{Config, Error, ErrorKind, Result};
use pyo3::exceptions::{PyException, PyTimeoutError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDelta, PyString};

use crate::arguments::type_name;
use crate::interrupt;

/// How long one `wait` of the object lasts at most: Ctrl-C is looked at in between.
const WAIT_SLICE: Duration = Duration::from_millis(250);

/// The shortest `wait`: how an object without `check` is asked whether a key is there.
const GLANCE: Duration = Duration::from_millis(10);

pub(crate) struct PythonStore {
    object: Py<PyAny>,
    type_name: String,
    can_check: bool,
}

impl PythonStore {
    /// Wraps an object; a `TypeError` names the methods that it lacks.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut missing = Vec::new();
        for method in ["set", "get", "wait", "add"] {
            if !object.hasattr(method)? {
                missing.push(method);
            }
        }
        if !missing.is_empty() {
            return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                "store must have the methods set, get, wait and add, and this {} lacks {}",
                type_name(object),
                missing.join(", ")
            )));
        }
        Ok(PythonStore {
            type_name: type_name(object),
            can_check: object.hasattr("check")?,
            object: object.clone().unbind(),
        })
    }

    /// torch's store, where torchrun started this process, nothing else says where the ranks meet, and
    /// torch is there. Blocks until that store can be reached.
    pub(crate) fn of_torchrun(py: Python<'_>, config: &Config) -> PyResult<Option<Self>> {
        let (rank, world_size) = (config.rank, config.world_size);
        let arguments = Arguments { rank, world_size, ..Arguments::default() };
        let env = &process_env;
        // What is wrong with an identity, creating the communicator says.
        let Ok(me) = identity(&arguments, env) else { return Ok(None) };
        if config.rendezvous.is_some() || agent_store(&me, env).is_none() {
            return Ok(None);
        }
        let limit = config.join_timeout.or(settings::join_timeout(env).ok().flatten());
        let seconds = limit.map(|limit| limit.as_secs_f64());
        let store =
            PyModule::import(py, "kirsh._torchrun")?.call_method1("store", (me.rank, seconds))?;
        if store.is_none() { Ok(None) } else { Self::new(&store).map(Some) }
    }

    /// Calls the object, attached to the interpreter for just as long.
    fn ask<T>(
        &self,
        doing: &str,
        call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T> {
        Python::attach(|py| {
            call(self.object.bind(py)).map_err(|raised| self.failed(py, doing, raised))
        })
    }

    fn failed(&self, py: Python<'_>, doing: &str, raised: PyErr) -> Error {
        if !raised.is_instance_of::<PyException>(py) {
            interrupt::keep(raised);
            return Error::new(
                ErrorKind::Interrupted,
                format!("interrupted while the store, a {}, was asked to {doing}", self.type_name),
            );
        }
        Error::new(
            ErrorKind::Rendezvous,
            format!("the store, a {}, failed to {doing}: {raised}", self.type_name),
        )
    }

    /// Waits for the key for a moment only; false where the moment passed without it.
    fn wait_slice(&self, key: &str, slice: Duration) -> Result<bool> {
        let began = Instant::now();
        Python::attach(|py| {
            let doing = format!("wait for {key}");
            let keys = [PyString::new(py, key)];
            let timeout = delta(py, slice).map_err(|raised| self.failed(py, &doing, raised))?;
            let object = self.object.bind(py);
            match object.call_method1("wait", (keys, timeout)) {
                Ok(_) => Ok(true),
                // Stores end a wait in vain with all sorts of exceptions. One that comes at its
                // time is that; one that comes early is a failure.
                Err(raised)
                    if raised.is_instance_of::<PyTimeoutError>(py)
                        || (raised.is_instance_of::<PyException>(py)
                            && began.elapsed() >= slice.mul_f64(0.9)) =>
                {
                    py.check_signals().map_err(|raised| self.failed(py, &doing, raised))?;
                    Ok(false)
                }
                Err(raised) => Err(self.failed(py, &doing, raised)),
            }
        })
    }

    /// The value of a key that is known to be there.
    fn read(&self, key: &str) -> Result<Vec<u8>> {
        self.ask(&format!("get {key}"), |object| {
            let value = object.call_method1("get", (key,))?;
            match value.cast::<PyString>() {
                Ok(text) => Ok(text.to_str()?.as_bytes().to_vec()),
                Err(_) => Ok(value.extract::<Vec<u8>>()?),
            }
        })
    }
}

impl Store for PythonStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.ask(&format!("set {key}"), |object| {
            object.call_method1("set", (key, PyBytes::new(object.py(), value))).map(drop)
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        // `get` of such stores blocks until there is a value, so something else has to say.
        let there = if self.can_check {
            self.ask(&format!("check {key}"), |object| {
                object.call_method1("check", ([key],))?.is_truthy()
            })?
        } else {
            self.wait_slice(key, GLANCE)?
        };
        if there { self.read(key).map(Some) } else { Ok(None) }
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest < GLANCE {
                return self.get(key);
            }
            if self.wait_slice(key, rest.min(WAIT_SLICE))? {
                return self.read(key).map(Some);
            }
        }
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        self.ask(&format!("add to {key}"), |object| {
            object.call_method1("add", (key, delta))?.extract()
        })
    }

    fn describe(&self) -> String {
        format!("the store that was handed in, a Python {}", self.type_name)
    }
}

/// A `datetime.timedelta`, which is what stores take.
fn delta(py: Python<'_>, duration: Duration) -> PyResult<Bound<'_, PyDelta>> {
    let seconds = i32::try_from(duration.as_secs()).unwrap_or(i32::MAX);
    PyDelta::new(py, 0, seconds, duration.subsec_micros() as i32, true)
}
