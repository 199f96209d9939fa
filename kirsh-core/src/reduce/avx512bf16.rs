//! Arithmetic on bfloat16 by the processors' own conversion, which came with Cooper Lake and Zen 4.
//!
//! It packs two vectors of float32 in one instruction instead of seven, but flushes subnormals and
//! knows no canonical NaN. So it serves where none of either comes up, as in nearly every vector there is;
//! where one does, the vector is folded once more by the loops of AVX-512. Bits are the same in both.
//!
//! On a core of Zen 5 a sum in the cache, in place, is 1.1 times as fast as theirs. Where one element
//! in thirty is subnormal or NaN, and the core cannot guess which way comes next, it is 0.8 times as fast.

#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::avx512::{self, Avx512, STEP, computed, unpacked};
use super::element::Arithmetic;
use super::loops::{Body, InstructionSet, Loop};
use super::operator::Computed;

pub(super) fn available() -> bool {
    avx512::available() && is_x86_feature_detected!("avx512bf16")
}

/// The loops of AVX-512 for everything but arithmetic on bfloat16.
pub(super) struct Avx512Bf16;

impl InstructionSet for Avx512Bf16 {
    const NAME: &'static str = "avx512bf16";

    fn compile<B: Body>() -> Loop {
        Avx512::compile::<B>()
    }

    fn float16<O: Computed>() -> Loop {
        Avx512::float16::<O>()
    }

    fn bfloat16<O: Computed>() -> Loop {
        bfloat16::<O>
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn bfloat16<O: Computed>(
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
        let folded = fold::<O>(a, b, count);
        // SAFETY: likewise, and `into` may be written that far.
        unsafe { _mm512_storeu_si512(into.add(at).cast(), folded) };
    }
    // SAFETY: what is left is the end of the same arrays, and this processor has AVX-512.
    unsafe {
        avx512::bfloat16::<O>(
            with.add(whole),
            received.add(whole),
            into.add(whole),
            len - whole,
            contributions,
        )
    }
}

/// Thirty-two bfloat16 of each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
fn fold<O: Computed>(with: __m512i, received: __m512i, count: f32) -> __m512i {
    /// Quiet NaNs, subnormals, signalling NaNs.
    const OTHERWISE: i32 = 0x01 | 0x20 | 0x80;
    /// Where the words of the result come from, of the low vector (0 to 15) and the high one (16
    /// to 31), in the order that undoes the interleaving.
    const PLACES: [i16; 32] = {
        let mut from = [0; 32];
        let mut at = 0;
        while at < 32 {
            let (lane, word) = (at / 8, at % 8);
            from[at] = (word / 4 * 16 + lane * 4 + word % 4) as i16;
            at += 1;
        }
        from
    };
    let ((a_low, a_high), (b_low, b_high)) = (unpacked(with), unpacked(received));
    let (low, high) = (computed::<O>(a_low, b_low, count), computed::<O>(a_high, b_high, count));
    if _mm512_fpclass_ps_mask::<OTHERWISE>(low) | _mm512_fpclass_ps_mask::<OTHERWISE>(high) != 0 {
        return avx512::fold_brain_seldom::<O>(with, received, count);
    }
    // SAFETY: both are vectors of 512 bits without a pattern that is not allowed.
    let packed =
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) };
    // SAFETY: the array is as long as the vector; this load needs no alignment.
    let places = unsafe { _mm512_loadu_si512(PLACES.as_ptr().cast()) };
    _mm512_permutexvar_epi16(places, packed)
}
