//! The spellings of element types, from three protocols, as one `DataType`.

use kirsh_core::DataType;
use pyo3::prelude::*;

use crate::arguments::Refusal;

/// What the protocols agree on: a kind and a width.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Bool,
    Int,
    Uint,
    Float,
    Bfloat,
    Complex,
    Float8E4m3fn,
    Float8E5m2,
    /// Bytes of no stated meaning.
    Raw,
}

/// The element type of this kind and width, if the library has it.
pub(super) fn dtype(kind: Kind, bytes: usize) -> Option<DataType> {
    Some(match (kind, bytes) {
        (Kind::Raw, 1) => DataType::Byte,
        (Kind::Bool, 1) => DataType::Bool,
        (Kind::Int, 1) => DataType::Int8,
        (Kind::Int, 2) => DataType::Int16,
        (Kind::Int, 4) => DataType::Int32,
        (Kind::Int, 8) => DataType::Int64,
        (Kind::Uint, 1) => DataType::Uint8,
        (Kind::Uint, 2) => DataType::Uint16,
        (Kind::Uint, 4) => DataType::Uint32,
        (Kind::Uint, 8) => DataType::Uint64,
        (Kind::Float, 2) => DataType::Float16,
        (Kind::Float, 4) => DataType::Float32,
        (Kind::Float, 8) => DataType::Float64,
        (Kind::Bfloat, 2) => DataType::Bfloat16,
        (Kind::Complex, 8) => DataType::Complex64,
        (Kind::Complex, 16) => DataType::Complex128,
        (Kind::Float8E4m3fn, 1) => DataType::Float8E4m3fn,
        (Kind::Float8E5m2, 1) => DataType::Float8E5m2,
        _ => return None,
    })
}

/// The name of an array's `dtype`, where it has one.
pub(super) fn name_of(object: &Bound<'_, PyAny>) -> Option<String> {
    object.getattr("dtype").ok()?.getattr("name").ok()?.extract().ok()
}

/// The element type of a buffer: a format of the `struct` module with the width of one item.
/// `name` is asked only where there is something to complain about.
pub(super) fn of_format(
    format: &str,
    item_size: usize,
    name: impl Fn() -> Option<String>,
) -> Result<DataType, Refusal> {
    let spelled = || match name() {
        Some(name) => format!("the dtype {name} (buffer format '{format}')"),
        None => format!("the buffer format '{format}'"),
    };
    let (order, letters) = match format.as_bytes() {
        [order @ (b'@' | b'=' | b'<' | b'>' | b'!'), letters @ ..] => (*order, letters),
        letters => (b'@', letters),
    };
    if matches!(order, b'>' | b'!') && item_size > 1 {
        return Err(big_endian(&spelled()));
    }
    let kind = match letters {
        b"?" => Kind::Bool,
        b"b" | b"h" | b"i" | b"l" | b"q" | b"n" => Kind::Int,
        b"B" | b"H" | b"I" | b"L" | b"Q" | b"N" => Kind::Uint,
        b"e" | b"f" | b"d" => Kind::Float,
        // Not of the module but of PEP 3118.
        b"Zf" | b"Zd" => Kind::Complex,
        b"c" => Kind::Raw,
        _ => return Err(unsupported(&spelled())),
    };
    dtype(kind, item_size).ok_or_else(|| unsupported(&spelled()))
}

/// The element type of an `__array_interface__`: its typestr, and the name that the array's own
/// `dtype` has, which alone tells bfloat16 from two bytes of anything, and the floats of 8 bits from
/// one another.
pub(super) fn of_typestr(typestr: &str, name: Option<&str>) -> Result<DataType, Refusal> {
    let spelled = match name {
        Some(name) => format!("the dtype {name} ('{typestr}')"),
        None => format!("the typestr '{typestr}'"),
    };
    let mut letters = typestr.chars();
    let (Some(order), Some(letter)) = (letters.next(), letters.next()) else {
        return Err(unsupported(&spelled));
    };
    // Units, as of datetime64, make this fail, and that is right.
    let Ok(bytes) = letters.as_str().parse::<usize>() else { return Err(unsupported(&spelled)) };
    let kind = match (letter, name) {
        ('b', _) => Kind::Bool,
        ('i', _) => Kind::Int,
        ('u', _) => Kind::Uint,
        ('V', Some("bfloat16")) => Kind::Bfloat,
        ('V' | 'f', Some("float8_e4m3fn")) => Kind::Float8E4m3fn,
        ('V' | 'f', Some("float8_e5m2")) => Kind::Float8E5m2,
        ('f', _) => Kind::Float,
        ('c', _) => Kind::Complex,
        _ => return Err(unsupported(&spelled)),
    };
    if order == '>' && bytes > 1 {
        return Err(big_endian(&spelled));
    }
    dtype(kind, bytes).ok_or_else(|| unsupported(&spelled))
}

pub(super) fn unsupported(spelled: &str) -> Refusal {
    Refusal::unsupported(format!(
        "{spelled} cannot be used: kirsh knows bool, int8 to int64, uint8 to uint64, float16, \
         bfloat16, float32, float64, complex64 and complex128 in little-endian order, and moves \
         float8_e4m3fn and float8_e5m2"
    ))
}

fn big_endian(spelled: &str) -> Refusal {
    Refusal::unsupported(format!(
        "{spelled} is big-endian, and kirsh works on little-endian elements: convert with \
         x.astype(x.dtype.newbyteorder('<'))"
    ))
}
