//! A rank's own factor, applied to its input before `premul_sum` folds it.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::element::{Bf16, F16, Float};
use super::{environment, loops};
use crate::error::{Error, ErrorKind, Result};
use crate::types::DataType;

/// source, target, bytes, factor.
type Loop = unsafe fn(*const u8, *mut u8, usize, f64);

/// Multiplies each element by a real factor: `target[i] = source[i] * factor`.
///
/// The factor is first rounded to the type of the arithmetic: float32, or float64 for float64 and
/// complex128.
/// Results are rounded once; NaNs are canonical, as everywhere in this layer. The target may be
/// the source. Addresses need no alignment.
///
/// # Errors
/// `Unsupported` where the type is neither a float nor complex; nothing has been touched then.
///
/// # Safety
/// - `len` is a multiple of the element's size.
/// - `source` is valid for reading `len` initialised bytes, `target` for writing.
/// - The two are one, or have no byte in common. Nobody else touches these bytes meanwhile.
pub unsafe fn scale(
    dtype: DataType,
    source: *const u8,
    target: *mut u8,
    len: usize,
    factor: f64,
) -> Result<()> {
    let run: Loop = match dtype {
        DataType::Float16 => half(),
        DataType::Bfloat16 => float::<Bf16>(),
        // A real factor multiplies both parts.
        DataType::Float32 | DataType::Complex64 => float::<f32>(),
        DataType::Float64 | DataType::Complex128 => float::<f64>(),
        _ => {
            let message =
                format!("{dtype} cannot be scaled: use a floating-point or a complex type");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
    };
    debug_assert!(len.is_multiple_of(dtype.size()), "{len} bytes of {dtype}");
    environment::standard(|| {
        // SAFETY: the loop asks for what this function asks for, and for the instructions it was
        // compiled with: `float` and `half` made sure of those.
        unsafe { run(source, target, len, factor) }
    });
    Ok(())
}

fn float<T: Float>() -> Loop {
    #[cfg(target_arch = "x86_64")]
    if avx2::available() {
        return avx2::multiply::<T>;
    }
    portable::<T>
}

fn half() -> Loop {
    #[cfg(target_arch = "x86_64")]
    if avx2::available() {
        return avx2::multiply_half;
    }
    portable::<F16>
}

/// What `scale` runs where there is nothing better.
///
/// # Safety
/// As for [`scale`].
pub(super) unsafe fn portable<T: Float>(
    source: *const u8,
    target: *mut u8,
    len: usize,
    factor: f64,
) {
    // SAFETY: the same contract.
    unsafe { loops::multiply::<T>(source, target, len, factor) }
}
