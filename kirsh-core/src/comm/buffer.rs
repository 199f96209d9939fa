//! What can be summed, and what can be lent to a started operation.

use half::{bf16, f16};

use super::numbers::{Complex, Float8E4m3fn, Float8E5m2};
use crate::types::DataType;

/// A type of array elements.
///
/// # Safety
/// The type has the size of `DATA_TYPE`, no padding, and every byte pattern of that size is valid.
pub unsafe trait Element: Copy + Send + 'static {
    const DATA_TYPE: DataType;
}

macro_rules! elements {
    ($($type:ty => $data_type:ident),+ $(,)?) => {
        $(
            // SAFETY: a number, or two of one type, without padding, of that size, for which all bytes are valid.
            unsafe impl Element for $type {
                const DATA_TYPE: DataType = DataType::$data_type;
            }
        )+
    };
}

elements! {
    i8 => Int8,
    u8 => Uint8,
    i16 => Int16,
    u16 => Uint16,
    i32 => Int32,
    u32 => Uint32,
    i64 => Int64,
    u64 => Uint64,
    f16 => Float16,
    bf16 => Bfloat16,
    f32 => Float32,
    f64 => Float64,
    Complex<f32> => Complex64,
    Complex<f64> => Complex128,
    Float8E4m3fn => Float8E4m3fn,
    Float8E5m2 => Float8E5m2,
}

/// Memory that a started operation can own.
///
/// # Safety
/// `as_mut_ptr` gives an address that is valid for reads and writes of `count` elements, stays the
/// same while the buffer is moved about, and is used by nobody else while the buffer lives.
pub unsafe trait Buffer: Send + 'static {
    type Element: Element;

    fn as_mut_ptr(&mut self) -> *mut u8;

    /// In elements.
    fn count(&self) -> usize;
}

// SAFETY: the elements are on the heap, where moving the vector leaves them; it owns them.
unsafe impl<T: Element> Buffer for Vec<T> {
    type Element = T;

    fn as_mut_ptr(&mut self) -> *mut u8 {
        Vec::as_mut_ptr(self).cast()
    }

    fn count(&self) -> usize {
        self.len()
    }
}

// SAFETY: as for a vector.
unsafe impl<T: Element> Buffer for Box<[T]> {
    type Element = T;

    fn as_mut_ptr(&mut self) -> *mut u8 {
        <[T]>::as_mut_ptr(self).cast()
    }

    fn count(&self) -> usize {
        self.len()
    }
}
