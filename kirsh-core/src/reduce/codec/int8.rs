//! The int8 wire format: blocks of elements as whole multiples of one scale each. P-47
//!
//! A block is its scale, a float32, then a byte for each of its up to 256 elements. The scale is
//! the largest magnitude `m` divided by 127, at least 2⁻¹²⁶, so that dividing by it overflows for no
//! subnormal, and at most what 127 times is still finite. An element is the multiple nearest to it,
//! ties to even.
//!
//! A block with a NaN or an infinity in it has its scale negated, and `m / 126` of its finite
//! elements for it: multiples go to ±126, ±127 are the infinities, and −128 is NaN.

use std::mem::MaybeUninit;

use crate::reduce::element::{Arithmetic, Element};
use crate::types::Wire;

/// Elements of a block.
pub(super) const BLOCK: usize = Wire::BLOCK as usize;
/// Bytes of the scale.
const SCALE_BYTES: usize = 4;
/// Bytes of a whole block.
pub(super) const BLOCK_BYTES: usize = SCALE_BYTES + BLOCK;

/// The multiples of a plain block go so far, and those of one with elements that are not finite.
const STEPS: f32 = 127.0;
const ODD_STEPS: f32 = 126.0;

const INFINITY: i8 = 127;
const NEGATIVE_INFINITY: i8 = -127;
const NAN: i8 = -128;

/// Bits from which on a magnitude is an infinity or NaN.
const SPECIAL: u32 = 0x7f80_0000;

/// 3 × 2²²: added to a number of less than 2²², the sum's lower bits are that number rounded to
/// nearest, ties to even, in two's complement.
const ROUNDER: f32 = 12_582_912.0;

/// The largest scale of which so many steps are finite.
const fn scale_max(steps: f32) -> f32 {
    let mut scale = f32::MAX / steps;
    while (scale * steps).is_infinite() {
        scale = f32::from_bits(scale.to_bits() - 1);
    }
    scale
}

const SCALE_MAX: f32 = scale_max(STEPS);
const ODD_SCALE_MAX: f32 = scale_max(ODD_STEPS);

/// Writes the blocks of these elements. The target is as long as they take.
#[inline(always)]
pub(super) fn encode(source: &[[u8; 4]], target: &mut [MaybeUninit<u8>]) {
    for (source, target) in source.chunks(BLOCK).zip(target.chunks_mut(BLOCK_BYTES)) {
        // Whole blocks have a loop of their own, of a length that the compiler knows.
        match <&[[u8; 4]; BLOCK]>::try_from(source) {
            Ok(source) => encode_block(source, target),
            Err(_) => encode_block(source, target),
        }
    }
}

#[inline(always)]
fn encode_block(source: &[[u8; 4]], target: &mut [MaybeUninit<u8>]) {
    let magnitudes = source.iter().map(|raw| (f32::load(*raw).to_bits() & 0x7fff_ffff) as i32);
    // Of floats that are not negative the bits are in the order of the values.
    let largest = magnitudes.fold(0, i32::max) as u32;
    if largest >= SPECIAL {
        return encode_odd(source, target);
    }
    let scale = (f32::from_bits(largest) / STEPS).clamp(f32::MIN_POSITIVE, SCALE_MAX);
    let inverse = 1.0 / scale;
    let (head, codes) = target.split_at_mut(SCALE_BYTES);
    put_scale(head, scale);
    for (code, raw) in codes.iter_mut().zip(source) {
        code.write(multiple(f32::load(*raw), inverse) as u8);
    }
}

/// A block in which not every element is finite.
#[cold]
#[inline(never)]
fn encode_odd(source: &[[u8; 4]], target: &mut [MaybeUninit<u8>]) {
    let finite = source.iter().map(|raw| f32::load(*raw).abs()).filter(|value| value.is_finite());
    let largest = finite.fold(0.0, f32::max);
    let scale = (largest / ODD_STEPS).clamp(f32::MIN_POSITIVE, ODD_SCALE_MAX);
    let inverse = 1.0 / scale;
    let (head, codes) = target.split_at_mut(SCALE_BYTES);
    put_scale(head, -scale);
    for (code, raw) in codes.iter_mut().zip(source) {
        let value = f32::load(*raw);
        code.write(match value {
            _ if value.is_nan() => NAN,
            f32::INFINITY => INFINITY,
            f32::NEG_INFINITY => NEGATIVE_INFINITY,
            _ => multiple(value, inverse),
        } as u8);
    }
}

fn put_scale(head: &mut [MaybeUninit<u8>], scale: f32) {
    for (place, byte) in head.iter_mut().zip(scale.to_le_bytes()) {
        place.write(byte);
    }
}

#[inline(always)]
fn multiple(value: f32, inverse: f32) -> i8 {
    (value * inverse + ROUNDER).to_bits() as i8
}

/// Writes elements of these blocks, from one of the first block on: as many as the target holds.
#[inline(always)]
pub(super) fn decode(source: &[u8], first: usize, target: &mut [MaybeUninit<[u8; 4]>]) {
    let mut skip = first;
    let mut rest = target;
    for block in source.chunks(BLOCK_BYTES) {
        let Some((head, codes)) = block.split_first_chunk::<SCALE_BYTES>() else { return };
        let codes = &codes[std::mem::take(&mut skip).min(codes.len())..];
        let (now, later) = rest.split_at_mut(codes.len().min(rest.len()));
        decode_block(f32::from_le_bytes(*head), codes, now);
        rest = later;
    }
}

#[inline(always)]
fn decode_block(scale: f32, codes: &[u8], target: &mut [MaybeUninit<[u8; 4]>]) {
    if scale.is_sign_negative() {
        return decode_odd(-scale, codes, target);
    }
    for (target, code) in target.iter_mut().zip(codes) {
        target.write((f32::from(*code as i8) * scale).canonical().store());
    }
}

#[cold]
#[inline(never)]
fn decode_odd(scale: f32, codes: &[u8], target: &mut [MaybeUninit<[u8; 4]>]) {
    for (target, code) in target.iter_mut().zip(codes) {
        let value = match *code as i8 {
            NAN => f32::NAN,
            INFINITY => f32::INFINITY,
            NEGATIVE_INFINITY => f32::NEG_INFINITY,
            code => f32::from(code) * scale,
        };
        target.write(value.canonical().store());
    }
}
