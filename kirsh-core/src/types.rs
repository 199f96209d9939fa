//! The vocabulary that every layer shares: ranks, element types, operators, spans and calls.
//!
//! Nothing here knows of sockets, memory or time. The numbers of the enums are part of the wire
//! protocol (see `docs/PROTOCOL.md`) and of the C ABI: they are append-only.

use std::fmt;

/// The index of a process within a communicator, from 0 to the world size less one.
pub type Rank = u32;

/// The number of an operation within a communicator, counted from 0 in issue order.
pub type Sequence = u64;

macro_rules! numbered_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $value:literal => $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $value),+ }

        impl $name {
            /// Every value, in order of its number.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The value with this number, if there is one.
            pub const fn from_u8(number: u8) -> Option<Self> {
                match number { $($value => Some($name::$variant),)+ _ => None }
            }

            /// The spelling used in messages, in settings and by the other languages.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The value with this spelling, if there is one.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name() == name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

numbered_enum! {
    /// The type of one element of a buffer.
    DataType {
        /// Bytes of no stated meaning: they move, but they do not reduce.
        Byte = 0 => "byte",
        /// One byte; zero is false and anything else is true.
        Bool = 1 => "bool",
        Int8 = 2 => "int8",
        Uint8 = 3 => "uint8",
        Int16 = 4 => "int16",
        Uint16 = 5 => "uint16",
        Int32 = 6 => "int32",
        Uint32 = 7 => "uint32",
        Int64 = 8 => "int64",
        Uint64 = 9 => "uint64",
        /// IEEE 754 binary16.
        Float16 = 10 => "float16",
        /// The upper half of a binary32.
        Bfloat16 = 11 => "bfloat16",
        Float32 = 12 => "float32",
        Float64 = 13 => "float64",
        /// Two float32, the real part and the imaginary part.
        Complex64 = 14 => "complex64",
        /// Two float64, the real part and the imaginary part.
        Complex128 = 15 => "complex128",
        /// 4 bits of exponent, 3 of mantissa, finite and NaN: moves, but does not reduce.
        Float8E4m3fn = 16 => "float8_e4m3fn",
        /// 5 bits of exponent, 2 of mantissa: moves, but does not reduce.
        Float8E5m2 = 17 => "float8_e5m2",
    }
}

impl DataType {
    /// The size of one element, in bytes.
    pub const fn size(self) -> usize {
        use DataType::*;
        match self {
            Byte | Bool | Int8 | Uint8 | Float8E4m3fn | Float8E5m2 => 1,
            Int16 | Uint16 | Float16 | Bfloat16 => 2,
            Int32 | Uint32 | Float32 => 4,
            Int64 | Uint64 | Float64 | Complex64 => 8,
            Complex128 => 16,
        }
    }

    /// Whether this is a pair of floating-point numbers.
    pub const fn is_complex(self) -> bool {
        matches!(self, DataType::Complex64 | DataType::Complex128)
    }

    /// Whether this is a floating-point type that reduces.
    pub const fn is_float(self) -> bool {
        matches!(
            self,
            DataType::Float16 | DataType::Bfloat16 | DataType::Float32 | DataType::Float64
        )
    }
}

numbered_enum! {
    /// How two elements become one.
    ReduceOp {
        Sum = 0 => "sum",
        Prod = 1 => "prod",
        /// The smaller; −0 is smaller than +0, and NaN wins.
        Min = 2 => "min",
        /// The larger; +0 is larger than −0, and NaN wins.
        Max = 3 => "max",
        /// The sum divided once, in the last fold, by the world size.
        Avg = 4 => "avg",
        /// Each rank's input is multiplied by that rank's own factor, then summed.
        PremulSum = 5 => "premul_sum",
        /// Bitwise and.
        Band = 6 => "band",
        /// Bitwise or.
        Bor = 7 => "bor",
        /// Bitwise exclusive or.
        Bxor = 8 => "bxor",
        /// Logical and: 1 where both are non-zero, else 0.
        Land = 9 => "land",
        /// Logical or.
        Lor = 10 => "lor",
        /// Logical exclusive or.
        Lxor = 11 => "lxor",
    }
}

impl ReduceOp {
    /// Whether this operator is defined on this type.
    ///
    /// `Byte` and the floats of 8 bits reduce under none. `Bool` knows min, max and the bitwise and
    /// logical operators; integers know all but avg and premul_sum; floats know all but the bitwise
    /// and logical ones; complex numbers, which have no order, sum, prod, avg and premul_sum.
    pub const fn supports(self, dtype: DataType) -> bool {
        use ReduceOp::*;
        match dtype {
            DataType::Byte | DataType::Float8E4m3fn | DataType::Float8E5m2 => false,
            DataType::Complex64 | DataType::Complex128 => {
                matches!(self, Sum | Prod | Avg | PremulSum)
            }
            DataType::Bool => matches!(self, Min | Max | Band | Bor | Bxor | Land | Lor | Lxor),
            _ if dtype.is_float() => matches!(self, Sum | Prod | Min | Max | Avg | PremulSum),
            _ => !matches!(self, Avg | PremulSum),
        }
    }
}

numbered_enum! {
    /// What a communicator can be asked to do.
    Collective {
        Barrier = 1 => "barrier",
        Broadcast = 2 => "broadcast",
        Allreduce = 3 => "allreduce",
        /// The root alone gets what an allreduce gives to all.
        Reduce = 4 => "reduce",
        /// Every rank gets the arrays of all, one behind the other.
        Allgather = 5 => "allgather",
        /// An allreduce of which every rank gets its own part.
        ReduceScatter = 6 => "reduce_scatter",
        /// The root gets the arrays of all, one behind the other.
        Gather = 7 => "gather",
        /// Every rank gets its own part of the root's array.
        Scatter = 8 => "scatter",
        /// Rank `r` gets part `r` of every rank's array.
        Alltoall = 9 => "alltoall",
        /// Rank `r` gets what ranks 0 to `r` reduce to.
        Scan = 10 => "scan",
        /// Rank `r` gets what the ranks below `r` reduce to; rank 0 gets nothing.
        Exscan = 11 => "exscan",
        /// Allgather with a count for each rank.
        Allgatherv = 12 => "allgatherv",
        /// Reduce-scatter with a count for each rank.
        ReduceScatterv = 13 => "reduce_scatterv",
        /// Gather with a count for each rank, known to it and to the root.
        Gatherv = 14 => "gatherv",
        /// Scatter with a count for each rank, known to it and to the root.
        Scatterv = 15 => "scatterv",
        /// Alltoall with a count for each pair of ranks, known to the two.
        Alltoallv = 16 => "alltoallv",
    }
}

impl Collective {
    /// Whether elements of several ranks become one.
    pub const fn reduces(self) -> bool {
        use Collective::*;
        matches!(self, Allreduce | Reduce | ReduceScatter | ReduceScatterv | Scan | Exscan)
    }

    /// Whether a count is known only to the two ranks that it is about.
    pub const fn has_own_counts(self) -> bool {
        matches!(self, Collective::Gatherv | Collective::Scatterv | Collective::Alltoallv)
    }

    /// Whether one rank gives or gets what the others do not.
    pub const fn has_root(self) -> bool {
        use Collective::*;
        matches!(self, Broadcast | Reduce | Gather | Scatter | Gatherv | Scatterv)
    }
}

numbered_enum! {
    /// How a collective is carried out.
    Algorithm {
        Ring = 1 => "ring",
        RecursiveDoubling = 2 => "recursive_doubling",
        /// A binomial tree: towards the root, then away from it.
        Tree = 3 => "tree",
        /// A binomial tree away from the root.
        Binomial = 4 => "binomial",
        /// A pipeline from rank to rank.
        Chain = 5 => "chain",
        Dissemination = 6 => "dissemination",
        /// Reduce-scatter by halves, then allgather by doubles.
        HalvingDoubling = 7 => "halving_doubling",
        /// Two binary trees, each for half of the array, in which no rank is inner node twice.
        DoubleTree = 8 => "double_tree",
        /// A binomial scatter, then a ring allgather.
        ScatterAllgather = 9 => "scatter_allgather",
        /// A ring reduce-scatter, then a gather to the root.
        ReduceScatterGather = 10 => "reduce_scatter_gather",
        /// To and from ranks `2^k` away, with all that was gathered so far.
        Bruck = 11 => "bruck",
        RecursiveHalving = 12 => "recursive_halving",
        /// With each other rank once, directly.
        Pairwise = 13 => "pairwise",
        /// Between the root and each other rank, directly.
        Linear = 14 => "linear",
    }
}

numbered_enum! {
    /// How float32 elements travel where a call asks for fewer bytes on the links.
    Wire {
        /// As they lie in memory.
        Plain = 0 => "none",
        /// Rounded to the upper half of a binary32.
        Bf16 = 1 => "bf16",
        /// Rounded to an IEEE 754 binary16.
        F16 = 2 => "f16",
        /// A byte each, in blocks of [`Wire::BLOCK`] elements with a scale.
        Int8 = 3 => "int8",
    }
}

impl Wire {
    /// Elements that share a scale. The scale costs 4 bytes, so 1.6 % at this length; in longer blocks
    /// one large element takes the digits of more others.
    pub const BLOCK: u64 = 256;

    /// Elements that are encoded together: where a run is cut between such blocks, its parts' encodings
    /// one behind the other are the encoding of the run.
    pub const fn block(self) -> u64 {
        match self {
            Wire::Plain | Wire::Bf16 | Wire::F16 => 1,
            Wire::Int8 => Wire::BLOCK,
        }
    }

    /// Bytes of the encoding of a run of elements that are `bytes` long in memory. P-47
    pub const fn encoded(self, bytes: u64) -> u64 {
        let elements = bytes / size_of::<f32>() as u64;
        match self {
            Wire::Plain => bytes,
            Wire::Bf16 | Wire::F16 => 2 * elements,
            Wire::Int8 => elements + 4 * elements.div_ceil(Wire::BLOCK),
        }
    }
}

/// Which address space a span lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// What the caller hands in; only read.
    Input,
    /// What the caller gets back.
    Output,
    /// Memory of the library that lives as long as the operation.
    Scratch,
    /// More of that, for what travels encoded. Its spans have any length.
    Encoded,
}

