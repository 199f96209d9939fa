//! Element kernels: two contributions become one, and nothing else.
//!
//! This layer knows element types and operators. It knows no plan, no wire and no buffer's owner:
//! a caller hands it addresses and a length, and it reads and writes exactly those bytes.
//!
//! # What a fold means
//!
//! Every operator is commutative to the bit: `a op b` and `b op a` are the same bits, whatever
//! they are, on every machine. Only the order in which contributions meet matters, and that order
//! is the plan's. So:
//!
//! | type | arithmetic | result |
//! |---|---|---|
//! | int8 … uint64 | of the type itself | `sum` and `prod` wrap around |
//! | bool | zero is false, all else true | 0 or 1 whatever came in; `min`, `band`, `land` are *and*; `max`, `bor`, `lor` are *or*; `bxor`, `lxor` are *exclusive or* |
//! | float32, float64 | of the type itself, one rounding per operation | never fused |
//! | complex64, complex128 | of the parts: `sum` and `avg` each by itself, `prod` by (ac − bd) + (ad + bc)i | each operation rounded, never fused; no order, so no `min` and `max` |
//! | float16, bfloat16 | widened to float32 | rounded once, to nearest, ties to even; overflow gives an infinity |
//!
//! | case | result |
//! |---|---|
//! | a NaN goes in or comes out (∞ − ∞, 0 × ∞), any operator; of complex numbers in that part | one quiet NaN without payload: 0x7e00, 0x7fc0, 0x7fc00000, 0x7ff8000000000000 |
//! | a product of complex numbers with infinite parts | what the formula gives, a NaN where ∞ − ∞ or 0 × ∞ comes up in it; no correction as in C's Annex G |
//! | `min`, `max` of −0 and +0 | −0 is the smaller |
//! | subnormals, in and out | kept; on x86-64 also where the caller's thread flushes them |
//! | `land`, `lor`, `lxor` on integers | 0 or 1 |
//! | `avg` with [`Finish::Keep`] | the sum so far |
//! | `avg` with [`Finish::Average`] | the sum divided (not multiplied by a reciprocal) by the contributions, in the arithmetic of the fold and before its rounding |
//! | any other operator with [`Finish::Average`] | as with `Keep`: only `avg` has an average to take |
//! | `premul_sum` | as `sum`: factors have been applied before, by [`scale`] |
//!
//! # A world of one
//!
//! With one contribution there is nothing to fold, and no kernel is needed: the result is the
//! input's own bytes (a bool of 2 stays 2, a NaN keeps its payload), the average of one is
//! itself, and `premul_sum` is [`scale`] alone.

mod avx2;
mod avx512;
mod avx512bf16;
mod codec;
mod element;
mod environment;
mod feedback;
mod loops;
mod operator;
mod scale;
#[cfg(test)]
mod tests;

use std::fmt;

pub use self::codec::Codec;
pub use self::scale::scale;

use self::element::{Arithmetic, Bf16, F16, Float, Whole};
use self::loops::{Each, InstructionSet, Loop, Portable};
use self::operator::{
    Band, Bor, Bxor, Land, Lor, Lxor, Max, Mean, Min, OfComplexProd, OfFloat, OfOrder, OfWhole,
    Prod, Sum,
};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{DataType, Finish, ReduceOp};

/// The loop for one type, one operator and this machine. Chosen once per call, then copied about:
/// folding through it is one indirect call and no decision.
#[derive(Clone, Copy)]
pub struct Kernel {
    loops: Loops,
    dtype: DataType,
    op: ReduceOp,
    name: &'static str,
}

/// The loops behind a kernel, by what they do with the result.
#[derive(Clone, Copy)]
struct Loops {
    keep: Loop,
    average: Loop,
}

impl Kernel {
    /// The fastest kernel that this machine runs: AVX-512 from Ice Lake and Zen 4 on (and its conversion
    /// to bfloat16 for that, from Cooper Lake and Zen 4 on), AVX2 with F16C
    /// where the processor has both, portable elsewhere. All give the same bits.
    ///
    /// # Errors
    /// `Unsupported` where the operator is not defined on the type.
    pub fn choose(dtype: DataType, op: ReduceOp) -> Result<Kernel> {
        #[cfg(target_arch = "x86_64")]
        {
            if dtype == DataType::Bfloat16 && avx512bf16::available() {
                return Self::with::<avx512bf16::Avx512Bf16>(dtype, op);
            }
            if avx512::available() {
                return Self::with::<avx512::Avx512>(dtype, op);
            }
            if avx2::available() {
                return Self::with::<avx2::Avx2>(dtype, op);
            }
        }
        Self::portable(dtype, op)
    }

    /// The kernel that runs everywhere. For tests and for comparison.
    ///
    /// # Errors
    /// `Unsupported` where the operator is not defined on the type.
    pub fn portable(dtype: DataType, op: ReduceOp) -> Result<Kernel> {
        Self::with::<Portable>(dtype, op)
    }

