//! The enums that C hands in: element types, operators, algorithms, wire formats.
//!
//! C may pass any number where it declares an enum, so functions take the plain integers (which the
//! header spells with the enum's name) and the numbers are looked up here. The numbers are those of
//! `kirsh_core::types`.

use kirsh_core::{Algorithm, DataType, Error, ReduceOp, Result, Wire};

use crate::boundary::invalid;

/// A `kirsh_dtype_t` that has not been looked at yet.
pub type DtypeNumber = i32;
/// A `kirsh_op_t` that has not been looked at yet.
pub type OpNumber = i32;
/// A `kirsh_algorithm_t` that has not been looked at yet.
pub type AlgorithmNumber = i32;
/// A `kirsh_wire_t` that has not been looked at yet.
pub type WireNumber = i32;

/// The type of one element of a buffer. Numbers are never reused or changed.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_dtype_t {
    /// Bytes of no stated meaning: they can be moved, not reduced.
    KIRSH_BYTE = 0,
    /// One byte, C's bool: zero is false and anything else is true.
    KIRSH_BOOL = 1,
    KIRSH_INT8 = 2,
    KIRSH_UINT8 = 3,
    KIRSH_INT16 = 4,
    KIRSH_UINT16 = 5,
    KIRSH_INT32 = 6,
    KIRSH_UINT32 = 7,
    KIRSH_INT64 = 8,
    KIRSH_UINT64 = 9,
    /// IEEE 754 binary16; folded in binary32, rounded once.
    KIRSH_FLOAT16 = 10,
    /// The upper half of a binary32; folded in binary32, rounded once.
    KIRSH_BFLOAT16 = 11,
    /// C's float.
    KIRSH_FLOAT32 = 12,
    /// C's double.
    KIRSH_FLOAT64 = 13,
    /// C's float _Complex: the real part, then the imaginary part.
    KIRSH_COMPLEX64 = 14,
    /// C's double _Complex.
    KIRSH_COMPLEX128 = 15,
    /// 4 bits of exponent, 3 of mantissa, no infinities: can be moved, not reduced.
    KIRSH_FLOAT8_E4M3FN = 16,
    /// 5 bits of exponent, 2 of mantissa: can be moved, not reduced.
    KIRSH_FLOAT8_E5M2 = 17,
}

/// How two elements become one. Numbers are never reused or changed.
///
/// Integers know all but AVG and PREMUL_SUM, floats all but the bitwise and logical ones, complex
/// numbers SUM, PROD, AVG and PREMUL_SUM, KIRSH_BOOL MIN, MAX and the bitwise and logical ones,
/// KIRSH_BYTE and the floats of 8 bits none.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_op_t {
    /// Integers wrap around.
    KIRSH_SUM = 0,
    /// Integers wrap around. Complex numbers: (ac - bd) + (ad + bc)i, each operation rounded.
    KIRSH_PROD = 1,
    /// The smaller; -0 is smaller than +0, and NaN wins.
    KIRSH_MIN = 2,
    /// The larger; +0 is larger than -0, and NaN wins.
    KIRSH_MAX = 3,
    /// The sum, divided once by the world size.
    KIRSH_AVG = 4,
    /// Each rank's input is multiplied by that rank's own (real) kirsh_options_t.scale, then summed.
    KIRSH_PREMUL_SUM = 5,
    /// Bitwise and.
    KIRSH_BAND = 6,
    /// Bitwise or.
    KIRSH_BOR = 7,
    /// Bitwise exclusive or.
    KIRSH_BXOR = 8,
    /// Logical and: 1 where both are nonzero, else 0.
    KIRSH_LAND = 9,
    /// Logical or.
    KIRSH_LOR = 10,
    /// Logical exclusive or.
    KIRSH_LXOR = 11,
}

