//! The element types: how they lie in memory and in what arithmetic they meet.

/// What every element type has: a form in memory that needs no alignment.
pub(super) trait Element: Copy {
    /// The bytes in memory: an array, so of alignment 1, and valid whatever it holds.
    type Raw: Copy;

    fn load(raw: Self::Raw) -> Self;
    fn store(self) -> Self::Raw;
}

/// An integer. Results wrap around.
pub(super) trait Whole: Element + Ord {
    fn add(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    fn truth(self) -> bool;
    fn from_truth(truth: bool) -> Self;
}

/// A floating-point type, by the arithmetic it folds in.
pub(super) trait Float: Element {
    type Wide: Arithmetic;

    fn widen(self) -> Self::Wide;
    /// Rounds to nearest, ties to even. A canonical NaN stays one.
    fn narrow(wide: Self::Wide) -> Self;
}

/// A floating-point type of 16 bits, by the pattern of its bits.
pub(super) trait Float16Bits: Element<Raw = [u8; 2]> {
    const INFINITY: u16;
    const NAN: u16;
}

/// The arithmetic of float32 and float64. NaNs come out as the processor makes them: operators
/// end in [`Arithmetic::canonical`].
pub(super) trait Arithmetic: Copy + PartialOrd {
    fn from_f64(value: f64) -> Self;
    fn from_count(count: u32) -> Self;
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    fn div(self, other: Self) -> Self;
    /// The value whose bits are set in either; of the two zeros, −0.
    fn or(self, other: Self) -> Self;
    /// The value whose bits are set in both; of the two zeros, +0.
    fn and(self, other: Self) -> Self;
    fn is_nan(self) -> bool;
    /// The one NaN that leaves this layer, if this is a NaN; otherwise itself.
    fn canonical(self) -> Self;
    fn nan() -> Self;
}

/// An IEEE 754 binary16.
#[derive(Clone, Copy)]
pub(super) struct F16(pub(super) u16);

/// The upper half of a binary32.
#[derive(Clone, Copy)]
pub(super) struct Bf16(pub(super) u16);

impl Float16Bits for F16 {
    const INFINITY: u16 = 0x7c00;
    const NAN: u16 = 0x7e00;
}

impl Float16Bits for Bf16 {
    const INFINITY: u16 = 0x7f80;
    const NAN: u16 = 0x7fc0;
}

macro_rules! whole {
    ($($type:ty),+) => {$(
        impl Element for $type {
            type Raw = [u8; size_of::<$type>()];

            #[inline(always)]
            fn load(raw: Self::Raw) -> Self {
                <$type>::from_ne_bytes(raw)
            }

            #[inline(always)]
            fn store(self) -> Self::Raw {
                self.to_ne_bytes()
            }
        }

        impl Whole for $type {
            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                self & other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }

            #[inline(always)]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }

            #[inline(always)]
            fn truth(self) -> bool {
                self != 0
            }

            #[inline(always)]
            fn from_truth(truth: bool) -> Self {
                truth as $type
            }
        }
    )+};
}

whole!(i8, u8, i16, u16, i32, u32, i64, u64);

macro_rules! arithmetic {
    ($type:ty, $nan:literal) => {
        impl Element for $type {
            type Raw = [u8; size_of::<$type>()];

            #[inline(always)]
            fn load(raw: Self::Raw) -> Self {
                <$type>::from_ne_bytes(raw)
            }

            #[inline(always)]
            fn store(self) -> Self::Raw {
                self.to_ne_bytes()
            }
        }

        impl Float for $type {
            type Wide = $type;

            #[inline(always)]
            fn widen(self) -> Self {
                self
            }

            #[inline(always)]
            fn narrow(wide: Self) -> Self {
                wide
            }
        }

        impl Arithmetic for $type {
            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                value as $type
            }

            #[inline(always)]
            fn from_count(count: u32) -> Self {
                count as $type
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                self + other
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                self - other
            }

            #[inline(always)]
            fn mul(self, other: Self) -> Self {
                self * other
            }

            #[inline(always)]
            fn div(self, other: Self) -> Self {
                self / other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                <$type>::from_bits(self.to_bits() | other.to_bits())
            }

            #[inline(always)]
            fn and(self, other: Self) -> Self {
                <$type>::from_bits(self.to_bits() & other.to_bits())
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }

            #[inline(always)]
            fn canonical(self) -> Self {
                if <$type>::is_nan(self) { Self::nan() } else { self }
            }

            #[inline(always)]
            fn nan() -> Self {
                <$type>::from_bits($nan)
            }
        }
    };
}

arithmetic!(f32, 0x7fc0_0000);
arithmetic!(f64, 0x7ff8_0000_0000_0000);

impl Element for F16 {
    type Raw = [u8; 2];

    #[inline(always)]
    fn load(raw: [u8; 2]) -> Self {
        F16(u16::from_ne_bytes(raw))
    }

    #[inline(always)]
    fn store(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }
}

/// Without branches, so that the compiler can convert whole vectors; after F. Giesen,
/// "half to float" and "float to half", 2012 and 2016. The steps in float32 are exact, or are the
/// one rounding that is wanted.
impl Float for F16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        /// 2¹¹², the distance of the two exponents' biases.
        const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
        /// The first value whose exponent says infinity or NaN in float16.
        const SPECIAL: f32 = 65_536.0;
        let bits = u32::from(self.0);
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * REBIAS;
        let exponent = if magnitude >= SPECIAL { 0x7f80_0000 } else { 0 };
        f32::from_bits(magnitude.to_bits() | exponent | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn narrow(wide: f32) -> Self {
        /// 2⁻¹⁴, the smallest normal float16.
        const NORMAL: u32 = (127 - 14) << 23;
        /// 2¹⁶, beyond every float16.
        const BEYOND: u32 = (127 + 16) << 23;
        /// Added to a smaller number, its last place is float16's subnormal one, 2⁻²⁴.
        const HALF: f32 = 0.5;
        let magnitude = wide.to_bits() & 0x7fff_ffff;
        let subnormal = (f32::from_bits(magnitude) + HALF).to_bits().wrapping_sub(HALF.to_bits());
        let odd = (magnitude >> 13) & 1;
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0x0fff + odd) >> 13;
        let special = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let finite = if magnitude < NORMAL { subnormal } else { normal };
        let found = if magnitude >= BEYOND { special } else { finite };
        F16((found | (wide.to_bits() >> 16) & 0x8000) as u16)
    }
}

impl Element for Bf16 {
    type Raw = [u8; 2];

    #[inline(always)]
    fn load(raw: [u8; 2]) -> Self {
        Bf16(u16::from_ne_bytes(raw))
    }

    #[inline(always)]
    fn store(self) -> [u8; 2] {
        self.0.to_ne_bytes()
    }
}

impl Float for Bf16 {
    type Wide = f32;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }

    #[inline(always)]
    fn narrow(wide: f32) -> Self {
        Bf16((Bf16::round(wide) >> 16) as u16)
    }
}

impl Bf16 {
    /// The float32's bits, with the upper half rounded to nearest, ties to even; the lower half is
    /// of no meaning.
    ///
    /// In integers, because the processors' own conversion flushes subnormals. Adding just under
    /// half a unit of the last place kept, and one more where that place is odd, carries into it
    /// exactly when rounding to even does. The canonical NaN's lower half is zero, so it gains
    /// no carry; an overflow carries into the exponent and gives an infinity.
    #[inline(always)]
    pub(super) fn round(wide: f32) -> u32 {
        let bits = wide.to_bits();
        let odd = (bits >> 16) & 1;
        bits.wrapping_add(0x7fff + odd)
    }
}
