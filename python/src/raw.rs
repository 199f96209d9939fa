//! Calls on addresses, for the parts of the package that know another library's arrays better than
//! any protocol tells (`kirsh.torch`): nothing of a tensor is asked here, which is what makes them
//! short. The caller vouches for the memory; nobody outside of the package is to call these.

use std::sync::Arc;

use kirsh_core::comm::{Codec, RawCall, RawCounts, RawRecv, RawSend};
use kirsh_core::{DataType, Error, ErrorKind, Options, ReduceOp, Source, Tag, Wire};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::arguments::{self, Refusal};
use crate::array::Address;
use crate::communicator::Communicator;
use crate::exceptions::raise;
use crate::graveyard;
use crate::message::{self, ANY_SOURCE};
use crate::operand::Lent;
use crate::request::{self, Runs};
use crate::work::Work;

/// One of a call's arrays: an address, or several with their lengths in elements.
#[derive(FromPyObject)]
pub(crate) enum Memory {
    One(usize),
    Many(Vec<(usize, usize)>),
}

/// The same, in a form that may change threads.
enum Side {
    None,
    One(Address),
    Many(Runs),
}

impl Side {
    fn of(memory: Option<Memory>) -> Self {
        let at = |address: usize| Address::new(std::ptr::with_exposed_provenance_mut(address));
        match memory {
            None => Side::None,
            Some(Memory::One(address)) => Side::One(at(address)),
            Some(Memory::Many(runs)) => {
                Side::Many(Runs::new(runs.into_iter().map(|(address, count)| (at(address), count))))
            }
        }
    }
}

/// Make or start a collective call on memory that the caller vouches for.
///
/// `keep` is whatever owns the memory: it lives until the operation is over, and is what the call,
/// or the `wait()` of the returned `Work`, gives back. Counts are those of an alltoallv.
#[pyfunction]
#[pyo3(signature = (comm, collective, dtype, count, send, recv, keep, started=false, timeout=None,
                    op=None, root=0, scale=None, counts=None, recv_counts=None, wire=None))]
#[expect(clippy::too_many_arguments, reason = "one call has all that any collective takes")]
pub(crate) fn call_at(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    collective: &str,
    dtype: &str,
    count: usize,
    send: Option<Memory>,
    recv: Option<Memory>,
    keep: Py<PyAny>,
    started: bool,
    timeout: Option<&Bound<'_, PyAny>>,
    op: Option<&str>,
    root: u32,
    scale: Option<f64>,
    counts: Option<Vec<usize>>,
    recv_counts: Option<Vec<usize>>,
    wire: Option<&str>,
) -> PyResult<Py<PyAny>> {
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let of_package = |error: Error| raise(py, &error);
    let collective = request::collective(collective).map_err(of_package)?;
    let dtype = named(dtype, "dtype", DataType::from_name).map_err(of_package)?;
    let op = match op {
        None => ReduceOp::Sum,
        Some(op) => named(op, "operator", ReduceOp::from_name).map_err(of_package)?,
    };
    let wire = match wire {
        None => None,
        Some(wire) => Some(named(wire, "wire format", Wire::from_name).map_err(of_package)?),
    };
    let timeout = arguments::timeout(timeout).map_err(|refusal| raise(py, &refusal.error))?;
    let options = Options { timeout, scale, wire, ..Options::default() };
    let (send, recv) = (Side::of(send), Side::of(recv));
    let raw = || {
        let call = RawCall::new(collective, dtype, count).op(op).root(root);
        let call = match &send {
            Side::None => call,
            Side::One(address) => call.send(address.pointer()),
            Side::Many(runs) => call.send_many(runs.as_slice()),
        };
        let call = match &recv {
            Side::None => call,
            Side::One(address) => call.recv(address.pointer()),
            Side::Many(runs) => call.recv_many(runs.as_slice()),
        };
        match (&counts, &recv_counts) {
            (Some(send), Some(recv)) => call.counts(RawCounts::Pairs { send, recv }),
            _ => call,
        }
    };
    if !started {
        // SAFETY: our caller vouches for the memory, and `keep` holds it to the end of this call.
        let done = py.detach(|| unsafe { comm.call_raw(&raw(), &options) });
        done.map_err(|error| raise(py, &error))?;
        return Ok(keep);
    }
    // SAFETY: our caller vouches for the memory; the `Work` or the graveyard holds `keep`, and so
    // it, until the operation is over.
    let work = py.detach(|| unsafe { comm.start_raw(&raw(), &options) });
    let work = work.map_err(|error| raise(py, &error))?;
    let lent = Lent::object(keep, dtype.size());
    Work::new(work, Arc::new(lent), comm.rank(), collective.name()).into_py_any(py)
}

