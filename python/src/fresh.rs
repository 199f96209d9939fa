//! New arrays for results that the caller gave no place for.

use kirsh_core::DataType;
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

use crate::arguments::{Refusal, type_name};
use crate::operand::Operand;

/// A new NumPy array of this shape, with the element type of `like`; its contents are undefined.
pub(crate) fn array_like(
    like: &Bound<'_, PyAny>,
    dtype: DataType,
    shape: &[usize],
) -> Result<Operand, Refusal> {
    let made = make(like, dtype, shape).map_err(|cause| {
        let advice = if cause.is_instance_of::<PyImportError>(like.py()) {
            "; pass an array for it as out="
        } else {
            ""
        };
        let doing = format!(
            "making a NumPy array of {dtype} for what comes of this {}{advice}",
            type_name(like)
        );
        Refusal::caused(&doing, cause)
    })?;
    Operand::of(&made)
}

fn make<'py>(
    like: &Bound<'py, PyAny>,
    dtype: DataType,
    shape: &[usize],
) -> PyResult<Bound<'py, PyAny>> {
    let py = like.py();
    // Here alone NumPy is imported: who gives no out= asks for an array of its kind.
    let numpy = PyModule::import(py, "numpy")?;
    // The same type object as the input's, where it is NumPy's: types of other packages, such as
    // bfloat16, come along so.
    let own = like.getattr_opt("dtype")?;
    let own = match own {
        Some(own) if own.is_instance(&numpy.getattr("dtype")?)? => Some(own),
        _ => None,
    };
    let kind = match (own, dtype) {
        (Some(own), _) => own,
        (None, DataType::Byte) => numpy.getattr("uint8")?.into_any(),
        (None, DataType::Bfloat16 | DataType::Float8E4m3fn | DataType::Float8E5m2) => {
            PyModule::import(py, "ml_dtypes")?.getattr(dtype.name())?
        }
        (None, known) => numpy.call_method1("dtype", (known.name(),))?,
    };
    numpy.call_method1("empty", (shape.to_vec(), kind))
}
