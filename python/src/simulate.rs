//! Predictions: numbers and texts from Python as a question to the model, and its answers as rows.

use std::path::PathBuf;

use kirsh_core::comm::{Simulated, Simulation, units};
use kirsh_core::{Algorithm, Collective, DataType, ReduceOp, Wire};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::arguments::{self, Refusal, shown};
use crate::exceptions::raise;
use crate::work::refused;

/// What one algorithm would do: its name, the size, the slice, seconds, algbw, busbw, bytes sent,
/// steps, and whether it would be chosen.
type Row = (&'static str, u64, u32, f64, f64, f64, u64, u64, bool);

/// What a call would take on a network that need not exist: `kirsh.simulate` says how.
#[pyfunction]
#[pyo3(signature = (collective, *, ranks, size, bandwidth=None, latency=None, ranks_per_host,
                    cores=None, hosts_per_switch=None, oversubscription=None, straggler=None,
                    straggler_rank=None, algorithm=None, op, dtype, wire=None,
                    table=None))]
#[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
pub(crate) fn simulate(
    py: Python<'_>,
    collective: &Bound<'_, PyAny>,
    ranks: &Bound<'_, PyAny>,
    size: &Bound<'_, PyAny>,
    bandwidth: Option<&Bound<'_, PyAny>>,
    latency: Option<&Bound<'_, PyAny>>,
    ranks_per_host: &Bound<'_, PyAny>,
    cores: Option<&Bound<'_, PyAny>>,
    hosts_per_switch: Option<&Bound<'_, PyAny>>,
    oversubscription: Option<&Bound<'_, PyAny>>,
    straggler: Option<&Bound<'_, PyAny>>,
    straggler_rank: Option<&Bound<'_, PyAny>>,
    algorithm: Option<&Bound<'_, PyAny>>,
    op: &Bound<'_, PyAny>,
    dtype: &Bound<'_, PyAny>,
    wire: Option<&Bound<'_, PyAny>>,
    table: Option<PathBuf>,
) -> PyResult<Vec<Row>> {
    let whole = |value: Option<&Bound<'_, PyAny>>, argument: &str| {
        value.map(|value| number(value, argument)).transpose()
    };
    let read = || -> Result<Simulation, Refusal> {
        let collective =
            arguments::named(collective, "collective", Collective::from_name, Collective::ALL)?;
        Ok(Simulation {
            dtype: arguments::named(dtype, "dtype", DataType::from_name, DataType::ALL)?,
            op: arguments::named(op, "op", ReduceOp::from_name, ReduceOp::ALL)?,
            wire: arguments::wire(wire)?.unwrap_or(Wire::Plain),
            algorithm: one_algorithm(algorithm)?,
            bandwidth: quantity(
                bandwidth,
                "bandwidth",
                units::bits_per_second,
                units::bits_per_second_of,
            )?,
            latency_ps: quantity(latency, "latency", units::picoseconds, units::picoseconds_of)?,
            ranks_per_host: number(ranks_per_host, "ranks_per_host")?,
            cores: whole(cores, "cores")?,
            hosts_per_switch: whole(hosts_per_switch, "hosts_per_switch")?,
            oversubscription: whole(oversubscription, "oversubscription")?,
            straggler_milli: quantity(
                straggler,
                "straggler",
                units::thousandths,
                units::thousandths_of,
            )?,
            straggler_rank: whole(straggler_rank, "straggler_rank")?,
            table,
            ..Simulation::new(collective, number(ranks, "ranks")?, bytes(size)?)
        })
    };
    let simulation = read().map_err(|refusal| refused(py, refusal))?;
    let rows = py.detach(|| simulation.run()).map_err(|error| raise(py, &error))?;
    Ok(rows.iter().map(row).collect())
}

fn row(simulated: &Simulated) -> Row {
    let Simulated { algorithm, bytes, slice, time_us, algbw, busbw, .. } = *simulated;
    let Simulated { bytes_sent, steps, chosen, .. } = *simulated;
    let seconds = time_us / 1e6;
    (algorithm.name(), bytes, slice, seconds, algbw, busbw, bytes_sent, steps, chosen)
}

fn one_algorithm(value: Option<&Bound<'_, PyAny>>) -> Result<Option<Algorithm>, Refusal> {
    if value.and_then(|value| value.extract::<String>().ok()).is_some_and(|name| name == "all") {
        return Ok(None);
    }
    arguments::algorithm(value)
}

/// A whole number that is not negative.
fn number(value: &Bound<'_, PyAny>, argument: &str) -> Result<u32, Refusal> {
    value.extract().map_err(|cause| {
        let text = format!("{argument}={} is not a number from 0 to 2**32 - 1", shown(value));
        Refusal::caused(&text, cause)
    })
}

/// A number of bytes: an int, a float without a fraction, or a text.
fn bytes(size: &Bound<'_, PyAny>) -> Result<u64, Refusal> {
    let number = if let Ok(text) = size.extract::<String>() {
        units::bytes(&text)
    } else if let Ok(number) = size.extract::<u64>() {
        units::bytes_of(number)
    } else {
        match size.extract::<f64>() {
            Ok(number) if number >= 0.0 && number.fract() == 0.0 => units::bytes_of(number as u64),
            _ => Err("give bytes as a whole number, or a text such as \"100M\"".to_owned()),
        }
    };
    number.map_err(|wrong| Refusal::invalid(format!("size={}: {wrong}", shown(size))))
}

/// A quantity as a number in its base unit, or as a text with a unit.
fn quantity<T>(
    value: Option<&Bound<'_, PyAny>>,
    argument: &str,
    of_text: fn(&str) -> Result<T, String>,
    of_number: fn(f64) -> Result<T, String>,
) -> Result<Option<T>, Refusal> {
    let Some(value) = value else { return Ok(None) };
    let wrong = |why: String| Refusal::invalid(format!("{argument}={}: {why}", shown(value)));
    let read = if value.is_instance_of::<PyString>() {
        value
            .extract::<String>()
            .map_err(|cause| wrong(cause.to_string()))
            .map(|text| of_text(&text))
    } else {
        let number = value.extract::<f64>();
        number.map_err(|_| wrong("give a number or a text".to_owned())).map(of_number)
    };
    read?.map(Some).map_err(wrong)
}