/// Start to send a message from memory that the caller vouches for; see `call_at` for `keep`.
#[pyfunction]
#[pyo3(signature = (comm, dtype, count, address, keep, dst, tag, timeout=None))]
#[expect(clippy::too_many_arguments, reason = "a message has so many")]
pub(crate) fn send_at(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    dtype: &str,
    count: usize,
    address: usize,
    keep: Py<PyAny>,
    dst: u32,
    tag: u32,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let (dtype, options) = of_message(py, dtype, timeout)?;
    let memory = Address::new(std::ptr::with_exposed_provenance_mut(address));
    let work = py.detach(|| {
        let data = memory.pointer().cast_const().cast();
        let send = RawSend { data, count, dtype, to: dst, tag };
        // SAFETY: our caller vouches for the memory; the `Work` or the graveyard holds `keep`, and
        // so it, until the operation is over.
        unsafe { comm.start_send_raw(&send, &options) }
    });
    message::start(py, work, Lent::object(keep, dtype.size()), comm, "send")
}

/// Start to receive a message, of rank `src` or of any, to memory that the caller vouches for.
#[pyfunction]
#[pyo3(signature = (comm, dtype, count, address, keep, src, tag, timeout=None))]
#[expect(clippy::too_many_arguments, reason = "a message has so many")]
pub(crate) fn recv_at(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    dtype: &str,
    count: usize,
    address: usize,
    keep: Py<PyAny>,
    src: i64,
    tag: u32,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let (dtype, options) = of_message(py, dtype, timeout)?;
    let from = match u32::try_from(src) {
        Ok(rank) => Source::Rank(rank),
        Err(_) if src == ANY_SOURCE => Source::Any,
        Err(_) => {
            let text = format!("the package asked for a message of rank {src}");
            return Err(raise(py, &Error::new(ErrorKind::Internal, text)));
        }
    };
    let memory = Address::new(std::ptr::with_exposed_provenance_mut(address));
    let work = py.detach(|| {
        let data = memory.pointer().cast();
        let recv = RawRecv { data, count, dtype, from, tag: Tag::Is(tag) };
        // SAFETY: as above.
        unsafe { comm.start_recv_raw(&recv, &options) }
    });
    message::start(py, work, Lent::object(keep, dtype.size()), comm, "recv")
}

/// Add what was lost to float32 values, round them as a wire format does, and keep what that takes.
///
/// Both are arrays of `count` elements in host memory at these addresses, multiples of 4, and apart. The
/// caller vouches for that, and holds them until this returns. Without the GIL.
#[pyfunction]
pub(crate) fn feed_back_at(
    py: Python<'_>,
    wire: &str,
    count: usize,
    values: usize,
    lost: usize,
) -> PyResult<()> {
    let wire = named(wire, "wire format", Wire::from_name).map_err(|error| raise(py, &error))?;
    let Some(codec) = Codec::choose(wire) else { return Ok(()) };
    if count == 0 {
        return Ok(());
    }
    // SAFETY: our caller vouches for the memory, holds it, and lets nobody else touch it meanwhile.
    let values = unsafe { std::slice::from_raw_parts_mut(at::<f32>(values), count) };
    // SAFETY: as above; the two have no byte in common.
    let lost = unsafe { std::slice::from_raw_parts_mut(at::<f32>(lost), count) };
    py.detach(|| codec.feed_back(values, lost));
    Ok(())
}

fn at<T>(address: usize) -> *mut T {
    std::ptr::with_exposed_provenance_mut(address)
}

/// Say that this rank does not make a collective call, to the peers too, and raise why.
#[pyfunction]
#[pyo3(signature = (comm, collective, message, unsupported=false))]
pub(crate) fn refuse_call(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    collective: &str,
    message: &str,
    unsupported: bool,
) -> PyResult<()> {
    let collective = request::collective(collective).map_err(|error| raise(py, &error))?;
    let refusal = match unsupported {
        true => Refusal::unsupported(message),
        false => Refusal::invalid(message),
    };
    let comm = comm.get().comm();
    let error = py.detach(|| comm.refuse(collective, refusal.error));
    Err(raise(py, &error))
}

fn of_message(
    py: Python<'_>,
    dtype: &str,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<(DataType, Options<'static>)> {
    let dtype = named(dtype, "dtype", DataType::from_name).map_err(|error| raise(py, &error))?;
    let timeout = arguments::timeout(timeout).map_err(|refusal| raise(py, &refusal.error))?;
    Ok((dtype, Options { timeout, ..Options::default() }))
}

/// What the package means by a name. It takes them from tables of its own.
fn named<T>(name: &str, what: &str, from_name: fn(&str) -> Option<T>) -> Result<T, Error> {
    from_name(name).ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the package asked for a {what} {name}"))
    })
}
