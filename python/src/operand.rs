//! What a collective works on: an array, or a number that is given back as a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kirsh_core::DataType;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt};

use crate::arguments::{Refusal, type_name};
use crate::array::{Address, Array};

/// The memory of one argument, and what the caller gets back for it.
pub(crate) enum Operand {
    /// The caller's array; the result is the array.
    Array { array: Array, object: Py<PyAny> },
    /// A Python number in memory of its own; the result is a new number of the same type.
    Number { dtype: DataType, value: Arc<AtomicU64> },
    /// A NumPy scalar, in an array without dimensions; the result is a new scalar of its type.
    Scalar { array: Array, object: Py<PyAny> },
}

impl Operand {
    /// Finds the memory of an argument, or says why it will not do.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Result<Operand, Refusal> {
        if let Some(number) = Operand::of_number(object)? {
            return Ok(number);
        }
        let array = match Array::of(object) {
            Ok(array) => array,
            Err(refusal) => {
                return scalar_of(object)?.ok_or(refusal);
            }
        };
        if array.layout.dimensions() == 0
            && let Some(scalar) = scalar_of(object)?
        {
            return Ok(scalar);
        }
        Ok(Operand::Array { array, object: object.clone().unbind() })
    }

    /// A plain Python number. NumPy's float64 is a float too, but wants to stay what it is.
    fn of_number(object: &Bound<'_, PyAny>) -> Result<Option<Operand>, Refusal> {
        let (dtype, bits) = if object.is_instance_of::<PyBool>() {
            let value = object.is_truthy().map_err(|cause| Refusal::caused("reading x", cause))?;
            (DataType::Bool, u64::from(value))
        } else if object.is_instance_of::<PyInt>() {
            let value: i64 = object.extract().map_err(|cause| {
                Refusal::caused("a Python int travels as int64, and this one does not fit", cause)
            })?;
            (DataType::Int64, value.cast_unsigned())
        } else if object.is_exact_instance_of::<PyFloat>() {
            let value: f64 =
                object.extract().map_err(|cause| Refusal::caused("reading x", cause))?;
            (DataType::Float64, value.to_bits())
        } else {
            return Ok(None);
        };
        // The library's elements are little-endian, and so is every machine it runs on.
        Ok(Some(Operand::Number { dtype, value: Arc::new(AtomicU64::new(bits)) }))
    }

    pub(crate) fn dtype(&self) -> DataType {
        match self {
            Operand::Array { array, .. } | Operand::Scalar { array, .. } => array.dtype,
            Operand::Number { dtype, .. } => *dtype,
        }
    }

    /// The number of elements.
    pub(crate) fn count(&self) -> usize {
        match self {
            Operand::Array { array, .. } | Operand::Scalar { array, .. } => array.layout.count(),
            Operand::Number { .. } => 1,
        }
    }

    pub(crate) fn address(&self) -> Address {
        match self {
            Operand::Array { array, .. } | Operand::Scalar { array, .. } => array.address(),
            Operand::Number { value, .. } => Address::new(value.as_ptr().cast()),
        }
    }

    /// Fails where the result could not be put into this argument.
    pub(crate) fn check_writable(&self, argument: &str, advice: &str) -> Result<(), Refusal> {
        match self {
            Operand::Array { array, .. } if array.read_only => Err(Refusal::invalid(format!(
                "{argument} is read-only memory of shape {}, and the result would go there: \
                 {advice}",
                array.layout.describe_shape()
            ))),
            _ => Ok(()),
        }
    }

    /// Fails where `out` cannot take the result for this input.
    pub(crate) fn check_out(&self, out: &Operand) -> Result<(), Refusal> {
        let Operand::Array { array: target, .. } = out else {
            return Err(Refusal::invalid("out must be an array: numbers are given back anyway"));
        };
        let Operand::Array { array: source, .. } = self else {
            return Err(Refusal::invalid(
                "out needs an array for x: numbers are given back anyway",
            ));
        };
        if source.dtype != target.dtype {
            return Err(Refusal::invalid(format!(
                "out has dtype {}, and x has {}: both must be of one type",
                target.dtype, source.dtype
            )));
        }
        if !source.layout.same_shape_as(&target.layout) {
            return Err(Refusal::invalid(format!(
                "out has shape {}, and x has {}: both must have one shape",
                target.layout.describe_shape(),
                source.layout.describe_shape()
            )));
        }
        if !source.layout.same_as(&target.layout) {
            return Err(Refusal::invalid(format!(
                "out has {}, and x has {}: both must lie in memory in one order",
                target.layout.describe(),
                source.layout.describe()
            )));
        }
        out.check_writable("out", "pass a writable array")
    }

    /// What the caller gets back, once the operation is over.
    fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Operand::Array { object, .. } => Ok(object.clone_ref(py)),
            Operand::Scalar { object, .. } => {
                Ok(object.bind(py).get_item(pyo3::types::PyTuple::empty(py))?.unbind())
            }
            Operand::Number { dtype, value } => {
                let bits = value.load(Ordering::Relaxed);
                match dtype {
                    DataType::Bool => (bits & 0xff != 0).into_py_any(py),
                    DataType::Int64 => bits.cast_signed().into_py_any(py),
                    _ => f64::from_bits(bits).into_py_any(py),
                }
            }
        }
    }
}

/// A NumPy scalar as an array without dimensions that nobody else sees; `None` for anything else.
fn scalar_of(object: &Bound<'_, PyAny>) -> Result<Option<Operand>, Refusal> {
    let made = numpy_array_of_scalar(object);
    let Some(made) = made
        .map_err(|cause| Refusal::caused(&format!("reading this {}", type_name(object)), cause))?
    else {
        return Ok(None);
    };
    let array = Array::of(&made)?;
    Ok(Some(Operand::Scalar { array, object: made.unbind() }))
}

fn numpy_array_of_scalar<'py>(object: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = object.py();
    // Whoever holds a NumPy scalar has imported NumPy; this module never does.
    let modules = PyModule::import(py, "sys")?.getattr("modules")?;
    let numpy = modules.call_method1("get", ("numpy",))?;
    if numpy.is_none() || !object.is_instance(&numpy.getattr("generic")?)? {
        return Ok(None);
    }
    numpy.call_method1("array", (object,)).map(Some)
}

/// Everything that an operation holds while it runs.
pub(crate) struct Lent {
    /// `None` for a barrier.
    input: Option<Operand>,
    /// Where the result goes, if not over the input.
    output: Option<Operand>,
}

impl Lent {
    pub(crate) fn nothing() -> Self {
        Lent { input: None, output: None }
    }

    pub(crate) fn new(input: Operand, output: Option<Operand>) -> Self {
        Lent { input: Some(input), output }
    }

    /// What the caller gets back, once the operation is over.
    pub(crate) fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.output.as_ref().or(self.input.as_ref()) {
            Some(operand) => operand.result(py),
            None => Ok(py.None()),
        }
    }
}
