//! What a collective works on: an array, or a number that is given back as a number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kirsh_core::DataType;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyComplex, PyComplexMethods, PyFloat, PyInt};

use crate::arguments::{Refusal, type_name};
use crate::array::{Address, Array, layout};

/// Room for the largest number of Python's own, a complex one.
pub(crate) type Bits = [AtomicU64; 2];

/// The memory of one argument, and what the caller gets back for it.
pub(crate) enum Operand {
    /// The caller's array; the result is the array.
    Array { array: Array, object: Py<PyAny> },
    /// A Python number in memory of its own; the result is a new number of the same type.
    Number { dtype: DataType, value: Arc<Bits> },
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
            (DataType::Bool, [u64::from(value), 0])
        } else if object.is_instance_of::<PyInt>() {
            let value: i64 = object.extract().map_err(|cause| {
                Refusal::caused("a Python int travels as int64, and this one does not fit", cause)
            })?;
            (DataType::Int64, [value.cast_unsigned(), 0])
        } else if object.is_exact_instance_of::<PyFloat>() {
            let value: f64 =
                object.extract().map_err(|cause| Refusal::caused("reading x", cause))?;
            (DataType::Float64, [value.to_bits(), 0])
        } else if let Ok(value) = object.cast_exact::<PyComplex>() {
            (DataType::Complex128, [value.real().to_bits(), value.imag().to_bits()])
        } else {
            return Ok(None);
        };
        // The library's elements are little-endian, and so is every machine it runs on.
        Ok(Some(Operand::Number { dtype, value: Arc::new(bits.map(AtomicU64::new)) }))
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
            Operand::Number { value, .. } => Address::new(Arc::as_ptr(value).cast_mut().cast()),
        }
    }

    /// Whether this is an array, not a number.
    pub(crate) fn is_array(&self) -> bool {
        matches!(self, Operand::Array { .. })
    }

    /// The shape of the array; a number has no dimensions.
    pub(crate) fn shape(&self) -> &[usize] {
        match self {
            Operand::Array { array, .. } | Operand::Scalar { array, .. } => array.layout.shape(),
            Operand::Number { .. } => &[],
        }
    }

    /// The shape as Python shows it.
    pub(crate) fn describe_shape(&self) -> String {
        layout::tuple(self.shape())
    }

    /// Fails where the array does not lie in memory row by row.
    pub(crate) fn check_row_major(&self, argument: &str) -> Result<(), Refusal> {
        match self {
            Operand::Array { array, .. } if !array.layout.is_row_major(array.dtype.size()) => {
                Err(Refusal::invalid(format!(
                    "{argument} has {}, and here the parts along the first axis must lie one \
                     behind the other, row by row: pass numpy.ascontiguousarray({argument}), or \
                     {argument}.contiguous()",
                    array.layout.describe()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Fails where `out` is no array of this type and shape.
    pub(crate) fn check_is_array_of(
        &self,
        dtype: DataType,
        shape: &[usize],
    ) -> Result<(), Refusal> {
        let Operand::Array { array, .. } = self else {
            return Err(Refusal::invalid("out must be an array"));
        };
        if array.dtype != dtype {
            return Err(Refusal::invalid(format!(
                "out has dtype {}, and x has {dtype}: both must be of one type",
                array.dtype
            )));
        }
        if array.layout.shape() != shape {
            return Err(Refusal::invalid(format!(
                "out has shape {}, and the result has {}",
                array.layout.describe_shape(),
                layout::tuple(shape)
            )));
        }
        Ok(())
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
                let [bits, more] = value.each_ref().map(|bits| bits.load(Ordering::Relaxed));
                match dtype {
                    DataType::Bool => (bits & 0xff != 0).into_py_any(py),
                    DataType::Int64 => bits.cast_signed().into_py_any(py),
                    DataType::Complex128 => {
                        let (real, imaginary) = (f64::from_bits(bits), f64::from_bits(more));
                        PyComplex::from_doubles(py, real, imaginary).into_py_any(py)
                    }
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

/// What the caller of an operation gets back for it.
pub(crate) enum Reply {
    /// None: this rank has no result.
    Nothing,
    /// What the first operand makes of it.
    First,
    /// An object that holds all of the arrays.
    Object(Py<PyAny>),
}

/// Everything that an operation holds while it runs.
pub(crate) struct Lent {
    operands: Vec<Operand>,
    reply: Reply,
    /// Bytes of an element, of the first operand where there are several.
    element_size: usize,
}

impl Lent {
    pub(crate) fn nothing() -> Self {
        Lent::new(Vec::new(), Reply::Nothing)
    }

    pub(crate) fn new(operands: Vec<Operand>, reply: Reply) -> Self {
        let element_size = operands.first().map_or(0, |operand| operand.dtype().size());
        Lent { operands, reply, element_size }
    }

    /// An object that owns memory of which nothing else is known, and that the caller gets back.
    pub(crate) fn object(owner: Py<PyAny>, element_size: usize) -> Self {
        Lent { operands: Vec::new(), reply: Reply::Object(owner), element_size }
    }

    /// What the caller gets back, once the operation is over.
    pub(crate) fn result(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match (&self.reply, self.operands.first()) {
            (Reply::First, Some(operand)) => operand.result(py),
            (Reply::Object(object), _) => Ok(object.clone_ref(py)),
            _ => Ok(py.None()),
        }
    }

    /// Bytes of an element.
    pub(crate) fn element_size(&self) -> usize {
        self.element_size
    }

    /// Whether all of it is memory of the caller's, which can be filled anew for another run.
    pub(crate) fn is_arrays(&self) -> bool {
        self.operands.iter().all(Operand::is_array)
    }
}