/// A run of bytes in one address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub space: Space,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub len: u64,
}

impl Span {
    pub const fn new(space: Space, offset: u64, len: u64) -> Self {
        Span { space, offset, len }
    }

    pub const fn input(offset: u64, len: u64) -> Self {
        Span::new(Space::Input, offset, len)
    }

    pub const fn output(offset: u64, len: u64) -> Self {
        Span::new(Space::Output, offset, len)
    }

    pub const fn scratch(offset: u64, len: u64) -> Self {
        Span::new(Space::Scratch, offset, len)
    }

    pub const fn encoded(offset: u64, len: u64) -> Self {
        Span::new(Space::Encoded, offset, len)
    }

    /// The first byte behind the span.
    pub const fn end(&self) -> u64 {
        self.offset + self.len
    }

    /// Whether the two have a byte in common.
    #[inline]
    pub fn overlaps(&self, other: &Span) -> bool {
        self.space == other.space
            && self.len != 0
            && other.len != 0
            && self.offset < other.end()
            && other.offset < self.end()
    }
}

/// What the last fold of an element does with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Nothing: other contributions are still to come, or the operator asks for nothing.
    Keep,
    /// Divides by the number of contributions (avg), in the arithmetic of the fold, before rounding.
    Average,
}

/// What a local move does with each element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    Copy,
    /// Multiplies by the call's own factor, which is local to the rank.
    Scale,
    /// Writes the encoding of the source.
    Encode(Wire),
    /// Writes the elements that the source is the encoding of.
    Decode(Wire),
}