    /// Every kernel that this machine runs, the fastest first and the portable one last. For tests
    /// and for comparison.
    ///
    /// # Errors
    /// `Unsupported` where the operator is not defined on the type.
    pub fn all(dtype: DataType, op: ReduceOp) -> Result<Vec<Kernel>> {
        let mut kernels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if dtype == DataType::Bfloat16 && avx512bf16::available() {
                kernels.push(Self::with::<avx512bf16::Avx512Bf16>(dtype, op)?);
            }
            if avx512::available() {
                kernels.push(Self::with::<avx512::Avx512>(dtype, op)?);
            }
            if avx2::available() {
                kernels.push(Self::with::<avx2::Avx2>(dtype, op)?);
            }
        }
        kernels.push(Self::portable(dtype, op)?);
        Ok(kernels)
    }

    fn with<S: InstructionSet>(dtype: DataType, op: ReduceOp) -> Result<Kernel> {
        match loops::<S>(dtype, op) {
            Some(loops) => Ok(Kernel { loops, dtype, op, name: S::NAME }),
            None => Err(unsupported(dtype, op)),
        }
    }

    /// Folds element by element: `into[i] = finish(with[i] op received[i])`.
    ///
    /// Addresses need no alignment. `contributions` is how many ranks' inputs are in the result;
    /// it is read with [`Finish::Average`] only, and is then at least 1.
    ///
    /// # Safety
    /// - `len` is a multiple of the element's size.
    /// - `with` and `received` are valid for reading `len` initialised bytes, `into` for writing.
    /// - `with` is `into`, or has no byte in common with it. `received` has none in common with
    ///   `into`. Nobody else touches these bytes meanwhile.
    #[inline]
    pub unsafe fn fold(
        &self,
        with: *const u8,
        received: *const u8,
        into: *mut u8,
        len: usize,
        finish: Finish,
        contributions: u32,
    ) {
        debug_assert!(len.is_multiple_of(self.dtype.size()), "{len} bytes of {}", self.dtype);
        let run = match finish {
            Finish::Keep => self.loops.keep,
            Finish::Average => self.loops.average,
        };
        environment::standard(|| {
            let head = self.head(into, len);
            // SAFETY: the loop asks for what this function asks for, and for the instructions it
            // was compiled with: `choose` made sure of those. Head and rest are whole elements of the
            // same arrays.
            unsafe {
                if head != 0 {
                    run(with, received, into, head, contributions);
                }
                let (with, received) = (with.add(head), received.add(head));
                run(with, received, into.add(head), len - head, contributions);
            }
        });
    }

    /// How many bytes to fold by themselves, so that the vectors of the rest are written on cache lines
    /// of their own: a store across two takes twice as long, and arrays mostly start 16 bytes behind a
    /// line. Zero where the array is short, or where elements lie across lines anyway.
    #[inline]
    fn head(&self, into: *mut u8, len: usize) -> usize {
        const LINE: usize = 64;
        /// Below that the head takes longer than the rest gains.
        const SHORT: usize = 1 << 12;
        let head = into.addr().wrapping_neg() % LINE;
        if len < SHORT || !head.is_multiple_of(self.dtype.size()) { 0 } else { head }
    }

    /// The instructions it uses: "avx512bf16", "avx512", "avx2" or "portable".
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kernel({} of {}, {})", self.op, self.dtype, self.name)
    }
}

fn unsupported(dtype: DataType, op: ReduceOp) -> Error {
    let able: Vec<&str> =
        ReduceOp::ALL.iter().filter(|op| op.supports(dtype)).map(|op| op.name()).collect();
    let advice = if able.is_empty() {
        "it moves but does not reduce".to_string()
    } else {
        format!("choose one of {}", able.join(", "))
    };
    Error::new(ErrorKind::Unsupported, format!("{op} is not defined on {dtype}: {advice}"))
}

/// The loops for a type and an operator, where the two go together.
fn loops<S: InstructionSet>(dtype: DataType, op: ReduceOp) -> Option<Loops> {
    if !op.supports(dtype) {
        return None;
    }
    match dtype {
        DataType::Byte | DataType::Float8E4m3fn | DataType::Float8E5m2 => None,
        DataType::Bool => logical::<S>(op),
        DataType::Int8 => whole::<S, i8>(op),
        DataType::Uint8 => whole::<S, u8>(op),
        DataType::Int16 => whole::<S, i16>(op),
        DataType::Uint16 => whole::<S, u16>(op),
        DataType::Int32 => whole::<S, i32>(op),
        DataType::Uint32 => whole::<S, u32>(op),
        DataType::Int64 => whole::<S, i64>(op),
        DataType::Uint64 => whole::<S, u64>(op),
        DataType::Float16 => float16::<S>(op),
        DataType::Bfloat16 => bfloat16::<S>(op),
        DataType::Float32 => float::<S, f32>(op),
        DataType::Float64 => float::<S, f64>(op),
        DataType::Complex64 => complex::<S, f32>(op),
        DataType::Complex128 => complex::<S, f64>(op),
    }
}

