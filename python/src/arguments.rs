//! Arguments of the collectives, read in such a way that a bad one can be announced to the peers.

use std::time::Duration;

use kirsh_core::{Algorithm, Error, ErrorKind, ReduceOp, Timeout, Wire};
use pyo3::prelude::*;

/// Why this rank does not take part in a call: the reason for everybody, and the exception that
/// led to it, for the caller.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    pub(crate) cause: Option<PyErr>,
}

impl Refusal {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Refusal { error: Error::new(ErrorKind::InvalidArgument, message), cause: None }
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Refusal { error: Error::new(ErrorKind::Unsupported, message), cause: None }
    }

    /// A refusal because Python code that was asked raised something.
    pub(crate) fn caused(doing: &str, cause: PyErr) -> Self {
        let error = Error::new(ErrorKind::InvalidArgument, format!("{doing}: {cause}"));
        Refusal { error, cause: Some(cause) }
    }
}

/// Longer than anybody waits on purpose, and short enough to be added to any clock: 30 years.
const SECONDS_MAX: f64 = 30.0 * 365.0 * 86_400.0;

/// A time limit in seconds: None is the default, `math.inf` is none.
pub(crate) fn timeout(value: Option<&Bound<'_, PyAny>>) -> Result<Timeout, Refusal> {
    let timeout = timeout_or_zero(value)?;
    if timeout == Timeout::After(Duration::ZERO) {
        return Err(Refusal::invalid(
            "timeout=0 would fail always: give the seconds to wait, or math.inf for no limit",
        ));
    }
    Ok(timeout)
}

/// The same, where 0 means to look and not to wait.
pub(crate) fn timeout_or_zero(value: Option<&Bound<'_, PyAny>>) -> Result<Timeout, Refusal> {
    let Some(value) = value else { return Ok(Timeout::Default) };
    let seconds: f64 = value.extract().map_err(|cause| {
        Refusal::caused("timeout must be seconds as a number, math.inf for none", cause)
    })?;
    if seconds.is_nan() || seconds < 0.0 {
        return Err(Refusal::invalid(format!(
            "timeout={seconds} is not a time: give seconds from 0 up, or math.inf for no limit"
        )));
    }
    if seconds > SECONDS_MAX {
        return Ok(Timeout::Forever);
    }
    Ok(Timeout::After(Duration::from_secs_f64(seconds)))
}

/// A reduction operator: a member of `kirsh.ReduceOp` or its spelling.
pub(crate) fn reduce_op(value: Option<&Bound<'_, PyAny>>) -> Result<ReduceOp, Refusal> {
    let Some(value) = value else { return Ok(ReduceOp::Sum) };
    named(value, "op", ReduceOp::from_name, ReduceOp::ALL)
}

/// The name of an algorithm, or None for the library's choice.
pub(crate) fn algorithm(value: Option<&Bound<'_, PyAny>>) -> Result<Option<Algorithm>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    named(value, "algorithm", Algorithm::from_name, Algorithm::ALL).map(Some)
}

/// The name of a wire format, or None for the communicator's.
pub(crate) fn wire(value: Option<&Bound<'_, PyAny>>) -> Result<Option<Wire>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    named(value, "wire", Wire::from_name, Wire::ALL).map(Some)
}

/// The value that this argument names.
pub(crate) fn named<T: std::fmt::Display>(
    value: &Bound<'_, PyAny>,
    argument: &str,
    from_name: fn(&str) -> Option<T>,
    all: &[T],
) -> Result<T, Refusal> {
    let found = value.extract::<String>().ok().and_then(|name| from_name(&name));
    found.ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|one| one.to_string()).collect();
        Refusal::invalid(format!("{argument}={} is none of {}", shown(value), names.join(", ")))
    })
}

/// A factor or a weight, where one is given.
pub(crate) fn number(
    value: Option<&Bound<'_, PyAny>>,
    argument: &str,
) -> Result<Option<f64>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let number = value
        .extract()
        .map_err(|cause| Refusal::caused(&format!("{argument} must be a number"), cause))?;
    Ok(Some(number))
}

/// The rank that a call is about, which the world may not have.
pub(crate) fn root(value: Option<&Bound<'_, PyAny>>) -> Result<u32, Refusal> {
    let Some(value) = value else { return Ok(0) };
    value
        .extract()
        .map_err(|cause| Refusal::caused(&format!("root={} is not a rank", shown(value)), cause))
}

/// Whether the call is to be started only.
pub(crate) fn flag(value: Option<&Bound<'_, PyAny>>, argument: &str) -> Result<bool, Refusal> {
    let Some(value) = value else { return Ok(false) };
    value
        .is_truthy()
        .map_err(|cause| Refusal::caused(&format!("{argument} must be True or False"), cause))
}

/// What Python shows of a value, cut to a length that fits into a message.
pub(crate) fn shown(value: &Bound<'_, PyAny>) -> String {
    const CHARACTERS_MAX: usize = 80;
    match value.repr() {
        Ok(text) => {
            let text = text.to_string();
            match text.char_indices().nth(CHARACTERS_MAX) {
                Some((end, _)) => format!("{}...", &text[..end]),
                None => text,
            }
        }
        Err(_) => format!("an object of type {}", type_name(value)),
    }
}

/// The name of a value's class.
pub(crate) fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}
