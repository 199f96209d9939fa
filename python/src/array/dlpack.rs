//! Arrays by DLPack, the exchange format of tensor libraries: torch tensors, without torch.
//!
//! The structures are those of `dlpack.h` 1.0 and of the versions before it. A capsule is not
//! consumed but kept: as long as it lives unclaimed, its own destructor looks after the tensor.

use std::ffi::{CStr, c_void};

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use super::dtype::{self, Kind};
use super::{Address, Array, Held, Layout};
use crate::arguments::{Refusal, shown, type_name};

const CAPSULE: &CStr = c"dltensor";
const CAPSULE_VERSIONED: &CStr = c"dltensor_versioned";

/// The version of the structures below: a producer answers with this one or an older one.
const VERSION: (u32, u32) = (1, 0);

/// Devices whose memory the CPU reads and writes: the CPU itself and pinned host memory of CUDA
/// and ROCm.
const HOST_DEVICES: [i32; 3] = [1, 3, 11];

const FLAG_READ_ONLY: u64 = 1 << 0;
const FLAG_IS_COPIED: u64 = 1 << 1;

#[repr(C)]
struct DLTensor {
    data: *mut c_void,
    device_type: i32,
    device_id: i32,
    ndim: i32,
    code: u8,
    bits: u8,
    lanes: u16,
    shape: *const i64,
    /// In elements; null for row by row.
    strides: *const i64,
    byte_offset: u64,
}

#[repr(C)]
struct DLManagedTensorVersioned {
    major: u32,
    minor: u32,
    manager_context: *mut c_void,
    deleter: *const c_void,
    flags: u64,
    tensor: DLTensor,
}

/// The array behind the tensor; `None` where `object` is no tensor.
pub(super) fn read(object: &Bound<'_, PyAny>) -> Result<Option<Array>, Refusal> {
    let unreadable = |cause| {
        Refusal::caused(
            &format!("taking the memory of this {} by DLPack", type_name(object)),
            cause,
        )
    };
    let found = object.getattr_opt("__dlpack_device__").map_err(unreadable)?;
    let Some(device) = found else { return Ok(None) };
    let device = device.call0().map_err(unreadable)?;
    let (device_type, _): (i32, i32) = device.extract().map_err(unreadable)?;
    if !HOST_DEVICES.contains(&device_type) {
        return Err(Refusal::unsupported(format!(
            "this {} is on device {}, and kirsh works on host memory: move it with x.cpu()",
            type_name(object),
            shown(&device),
        )));
    }
    let capsule = export(object).map_err(unreadable)?;
    let capsule = capsule.cast::<PyCapsule>().map_err(|error| unreadable(error.into()))?;
    describe(object, capsule).map(Some)
}

/// Asks for a capsule, in the words of ever older versions of the protocol.
fn export<'py>(object: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = object.py();
    let method = object.getattr("__dlpack__")?;
    let arguments = PyDict::new(py);
    arguments.set_item("max_version", VERSION)?;
    arguments.set_item("copy", false)?;
    let mut answer = method.call((), Some(&arguments));
    for older in ["copy", "max_version"] {
        match &answer {
            Err(error) if error.is_instance_of::<PyTypeError>(py) => {
                arguments.del_item(older)?;
                answer = method.call((), Some(&arguments));
            }
            _ => break,
        }
    }
    answer
}

fn describe(object: &Bound<'_, PyAny>, capsule: &Bound<'_, PyCapsule>) -> Result<Array, Refusal> {
    let (tensor, flags): (&DLTensor, u64) =
        if let Ok(pointer) = capsule.pointer_checked(Some(CAPSULE_VERSIONED)) {
            // SAFETY: by the protocol a capsule of this name holds a DLManagedTensorVersioned, which
            // lives as long as the capsule; its version comes first in every version.
            let managed = unsafe { pointer.cast::<DLManagedTensorVersioned>().as_ref() };
            if managed.major != VERSION.0 {
                return Err(Refusal::unsupported(format!(
                    "this {} speaks DLPack {}.{}, and kirsh speaks {}.{}",
                    type_name(object),
                    managed.major,
                    managed.minor,
                    VERSION.0,
                    VERSION.1
                )));
            }
            (&managed.tensor, managed.flags)
        } else {
            let pointer = capsule.pointer_checked(Some(CAPSULE)).map_err(|cause| {
                Refusal::caused(&format!("the DLPack capsule of this {}", type_name(object)), cause)
            })?;
            // SAFETY: by the protocol a capsule of this name holds a DLManagedTensor, which begins with
            // its DLTensor and lives as long as the capsule.
            (unsafe { pointer.cast::<DLTensor>().as_ref() }, 0)
        };
    if flags & FLAG_IS_COPIED != 0 {
        return Err(Refusal::unsupported(format!(
            "this {} gives out only copies of its memory",
            type_name(object)
        )));
    }
    let dtype = element_type(tensor)?;
    let address = tensor.data.cast::<u8>().wrapping_add(tensor.byte_offset as usize);
    Ok(Array {
        address: Address::new(address),
        dtype,
        layout: layout(tensor, dtype.size())?,
        read_only: flags & FLAG_READ_ONLY != 0,
        _held: Held::Object { _owner: capsule.clone().into_any().unbind() },
    })
}

fn element_type(tensor: &DLTensor) -> Result<kirsh_core::DataType, Refusal> {
    let DLTensor { code, bits, lanes, .. } = *tensor;
    let kind = match code {
        0 => Some(Kind::Int),
        1 => Some(Kind::Uint),
        2 => Some(Kind::Float),
        4 => Some(Kind::Bfloat),
        5 => Some(Kind::Complex),
        6 => Some(Kind::Bool),
        // From version 1.1 on.
        10 => Some(Kind::Float8E4m3fn),
        12 => Some(Kind::Float8E5m2),
        _ => None,
    };
    kind.filter(|_| bits % 8 == 0 && lanes == 1)
        .and_then(|kind| dtype::dtype(kind, usize::from(bits / 8)))
        .ok_or_else(|| {
            dtype::unsupported(&format!(
                "the DLPack type (code {code}, {bits} bits, {lanes} lanes)"
            ))
        })
}

fn layout(tensor: &DLTensor, item_size: usize) -> Result<Layout, Refusal> {
    let malformed = || Refusal::invalid("the DLPack tensor has an impossible shape");
    let dimensions = usize::try_from(tensor.ndim).map_err(|_| malformed())?;
    let list = |pointer: *const i64| -> &[i64] {
        if dimensions == 0 || pointer.is_null() {
            return &[];
        }
        // SAFETY: by the protocol a shape or strides that are not null have `ndim` entries, which
        // live as long as the tensor.
        unsafe { std::slice::from_raw_parts(pointer, dimensions) }
    };
    let shape: Vec<usize> = list(tensor.shape)
        .iter()
        .map(|&length| usize::try_from(length))
        .collect::<Result<_, _>>()
        .map_err(|_| malformed())?;
    if shape.len() != dimensions {
        return Err(malformed());
    }
    if tensor.strides.is_null() {
        return Layout::row_major(shape, item_size).ok_or_else(malformed);
    }
    let strides: Option<Vec<isize>> = list(tensor.strides)
        .iter()
        .map(|&stride| isize::try_from(stride).ok()?.checked_mul(item_size as isize))
        .collect();
    Ok(Layout::new(shape, strides.ok_or_else(malformed)?))
}
