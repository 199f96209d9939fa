//! The memory of any array as plain bytes: for hashing it without knowing whose array it is.

use std::ffi::c_int;
use std::ptr;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyMemoryView, PyTuple};

use crate::array::Array;
use crate::work::refused;

/// What an array is, and its bytes, read only, by the buffer protocol.
#[pyclass(frozen, module = "kirsh._kirsh")]
pub(crate) struct Memory {
    array: Array,
}

#[pymethods]
impl Memory {
    /// Find the memory of an array; raise where it has none, or not without gaps.
    #[new]
    fn new(x: &Bound<'_, PyAny>) -> PyResult<Self> {
        let array = Array::of(x).map_err(|refusal| refused(x.py(), refusal))?;
        Ok(Memory { array })
    }

    /// The name of the element type.
    #[getter]
    fn dtype(&self) -> &'static str {
        self.array.dtype.name()
    }

    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.array.layout.shape())
    }

    /// Whether the elements lie row by row (C order).
    #[getter]
    fn row_major(&self) -> bool {
        self.array.layout.is_row_major(self.array.dtype.size())
    }

    /// The bytes in the order in which they lie in memory.
    fn view<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyMemoryView>> {
        PyMemoryView::from(slf.as_any())
    }

    /// # Safety
    /// As Python calls it: `view` is null, or points to a structure to be filled.
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is nothing to fill"));
        }
        let array = &slf.get().array;
        let len = array.layout.count() * array.dtype.size();
        // A buffer of no bytes has an address all the same.
        let start = if len == 0 { ptr::dangling_mut() } else { array.address().pointer() };
        // SAFETY: the array is dense, so so many bytes lie there; it lives as long as `slf`, to
        // which the view gets a reference. `view` is valid by the contract of this function.
        let filled = unsafe {
            ffi::PyBuffer_FillInfo(
                view,
                slf.as_ptr(),
                start.cast(),
                len as ffi::Py_ssize_t,
                1,
                flags,
            )
        };
        if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
    }
}
