//! Numbers that Rust has no type for: they lie in memory as the library's element types do.

/// A complex number, laid out as C's `_Complex`, C++'s `std::complex` and `num_complex::Complex` are.
/// Of `f32` it is a `complex64`, of `f64` a `complex128`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Complex<T> {
    /// The real part.
    pub re: T,
    /// The imaginary part.
    pub im: T,
}

/// The bits of a `float8_e4m3fn`: 4 of exponent, 3 of mantissa, no infinities. It moves, but does not
/// reduce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Float8E4m3fn(pub u8);

/// The bits of a `float8_e5m2`: 5 of exponent, 2 of mantissa. It moves, but does not reduce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Float8E5m2(pub u8);