/// A description of one collective call: what every rank must agree on.
///
/// It travels in each frame's header, so that a rank that is called differently can say who
/// called what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    pub collective: Collective,
    pub algorithm: Algorithm,
    pub dtype: DataType,
    /// `Sum` where the collective does not reduce, but for an allgather that serves another call: see
    /// [`Call::name`].
    pub op: ReduceOp,
    /// 0 where the collective has no root.
    pub root: Rank,
    /// Elements, as the collective counts them.
    pub count: u64,
    /// How the elements travel.
    pub wire: Wire,
}

impl Call {
    /// What the user called: the collective, or the call that makes a communicator of another and does
    /// so by an allgather, whose operator, which nobody needs, then says which it is. P-45
    pub const fn name(&self) -> &'static str {
        match (self.collective, self.op) {
            (Collective::Allgather, ReduceOp::Prod) => "split",
            (Collective::Allgather, ReduceOp::Min) => "dup",
            (Collective::Allgather, ReduceOp::Max) => "subgroup",
            (collective, _) => collective.name(),
        }
    }

    /// Whether it serves a call that makes a communicator.
    const fn makes_communicator(&self) -> bool {
        matches!(self.collective, Collective::Allgather) && !matches!(self.op, ReduceOp::Sum)
    }

    /// The call without what ranks may differ in: which communicator they make is compared when they
    /// have told one another. P-14
    pub(crate) const fn in_common(self) -> Call {
        match self.makes_communicator() {
            true => Call { op: ReduceOp::Prod, ..self },
            false => self,
        }
    }

    /// What the count stands for, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.count * self.dtype.size() as u64
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Collective::*;
        let Call { collective, count, dtype, op, root, wire, .. } = self;
        write!(f, "{}(", self.name())?;
        match collective {
            Barrier => {}
            Allgather if self.makes_communicator() => {}
            Gatherv | Scatterv | Alltoallv => write!(f, "{dtype}")?,
            _ => write!(f, "{count} x {dtype}")?,
        }
        if collective.reduces() {
            write!(f, ", {op}")?;
        }
        if collective.has_root() {
            write!(f, ", root={root}")?;
        }
        if *wire != Wire::Plain {
            write!(f, ", wire={wire}")?;
        }
        f.write_str(")")
    }
}
