//! The loops compiled for AVX2, and float16 by F16C.
//!
//! The compiler's own vectors serve for everything but arithmetic on float16: it does not find the
//! conversion instructions by itself. Vectors change no bit: each lane does what the portable loop
//! does to an element.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::codec;
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

/// `codec::each_encoded` for every format but float16.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn encode_each<T: Float<Wide = f32>>(
    source: *const u8,
    target: *mut u8,
    count: usize,
) {
    // SAFETY: the same contract.
    unsafe { codec::each_encoded::<T>(source, target, count) }
}

/// `codec::each_decoded` for every format but float16.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn decode_each<T: Float<Wide = f32>>(
    encoding: *const u8,
    target: *mut u8,
    first: usize,
    count: usize,
) {
    // SAFETY: the same contract.
    unsafe { codec::each_decoded::<T>(encoding, target, first, count) }
}

/// Bytes of a vector of float32.
const WIDE_STEP: usize = LANES * size_of::<f32>();

/// `codec::each_encoded` for float16.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn encode_half(source: *const u8, target: *mut u8, count: usize) {
    let steps = count / LANES;
    for step in 0..steps {
        // SAFETY: the step lies within `count` elements of the source; this load needs no alignment.
        let wide = unsafe { _mm256_loadu_ps(source.add(step * WIDE_STEP).cast()) };
        let ordered = _mm256_cmp_ps::<_CMP_ORD_Q>(wide, wide);
        let wide = _mm256_blendv_ps(_mm256_set1_ps(f32::nan()), wide, ordered);
        let packed = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(wide);
        // SAFETY: the step lies within `count` elements of the target, of two bytes each.
        unsafe { _mm_storeu_si128(target.add(step * STEP).cast(), packed) };
    }
    let (source_end, target_end) = (steps * WIDE_STEP, steps * STEP);
    // SAFETY: what is left is the end of the same arrays.
    unsafe {
        codec::each_encoded::<F16>(
            source.add(source_end),
            target.add(target_end),
            count - steps * LANES,
        )
    }
}

/// `codec::each_decoded` for float16.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn decode_half(encoding: *const u8, target: *mut u8, first: usize, count: usize) {
    let steps = count / LANES;
    for step in 0..steps {
        let at = first + step * LANES;
        // SAFETY: the step's elements are among those wanted, to which the encoding goes on.
        let packed = unsafe { _mm_loadu_si128(encoding.add(at * size_of::<u16>()).cast()) };
        let wide = _mm256_cvtph_ps(packed);
        let ordered = _mm256_cmp_ps::<_CMP_ORD_Q>(wide, wide);
        let wide = _mm256_blendv_ps(_mm256_set1_ps(f32::nan()), wide, ordered);
        // SAFETY: the step lies within `count` elements of the target; no alignment is needed.
        unsafe { _mm256_storeu_ps(target.add(step * WIDE_STEP).cast(), wide) };
    }
    let done = steps * LANES;
    // SAFETY: what is left is the end of the same arrays.
    unsafe {
        codec::each_decoded::<F16>(
            encoding,
            target.add(steps * WIDE_STEP),
            first + done,
            count - done,
        )
    }
}

/// `codec::int8_encoded`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn encode_int8(source: *const u8, target: *mut u8, count: usize) {
    // SAFETY: the same contract.
    unsafe { codec::int8_encoded(source, target, count) }
}

/// `codec::int8_decoded`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn decode_int8(encoding: *const u8, target: *mut u8, first: usize, count: usize) {
    // SAFETY: the same contract.
    unsafe { codec::int8_decoded(encoding, target, first, count) }
}
