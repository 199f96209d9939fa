//! The memory behind a Python array, found without copying and without importing anybody's package.
//!
//! Three ways lead to it, tried in the order of what they cost: the buffer protocol (NumPy,
//! `array`, `bytearray`, `memoryview`, ...), `__array_interface__` (NumPy arrays of types that the
//! buffer protocol cannot spell, such as bfloat16), and DLPack (torch and others). Each yields an
//! [`Array`]; what must hold of it is checked here, once for all three.

mod buffer;
mod dlpack;
mod dtype;
mod interface;
pub(crate) mod layout;

use kirsh_core::DataType;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::arguments::{Refusal, type_name};
pub(crate) use layout::Layout;

/// What keeps the memory of an array where it is. Dropped attached to the interpreter.
pub(crate) enum Held {
    /// An exported buffer: its owner may neither free nor resize it.
    Buffer { _export: PyUntypedBuffer },
    /// The array itself, or the DLPack capsule that owns a share of it.
    Object { _owner: Py<PyAny> },
}

/// A dense array in memory of this process.
pub(crate) struct Array {
    address: Address,
    pub(crate) dtype: DataType,
    pub(crate) layout: Layout,
    pub(crate) read_only: bool,
    _held: Held,
}

/// Where an array begins.
#[derive(Clone, Copy)]
pub(crate) struct Address(*mut u8);

// SAFETY: an address is only a number here; who reads or writes through it proves that the memory
// is alive (an `Array` holds it) and lent to the operation by the caller.
unsafe impl Send for Address {}
// SAFETY: as above; a shared `Address` gives no access by itself.
unsafe impl Sync for Address {}

impl Address {
    pub(crate) fn new(pointer: *mut u8) -> Self {
        Address(pointer)
    }

    pub(crate) fn pointer(self) -> *mut u8 {
        self.0
    }
}

impl Array {
    /// Finds the memory of `object`, or says why it will not do.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> Result<Array, Refusal> {
        let array = match buffer::read(object) {
            Some(found) => found?,
            None => match interface::read(object)? {
                Some(array) => array,
                None => match dlpack::read(object)? {
                    Some(array) => array,
                    None => return Err(not_an_array(object)),
                },
            },
        };
        array.check_dense(object)?;
        Ok(array)
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    fn check_dense(&self, object: &Bound<'_, PyAny>) -> Result<(), Refusal> {
        if self.layout.is_dense(self.dtype.size()) {
            return Ok(());
        }
        Err(Refusal::invalid(format!(
            "this {} has {}, which does not cover its memory without gaps, and kirsh makes no \
             hidden copies: pass a dense array, such as numpy.ascontiguousarray(x) or \
             x.contiguous(), and copy the result back",
            type_name(object),
            self.layout.describe(),
        )))
    }
}

fn not_an_array(object: &Bound<'_, PyAny>) -> Refusal {
    Refusal::unsupported(format!(
        "a {} has no memory to work on: pass a number or an array with the buffer protocol, \
         __array_interface__ or DLPack on the CPU, such as a NumPy array or a torch tensor",
        type_name(object),
    ))
}
