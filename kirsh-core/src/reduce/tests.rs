//! The kernels against an oracle, against each other, and against values written by hand.

mod codec;
mod feedback;
mod oracle;

use proptest::prelude::*;

use super::element::{Element, F16, Float};
use super::*;
use crate::types::DataType::*;

/// Bit patterns that go wrong first: zeros, infinities, quiet and signalling NaNs with payloads of
/// both signs, the smallest and largest subnormal and normal numbers, ones, and integers' ends. Of a
/// complex type those of its parts.
fn special(dtype: DataType) -> Vec<u64> {
    let floats = |mantissa: u32, width: u32| {
        let one_below = (1u64 << mantissa) - 1;
        let infinity = ((1u64 << (width - 1)) - 1) & !one_below;
        let quiet = 1u64 << (mantissa - 1);
        let bias = ((1u64 << (width - mantissa - 2)) - 1) << mantissa;
        let positive = [
            0,
            1,
            2,
            3,
            one_below,
            one_below + 1,
            one_below + 2,
            bias,
            bias + 1,
            bias - 1,
            bias + one_below,
            infinity - 1,
            infinity - 2,
            infinity,
            infinity | 1,
            infinity | quiet,
            infinity | quiet | 5,
            infinity | one_below,
        ];
        positive.iter().flat_map(|&bits| [bits, bits | 1 << (width - 1)]).collect()
    };
    match oracle::part(dtype) {
        Float16 => floats(10, 16),
        Bfloat16 => floats(7, 16),
        Float32 => floats(23, 32),
        Float64 => floats(52, 64),
        _ => {
            let top = 1u64 << (8 * dtype.size() - 1);
            vec![0, 1, 2, 0x80, top - 1, top, top + 1, (top - 1) | top, 0x55, 0xaa]
        }
    }
}

/// A stream of elements, half of them special, for the tests that need many and no shrinking.
struct Elements {
    state: u64,
}

impl Elements {
    fn next(&mut self) -> u64 {
        // xorshift64, G. Marsaglia 2003.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }

    fn bytes(&mut self, dtype: DataType, count: usize) -> Vec<u8> {
        let special = special(dtype);
        let mut bytes = Vec::new();
        let part = oracle::part(dtype);
        for _ in 0..count * dtype.size() / part.size() {
            let (coin, bits) = (self.next(), self.next());
            let bits = match coin % 8 {
                0..4 => bits,
                4..7 => special[bits as usize % special.len()],
                // The two zeros, often enough that they meet.
                _ => special[bits as usize % 2],
            };
            bytes.extend_from_slice(&bits.to_le_bytes()[..part.size()]);
        }
        bytes
    }
}

/// Where a test puts its arrays, in bytes from an aligned address.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    with: usize,
    received: usize,
    into: usize,
}

const GUARD: u8 = 0xa5;

/// An array at an offset from a boundary of 64 bytes, with guards on both sides.
struct Place {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Place {
    fn new(offset: usize, contents: &[u8]) -> Place {
        let mut bytes = vec![GUARD; contents.len() + offset + 128];
        let start = bytes.as_ptr().align_offset(64) + offset;
        bytes[start..start + contents.len()].copy_from_slice(contents);
        Place { bytes, start, len: contents.len() }
    }

    fn ptr(&mut self) -> *mut u8 {
        self.bytes[self.start..].as_mut_ptr()
    }

