//! The loops compiled for AVX-512, and 16-bit floats by its own instructions.
//!
//! In the cache, on a core of Zen 5, sums of float32 and of integers in place are 1.1 to 1.2 times as
//! fast as with AVX2, min and max of floats 1.3 to 1.5 times, averages and sums of float16 twice, sums
//! of bfloat16 2.7 times; out of the cache memory is the limit, and both are alike. Bits are those of the portable loops:
//! each lane does what they do to an element. The processors' own conversion to bfloat16 is used in
//! `avx512bf16.rs`.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::element::Arithmetic;
use super::loops::{Body, InstructionSet, Loop};
use super::operator::Computed;

/// Whether this processor runs these loops, and gains by them. VBMI2 is not used but tells: it came
/// with Ice Lake and Zen 4, and the processors before them lower their clock for such wide vectors.
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vbmi2")
}

pub(super) struct Avx512;

impl InstructionSet for Avx512 {
    const NAME: &'static str = "avx512";

    fn compile<B: Body>() -> Loop {
        generic::<B>
    }

    fn float16<O: Computed>() -> Loop {
        float16::<O>
    }

    fn bfloat16<O: Computed>() -> Loop {
        bfloat16::<O>
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
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

/// Values of float32 in a vector.
const LANES: usize = 16;
/// Bytes of that many float16.
const HALF: usize = LANES * size_of::<u16>();
/// Bytes of a whole vector, which holds 32 floats of 16 bits.
pub(super) const STEP: usize = 2 * HALF;

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn float16<O: Computed>(
    with: *const u8,
    received: *const u8,
    into: *mut u8,
    len: usize,
    contributions: u32,
) {
    let count = f32::from_count(contributions);
    let whole = len - len % STEP;
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `len`, and both may be read that far, at any alignment. In
        // place, a step has read its own bytes before it writes them.
        let (low, high) = unsafe {
            (
                fold_half::<O>(load_half(with.add(at)), load_half(received.add(at)), count),
                fold_half::<O>(
                    load_half(with.add(at + HALF)),
                    load_half(received.add(at + HALF)),
                    count,
                ),
            )
        };
        // The two stores side by side: with other work between them a fold takes a fifth longer.
        // SAFETY: likewise, and `into` may be written that far.
        unsafe {
            _mm256_storeu_si256(into.add(at).cast(), low);
            _mm256_storeu_si256(into.add(at + HALF).cast(), high);
        }
    }
    for at in (whole..len).step_by(HALF) {
        let lanes = first_lanes(LANES.min((len - at) / size_of::<u16>())) as __mmask16;
        // SAFETY: only lanes below `len` are read; those above are zero.
        let (a, b) = unsafe {
            (
                _mm256_maskz_loadu_epi16(lanes, with.add(at).cast()),
                _mm256_maskz_loadu_epi16(lanes, received.add(at).cast()),
            )
        };
        let folded = fold_half::<O>(a, b, count);
        // SAFETY: only lanes below `len` are written.
        unsafe { _mm256_mask_storeu_epi16(into.add(at).cast(), lanes, folded) };
    }
}

/// # Safety
/// As many bytes as the vector has may be read there, at any alignment.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn load_half(source: *const u8) -> __m256i {
    // SAFETY: the caller's bytes; this load needs no alignment.
    unsafe { _mm256_loadu_si256(source.cast()) }
}

/// Sixteen float16 of each. The conversions heed neither the thread's rounding mode (stated in the
/// instruction) nor its flushing of subnormals.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fold_half<O: Computed>(with: __m256i, received: __m256i, count: f32) -> __m256i {
    let folded = compute::<O>(_mm512_cvtph_ps(with), _mm512_cvtph_ps(received), count);
    _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(folded)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn bfloat16<O: Computed>(
    with: *const u8,
    received: *const u8,
    into: *mut u8,
    len: usize,
    contributions: u32,
) {
    let count = f32::from_count(contributions);
    let whole = len - len % STEP;
    for at in (0..whole).step_by(STEP) {
        // SAFETY: `at + STEP` is at most `len`, and both may be read that far, at any
        // alignment. In place, a step has read its own bytes before it writes them.
        let (a, b) = unsafe {
            (_mm512_loadu_si512(with.add(at).cast()), _mm512_loadu_si512(received.add(at).cast()))
        };
        let folded = fold_brain::<O>(a, b, count);
        // SAFETY: likewise, and `into` may be written that far.
        unsafe { _mm512_storeu_si512(into.add(at).cast(), folded) };
    }
    let lanes = first_lanes((len - whole) / size_of::<u16>());
    if lanes != 0 {
        // SAFETY: only the lanes below `len` are read; those above are zero.
        let (a, b) = unsafe {
            (
                _mm512_maskz_loadu_epi16(lanes, with.add(whole).cast()),
                _mm512_maskz_loadu_epi16(lanes, received.add(whole).cast()),
            )
        };
        let folded = fold_brain::<O>(a, b, count);
        // SAFETY: only the lanes below `len` are written.
        unsafe { _mm512_mask_storeu_epi16(into.add(whole).cast(), lanes, folded) };
    }
}

