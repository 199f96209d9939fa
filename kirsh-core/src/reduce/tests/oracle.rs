//! What each fold must give, one element at a time, by other means than the kernels use: integers
//! in 128 bits and then cut off, floats in float64 and then rounded.
//!
//! Rounding twice does no harm here: float64 has more than twice the digits of float32 and two
//! over, so that a sum, product or quotient of float32 rounds the same by way of it.

use half::{bf16, f16};

use crate::types::{DataType, Finish, ReduceOp};

pub(super) fn fold(
    dtype: DataType,
    op: ReduceOp,
    finish: Finish,
    contributions: u32,
    with: &[u8],
    received: &[u8],
) -> Vec<u8> {
    let size = dtype.size();
    let elements = with.chunks_exact(size).zip(received.chunks_exact(size));
    elements.flat_map(|(a, b)| one(dtype, op, finish, contributions, a, b)).collect()
}

fn one(dtype: DataType, op: ReduceOp, finish: Finish, n: u32, a: &[u8], b: &[u8]) -> Vec<u8> {
    if dtype == DataType::Bool {
        let (a, b) = (a[0] != 0, b[0] != 0);
        return vec![match op {
            ReduceOp::Band | ReduceOp::Land | ReduceOp::Min => a && b,
            ReduceOp::Bor | ReduceOp::Lor | ReduceOp::Max => a || b,
            ReduceOp::Bxor | ReduceOp::Lxor => a != b,
            _ => unreachable!(),
        } as u8];
    }
    if dtype.is_complex() {
        return complex(dtype, op, finish, n, a, b);
    }
    if dtype.is_float() {
        let (a, b) = (decode(dtype, a), decode(dtype, b));
        let mut result = match op {
            ReduceOp::Sum | ReduceOp::Avg | ReduceOp::PremulSum => step(dtype, a + b),
            ReduceOp::Prod => step(dtype, a * b),
            _ if a.is_nan() || b.is_nan() => f64::NAN,
            ReduceOp::Min => std::cmp::min_by(a, b, f64::total_cmp),
            ReduceOp::Max => std::cmp::max_by(a, b, f64::total_cmp),
            _ => unreachable!(),
        };
        if op == ReduceOp::Avg && finish == Finish::Average {
            result = step(dtype, result / f64::from(n));
        }
        return encode(dtype, result);
    }
    let (a, b) = (integer(dtype, a), integer(dtype, b));
    let result = match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a.wrapping_mul(b),
        ReduceOp::Min => a.min(b),
        ReduceOp::Max => a.max(b),
        ReduceOp::Band => a & b,
        ReduceOp::Bor => a | b,
        ReduceOp::Bxor => a ^ b,
        ReduceOp::Land => i128::from(a != 0 && b != 0),
        ReduceOp::Lor => i128::from(a != 0 || b != 0),
        ReduceOp::Lxor => i128::from((a != 0) != (b != 0)),
        ReduceOp::Avg | ReduceOp::PremulSum => unreachable!(),
    };
    result.to_le_bytes()[..dtype.size()].to_vec()
}

fn complex(dtype: DataType, op: ReduceOp, finish: Finish, n: u32, a: &[u8], b: &[u8]) -> Vec<u8> {
    let part = part(dtype);
    let ((a_real, a_imaginary), (b_real, b_imaginary)) =
        (a.split_at(part.size()), b.split_at(part.size()));
    if op != ReduceOp::Prod {
        let mut both = one(part, op, finish, n, a_real, b_real);
        both.extend(one(part, op, finish, n, a_imaginary, b_imaginary));
        return both;
    }
    let times = |a, b| step(part, decode(part, a) * decode(part, b));
    let real = step(part, times(a_real, b_real) - times(a_imaginary, b_imaginary));
    let imaginary = step(part, times(a_real, b_imaginary) + times(a_imaginary, b_real));
    [encode(part, real), encode(part, imaginary)].concat()
}

/// The type of the two parts of a complex number; any other type itself.
pub(super) fn part(dtype: DataType) -> DataType {
    match dtype {
        DataType::Complex64 => DataType::Float32,
        DataType::Complex128 => DataType::Float64,
        whole => whole,
    }
}

pub(super) fn scale(dtype: DataType, source: &[u8], factor: f64) -> Vec<u8> {
    let dtype = part(dtype);
    // Two of the three types of arithmetic round the factor before they use it.
    let factor = step(dtype, factor);
    source
        .chunks_exact(dtype.size())
        .flat_map(|raw| encode(dtype, step(dtype, decode(dtype, raw) * factor)))
        .collect()
}

/// One operation's rounding in the arithmetic of the type.
fn step(dtype: DataType, value: f64) -> f64 {
    if dtype == DataType::Float64 { value } else { f64::from(value as f32) }
}

fn decode(dtype: DataType, raw: &[u8]) -> f64 {
    match dtype {
        DataType::Float16 => f16::from_le_bytes(raw.try_into().unwrap()).to_f64(),
        DataType::Bfloat16 => bf16::from_le_bytes(raw.try_into().unwrap()).to_f64(),
        DataType::Float32 => f64::from(f32::from_le_bytes(raw.try_into().unwrap())),
        DataType::Float64 => f64::from_le_bytes(raw.try_into().unwrap()),
        _ => unreachable!(),
    }
}

fn encode(dtype: DataType, value: f64) -> Vec<u8> {
    let nan = value.is_nan();
    match dtype {
        DataType::Float16 if nan => 0x7e00u16.to_le_bytes().to_vec(),
        DataType::Float16 => f16::from_f32(value as f32).to_le_bytes().to_vec(),
        DataType::Bfloat16 if nan => 0x7fc0u16.to_le_bytes().to_vec(),
        DataType::Bfloat16 => bf16::from_f32(value as f32).to_le_bytes().to_vec(),
        DataType::Float32 if nan => 0x7fc0_0000u32.to_le_bytes().to_vec(),
        DataType::Float32 => (value as f32).to_le_bytes().to_vec(),
        DataType::Float64 if nan => 0x7ff8_0000_0000_0000u64.to_le_bytes().to_vec(),
        DataType::Float64 => value.to_le_bytes().to_vec(),
        _ => unreachable!(),
    }
}

fn integer(dtype: DataType, raw: &[u8]) -> i128 {
    let signed =
        matches!(dtype, DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64);
    let negative = signed && raw[raw.len() - 1] & 0x80 != 0;
    let mut bytes = [if negative { 0xff } else { 0 }; 16];
    bytes[..raw.len()].clone_from_slice(raw);
    i128::from_le_bytes(bytes)
}
