//! The operators, each written once for all types it is defined on.

use std::marker::PhantomData;

use super::element::{Arithmetic, Bf16, Element, Float, Float16Bits, Whole};

/// An operator on integers.
pub(super) trait WholeOperator: Copy {
    fn combine<T: Whole>(with: T, received: T) -> T;
}

/// An operator on floats. The result is no NaN but the canonical one.
pub(super) trait FloatOperator: Copy {
    fn combine<W: Arithmetic>(with: W, received: W, contributions: W) -> W;
}

/// An operator that is arithmetic. NaNs come out as the processor makes them.
pub(super) trait Computed: Copy {
    fn compute<W: Arithmetic>(with: W, received: W, contributions: W) -> W;
}

/// A type and an operator together: what one turn of a loop does to the bytes of one element.
pub(super) trait Rule: Copy {
    type Raw: Copy;

    fn new(contributions: u32) -> Self;
    fn apply(self, with: Self::Raw, received: Self::Raw) -> Self::Raw;
}

#[derive(Clone, Copy)]
pub(super) struct Sum;
#[derive(Clone, Copy)]
pub(super) struct Prod;
#[derive(Clone, Copy)]
pub(super) struct Min;
#[derive(Clone, Copy)]
pub(super) struct Max;
/// The sum, divided by the number of contributions.
#[derive(Clone, Copy)]
pub(super) struct Mean;
#[derive(Clone, Copy)]
pub(super) struct Band;
#[derive(Clone, Copy)]
pub(super) struct Bor;
#[derive(Clone, Copy)]
pub(super) struct Bxor;
#[derive(Clone, Copy)]
pub(super) struct Land;
#[derive(Clone, Copy)]
pub(super) struct Lor;
#[derive(Clone, Copy)]
pub(super) struct Lxor;

macro_rules! whole_operators {
    ($($name:ident: $with:ident, $received:ident => $result:expr;)+) => {$(
        impl WholeOperator for $name {
            #[inline(always)]
            fn combine<T: Whole>($with: T, $received: T) -> T {
                $result
            }
        }
    )+};
}

whole_operators! {
    Sum: a, b => a.add(b);
    Prod: a, b => a.mul(b);
    Min: a, b => a.min(b);
    Max: a, b => a.max(b);
    Band: a, b => a.and(b);
    Bor: a, b => a.or(b);
    Bxor: a, b => a.xor(b);
    Land: a, b => T::from_truth(a.truth() & b.truth());
    Lor: a, b => T::from_truth(a.truth() | b.truth());
    Lxor: a, b => T::from_truth(a.truth() ^ b.truth());
}

impl Computed for Sum {
    #[inline(always)]
    fn compute<W: Arithmetic>(with: W, received: W, _: W) -> W {
        with.add(received)
    }
}

impl Computed for Mean {
    #[inline(always)]
    fn compute<W: Arithmetic>(with: W, received: W, contributions: W) -> W {
        with.add(received).div(contributions)
    }
}

impl Computed for Prod {
    #[inline(always)]
    fn compute<W: Arithmetic>(with: W, received: W, _: W) -> W {
        with.mul(received)
    }
}

impl<O: Computed> FloatOperator for O {
    #[inline(always)]
    fn combine<W: Arithmetic>(with: W, received: W, contributions: W) -> W {
        Self::compute(with, received, contributions).canonical()
    }
}

// Equal values have equal bits, except the two zeros; there the bitwise operator finds the one
// that is wanted. Written as selections rather than branches, so that whole vectors can do it.
impl FloatOperator for Min {
    #[inline(always)]
    fn combine<W: Arithmetic>(with: W, received: W, _: W) -> W {
        let smaller = if with < received { with } else { received };
        let found = if with == received { with.or(received) } else { smaller };
        if with.is_nan() | received.is_nan() { W::nan() } else { found }
    }
}

impl FloatOperator for Max {
    #[inline(always)]
    fn combine<W: Arithmetic>(with: W, received: W, _: W) -> W {
        let larger = if with > received { with } else { received };
        let found = if with == received { with.and(received) } else { larger };
        if with.is_nan() | received.is_nan() { W::nan() } else { found }
    }
}

/// An operator on one integer type.
#[derive(Clone, Copy)]
pub(super) struct OfWhole<T, O>(PhantomData<(T, O)>);

impl<T: Whole, O: WholeOperator> Rule for OfWhole<T, O> {
    type Raw = T::Raw;

    #[inline(always)]
    fn new(_: u32) -> Self {
        OfWhole(PhantomData)
    }

