//! From the arguments of a collective to a [`Request`]: which shapes belong together.
//!
//! Whatever holds a part for each rank does so along its first axis, and lies in memory row by row,
//! so that each part is one run. The calls that combine element by element, and broadcast, take any
//! dense order. `counted` has the calls in which each rank has a number of rows of its own.

mod counted;

use std::sync::Arc;

use kirsh_core::{Collective, DataType};
use pyo3::prelude::*;

use crate::arguments::Refusal;
use crate::fresh;
use crate::operand::{Lent, Operand, Reply};
use crate::request::{Common, Counts, Given, Request, Runs, Side};

/// Which rank of how many reads the arguments.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) rank: u32,
    pub(crate) size: u32,
}

impl Place {
    fn ranks(self) -> usize {
        self.size as usize
    }

    fn own(self, counts: &[usize]) -> usize {
        counts[self.rank as usize]
    }
}

/// Tells the other ranks numbers of rows and hears theirs: by which collective, what this rank
/// gives, and how many numbers it gets.
pub(crate) type Exchange<'a> =
    dyn FnMut(Collective, &Common, Vec<u64>, usize) -> Result<Vec<u64>, Refusal> + 'a;

/// Reads the arguments of a call, exchanging counts where it has to.
pub(crate) fn read(
    collective: Collective,
    given: &Given<'_, '_>,
    place: Place,
    exchange: &mut Exchange<'_>,
) -> Result<Request, Refusal> {
    use Collective::*;
    let common = Common::read(given)?;
    if collective.has_root() && common.root >= place.size {
        return Err(Refusal::invalid(format!(
            "root {} is not a rank of this communicator of {}",
            common.root, place.size
        )));
    }
    let is_root = !collective.has_root() || common.root == place.rank;
    let reading = Reading { collective, given, place, is_root };
    let parts = match collective {
        Barrier => Parts::nothing(),
        Broadcast => reading.broadcast()?,
        Allreduce if given.many => reading.many()?,
        Allreduce | Reduce | Scan | Exscan => reading.element_by_element()?,
        Allgather | Gather => reading.gathering()?,
        ReduceScatter | Alltoall | Scatter => reading.dividing()?,
        Allgatherv | Gatherv => reading.gathering_counted(&common, exchange)?,
        ReduceScatterv | Scatterv => reading.dividing_counted()?,
        Alltoallv => reading.exchanging_counted(&common, exchange)?,
    };
    let Parts { dtype, count, counts, send, recv, lent } = parts;
    Ok(Request { collective, dtype, count, counts, send, recv, common, lent: Arc::new(lent) })
}

/// What differs from one collective to the other.
struct Parts {
    dtype: DataType,
    count: usize,
    counts: Counts,
    send: Side,
    recv: Side,
    lent: Lent,
}

impl Parts {
    fn nothing() -> Self {
        Parts::new(DataType::Byte, 0, Side::None, Side::None, Lent::nothing())
    }

    fn new(dtype: DataType, count: usize, send: Side, recv: Side, lent: Lent) -> Self {
        Parts { dtype, count, counts: Counts::Even, send, recv, lent }
    }

    /// An array that is only read, and where there is one another that is the result.
    fn apart(count: usize, input: Operand, output: Option<Operand>) -> Self {
        let (dtype, send) = (input.dtype(), Side::One(input.address()));
        let recv = output.as_ref().map_or(Side::None, |output| Side::One(output.address()));
        let lent = match output {
            Some(output) => Lent::new(vec![output, input], Reply::First),
            None => Lent::new(vec![input], Reply::Nothing),
        };
        Parts::new(dtype, count, send, recv, lent)
    }

    /// What a rank gets that gives nothing.
    fn received(count: usize, output: Operand) -> Self {
        let (dtype, recv) = (output.dtype(), Side::One(output.address()));
        Parts::new(dtype, count, Side::None, recv, Lent::new(vec![output], Reply::First))
    }

    fn with_counts(self, counts: Counts) -> Self {
        Parts { counts, ..self }
    }
}

struct Reading<'a, 'py> {
    collective: Collective,
    given: &'a Given<'a, 'py>,
    place: Place,
    /// Whether this is the root; true where there is none.
    is_root: bool,
}

impl Reading<'_, '_> {
    fn invalid<T>(&self, message: String) -> Result<T, Refusal> {
        Err(Refusal::invalid(message))
    }

