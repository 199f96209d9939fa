//! What each rank puts into its array, and what exactly must come out.
//!
//! Everything is a whole number, so small that no step of the sum can round in the element's type:
//! the result is known to the bit, whatever the order of the folds. The values repeat after a prime
//! number of elements, so that parts which end up in the wrong place do not look right there.

use half::{bf16, f16};

use crate::comm::{Complex, Element};
use crate::types::{Rank, ReduceOp, Wire};

/// After how many elements the values repeat. Prime, and so no divisor of any cut.
const PERIOD: usize = 1021;

/// The largest value that is put into an array: any type holds it.
const VALUE_MAX: i64 = 100;

/// How many ranks contribute a factor of 2 to a product, which then is at most 64.
const TWOS: u32 = 6;

/// An element that can be made of a whole number.
pub(super) trait Number: Element + PartialEq {
    /// All whole numbers from 0 to this one are exact. Integers wrap, and so are exact always.
    const EXACT_MAX: i64;

    fn from_whole(value: i64) -> Self;

    /// How far two are apart, where that is a number.
    fn distance(self, other: Self) -> f64;
}

macro_rules! numbers {
    ($($type:ty: $exact_max:expr, $convert:expr, $wide:expr;)+) => {
        $(impl Number for $type {
            const EXACT_MAX: i64 = $exact_max;

            fn from_whole(value: i64) -> Self {
                $convert(value)
            }

            fn distance(self, other: Self) -> f64 {
                ($wide(self) - $wide(other)).abs()
            }
        })+
    };
}

numbers! {
    i8: i64::MAX, |value| value as i8, f64::from;
    u8: i64::MAX, |value| value as u8, f64::from;
    i16: i64::MAX, |value| value as i16, f64::from;
    u16: i64::MAX, |value| value as u16, f64::from;
    i32: i64::MAX, |value| value as i32, f64::from;
    u32: i64::MAX, |value| value as u32, f64::from;
    i64: i64::MAX, |value| value, |wide| wide as f64;
    u64: i64::MAX, |value| value as u64, |wide| wide as f64;
    // As many bits as the significand has, the hidden one included.
    f16: 1 << 11, |value| f16::from_f64(value as f64), f16::to_f64;
    bf16: 1 << 8, |value| bf16::from_f64(value as f64), bf16::to_f64;
    f32: 1 << 24, |value| value as f32, f64::from;
    f64: 1 << 53, |value| value as f64, f64::from;
    Complex<f32>: 1 << 24, |value| Complex { re: value as f32, im: 0.0 }, |number: Complex<f32>| f64::from(number.re);
    Complex<f64>: 1 << 53, |value| Complex { re: value as f64, im: 0.0 }, |number: Complex<f64>| number.re;
}

/// The arrays of a world of this size.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    world: u32,
    op: ReduceOp,
    /// The largest value that each rank contributes.
    value_max: i64,
    /// Only so many ranks contribute: with more, even ones would add up to what is not exact.
    contributors: u32,
}

impl Pattern {
    pub(super) fn new<T: Number>(world: u32, op: ReduceOp) -> Self {
        // Premul_sum doubles some of the values.
        let sum_max = if op == ReduceOp::PremulSum { T::EXACT_MAX / 2 } else { T::EXACT_MAX };
        Pattern {
            world,
            op,
            value_max: (sum_max / i64::from(world)).clamp(1, VALUE_MAX),
            contributors: u32::try_from(sum_max).unwrap_or(u32::MAX),
        }
    }

    /// This rank's factor, where the operator takes one.
    pub(super) fn scale(&self, rank: Rank) -> Option<f64> {
        (self.op == ReduceOp::PremulSum).then(|| self.factor(rank) as f64)
    }

    /// This rank's array, up to where it repeats.
    pub(super) fn input<T: Number>(&self, rank: Rank) -> Vec<T> {
        (0..PERIOD).map(|index| T::from_whole(self.value(rank, index))).collect()
    }

    /// What the arrays of the first so many ranks reduce to, up to where it repeats. An average is
    /// one of all ranks.
    pub(super) fn reduced<T: Number>(&self, ranks: u32) -> Vec<T> {
        (0..PERIOD).map(|index| T::from_whole(self.result(index, ranks))).collect()
    }

