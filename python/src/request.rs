//! A collective call as it was read from Python's arguments: what the core is asked, and all that
//! it borrows meanwhile.

use std::sync::Arc;

use kirsh_core::comm::{RawCall, RawCounts};
use kirsh_core::{Collective, DataType, Error, ErrorKind, Options, ReduceOp, Timeout};
use pyo3::prelude::*;

use crate::arguments::{self, Refusal};
use crate::array::Address;
use crate::operand::Lent;

/// The arguments of a call, as Python gave them; `None` is what was left out.
pub(crate) struct Given<'a, 'py> {
    pub(crate) x: Option<&'a Bound<'py, PyAny>>,
    pub(crate) out: Option<&'a Bound<'py, PyAny>>,
    pub(crate) op: Option<&'a Bound<'py, PyAny>>,
    pub(crate) root: Option<&'a Bound<'py, PyAny>>,
    /// For each rank, the length along the first axis: of what it gives, or of what it gets.
    pub(crate) counts: Option<&'a Bound<'py, PyAny>>,
    /// The same for what this rank gets from each, where `counts` is what it gives to each.
    pub(crate) recv_counts: Option<&'a Bound<'py, PyAny>>,
    /// Whether `x` is a list of arrays that count as one.
    pub(crate) many: bool,
    pub(crate) timeout: Option<&'a Bound<'py, PyAny>>,
    pub(crate) algorithm: Option<&'a Bound<'py, PyAny>>,
    pub(crate) scale: Option<&'a Bound<'py, PyAny>>,
    pub(crate) weight: Option<&'a Bound<'py, PyAny>>,
    pub(crate) wire: Option<&'a Bound<'py, PyAny>>,
}

/// What every call has, read.
pub(crate) struct Common {
    pub(crate) op: ReduceOp,
    pub(crate) root: u32,
    timeout: Timeout,
    algorithm: Option<kirsh_core::Algorithm>,
    scale: Option<f64>,
    weight: Option<f64>,
    wire: Option<kirsh_core::Wire>,
}

impl Common {
    pub(crate) fn read(given: &Given<'_, '_>) -> Result<Self, Refusal> {
        Ok(Common {
            op: arguments::reduce_op(given.op)?,
            root: arguments::root(given.root)?,
            timeout: arguments::timeout(given.timeout)?,
            algorithm: arguments::algorithm(given.algorithm)?,
            scale: arguments::number(given.scale, "scale")?,
            weight: arguments::number(given.weight, "weight")?,
            wire: arguments::wire(given.wire)?,
        })
    }

    pub(crate) fn options(&self) -> Options<'static> {
        Options {
            timeout: self.timeout,
            algorithm: self.algorithm,
            scale: self.scale,
            weight: self.weight,
            wire: self.wire,
            ..Options::default()
        }
    }

    /// For the small exchange before a call, which chooses and scales for itself.
    pub(crate) fn options_of_exchange(&self) -> Options<'static> {
        Options { timeout: self.timeout, ..Options::default() }
    }
}

/// One of a call's two arrays.
pub(crate) enum Side {
    None,
    One(Address),
    /// The runs with their lengths in elements, as the core takes them.
    Many(Runs),
}

/// Several runs of memory. A type of its own, because pointers alone may not change threads.
pub(crate) struct Runs(Vec<(*mut u8, usize)>);

// SAFETY: addresses are only numbers here; who reads or writes through them proves that the memory
// is alive (`Lent` holds it) and lent to the operation by the caller.
unsafe impl Send for Runs {}
// SAFETY: as above; a shared list of addresses gives no access by itself.
unsafe impl Sync for Runs {}

impl Runs {
    pub(crate) fn new(runs: impl Iterator<Item = (Address, usize)>) -> Self {
        Runs(runs.map(|(address, count)| (address.pointer(), count)).collect())
    }

    pub(crate) fn as_slice(&self) -> &[(*mut u8, usize)] {
        &self.0
    }
}

/// How many elements belong to which rank; see `RawCounts`.
pub(crate) enum Counts {
    Even,
    Known(Vec<usize>),
    Pairs { send: Vec<usize>, recv: Vec<usize> },
    Rooted { own: usize, each: Vec<usize> },
}

/// A call that can be made.
pub(crate) struct Request {
    pub(crate) collective: Collective,
    pub(crate) dtype: DataType,
    pub(crate) count: usize,
    pub(crate) counts: Counts,
    pub(crate) send: Side,
    pub(crate) recv: Side,
    pub(crate) common: Common,
    pub(crate) lent: Arc<Lent>,
}

impl Request {
    /// The call in the words of the core. What it points to is alive as long as `lent` is.
    pub(crate) fn raw(&self) -> RawCall<'_> {
        let call = RawCall::new(self.collective, self.dtype, self.count);
        let call = call.op(self.common.op).root(self.common.root);
        let call = match &self.counts {
            Counts::Even => call,
            Counts::Known(counts) => call.counts(RawCounts::Known(counts)),
            Counts::Pairs { send, recv } => call.counts(RawCounts::Pairs { send, recv }),
            Counts::Rooted { own, each } => call.counts(RawCounts::Rooted { own: *own, each }),
        };
        let call = match &self.send {
            Side::None => call,
            Side::One(address) => call.send(address.pointer()),
            Side::Many(runs) => call.send_many(runs.as_slice()),
        };
        match &self.recv {
            Side::None => call,
            Side::One(address) => call.recv(address.pointer()),
            Side::Many(runs) => call.recv_many(runs.as_slice()),
        }
    }
}

/// The collective with this name.
pub(crate) fn collective(name: &str) -> Result<Collective, Error> {
    Collective::from_name(name).ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the package asked for a collective {name}"))
    })
}