/// How a collective is carried out. Numbers are never reused or changed.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_algorithm_t {
    /// The library chooses, from the size, the type and the ranks.
    KIRSH_ALGORITHM_AUTO = 0,
    /// Allreduce, allgather, reduce_scatter: each rank with its two neighbours; for large arrays.
    KIRSH_ALGORITHM_RING = 1,
    /// Allreduce, allgather, scan, exscan: few steps, for small arrays.
    KIRSH_ALGORITHM_RECURSIVE_DOUBLING = 2,
    /// Allreduce: a binomial tree towards one rank, then away from it.
    KIRSH_ALGORITHM_TREE = 3,
    /// Broadcast, reduce, gather, scatter: a binomial tree.
    KIRSH_ALGORITHM_BINOMIAL = 4,
    /// Broadcast, reduce, scan, exscan: a pipeline from rank to rank, for large arrays.
    KIRSH_ALGORITHM_CHAIN = 5,
    /// Barrier.
    KIRSH_ALGORITHM_DISSEMINATION = 6,
    /// Allreduce: a reduce_scatter by halves, then an allgather by doubles.
    KIRSH_ALGORITHM_HALVING_DOUBLING = 7,
    /// Allreduce, broadcast, reduce: two binary trees, each for half of the array.
    KIRSH_ALGORITHM_DOUBLE_TREE = 8,
    /// Broadcast: a binomial scatter, then a ring allgather.
    KIRSH_ALGORITHM_SCATTER_ALLGATHER = 9,
    /// Reduce: a ring reduce_scatter, then a gather to the root.
    KIRSH_ALGORITHM_REDUCE_SCATTER_GATHER = 10,
    /// Allgather, alltoall: few steps, for small arrays.
    KIRSH_ALGORITHM_BRUCK = 11,
    /// Reduce_scatter: few steps, for small arrays.
    KIRSH_ALGORITHM_RECURSIVE_HALVING = 12,
    /// Alltoall, reduce_scatter: with each other rank once, directly.
    KIRSH_ALGORITHM_PAIRWISE = 13,
    /// Gather, scatter: between the root and each other rank, directly.
    KIRSH_ALGORITHM_LINEAR = 14,
}

/// How float elements travel. Numbers are never reused or changed. docs/WIRE.md has the errors.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_wire_t {
    /// As they lie in memory, whatever the communicator was configured with.
    KIRSH_WIRE_NONE = -1,
    /// As the communicator was configured.
    KIRSH_WIRE_DEFAULT = 0,
    /// Half as many bytes: the upper half of each, rounded.
    KIRSH_WIRE_BF16 = 1,
    /// Half as many bytes: IEEE 754 binary16; what is beyond 65,504 becomes an infinity.
    KIRSH_WIRE_F16 = 2,
    /// A quarter of the bytes: whole multiples of a scale that each block of 256 has for itself.
    KIRSH_WIRE_INT8 = 3,
}

/// The element type with this number.
pub(crate) fn dtype(number: DtypeNumber) -> Result<DataType> {
    u8::try_from(number)
        .ok()
        .and_then(DataType::from_u8)
        .ok_or_else(|| unknown("dtype", "kirsh_dtype_t", number))
}

/// The operator with this number.
pub(crate) fn op(number: OpNumber) -> Result<ReduceOp> {
    u8::try_from(number)
        .ok()
        .and_then(ReduceOp::from_u8)
        .ok_or_else(|| unknown("op", "kirsh_op_t", number))
}

/// The algorithm with this number; `None` leaves the choice to the library.
pub(crate) fn algorithm(number: AlgorithmNumber) -> Result<Option<Algorithm>> {
    if number == kirsh_algorithm_t::KIRSH_ALGORITHM_AUTO as i32 {
        return Ok(None);
    }
    u8::try_from(number)
        .ok()
        .and_then(Algorithm::from_u8)
        .map(Some)
        .ok_or_else(|| unknown("options->algorithm", "kirsh_algorithm_t", number))
}

/// The wire format with this number, under the name of the argument; `None` is the default.
pub(crate) fn wire(number: WireNumber, argument: &str) -> Result<Option<Wire>> {
    match number {
        -1 => Ok(Some(Wire::Plain)),
        0 => Ok(None),
        _ => u8::try_from(number)
            .ok()
            .and_then(Wire::from_u8)
            .map(Some)
            .ok_or_else(|| unknown(argument, "kirsh_wire_t", number)),
    }
}