    /// How far a result may be from what it would be exactly, where elements travel in this format:
    /// each of the world's hops rounds once, at most the largest value that there can be.
    pub(super) fn tolerance(&self, wire: Wire) -> f64 {
        let share = match wire {
            Wire::Plain => return 0.0,
            Wire::Bf16 => 1.0 / 256.0,
            Wire::F16 => 1.0 / 2048.0,
            Wire::Int8 => 1.0 / 253.0,
        };
        let world = f64::from(self.world);
        world * share * world * 2.0 * self.value_max as f64
    }

    fn value(&self, rank: Rank, index: usize) -> i64 {
        let any = mix(rank, index) as i64 % (self.value_max + 1);
        match self.op {
            ReduceOp::Prod => {
                let twos = TWOS.min(self.world);
                if (index as u32).wrapping_add(rank) % self.world < twos { 2 } else { 1 }
            }
            // One rank brings the sum, so that it divides; every rank is that one somewhere.
            ReduceOp::Avg if index as u32 % self.world == rank => {
                i64::from(self.world) * self.average(index)
            }
            ReduceOp::Avg => 0,
            _ if rank >= self.contributors => 0,
            // As many falsehoods as truths, or hardly any result would be false.
            ReduceOp::Land | ReduceOp::Lor | ReduceOp::Lxor => any & 1,
            _ => any,
        }
    }

    fn result(&self, index: usize, ranks: u32) -> i64 {
        let values = || (0..ranks).map(|rank| self.value(rank, index));
        let truth = |is: bool| i64::from(is);
        match self.op {
            ReduceOp::Sum => values().sum(),
            ReduceOp::PremulSum => {
                (0..).zip(values()).map(|(rank, value)| self.factor(rank) * value).sum()
            }
            ReduceOp::Avg => self.average(index),
            ReduceOp::Prod => values().product(),
            ReduceOp::Min => values().min().unwrap_or(0),
            ReduceOp::Max => values().max().unwrap_or(0),
            ReduceOp::Band => values().fold(-1, |all, value| all & value),
            ReduceOp::Bor => values().fold(0, |all, value| all | value),
            ReduceOp::Bxor => values().fold(0, |all, value| all ^ value),
            ReduceOp::Land => truth(values().all(|value| value != 0)),
            ReduceOp::Lor => truth(values().any(|value| value != 0)),
            ReduceOp::Lxor => truth(values().filter(|value| *value != 0).count() % 2 == 1),
        }
    }

    fn average(&self, index: usize) -> i64 {
        // In a world so large that not even a sum of `world` would be exact, all is zero.
        let fits = self.world <= self.contributors;
        if fits { mix(0, index) as i64 % self.value_max + 1 } else { 0 }
    }

    fn factor(&self, rank: Rank) -> i64 {
        i64::from(rank % 2) + 1
    }
}

/// A number below 2^31 that looks like chance: the finalizer of MurmurHash3.
fn mix(rank: Rank, index: usize) -> u32 {
    let mut bits = (rank << 10) ^ index as u32;
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85eb_ca6b);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xc2b2_ae35);
    (bits ^ (bits >> 16)) >> 1
}

/// Fills an array with what repeats.
pub(super) fn fill<T: Number>(array: &mut [T], repeating: &[T]) {
    for chunk in array.chunks_mut(repeating.len()) {
        for (element, value) in chunk.iter_mut().zip(repeating) {
            *element = *value;
        }
    }
}

