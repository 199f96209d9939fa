//! Arrays by the buffer protocol.

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use super::{Address, Array, Held, Layout, dtype};
use crate::arguments::Refusal;

/// The array that `object` exports; `None` where it exports none, be it that its type does not or
/// that this element type has no spelling in the buffer protocol.
pub(super) fn read(object: &Bound<'_, PyAny>) -> Option<Result<Array, Refusal>> {
    // A failure here is no answer yet: NumPy refuses so for bfloat16, whose memory the array
    // interface gives.
    let export = PyUntypedBuffer::get(object).ok()?;
    Some(describe(object, export))
}

fn describe(object: &Bound<'_, PyAny>, export: PyUntypedBuffer) -> Result<Array, Refusal> {
    if export.suboffsets().is_some() {
        return Err(Refusal::unsupported(
            "this buffer is a table of pointers (it has suboffsets), not one run of memory",
        ));
    }
    let format = export.format().to_string_lossy();
    let dtype = dtype::of_format(&format, export.item_size(), || dtype::name_of(object))?;
    let layout = Layout::new(export.shape().to_vec(), export.strides().to_vec());
    Ok(Array {
        address: Address::new(export.buf_ptr().cast()),
        dtype,
        layout,
        read_only: export.readonly(),
        _held: Held::Buffer { _export: export },
    })
}