    #[inline(always)]
    fn apply(self, with: T::Raw, received: T::Raw) -> T::Raw {
        O::combine(T::load(with), T::load(received)).store()
    }
}

/// An operator on one floating-point type.
#[derive(Clone, Copy)]
pub(super) struct OfFloat<T: Float, O> {
    contributions: T::Wide,
    operator: PhantomData<O>,
}

impl<T: Float, O: FloatOperator> Rule for OfFloat<T, O> {
    type Raw = <T as Element>::Raw;

    #[inline(always)]
    fn new(contributions: u32) -> Self {
        OfFloat { contributions: T::Wide::from_count(contributions), operator: PhantomData }
    }

    #[inline(always)]
    fn apply(self, with: Self::Raw, received: Self::Raw) -> Self::Raw {
        let (with, received) = (T::load(with).widen(), T::load(received).widen());
        T::narrow(O::combine(with, received, self.contributions)).store()
    }
}

/// An operator on two bfloat16 that lie side by side, as one turn.
///
/// The upper of the two is a float32 already, once the lower is masked away, and the lower becomes
/// one by a shift: lanes stay 32 bits wide throughout, and nothing is shuffled. With the
/// straightforward loop a fold in the cache took 1.3 times as long (AVX2, 256 KiB).
#[derive(Clone, Copy)]
pub(super) struct OfPair<O>(OfFloat<Bf16, O>);

impl<O: FloatOperator> Rule for OfPair<O> {
    type Raw = [u8; 4];

    #[inline(always)]
    fn new(contributions: u32) -> Self {
        OfPair(OfFloat::new(contributions))
    }

    #[inline(always)]
    fn apply(self, with: [u8; 4], received: [u8; 4]) -> [u8; 4] {
        const UPPER: u32 = 0xffff_0000;
        let (with, received) = (u32::from_ne_bytes(with), u32::from_ne_bytes(received));
        let fold = |with, received| {
            let (with, received) = (f32::from_bits(with), f32::from_bits(received));
            Bf16::round(O::combine(with, received, self.0.contributions))
        };
        let lower = fold(with << 16, received << 16) >> 16;
        let upper = fold(with & UPPER, received & UPPER) & UPPER;
        (lower | upper).to_ne_bytes()
    }
}

/// The product of two complex numbers, (a + bi)(c + di) = (ac − bd) + (ad + bc)i, each of the six
/// operations rounded.
///
/// Either way round the parts are made of the same products, and a sum commutes, so this does, to the
/// bit. Infinite parts get what the formula gives, which may be a NaN; the repairs of C's Annex G
/// are not made.
#[derive(Clone, Copy)]
pub(super) struct OfComplexProd<T>(PhantomData<T>);

impl<T: Element + Arithmetic> Rule for OfComplexProd<T> {
    type Raw = [T::Raw; 2];

    #[inline(always)]
    fn new(_: u32) -> Self {
        OfComplexProd(PhantomData)
    }

    #[inline(always)]
    fn apply(self, with: Self::Raw, received: Self::Raw) -> Self::Raw {
        let ([a, b], [c, d]) = (with.map(T::load), received.map(T::load));
        let real = a.mul(c).sub(b.mul(d));
        let imaginary = a.mul(d).add(b.mul(c));
        [real.canonical().store(), imaginary.canonical().store()]
    }
}

/// Min or max on a floating-point type of 16 bits, without arithmetic.
///
/// With the other bits of negative numbers turned over, patterns compare as signed integers the
/// way their values do, −0 below +0.
#[derive(Clone, Copy)]
pub(super) struct OfOrder<T, O>(PhantomData<(T, O)>);

impl<T: Float16Bits, O: WholeOperator> Rule for OfOrder<T, O> {
    type Raw = [u8; 2];

    #[inline(always)]
    fn new(_: u32) -> Self {
        OfOrder(PhantomData)
    }

    #[inline(always)]
    fn apply(self, with: [u8; 2], received: [u8; 2]) -> [u8; 2] {
        let (with, received) = (i16::from_ne_bytes(with), i16::from_ne_bytes(received));
        let turn = |bits: i16| bits ^ ((bits >> 15) & 0x7fff);
        let is_nan = |bits: i16| (bits & 0x7fff) > T::INFINITY as i16;
        let found = turn(O::combine(turn(with), turn(received)));
        let nan = is_nan(with) | is_nan(received);
        (if nan { T::NAN as i16 } else { found }).to_ne_bytes()
    }
}
