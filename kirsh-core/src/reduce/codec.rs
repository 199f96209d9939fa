//! Wire formats: float32 elements become fewer bytes, and elements again.
//!
//! | format | an element | error, of a finite element `x` |
//! |---|---|---|
//! | bf16 | the upper half of its bits, rounded | `2⁻⁸ |x|`, at least `2⁻¹³⁴`; from 3.3962e38 on an infinity |
//! | f16 | an IEEE 754 binary16 | `2⁻¹¹ |x|`, at least `2⁻²⁵`; from 65,520 on an infinity |
//! | int8 | a whole multiple of its block's scale, −127 to 127 | half a scale: `m / 253` for the block's largest magnitude `m`, at least `2⁻¹²⁶` |
//!
//! All rounding is to nearest, ties to even; any NaN becomes the one quiet NaN, and in int8 −0
//! becomes +0. A NaN or an infinity stays what it is, and where it is: an int8 block with one in it
//! says so by the sign of its scale, and keeps codes for them (see [`int8`]).
//!
//! Both loops for a format, portable and AVX2, give the same bits.

#[cfg(target_arch = "x86_64")]
use super::avx2;
use super::element::{Arithmetic, Bf16, Element, F16, Float};
use super::loops::{elements, elements_mut};
use super::{Kernel, environment};
use crate::types::{Finish, Wire};
use std::mem::MaybeUninit;

mod int8;

/// source, target, elements. The source begins with a block.
pub(super) type Encode = unsafe fn(*const u8, *mut u8, usize);
/// An encoding, target, the first element that is wanted, how many.
pub(super) type Decode = unsafe fn(*const u8, *mut u8, usize, usize);

/// Elements that are decoded before they are folded: 4 KiB, which stay in the first cache.
const TILE: usize = 1024;

/// The loops for one wire format and this machine.
#[derive(Clone, Copy)]
pub struct Codec {
    wire: Wire,
    encode: Encode,
    decode: Decode,
}

impl Codec {
    /// The fastest that this machine runs; `None` for [`Wire::Plain`], which encodes nothing.
    pub fn choose(wire: Wire) -> Option<Codec> {
        #[cfg(target_arch = "x86_64")]
        if avx2::available() {
            let (encode, decode): (Encode, Decode) = match wire {
                Wire::Plain => return None,
                Wire::Bf16 => (avx2::encode_each::<Bf16>, avx2::decode_each::<Bf16>),
                Wire::F16 => (avx2::encode_half, avx2::decode_half),
                Wire::Int8 => (avx2::encode_int8, avx2::decode_int8),
            };
            return Some(Codec { wire, encode, decode });
        }
        Self::portable(wire)
    }

    /// What runs everywhere. For tests and for comparison.
    pub fn portable(wire: Wire) -> Option<Codec> {
        let (encode, decode): (Encode, Decode) = match wire {
            Wire::Plain => return None,
            Wire::Bf16 => (encode_each::<Bf16>, decode_each::<Bf16>),
            Wire::F16 => (encode_each::<F16>, decode_each::<F16>),
            Wire::Int8 => (encode_int8, decode_int8),
        };
        Some(Codec { wire, encode, decode })
    }

    /// Writes the encoding of so many elements. Addresses need no alignment.
    ///
    /// # Safety
    /// `source` may be read for `elements` float32, `target` written for as many bytes as
    /// [`Wire::encoded`] says; they have no byte in common, and nobody else touches them meanwhile.
    pub unsafe fn encode(&self, source: *const u8, target: *mut u8, elements: usize) {
        environment::standard(|| {
            // SAFETY: the loop asks for what this function asks for, and for the instructions it
            // was compiled with: `choose` made sure of those.
            unsafe { (self.encode)(source, target, elements) }
        });
    }

    /// Writes the elements `first..first + elements` of an encoding.
    ///
    /// # Safety
    /// `encoding` may be read up to the end of the block of the last of them, `target` written for
    /// `elements` float32; they have no byte in common, and nobody else touches them meanwhile.
    pub unsafe fn decode(
        &self,
        encoding: *const u8,
        target: *mut u8,
        first: usize,
        elements: usize,
    ) {
        environment::standard(|| {
            // SAFETY: as in `encode`.
            unsafe { (self.decode)(encoding, target, first, elements) }
        });
    }