fn unknown(argument: &str, kind: &str, number: i32) -> Error {
    invalid(format!("{argument} is {number}, which is no {kind} of this library"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The names are compared through Debug: KIRSH_INT8 against "int8".
    fn same_numbers<C: std::fmt::Debug>(prefix: &str, pairs: &[(C, i32, String, u8)]) {
        for (value, number, name, core) in pairs {
            assert_eq!(*number, i32::from(*core), "{name}");
            assert_eq!(format!("{value:?}"), format!("{prefix}{}", name.to_uppercase()));
        }
    }

    #[test]
    fn every_element_type_of_the_core_has_its_name_and_number_in_c() {
        use kirsh_dtype_t::*;
        let all = [
            KIRSH_BYTE,
            KIRSH_BOOL,
            KIRSH_INT8,
            KIRSH_UINT8,
            KIRSH_INT16,
            KIRSH_UINT16,
            KIRSH_INT32,
            KIRSH_UINT32,
            KIRSH_INT64,
            KIRSH_UINT64,
            KIRSH_FLOAT16,
            KIRSH_BFLOAT16,
            KIRSH_FLOAT32,
            KIRSH_FLOAT64,
            KIRSH_COMPLEX64,
            KIRSH_COMPLEX128,
            KIRSH_FLOAT8_E4M3FN,
            KIRSH_FLOAT8_E5M2,
        ];
        assert_eq!(all.len(), DataType::ALL.len());
        let pairs: Vec<_> = all
            .into_iter()
            .zip(DataType::ALL)
            .map(|(c, core)| (c, c as i32, core.name().to_owned(), *core as u8))
            .collect();
        same_numbers("KIRSH_", &pairs);
    }

    #[test]
    fn every_operator_of_the_core_has_its_name_and_number_in_c() {
        use kirsh_op_t::*;
        let all = [
            KIRSH_SUM,
            KIRSH_PROD,
            KIRSH_MIN,
            KIRSH_MAX,
            KIRSH_AVG,
            KIRSH_PREMUL_SUM,
            KIRSH_BAND,
            KIRSH_BOR,
            KIRSH_BXOR,
            KIRSH_LAND,
            KIRSH_LOR,
            KIRSH_LXOR,
        ];
        assert_eq!(all.len(), ReduceOp::ALL.len());
        let pairs: Vec<_> = all
            .into_iter()
            .zip(ReduceOp::ALL)
            .map(|(c, core)| (c, c as i32, core.name().to_owned(), *core as u8))
            .collect();
        same_numbers("KIRSH_", &pairs);
    }

    #[test]
    fn every_algorithm_of_the_core_has_its_name_and_number_in_c() {
        use kirsh_algorithm_t::*;
        let all = [
            KIRSH_ALGORITHM_RING,
            KIRSH_ALGORITHM_RECURSIVE_DOUBLING,
            KIRSH_ALGORITHM_TREE,
            KIRSH_ALGORITHM_BINOMIAL,
            KIRSH_ALGORITHM_CHAIN,
            KIRSH_ALGORITHM_DISSEMINATION,
            KIRSH_ALGORITHM_HALVING_DOUBLING,
            KIRSH_ALGORITHM_DOUBLE_TREE,
            KIRSH_ALGORITHM_SCATTER_ALLGATHER,
            KIRSH_ALGORITHM_REDUCE_SCATTER_GATHER,
            KIRSH_ALGORITHM_BRUCK,
            KIRSH_ALGORITHM_RECURSIVE_HALVING,
            KIRSH_ALGORITHM_PAIRWISE,
            KIRSH_ALGORITHM_LINEAR,
        ];
        assert_eq!(all.len(), Algorithm::ALL.len());
        let pairs: Vec<_> = all
            .into_iter()
            .zip(Algorithm::ALL)
            .map(|(c, core)| (c, c as i32, core.name().to_owned(), *core as u8))
            .collect();
        same_numbers("KIRSH_ALGORITHM_", &pairs);
    }

    #[test]
    fn every_wire_format_of_the_core_has_its_name_and_number_in_c() {
        use kirsh_wire_t::*;
        let all = [KIRSH_WIRE_BF16, KIRSH_WIRE_F16, KIRSH_WIRE_INT8];
        assert_eq!(all.len() + 1, Wire::ALL.len());
        let pairs: Vec<_> = all
            .into_iter()
            .zip(&Wire::ALL[1..])
            .map(|(c, core)| (c, c as i32, core.name().to_owned(), *core as u8))
            .collect();
        same_numbers("KIRSH_WIRE_", &pairs);
        for (named, meant) in [
            (KIRSH_WIRE_NONE, Some(Wire::Plain)),
            (KIRSH_WIRE_DEFAULT, None),
            (KIRSH_WIRE_INT8, Some(Wire::Int8)),
        ] {
            assert_eq!(wire(named as i32, "wire").unwrap(), meant);
        }
        assert!(wire(-2, "wire").is_err() && wire(4, "wire").is_err());
    }

    #[test]
    fn numbers_outside_the_enums_are_refused_by_the_name_of_the_argument() {
        for number in [-1, 18, 255, 256 + 12, i32::MIN, i32::MAX] {
            let error = dtype(number).unwrap_err();
            assert!(error.message().starts_with(&format!("dtype is {number}")), "{error}");
        }
        assert!(op(12).unwrap_err().message().starts_with("op is 12"));
        assert!(algorithm(99).unwrap_err().message().starts_with("options->algorithm is 99"));
        assert_eq!(algorithm(0).unwrap(), None);
        assert_eq!(algorithm(1).unwrap(), Some(Algorithm::Ring));
    }
}