/// Thirty-two bfloat16 of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn fold_brain<O: Computed>(with: __m512i, received: __m512i, count: f32) -> __m512i {
    /// Where the words of the result come from: the upper one of each float32, of the first vector
    /// (0 to 31) and of the second (32 to 63), in the order that undoes the interleaving.
    const UPPER: [i16; 32] = {
        let mut from = [0; 32];
        let mut at = 0;
        while at < 32 {
            let (lane, word) = (at / 8, at % 8);
            from[at] = (word / 4 * 32 + lane * 8 + word % 4 * 2 + 1) as i16;
            at += 1;
        }
        from
    };
    let ((a_low, a_high), (b_low, b_high)) = (unpacked(with), unpacked(received));
    let (low, high) = (compute::<O>(a_low, b_low, count), compute::<O>(a_high, b_high, count));
    // SAFETY: the array is as long as the vector; this load needs no alignment.
    let upper = unsafe { _mm512_loadu_si512(UPPER.as_ptr().cast()) };
    _mm512_permutex2var_epi16(round(low), upper, round(high))
}

/// `fold_brain` for those who seldom need it: kept out of their loops.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn fold_brain_seldom<O: Computed>(
    with: __m512i,
    received: __m512i,
    count: f32,
) -> __m512i {
    fold_brain::<O>(with, received, count)
}

/// Thirty-two bfloat16 as float32, which they are once zeros lie below them: of each eight the first
/// four, and the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn unpacked(brain: __m512i) -> (__m512, __m512) {
    let zero = _mm512_setzero_si512();
    (
        _mm512_castsi512_ps(_mm512_unpacklo_epi16(zero, brain)),
        _mm512_castsi512_ps(_mm512_unpackhi_epi16(zero, brain)),
    )
}

/// `Bf16::round` of each lane: 0x7fff more, and one more where the upper half is odd. As a
/// subtraction of what is less than zero, which makes one step of choosing and adding.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn round(wide: __m512) -> __m512i {
    /// The table of `!((a & b) | c)`.
    const NEITHER: i32 = 0b0001_0101;
    let bits = _mm512_castps_si512(wide);
    let upper = _mm512_srli_epi32::<16>(bits);
    // Of 0x7ffe or 0x7fff all bits turned over, which is that and one more, negative.
    let (one, even) = (_mm512_set1_epi32(1), _mm512_set1_epi32(0x7ffe));
    _mm512_sub_epi32(bits, _mm512_ternarylogic_epi32::<NEITHER>(upper, one, even))
}

/// What an operator gives for each lane; of NaNs the canonical one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn compute<O: Computed>(with: __m512, received: __m512, count: f32) -> __m512 {
    /// What becomes of each class of numbers, four bits each from the lowest: of quiet and
    /// signalling NaNs (the first two) the other operand, of all others themselves.
    const NANS: i32 = 0x1111_1100;
    let computed = computed::<O>(with, received, count);
    _mm512_fixupimm_ps::<0>(_mm512_set1_ps(f32::nan()), computed, _mm512_set1_epi32(NANS))
}

/// What an operator gives for each lane, with NaNs as the processor makes them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) fn computed<O: Computed>(with: __m512, received: __m512, count: f32) -> __m512 {
    let (a, b) = (lanes(with), lanes(received));
    let computed: [f32; LANES] = std::array::from_fn(|lane| O::compute(a[lane], b[lane], count));
    // SAFETY: the array is as long as the vector; this load needs no alignment.
    unsafe { _mm512_loadu_ps(computed.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn lanes(vector: __m512) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    // SAFETY: the array has room for the vector; this store needs no alignment.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), vector) };
    lanes
}

/// A mask of so many lanes, fewer than 32.
fn first_lanes(count: usize) -> __mmask32 {
    (1 << count) - 1
}
