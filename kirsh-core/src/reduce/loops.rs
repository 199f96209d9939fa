//! The loops over arrays, written once; each instruction set compiles them anew.
//!
//! Elements are byte arrays of alignment 1 here, and the places to write are `MaybeUninit`: the
//! caller's output need not hold anything yet. In place and apart are two loops, so that the
//! compiler sees in both that what is written is not what is read next, and uses whole vectors.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::slice;

use super::element::{Arithmetic, Bf16, F16, Float};
use super::operator::{Computed, FloatOperator, OfFloat, OfPair, Rule};

/// A fold: with, received, into, bytes, contributions. Its contract is that of `Kernel::fold`,
/// and that the machine has the instructions it was compiled for.
pub(super) type Loop = unsafe fn(*const u8, *const u8, *mut u8, usize, u32);

/// Which instructions the loops are compiled for.
pub(super) trait InstructionSet {
    const NAME: &'static str;

    /// This loop, for these instructions.
    fn compile<B: Body>() -> Loop;

    /// The loop for float16 in arithmetic: its conversion has instructions of its own.
    fn float16<O: Computed>() -> Loop;

    /// The loop for bfloat16 in arithmetic.
    fn bfloat16<O: Computed>() -> Loop;
}

/// What the compiler may assume of any processor of this architecture.
pub(super) struct Portable;

impl InstructionSet for Portable {
    const NAME: &'static str = "portable";

    fn compile<B: Body>() -> Loop {
        portable::<B>
    }

    fn float16<O: Computed>() -> Loop {
        portable::<Each<OfFloat<F16, O>>>
    }

    fn bfloat16<O: Computed>() -> Loop {
        portable::<Pairs<O>>
    }
}

unsafe fn portable<B: Body>(
    with: *const u8,
    received: *const u8,
    into: *mut u8,
    len: usize,
    contributions: u32,
) {
    // SAFETY: the same contract.
    unsafe { B::run(with, received, into, len, contributions) }
}

/// A loop before it is compiled for somebody. Its functions are always inlined, so that they take
/// on the instructions of the one that calls them.
pub(super) trait Body {
    /// # Safety
    /// As for `Kernel::fold`.
    unsafe fn run(
        with: *const u8,
        received: *const u8,
        into: *mut u8,
        len: usize,
        contributions: u32,
    );
}

/// One element after the other.
pub(super) struct Each<R>(PhantomData<R>);

impl<R: Rule> Body for Each<R> {
    #[inline(always)]
    unsafe fn run(
        with: *const u8,
        received: *const u8,
        into: *mut u8,
        len: usize,
        contributions: u32,
    ) {
        let rule = R::new(contributions);
        // SAFETY: `received` may be read for `len` bytes and shares none with `into`.
        let received = unsafe { elements::<R::Raw>(received, len) };
        if with == into.cast_const() {
            // SAFETY: `into` may be read and written for `len` bytes, and what it holds is
            // initialised, because it is `with`. No other reference to those bytes is made.
            let into = unsafe { elements_mut::<R::Raw>(into, len) };
            in_place(rule, into, received);
        } else {
            // SAFETY: `with` may be read for `len` bytes and, not being `into`, shares none of
            // them with it.
            let with = unsafe { elements::<R::Raw>(with, len) };
            // SAFETY: `into` may be written for `len` bytes, and nothing else refers to them.
            let into = unsafe { elements_mut::<MaybeUninit<R::Raw>>(into, len) };
            apart(rule, with, received, into);
        }
    }
}

/// bfloat16, two at a time, and a last one where their number is odd.
pub(super) struct Pairs<O>(PhantomData<O>);

impl<O: FloatOperator> Body for Pairs<O> {
    #[inline(always)]
    unsafe fn run(
        with: *const u8,
        received: *const u8,
        into: *mut u8,
        len: usize,
        contributions: u32,
    ) {
        let paired = len - len % (2 * size_of::<u16>());
        // SAFETY: the front of the same arrays, so the same contract.
        unsafe { Each::<OfPair<O>>::run(with, received, into, paired, contributions) };
        // SAFETY: the rest of the same arrays; `paired` is at most `len`.
        unsafe {
            Each::<OfFloat<Bf16, O>>::run(
                with.add(paired),
                received.add(paired),
                into.add(paired),
                len - paired,
                contributions,
            )
        };
    }
}

#[inline(always)]
fn in_place<R: Rule>(rule: R, into: &mut [R::Raw], received: &[R::Raw]) {
    for (into, received) in into.iter_mut().zip(received) {
        *into = rule.apply(*into, *received);
    }
}

#[inline(always)]
fn apart<R: Rule>(rule: R, with: &[R::Raw], received: &[R::Raw], into: &mut [MaybeUninit<R::Raw>]) {
    for ((into, with), received) in into.iter_mut().zip(with).zip(received) {
        into.write(rule.apply(*with, *received));
    }
}

/// Multiplies each element by a factor, as `reduce::scale` says.
///
/// # Safety
/// As for `reduce::scale`.
#[inline(always)]
pub(super) unsafe fn multiply<T: Float>(
    source: *const u8,
    target: *mut u8,
    len: usize,
    factor: f64,
) {
    let factor = T::Wide::from_f64(factor);
    let apply = |raw| T::narrow(T::load(raw).widen().mul(factor).canonical()).store();
    if source == target.cast_const() {
        // SAFETY: the target may be read and written, is initialised because it is the source,
        // and nothing else refers to it.
        let target = unsafe { elements_mut::<T::Raw>(target, len) };
        for place in target {
            *place = apply(*place);
        }
    } else {
        // SAFETY: the source may be read and, not being the target, shares no byte with it.
        let source = unsafe { elements::<T::Raw>(source, len) };
        // SAFETY: the target may be written, and nothing else refers to it.
        let target = unsafe { elements_mut::<MaybeUninit<T::Raw>>(target, len) };
        for (target, source) in target.iter_mut().zip(source) {
            target.write(apply(*source));
        }
    }
}

/// The whole elements in `len` bytes.
///
/// # Safety
/// The bytes are initialised, and nobody writes them while the slice lives. `Raw` is made of byte
/// arrays.
#[inline(always)]
pub(super) unsafe fn elements<'a, Raw>(start: *const u8, len: usize) -> &'a [Raw] {
    const { assert!(align_of::<Raw>() == 1) };
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's bytes are valid for reading, alignment 1 is always met, any bytes make
    // a `Raw`, and the slice is no longer than `len`.
    unsafe { slice::from_raw_parts(start.cast(), len / size_of::<Raw>()) }
}

/// The whole elements in `len` bytes, to be written.
///
/// # Safety
/// Nobody else touches the bytes while the slice lives. `Raw` is made of byte arrays, over initialised
/// bytes, or is `MaybeUninit` of that.
#[inline(always)]
pub(super) unsafe fn elements_mut<'a, Raw>(start: *mut u8, len: usize) -> &'a mut [Raw] {
    const { assert!(align_of::<Raw>() == 1) };
    if len == 0 {
        return &mut [];
    }
    // SAFETY: as for `elements`, and the caller's bytes are valid for writing and ours alone.
    unsafe { slice::from_raw_parts_mut(start.cast(), len / size_of::<Raw>()) }
}
