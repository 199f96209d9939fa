//! The loops compiled for AVX2, and float16 by F16C.
//!
//! The compiler's own vectors serve for everything but arithmetic on float16: it does not find the
//! conversion instructions by itself. Vectors change no bit: each lane does what the portable loop
//! does to an element.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::element::{Arithmetic, F16, Float};
use super::loops::{self, Body, Each, InstructionSet, Loop, Pairs};
use super::operator::{Computed, OfFloat};

/// Whether this processor runs these loops. Asked once, then remembered by the standard library.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")
}

pub(super) struct Avx2;

impl InstructionSet for Avx2 {
    const NAME: &'static str = "avx2";

    fn compile<B: Body>() -> Loop {
        generic::<B>
    }

    fn float16<O: Computed>() -> Loop {
        half::<O>
    }

    fn bfloat16<O: Computed>() -> Loop {
        generic::<Pairs<O>>
    }
}

#[target_feature(enable = "avx2")]
unsafe fn generic<B: Body>(
    with: *const u8,
    received: *const u8,
    into: *mut u8,
    len: usize,
    contributions: u32,
) {
    // SAFETY: the same contract.
    unsafe { B::run(with, received, into, len, contributions) }
}

/// Elements in a vector of float32, and so in one step of the float16 loops.
const LANES: usize = 8;
/// Bytes of that many float16.
const STEP: usize = LANES * size_of::<u16>();

#[target_feature(enable = "avx2,f16c")]
unsafe fn half<O: Computed>(
    with: *const u8,
    received: *const u8,
    into: *mut u8,
    len: usize,
    contributions: u32,
) {
    let count = f32::from_count(contributions);
    let whole = len - len % STEP;
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `len`, and both may be read that far. In place, a step
        // has read its own bytes before it writes them.
        let (a, b) = unsafe { (widen(with.add(at)), widen(received.add(at))) };
        let folded = std::array::from_fn(|lane| O::compute(a[lane], b[lane], count).canonical());
        // SAFETY: `at + STEP` is at most `len`, and `into` may be written that far.
        unsafe { narrow(folded, into.add(at)) };
    }
    // SAFETY: what is left is the end of the same arrays.
    unsafe {
        Each::<OfFloat<F16, O>>::run(
            with.add(whole),
            received.add(whole),
            into.add(whole),
            len - whole,
            contributions,
        )
    }
}

/// The eight float16 at an address, each as the float32 of the same value.
///
/// # Safety
/// 16 bytes may be read there, at any alignment.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn widen(source: *const u8) -> [f32; LANES] {
    // SAFETY: the caller's 16 bytes; this load needs no alignment.
    let packed = unsafe { _mm_loadu_si128(source.cast()) };
    let mut wide = [0.0; LANES];
    // SAFETY: the array has room for the eight; this store needs no alignment.
    unsafe { _mm256_storeu_ps(wide.as_mut_ptr(), _mm256_cvtph_ps(packed)) };
    wide
}

/// Writes eight values as float16, rounded to nearest, ties to even. The conversion heeds neither
/// the thread's rounding mode (stated in the instruction) nor its flushing of subnormals.
///
/// # Safety
/// 16 bytes may be written there, at any alignment.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn narrow(wide: [f32; LANES], target: *mut u8) {
    // SAFETY: the array holds the eight; this load needs no alignment.
    let wide = unsafe { _mm256_loadu_ps(wide.as_ptr()) };
    let packed = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
    // SAFETY: the caller's 16 bytes; this store needs no alignment.
    unsafe { _mm_storeu_si128(target.cast(), packed) };
}

/// `loops::multiply` for every type but float16.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn multiply<T: Float>(
    source: *const u8,
    target: *mut u8,
    len: usize,
    factor: f64,
) {
    // SAFETY: the same contract.
    unsafe { loops::multiply::<T>(source, target, len, factor) }
}

/// `loops::multiply` for float16.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn multiply_half(source: *const u8, target: *mut u8, len: usize, factor: f64) {
    let wide_factor = f32::from_f64(factor);
    let whole = len - len % STEP;
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `len`, and the source may be read that far. In place, a
        // step has read its own bytes before it writes them.
        let values = unsafe { widen(source.add(at)) };
        let scaled = values.map(|value| value.mul(wide_factor).canonical());
        // SAFETY: `at + STEP` is at most `len`, and the target may be written that far.
        unsafe { narrow(scaled, target.add(at)) };
    }
    // SAFETY: what is left is the end of the same arrays.
    unsafe { loops::multiply::<F16>(source.add(whole), target.add(whole), len - whole, factor) }
}