impl Loops {
    fn always(keep: Loop) -> Option<Loops> {
        Self::both(keep, keep)
    }

    fn both(keep: Loop, average: Loop) -> Option<Loops> {
        Some(Loops { keep, average })
    }
}

fn whole<S: InstructionSet, T: Whole>(op: ReduceOp) -> Option<Loops> {
    Loops::always(match op {
        ReduceOp::Sum => S::compile::<Each<OfWhole<T, Sum>>>(),
        ReduceOp::Prod => S::compile::<Each<OfWhole<T, Prod>>>(),
        ReduceOp::Min => S::compile::<Each<OfWhole<T, Min>>>(),
        ReduceOp::Max => S::compile::<Each<OfWhole<T, Max>>>(),
        ReduceOp::Band => S::compile::<Each<OfWhole<T, Band>>>(),
        ReduceOp::Bor => S::compile::<Each<OfWhole<T, Bor>>>(),
        ReduceOp::Bxor => S::compile::<Each<OfWhole<T, Bxor>>>(),
        ReduceOp::Land => S::compile::<Each<OfWhole<T, Land>>>(),
        ReduceOp::Lor => S::compile::<Each<OfWhole<T, Lor>>>(),
        ReduceOp::Lxor => S::compile::<Each<OfWhole<T, Lxor>>>(),
        ReduceOp::Avg | ReduceOp::PremulSum => return None,
    })
}

/// A bool is a byte under the logical operators, whatever name the caller gave them.
fn logical<S: InstructionSet>(op: ReduceOp) -> Option<Loops> {
    match op {
        ReduceOp::Min | ReduceOp::Band | ReduceOp::Land => whole::<S, u8>(ReduceOp::Land),
        ReduceOp::Max | ReduceOp::Bor | ReduceOp::Lor => whole::<S, u8>(ReduceOp::Lor),
        ReduceOp::Bxor | ReduceOp::Lxor => whole::<S, u8>(ReduceOp::Lxor),
        ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Avg | ReduceOp::PremulSum => None,
    }
}

fn float<S: InstructionSet, T: Float>(op: ReduceOp) -> Option<Loops> {
    let sum = S::compile::<Each<OfFloat<T, Sum>>>;
    match op {
        ReduceOp::Sum | ReduceOp::PremulSum => Loops::always(sum()),
        ReduceOp::Avg => Loops::both(sum(), S::compile::<Each<OfFloat<T, Mean>>>()),
        ReduceOp::Prod => Loops::always(S::compile::<Each<OfFloat<T, Prod>>>()),
        ReduceOp::Min => Loops::always(S::compile::<Each<OfFloat<T, Min>>>()),
        ReduceOp::Max => Loops::always(S::compile::<Each<OfFloat<T, Max>>>()),
        _ => None,
    }
}

/// Sums and averages are those of the parts, each by itself.
fn complex<S: InstructionSet, T: Float + Arithmetic>(op: ReduceOp) -> Option<Loops> {
    match op {
        ReduceOp::Prod => Loops::always(S::compile::<Each<OfComplexProd<T>>>()),
        sum => float::<S, T>(sum),
    }
}

fn float16<S: InstructionSet>(op: ReduceOp) -> Option<Loops> {
    match op {
        ReduceOp::Sum | ReduceOp::PremulSum => Loops::always(S::float16::<Sum>()),
        ReduceOp::Avg => Loops::both(S::float16::<Sum>(), S::float16::<Mean>()),
        ReduceOp::Prod => Loops::always(S::float16::<Prod>()),
        ReduceOp::Min => Loops::always(S::compile::<Each<OfOrder<F16, Min>>>()),
        ReduceOp::Max => Loops::always(S::compile::<Each<OfOrder<F16, Max>>>()),
        _ => None,
    }
}

fn bfloat16<S: InstructionSet>(op: ReduceOp) -> Option<Loops> {
    match op {
        ReduceOp::Sum | ReduceOp::PremulSum => Loops::always(S::bfloat16::<Sum>()),
        ReduceOp::Avg => Loops::both(S::bfloat16::<Sum>(), S::bfloat16::<Mean>()),
        ReduceOp::Prod => Loops::always(S::bfloat16::<Prod>()),
        ReduceOp::Min => Loops::always(S::compile::<Each<OfOrder<Bf16, Min>>>()),
        ReduceOp::Max => Loops::always(S::compile::<Each<OfOrder<Bf16, Max>>>()),
        _ => None,
    }
}