    fn contents(&self) -> &[u8] {
        let (before, rest) = self.bytes.split_at(self.start);
        let (contents, behind) = rest.split_at(self.len);
        assert!(before.iter().chain(behind).all(|&byte| byte == GUARD), "wrote beside the array");
        contents
    }
}

fn fold_apart(
    kernel: Kernel,
    (with, received): (&[u8], &[u8]),
    at: Offsets,
    (finish, n): (Finish, u32),
) -> Vec<u8> {
    let mut a = Place::new(at.with, with);
    let mut b = Place::new(at.received, received);
    let mut into = Place::new(at.into, &vec![0x77; with.len()]);
    // SAFETY: three arrays of that length, in three vectors.
    unsafe { kernel.fold(a.ptr(), b.ptr(), into.ptr(), with.len(), finish, n) };
    assert_eq!((a.contents(), b.contents()), (with, received), "wrote into an input");
    into.contents().to_vec()
}

fn fold_in_place(
    kernel: Kernel,
    (with, received): (&[u8], &[u8]),
    at: Offsets,
    (finish, n): (Finish, u32),
) -> Vec<u8> {
    let mut into = Place::new(at.with, with);
    let mut b = Place::new(at.received, received);
    let start = into.ptr();
    // SAFETY: two arrays of that length, in two vectors; `with` is `into`.
    unsafe { kernel.fold(start, b.ptr(), start, with.len(), finish, n) };
    assert_eq!(b.contents(), received, "wrote into an input");
    into.contents().to_vec()
}

/// Every pair that goes together.
fn pairs() -> impl Iterator<Item = (DataType, ReduceOp)> {
    DataType::ALL
        .iter()
        .flat_map(|&dtype| ReduceOp::ALL.iter().map(move |&op| (dtype, op)))
        .filter(|&(dtype, op)| op.supports(dtype))
}

fn kernels(dtype: DataType, op: ReduceOp) -> Vec<Kernel> {
    Kernel::all(dtype, op).unwrap()
}

const FINISHES: [Finish; 2] = [Finish::Keep, Finish::Average];

#[test]
fn every_fold_of_every_short_length_and_alignment_matches_the_oracle() {
    let mut elements = Elements { state: 0x9e37_79b9_7f4a_7c15 };
    let lengths = if cfg!(miri) { 0..12 } else { 0..70 };
    for (dtype, op) in pairs() {
        for count in lengths.clone() {
            let (with, received) = (elements.bytes(dtype, count), elements.bytes(dtype, count));
            let n = [1, 2, 3, 7, 65_536, u32::MAX][elements.next() as usize % 6];
            for finish in FINISHES {
                let expected = oracle::fold(dtype, op, finish, n, &with, &received);
                let mut offset = || elements.next() as usize % 64;
                let at = Offsets { with: offset(), received: offset(), into: offset() };
                for kernel in kernels(dtype, op) {
                    let arrays = (&with[..], &received[..]);
                    let what = (kernel, finish, n, count, at);
                    assert_eq!(fold_apart(kernel, arrays, at, (finish, n)), expected, "{what:?}");
                    let found = fold_in_place(kernel, arrays, at, (finish, n));
                    assert_eq!(found, expected, "in place: {what:?}");
                }
            }
        }
    }
}

/// Long arrays begin with a head up to the next cache line, where elements do not lie across lines.
#[test]
#[cfg_attr(miri, ignore = "millions of elements")]
fn every_fold_of_a_long_array_matches_the_oracle_wherever_it_begins() {
    let mut elements = Elements { state: 0x2545_f491_4f6c_dd1d };
    for (dtype, op) in pairs() {
        let count = 4_500 / dtype.size() + 7;
        let (with, received) = (elements.bytes(dtype, count), elements.bytes(dtype, count));
        let expected = oracle::fold(dtype, op, Finish::Average, 3, &with, &received);
        for into in [0, 1, 2, 4, 8, 16, 40, 62] {
            let at = Offsets { with: into, received: elements.next() as usize % 64, into };
            for kernel in kernels(dtype, op) {
                let arrays = (&with[..], &received[..]);
                let found = fold_apart(kernel, arrays, at, (Finish::Average, 3));
                assert!(found == expected, "{kernel:?} at {into}");
                let found = fold_in_place(kernel, arrays, at, (Finish::Average, 3));
                assert!(found == expected, "in place: {kernel:?} at {into}");
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "a million elements")]
fn every_16_bit_float_folds_with_every_special_one_as_the_oracle_says() {
    let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let at = Offsets { with: 0, received: 2, into: 6 };
    for dtype in [Float16, Bfloat16] {
        for other in special(dtype) {
            let received = (other as u16).to_le_bytes().repeat(1 << 16);
            for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Min, ReduceOp::Avg] {
                let expected = oracle::fold(dtype, op, Finish::Average, 3, &all, &received);
                for kernel in kernels(dtype, op) {
                    let arrays = (&all[..], &received[..]);
                    let found = fold_apart(kernel, arrays, at, (Finish::Average, 3));
                    assert!(found == expected, "{kernel:?} with {other:#06x}");
                }
            }
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "half a million conversions")]
fn conversions_of_16_bit_floats_agree_with_the_half_crate_around_every_rounding_edge() {
    for bits in 0..=u16::MAX {
        let (ours, theirs) = (F16::load(bits.to_ne_bytes()).widen(), half::f16::from_bits(bits));
        if theirs.is_nan() {
            assert!(ours.is_nan(), "{bits:#06x}");
            continue;
        }
        assert_eq!(ours.to_bits(), theirs.to_f32().to_bits(), "{bits:#06x}");
        // The value itself, the middle between it and the next, and what lies beside both. A
        // subnormal's place is worth more in float32, where the middle depends on its exponent.
        let next = F16::load((bits & 0x7fff).saturating_add(1).to_ne_bytes()).widen();
        let middle = ((f64::from(ours.abs()) + f64::from(next)) / 2.0) as f32;
        for edge in [ours.to_bits(), middle.to_bits() | (ours.to_bits() & 1 << 31)] {
            for wide in [edge.wrapping_sub(1), edge, edge + 1].map(f32::from_bits) {
                if !wide.is_nan() {
                    let found = u16::from_ne_bytes(F16::narrow(wide).store());
                    assert_eq!(found, half::f16::from_f32(wide).to_bits(), "{wide:e}");
                }
            }
        }
        let wide = half::bf16::from_bits(bits).to_f32().to_bits() & 0xffff_0000;
        for low in [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff] {
            let wide = f32::from_bits(wide | low);
            if !wide.is_nan() {
                let found = u16::from_ne_bytes(Bf16::narrow(wide).store());
                assert_eq!(found, half::bf16::from_f32(wide).to_bits(), "{wide:e}");
            }
        }
    }
}

/// An array of elements of a type, or of the parts of such elements, with their number.
fn array(dtype: DataType, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u64>> {
    // The two zeros once more, so that they meet.
    let zeros = proptest::sample::select(special(dtype)[..2].to_vec());
    let special = proptest::sample::select(special(dtype));
    proptest::collection::vec(prop_oneof![2 => any::<u64>(), 2 => special, 1 => zeros], count)
}

/// As many whole elements as these parts make.
fn lay(dtype: DataType, bits: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let part = oracle::part(dtype).size();
    let mut bytes: Vec<u8> =
        bits.into_iter().flat_map(|bits| bits.to_le_bytes().into_iter().take(part)).collect();
    bytes.truncate(bytes.len() / dtype.size() * dtype.size());
    bytes
}

fn case() -> impl Strategy<Value = (DataType, ReduceOp, Vec<u64>)> {
    proptest::sample::select(pairs().collect::<Vec<_>>())
        .prop_flat_map(|(dtype, op)| (Just(dtype), Just(op), array(dtype, 0..600)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 600 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_fold_commutes_to_the_bit_on_every_kernel_and_matches_the_oracle(
        (dtype, op, bits) in case(),
        average: bool,
        n in 1u32..70_000,
        with in 0usize..64,
        received in 0usize..64,
        into in 0usize..64,
    ) {
        let half = bits.len() / 2;
        let a = lay(dtype, bits[..half].iter().copied());
        let b = lay(dtype, bits[half..2 * half].iter().copied());
        let finish = FINISHES[usize::from(average)];
        let expected = oracle::fold(dtype, op, finish, n, &a, &b);
        let at = Offsets { with, received, into };
        for kernel in kernels(dtype, op) {
            prop_assert_eq!(&fold_apart(kernel, (&a, &b), at, (finish, n)), &expected);
            prop_assert_eq!(&fold_apart(kernel, (&b, &a), at, (finish, n)), &expected);
            prop_assert_eq!(&fold_in_place(kernel, (&a, &b), at, (finish, n)), &expected);
            prop_assert_eq!(&fold_in_place(kernel, (&b, &a), at, (finish, n)), &expected);
        }
    }

    #[test]
    fn scaling_matches_the_oracle_in_place_and_apart(
        which in 0usize..6,
        bits in proptest::collection::vec(any::<u64>(), 0..100),
        factor in prop_oneof![
            any::<f64>(),
            -4.0f64..4.0,
            proptest::sample::select(vec![0.0, -0.0, 1.0, 1.0 / 3.0, f64::NAN, f64::INFINITY]),
        ],
        source in 0usize..64,
        target in 0usize..64,
    ) {
        let dtype = [Float16, Bfloat16, Float32, Float64, Complex64, Complex128][which];
        let contents = lay(dtype, bits.into_iter().chain(special(dtype)));
        let expected = oracle::scale(dtype, &contents, factor);
        let mut from = Place::new(source, &contents);
        let mut to = Place::new(target, &vec![0x77; contents.len()]);
        // SAFETY: two arrays of that length, in two vectors.
        unsafe { scale(dtype, from.ptr(), to.ptr(), contents.len(), factor).unwrap() };
        prop_assert_eq!(from.contents(), &contents[..]);
        prop_assert_eq!(to.contents(), &expected[..]);
        let start = from.ptr();
        // SAFETY: source and target are one array of that length.
        unsafe { scale(dtype, start, start, contents.len(), factor).unwrap() };
        prop_assert_eq!(from.contents(), &expected[..]);
        let portable = match dtype {
            Float16 => scale::portable::<F16>,
            Bfloat16 => scale::portable::<Bf16>,
            Float32 | Complex64 => scale::portable::<f32>,
            _ => scale::portable::<f64>,
        };
        let mut from = Place::new(source, &contents);
        // SAFETY: two arrays of that length, in two vectors.
        unsafe { portable(from.ptr(), to.ptr(), contents.len(), factor) };
        prop_assert_eq!(to.contents(), &expected[..]);
    }
}

/// One element through both kernels, both ways round.
fn check(dtype: DataType, op: ReduceOp, finish: (Finish, u32), a: u64, b: u64, expected: u64) {
    let size = dtype.size();
    let at = Offsets { with: 0, received: 0, into: 0 };
    // More than one vector of each type, so that both the vectors and the rest are used.
    let [a, b, expected] = [a, b, expected].map(|bits| bits.to_le_bytes()[..size].repeat(67));
    for kernel in kernels(dtype, op) {
        for arrays in [(&a[..], &b[..]), (&b, &a)] {
            assert_eq!(fold_apart(kernel, arrays, at, finish), expected, "{kernel:?}");
        }
    }
}

const KEEP: (Finish, u32) = (Finish::Keep, 0);

#[test]
fn every_nan_comes_out_as_the_canonical_one_from_every_float_operator() {
    let types: [(DataType, u64, u64, u64, u64); 4] = [
        (Float16, 0x7e00, 0x7c00, 0x3c00, 0x8000),
        (Bfloat16, 0x7fc0, 0x7f80, 0x3f80, 0x8000),
        (Float32, 0x7fc0_0000, 0x7f80_0000, 0x3f80_0000, 0x8000_0000),
        (Float64, 0x7ff8 << 48, 0x7ff0 << 48, 0x3ff0 << 48, 1 << 63),
    ];
    for (dtype, nan, infinity, one, sign) in types {
        for op in ReduceOp::ALL.iter().copied().filter(|op| op.supports(dtype)) {
            for finish in [KEEP, (Finish::Average, 4)] {
                for input in [nan | 5, infinity | 1, nan | sign, infinity | sign | 3] {
                    for other in [one, 0, infinity, infinity | sign, infinity | 2, nan | sign | 1] {
                        check(dtype, op, finish, input, other, nan);
                    }
                }
            }
        }
        check(dtype, ReduceOp::Sum, KEEP, infinity, infinity | sign, nan);
        check(dtype, ReduceOp::Prod, KEEP, infinity, 0, nan);
        check(dtype, ReduceOp::Avg, (Finish::Average, 2), infinity, infinity | sign, nan);
    }
}

#[test]
fn minus_zero_is_smaller_than_zero_and_sums_keep_ieee_signs() {
    for (dtype, minus) in
        [(Float16, 0x8000), (Bfloat16, 0x8000), (Float32, 0x8000_0000), (Float64, 1u64 << 63)]
    {
        check(dtype, ReduceOp::Min, KEEP, minus, 0, minus);
        check(dtype, ReduceOp::Max, KEEP, minus, 0, 0);
        check(dtype, ReduceOp::Sum, KEEP, minus, 0, 0);
        check(dtype, ReduceOp::Sum, KEEP, minus, minus, minus);
        check(dtype, ReduceOp::Prod, KEEP, minus, 0, minus);
    }
}

#[test]
fn sixteen_bit_floats_round_once_to_even_overflow_to_infinity_and_keep_subnormals() {
    let sum = |dtype, a, b, expected| check(dtype, ReduceOp::Sum, KEEP, a, b, expected);
    // 2048 + 1 lies between 2048 and 2050: to even. 2050 + 1 lies between 2050 and 2052: to even.
    sum(Float16, 0x6800, 0x3c00, 0x6800);
    sum(Float16, 0x6801, 0x3c00, 0x6802);
    sum(Float16, 0x7bff, 0x7bff, 0x7c00);
    sum(Float16, 0x0001, 0x0001, 0x0002);
    sum(Float16, 0x03ff, 0x0001, 0x0400);
    // 256 + 1 lies between 256 and 258; 258 + 1 between 258 and 260.
    sum(Bfloat16, 0x4380, 0x3f80, 0x4380);
    sum(Bfloat16, 0x4381, 0x3f80, 0x4382);
    sum(Bfloat16, 0x7f7f, 0x7f7f, 0x7f80);
    sum(Bfloat16, 0x0001, 0x0001, 0x0002);
    // 65504 + 65504 overflows float16, but not the float32 in which it is divided.
    check(Float16, ReduceOp::Avg, (Finish::Average, 2), 0x7bff, 0x7bff, 0x7bff);
    // A quotient, not a product with the reciprocal.
    let third = u64::from((1.0f32 / 3.0).to_bits());
    check(Float32, ReduceOp::Avg, (Finish::Average, 3), 0x3f80_0000, 0, third);
    let (five, quotient) = (u64::from(5f32.to_bits()), u64::from((5f32 / 49.0).to_bits()));
    assert_ne!(quotient, u64::from((5f32 * (1.0 / 49.0)).to_bits()), "tells the two apart");
    check(Float32, ReduceOp::Avg, (Finish::Average, 49), five, 0, quotient);
}

/// Numbers of two parts through every kernel, both ways round.
fn check_complex(op: ReduceOp, finish: (Finish, u32), [a, b, expected]: [[f64; 2]; 3]) {
    let at = Offsets { with: 3, received: 1, into: 0 };
    for dtype in [Complex64, Complex128] {
        let lay = |parts: [f64; 2]| -> Vec<u8> {
            let part = |part: f64| match dtype {
                Complex64 if part.is_nan() => 0x7fc0_0000u32.to_le_bytes().to_vec(),
                Complex64 => (part as f32).to_le_bytes().to_vec(),
                _ if part.is_nan() => 0x7ff8_0000_0000_0000u64.to_le_bytes().to_vec(),
                _ => part.to_le_bytes().to_vec(),
            };
            parts.map(part).concat().repeat(19)
        };
        let (a, b) = (lay(a), lay(b));
        for kernel in kernels(dtype, op) {
            for arrays in [(&a[..], &b[..]), (&b, &a)] {
                assert_eq!(fold_apart(kernel, arrays, at, finish), lay(expected), "{kernel:?}");
            }
        }
    }
}

#[test]
fn complex_numbers_multiply_by_the_formula_and_sum_part_by_part() {
    const NAN: f64 = f64::NAN;
    const INFINITY: f64 = f64::INFINITY;
    let prod = |a, b, expected| check_complex(ReduceOp::Prod, KEEP, [a, b, expected]);
    prod([1.0, 2.0], [3.0, 4.0], [-5.0, 10.0]);
    prod([0.0, 1.0], [0.0, 1.0], [-1.0, 0.0]);
    // 0 − 0 and 0 + −0 are +0; −0 − 0 is −0.
    prod([0.0, 0.0], [1.0, -1.0], [0.0, 0.0]);
    prod([-0.0, 0.0], [1.0, 1.0], [-0.0, 0.0]);
    prod([INFINITY, 0.0], [1.0, 1.0], [INFINITY, INFINITY]);
    prod([INFINITY, 1.0], [0.0, 1.0], [NAN, INFINITY]);
    prod([INFINITY, INFINITY], [1.0, 1.0], [NAN, INFINITY]);
    prod([NAN, 1.0], [2.0, 3.0], [NAN, NAN]);
    let sum = |a, b, expected| check_complex(ReduceOp::Sum, KEEP, [a, b, expected]);
    sum([1.0, NAN], [2.0, 3.0], [3.0, NAN]);
    sum([-0.0, INFINITY], [-0.0, -INFINITY], [-0.0, NAN]);
    let avg = |a, b, expected| check_complex(ReduceOp::Avg, (Finish::Average, 4), [a, b, expected]);
    avg([1.0, 2.0], [3.0, -8.0], [1.0, -1.5]);
}

#[test]
fn complex_products_round_every_product_before_they_are_added() {
    let (x, y) = (1.0f32 / 3.0, 1.0f64 / 3.0);
    assert_ne!(x.mul_add(x, -(x * x)), 0.0, "fused, the real part would not be zero");
    assert_ne!(y.mul_add(y, -(y * y)), 0.0, "nor that of float64");
    let at = Offsets { with: 0, received: 4, into: 8 };
    let singles = [x.to_le_bytes(), x.to_le_bytes()].concat().repeat(33);
    let doubles = [y.to_le_bytes(), y.to_le_bytes()].concat().repeat(33);
    let squares = [0f32.to_le_bytes(), (x * x + x * x).to_le_bytes()].concat().repeat(33);
    let larger = [0f64.to_le_bytes(), (y * y + y * y).to_le_bytes()].concat().repeat(33);
    for (dtype, numbers, expected) in [(Complex64, singles, squares), (Complex128, doubles, larger)]
    {
        for kernel in kernels(dtype, ReduceOp::Prod) {
            assert_eq!(fold_apart(kernel, (&numbers, &numbers), at, KEEP), expected, "{kernel:?}");
        }
    }
}

#[test]
fn integers_wrap_and_bools_are_zero_or_one() {
    check(Int8, ReduceOp::Sum, KEEP, 0x7f, 1, 0x80);
    check(Uint8, ReduceOp::Prod, KEEP, 0x10, 0x11, 0x10);
    check(Int32, ReduceOp::Prod, KEEP, 0x8000_0000, 0xffff_ffff, 0x8000_0000);
    check(Uint64, ReduceOp::Sum, KEEP, u64::MAX, 2, 1);
    check(Int64, ReduceOp::Min, KEEP, 1 << 63, 1, 1 << 63);
    check(Uint64, ReduceOp::Min, KEEP, 1 << 63, 1, 1);
    check(Int16, ReduceOp::Land, KEEP, 0x0100, 0x8000, 1);
    check(Int16, ReduceOp::Lxor, KEEP, 0x0100, 0x8000, 0);
    check(Bool, ReduceOp::Band, KEEP, 2, 4, 1);
    check(Bool, ReduceOp::Bor, KEEP, 0, 255, 1);
    check(Bool, ReduceOp::Bxor, KEEP, 2, 4, 0);
    check(Bool, ReduceOp::Max, KEEP, 0, 7, 1);
    check(Bool, ReduceOp::Min, KEEP, 9, 0, 0);
}

#[test]
fn a_pair_that_does_not_go_together_is_refused_by_name() {
    for &dtype in DataType::ALL {
        for &op in ReduceOp::ALL {
            for kernel in
                [Kernel::choose(dtype, op).map(|_| ()), Kernel::all(dtype, op).map(|_| ())]
            {
                match kernel {
                    Ok(_) => assert!(op.supports(dtype), "{op} of {dtype}"),
                    Err(error) => {
                        assert!(!op.supports(dtype), "{error}");
                        assert_eq!(error.kind(), ErrorKind::Unsupported);
                        assert!(error.message().contains(op.name()), "{error}");
                        assert!(error.message().contains(dtype.name()), "{error}");
                    }
                }
            }
        }
        if !dtype.is_float() && !dtype.is_complex() {
            let mut element = [3u8; 8];
            let start = element.as_mut_ptr();
            // SAFETY: one element, in place; none is touched.
            let error = unsafe { scale(dtype, start, start, dtype.size(), 2.0) }.unwrap_err();
            assert_eq!((error.kind(), element), (ErrorKind::Unsupported, [3u8; 8]));
        }
    }
}

#[test]
fn a_kernel_names_the_instructions_it_uses() {
    #[cfg(target_arch = "x86_64")]
    if avx512bf16::available() {
        assert_eq!(Kernel::choose(Bfloat16, ReduceOp::Sum).unwrap().name(), "avx512bf16");
    }
    let names: Vec<_> = kernels(Float32, ReduceOp::Sum).iter().map(Kernel::name).collect();
    #[cfg(target_arch = "x86_64")]
    let (has_avx512, has_avx2) = (avx512::available(), avx2::available());
    #[cfg(not(target_arch = "x86_64"))]
    let (has_avx512, has_avx2) = (false, false);
    let expected = [("avx512", has_avx512), ("avx2", has_avx2), ("portable", true)];
    let expected: Vec<_> = expected.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
    assert_eq!(Kernel::choose(Float32, ReduceOp::Sum).unwrap().name(), expected[0]);
}

#[test]
fn folding_nothing_takes_any_address() {
    for (dtype, op) in pairs() {
        for kernel in kernels(dtype, op) {
            let nowhere = std::ptr::null_mut();
            // SAFETY: no bytes, so any addresses will do.
            unsafe { kernel.fold(nowhere, nowhere, nowhere, 0, Finish::Keep, 1) };
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
#[cfg_attr(miri, ignore = "Miri knows no control register")]
fn a_thread_that_flushes_subnormals_and_rounds_upwards_gets_the_same_bits() {
    /// Flush to zero, denormals are zero, rounding towards +∞, exceptions masked.
    const ODD: u32 = 0x1f80 | 0x8000 | 0x0040 | 0x4000;
    let mut elements = Elements { state: 99 };
    let at = Offsets { with: 0, received: 0, into: 0 };
    for (dtype, op) in pairs().filter(|(dtype, _)| dtype.is_float() || dtype.is_complex()) {
        let (with, received) = (elements.bytes(dtype, 300), elements.bytes(dtype, 300));
        for kernel in kernels(dtype, op) {
            let arrays = (&with[..], &received[..]);
            let expected = fold_apart(kernel, arrays, at, (Finish::Average, 3));
            let before = environment::control();
            environment::set_control(ODD);
            let found = fold_apart(kernel, arrays, at, (Finish::Average, 3));
            let after = environment::control();
            environment::set_control(before);
            assert_eq!(found, expected, "{kernel:?}");
            assert_eq!(after & !0x3f, ODD, "the thread's own settings are back");
        }
    }
}