/// How many elements of an array are further than a tolerance from what repeats, of which it begins
/// with that at `start`.
pub(super) fn differing<T: Number>(
    array: &[T],
    repeating: &[T],
    start: usize,
    tolerance: f64,
) -> u64 {
    // Written so that what is no number is wrong.
    let right = |is: T, be: T| is == be || is.distance(be) <= tolerance;
    let wrong_in =
        |is: &[T], be: &[T]| is.iter().zip(be).filter(|(is, be)| !right(**is, **be)).count();
    let start = start % repeating.len();
    let (first, rest) = array.split_at(array.len().min(repeating.len() - start));
    let in_first = wrong_in(first, &repeating[start..]);
    let in_rest: usize = rest.chunks(repeating.len()).map(|is| wrong_in(is, repeating)).sum();
    (in_first + in_rest) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::DataType;

    /// Folds the ranks' arrays in f64 or wrapping integers, one rank after the other.
    fn check_sum<T: Number + Into<f64>>(world: u32) {
        let pattern = Pattern::new::<T>(world, ReduceOp::Sum);
        let arrays: Vec<Vec<T>> = (0..world).map(|rank| pattern.input(rank)).collect();
        let reduced = pattern.reduced::<T>(world);
        for (index, result) in reduced.iter().enumerate() {
            let sum: f64 = arrays.iter().map(|array| array[index].into()).sum();
            assert_eq!((*result).into(), sum, "{} {world} {index}", T::DATA_TYPE);
            assert!(sum <= T::EXACT_MAX as f64);
        }
        assert!(reduced.iter().any(|value| (*value).into() != 0.0), "zeros prove nothing");
    }

    #[test]
    fn sums_are_exact_in_every_float() {
        for world in [1, 2, 3, 8, 300, 3000] {
            check_sum::<f16>(world);
            check_sum::<bf16>(world);
            check_sum::<f32>(world);
            check_sum::<f64>(world);
        }
    }

    #[test]
    fn averages_come_out_whole_and_need_every_rank() {
        for world in [1, 2, 3, 7, 200] {
            let pattern = Pattern::new::<bf16>(world, ReduceOp::Avg);
            let arrays: Vec<Vec<bf16>> = (0..world).map(|rank| pattern.input(rank)).collect();
            for (index, result) in pattern.reduced::<bf16>(world).iter().enumerate() {
                let sum: f32 = arrays.iter().map(|array| array[index].to_f32()).sum();
                assert!(sum <= bf16::EXACT_MAX as f32);
                assert_eq!(result.to_f32() * world as f32, sum);
            }
            for array in &arrays {
                assert!(array.iter().any(|value| *value != bf16::ZERO));
            }
        }
    }

    #[test]
    fn a_missing_or_doubled_contribution_shows() {
        for op in ReduceOp::ALL.iter().filter(|op| op.supports(DataType::Int32)) {
            let pattern = Pattern::new::<i32>(3, *op);
            let larger = Pattern::new::<i32>(4, *op);
            assert_ne!(pattern.reduced::<i32>(3), larger.reduced::<i32>(4), "{op}: without rank 3");
        }
        let pattern = Pattern::new::<i32>(3, ReduceOp::Sum);
        let mut doubled = pattern.reduced::<i32>(3);
        doubled.iter_mut().zip(pattern.input::<i32>(1)).for_each(|(sum, again)| *sum += again);
        assert!(differing(&doubled, &pattern.reduced(3), 0, 0.0) > PERIOD as u64 / 2);
    }

    #[test]
    fn a_single_wrong_element_is_counted_wherever_it_is() {
        let repeating = Pattern::new::<f32>(2, ReduceOp::Sum).reduced::<f32>(2);
        let mut array = vec![0.0; 3 * PERIOD + 5];
        fill(&mut array, &repeating);
        assert_eq!(differing(&array, &repeating, 0, 0.0), 0);
        for at in [0, PERIOD, 3 * PERIOD + 4] {
            array[at] = f32::NAN;
        }
        assert_eq!(differing(&array, &repeating, 0, 0.0), 3);
        array.rotate_left(1);
        assert!(differing(&array, &repeating, 0, 0.0) > 2 * PERIOD as u64, "a shift shows");
        assert_eq!(differing(&array, &repeating, 1, 0.0), 3, "unless it begins as late");
    }
    #[test]
    fn what_was_rounded_may_be_off_by_so_much_and_no_more() {
        let pattern = Pattern::new::<f32>(2, ReduceOp::Sum);
        assert_eq!(pattern.tolerance(Wire::Plain), 0.0);
        let tolerance = pattern.tolerance(Wire::F16);
        assert!(tolerance > 0.1 && tolerance < pattern.tolerance(Wire::Int8));
        let off = |by: f32| differing(&[100.0 + by], &[100.0f32], 0, tolerance);
        assert_eq!((off(0.1), off(-0.1), off(1.0), off(f32::NAN)), (0, 0, 1, 1));
    }
}