    /// Folds with elements of an encoding: `into[i] = finish(with[i] op decoded[first + i])`, in one
    /// pass over all three.
    ///
    /// # Safety
    /// As for [`Kernel::fold`] on float32, with `received` readable as `encoding` is in
    /// [`Codec::decode`].
    #[allow(clippy::too_many_arguments)]
    pub unsafe fn fold(
        &self,
        kernel: &Kernel,
        with: *const u8,
        received: *const u8,
        into: *mut u8,
        (first, elements): (usize, usize),
        finish: Finish,
        contributions: u32,
    ) {
        const SIZE: usize = size_of::<f32>();
        let mut tile = MaybeUninit::<[f32; TILE]>::uninit();
        let tile = tile.as_mut_ptr().cast::<u8>();
        for at in (0..elements).step_by(TILE) {
            let count = TILE.min(elements - at);
            // SAFETY: the tile has room for `count` elements and is nobody else's; the encoding is
            // readable up to the block of the last.
            unsafe { self.decode(received, tile, first + at, count) };
            let len = count * SIZE;
            // SAFETY: `at + count` is at most `elements`, so these lie in the caller's arrays, which
            // are equal or apart; the tile holds `count` elements and overlaps neither.
            unsafe {
                kernel.fold(
                    with.add(at * SIZE),
                    tile,
                    into.add(at * SIZE),
                    len,
                    finish,
                    contributions,
                )
            };
        }
    }

    /// The wire format.
    pub fn wire(&self) -> Wire {
        self.wire
    }
}

/// An element each, by its own.
///
/// # Safety
/// As for [`Codec::encode`].
#[inline(always)]
pub(super) unsafe fn each_encoded<T: Float<Wide = f32>>(
    source: *const u8,
    target: *mut u8,
    count: usize,
) {
    // SAFETY: the caller's elements, which nobody writes meanwhile.
    let source = unsafe { elements::<[u8; 4]>(source, count * size_of::<f32>()) };
    // SAFETY: the caller's room, of as many elements, which nobody else touches.
    let target =
        unsafe { elements_mut::<MaybeUninit<T::Raw>>(target, count * size_of::<T::Raw>()) };
    for (target, source) in target.iter_mut().zip(source) {
        target.write(T::narrow(f32::load(*source).canonical()).store());
    }
}

/// # Safety
/// As for [`Codec::decode`].
#[inline(always)]
pub(super) unsafe fn each_decoded<T: Float<Wide = f32>>(
    encoding: *const u8,
    target: *mut u8,
    first: usize,
    count: usize,
) {
    // SAFETY: the encoding goes on to the last of the wanted elements.
    let from = unsafe { encoding.add(first * size_of::<T::Raw>()) };
    // SAFETY: as above, and nobody writes it meanwhile.
    let source = unsafe { elements::<T::Raw>(from, count * size_of::<T::Raw>()) };
    // SAFETY: the caller's room, which nobody else touches.
    let target = unsafe { elements_mut::<MaybeUninit<[u8; 4]>>(target, count * size_of::<f32>()) };
    for (target, source) in target.iter_mut().zip(source) {
        target.write(T::load(*source).widen().canonical().store());
    }
}

/// # Safety
/// As for [`Codec::encode`].
#[inline(always)]
pub(super) unsafe fn int8_encoded(source: *const u8, target: *mut u8, count: usize) {
    let len = count * size_of::<f32>();
    // SAFETY: the caller's elements, which nobody writes meanwhile.
    let source = unsafe { elements::<[u8; 4]>(source, len) };
    // SAFETY: the caller's room, which nobody else touches.
    let target =
        unsafe { elements_mut::<MaybeUninit<u8>>(target, Wire::Int8.encoded(len as u64) as usize) };
    int8::encode(source, target);
}

/// # Safety
/// As for [`Codec::decode`].
#[inline(always)]
pub(super) unsafe fn int8_decoded(
    encoding: *const u8,
    target: *mut u8,
    first: usize,
    count: usize,
) {
    let whole = first / int8::BLOCK;
    let begin = whole * int8::BLOCK_BYTES;
    let before = first % int8::BLOCK;
    let len = Wire::Int8.encoded(((before + count) * size_of::<f32>()) as u64) as usize;
    // SAFETY: the encoding goes on to the block of the last wanted element, and this is that of the
    // first.
    let from = unsafe { encoding.add(begin) };
    // SAFETY: as above, and nobody writes it meanwhile.
    let source = unsafe { elements::<u8>(from, if count == 0 { 0 } else { len }) };
    // SAFETY: the caller's room, which nobody else touches.
    let target = unsafe { elements_mut::<MaybeUninit<[u8; 4]>>(target, count * size_of::<f32>()) };
    int8::decode(source, before, target);
}

unsafe fn encode_each<T: Float<Wide = f32>>(source: *const u8, target: *mut u8, count: usize) {
    // SAFETY: the same contract.
    unsafe { each_encoded::<T>(source, target, count) }
}

unsafe fn decode_each<T: Float<Wide = f32>>(
    encoding: *const u8,
    target: *mut u8,
    first: usize,
    count: usize,
) {
    // SAFETY: the same contract.
    unsafe { each_decoded::<T>(encoding, target, first, count) }
}

unsafe fn encode_int8(source: *const u8, target: *mut u8, count: usize) {
    // SAFETY: the same contract.
    unsafe { int8_encoded(source, target, count) }
}

unsafe fn decode_int8(encoding: *const u8, target: *mut u8, first: usize, count: usize) {
    // SAFETY: the same contract.
    unsafe { int8_decoded(encoding, target, first, count) }
}