    fn x(&self) -> Result<&Bound<'_, PyAny>, Refusal> {
        self.given.x.ok_or_else(|| {
            Refusal::unsupported(format!(
                "a NoneType has no memory to work on, and rank {} gives x in this call",
                self.place.rank
            ))
        })
    }

    fn broadcast(&self) -> Result<Parts, Refusal> {
        let buffer = Operand::of(self.x()?)?;
        buffer.check_writable("x", "pass a writable copy of x")?;
        Ok(Parts::received(buffer.count(), buffer))
    }

    fn element_by_element(&self) -> Result<Parts, Refusal> {
        self.check_out_is_for_root()?;
        let input = Operand::of(self.x()?)?;
        if !self.is_root {
            return Ok(Parts::apart(input.count(), input, None));
        }
        let count = input.count();
        if let Some(out) = self.given.out {
            let output = Operand::of(out)?;
            input.check_out(&output)?;
            return Ok(Parts::apart(count, input, Some(output)));
        }
        input.check_writable("x", "pass out=, or a writable copy of x")?;
        let (dtype, address) = (input.dtype(), input.address());
        let lent = Lent::new(vec![input], Reply::First);
        Ok(Parts::new(dtype, count, Side::One(address), Side::One(address), lent))
    }

    fn many(&self) -> Result<Parts, Refusal> {
        let list = self.x()?;
        let mut operands = Vec::new();
        let unreadable = |cause| Refusal::caused("reading the list of arrays", cause);
        for (index, object) in list.try_iter().map_err(unreadable)?.enumerate() {
            let operand = Operand::of(&object.map_err(unreadable)?)?;
            if !operand.is_array() {
                return self.invalid(format!(
                    "arrays[{index}] is a number, and cannot be changed in place"
                ));
            }
            operand.check_writable(&format!("arrays[{index}]"), "pass a writable copy")?;
            operands.push(operand);
        }
        let Some(dtype) = operands.first().map(Operand::dtype) else {
            return self.invalid("a list without arrays has no dtype to reduce".to_owned());
        };
        if let Some((index, other)) =
            (0..).zip(&operands).find(|(_, operand)| operand.dtype() != dtype)
        {
            return self.invalid(format!(
                "arrays[0] has dtype {dtype}, and arrays[{index}] has {}: make one call for each dtype",
                other.dtype()
            ));
        }
        let count = operands.iter().map(Operand::count).sum();
        let runs =
            || Side::Many(Runs::new(operands.iter().map(|one| (one.address(), one.count()))));
        let (send, recv) = (runs(), runs());
        let lent = Lent::new(operands, Reply::Object(list.clone().unbind()));
        Ok(Parts::new(dtype, count, send, recv, lent))
    }

    fn gathering(&self) -> Result<Parts, Refusal> {
        self.check_out_is_for_root()?;
        let input = self.rows_of("x", self.x()?)?;
        let count = input.count();
        if !self.is_root {
            return Ok(Parts::apart(count, input, None));
        }
        let ranks = self.place.ranks();
        let shape = match input.shape() {
            [] => vec![ranks],
            [rows, rest @ ..] => joined(product(*rows, ranks)?, rest),
        };
        let output = self.output(&input, &shape)?;
        Ok(Parts::apart(count, input, Some(output)))
    }

    fn dividing(&self) -> Result<Parts, Refusal> {
        if !self.is_root {
            let output = self.output_that_is_all()?;
            return Ok(Parts::received(output.count(), output));
        }
        let input = self.rows_of("x", self.x()?)?;
        let (rows, rest) = self.axis(&input)?;
        let ranks = self.place.ranks();
        if rows % ranks != 0 {
            return self.invalid(format!(
                "x has shape {}, and its first axis cannot be divided among {ranks} ranks: pad it, \
                 or use {}v with a count for each rank",
                input.describe_shape(),
                self.collective,
            ));
        }
        let count = input.count() / ranks;
        let shape = match self.collective {
            Collective::Alltoall => joined(rows, rest),
            _ => joined(rows / ranks, rest),
        };
        let output = self.output(&input, &shape)?;
        Ok(Parts::apart(count, input, Some(output)))
    }

    /// An operand whose parts along the first axis are runs of memory.
    fn rows_of(&self, argument: &str, object: &Bound<'_, PyAny>) -> Result<Operand, Refusal> {
        let operand = Operand::of(object)?;
        operand.check_row_major(argument)?;
        Ok(operand)
    }

    /// The length of the first axis, and the others.
    fn axis<'o>(&self, operand: &'o Operand) -> Result<(usize, &'o [usize]), Refusal> {
        match operand.shape() {
            [rows, rest @ ..] => Ok((*rows, rest)),
            [] => self.invalid(format!(
                "{} goes along the first axis of an array, and a number, or an array without \
                 dimensions, has none",
                self.collective
            )),
        }
    }

    /// Where the result for `input` goes: the caller's array, which must have this shape, or a new one.
    fn output(&self, input: &Operand, shape: &[usize]) -> Result<Operand, Refusal> {
        let Some(out) = self.given.out else {
            return fresh::array_like(self.x()?, input.dtype(), shape);
        };
        let output = self.rows_of("out", out)?;
        output.check_is_array_of(input.dtype(), shape)?;
        output.check_writable("out", "pass a writable array")?;
        Ok(output)
    }

    /// The `out` of a rank that gives nothing: it alone says what this rank gets.
    fn output_that_is_all(&self) -> Result<Operand, Refusal> {
        if self.given.x.is_some() {
            return self.invalid(format!(
                "x is what the root gives, so rank {} passes None for it",
                self.place.rank
            ));
        }
        let Some(out) = self.given.out else {
            return self.invalid(format!(
                "out is missing: rank {} is not the root, and its out says which shape and dtype \
                 it gets",
                self.place.rank
            ));
        };
        let output = self.rows_of("out", out)?;
        if !output.is_array() {
            return self.invalid("out must be an array".to_owned());
        }
        output.check_writable("out", "pass a writable array")?;
        Ok(output)
    }

    fn check_out_is_for_root(&self) -> Result<(), Refusal> {
        match self.given.out {
            Some(_) if !self.is_root => self.invalid(format!(
                "out is for the root, which alone gets the result: rank {} passes None for it",
                self.place.rank
            )),
            _ => Ok(()),
        }
    }
}

fn joined(rows: usize, rest: &[usize]) -> Vec<usize> {
    [&[rows], rest].concat()
}

fn too_large() -> Refusal {
    Refusal::invalid("the counts add up to more than memory holds")
}

fn product(rows: usize, times: usize) -> Result<usize, Refusal> {
    rows.checked_mul(times).ok_or_else(too_large)
}
