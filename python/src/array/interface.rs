//! Arrays by `__array_interface__`, version 3 of NumPy's protocol.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Address, Array, Held, Layout, dtype};
use crate::arguments::{Refusal, type_name};

/// The array that `object` describes; `None` where it has no such attribute.
pub(super) fn read(object: &Bound<'_, PyAny>) -> Result<Option<Array>, Refusal> {
    let found = object.getattr_opt("__array_interface__");
    let Some(interface) = found.map_err(|cause| unreadable(object, cause))? else {
        return Ok(None);
    };
    describe(object, &interface).map(Some)
}

fn describe(object: &Bound<'_, PyAny>, interface: &Bound<'_, PyAny>) -> Result<Array, Refusal> {
    let malformed = |cause: PyErr| unreadable(object, cause);
    let interface = interface.cast::<PyDict>().map_err(|error| malformed(error.into()))?;
    // Absent and None mean the same for every entry that may be absent.
    let entry = |name: &str| -> Result<Option<Bound<'_, PyAny>>, Refusal> {
        Ok(interface.get_item(name).map_err(malformed)?.filter(|value| !value.is_none()))
    };
    let required = |name: &str| {
        entry(name)?.ok_or_else(|| {
            Refusal::unsupported(format!(
                "the __array_interface__ of this {} has no {name}",
                type_name(object)
            ))
        })
    };

    if entry("mask")?.is_some() {
        return Err(Refusal::unsupported("a masked array cannot be used: fill it first"));
    }
    let typestr: String = required("typestr")?.extract().map_err(malformed)?;
    let dtype = dtype::of_typestr(&typestr, dtype::name_of(object).as_deref())?;
    let shape: Vec<usize> = required("shape")?.extract().map_err(malformed)?;
    let (address, read_only): (usize, bool) = required("data")?.extract().map_err(malformed)?;
    let strides: Option<Vec<isize>> =
        entry("strides")?.map(|value| value.extract()).transpose().map_err(malformed)?;
    let layout = match strides {
        Some(strides) if strides.len() == shape.len() => Some(Layout::new(shape, strides)),
        Some(_) => None,
        None => Layout::row_major(shape, dtype.size()),
    };
    let layout = layout.ok_or_else(|| {
        Refusal::invalid(format!(
            "the __array_interface__ of this {} has a shape and strides that do not belong \
             together",
            type_name(object)
        ))
    })?;
    Ok(Array {
        address: Address::new(std::ptr::with_exposed_provenance_mut(address)),
        dtype,
        layout,
        read_only,
        _held: Held::Object { _owner: object.clone().unbind() },
    })
}

fn unreadable(object: &Bound<'_, PyAny>, cause: PyErr) -> Refusal {
    Refusal::caused(&format!("reading __array_interface__ of this {}", type_name(object)), cause)
}
