//! Messages between two ranks. They have no place in the order of collectives, so what is refused
//! here concerns this rank alone, and nobody else is told.

use std::ops::Range;
use std::sync::Arc;

use kirsh_core::comm::{self, RawRecv, RawSend};
use kirsh_core::{DataType, Options, Rank, RawWork, Source, Tag};
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;

use crate::arguments::{self, Refusal, shown};
use crate::array::Address;
use crate::communicator::Communicator;
use crate::exceptions::raise;
use crate::graveyard;
use crate::operand::{Lent, Operand, Reply};
use crate::work::{Work, refused};

/// As the source of a receive: whichever rank's message comes first.
pub(crate) const ANY_SOURCE: i64 = -1;

/// As the tag of a receive: a message under whichever tag.
pub(crate) const ANY_TAG: i64 = -1;

/// What has been received.
#[pyclass(frozen, eq, hash, get_all, module = "kirsh")]
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Received {
    /// The rank that sent it.
    source: u32,
    /// Its tag.
    tag: u32,
    /// Its elements; what lies in the array behind them is as it was.
    count: usize,
    /// The bytes that these take.
    nbytes: usize,
}

impl Received {
    pub(crate) fn new(received: comm::Received, element_size: usize) -> Self {
        let comm::Received { source, tag, count } = received;
        Received { source, tag, count, nbytes: count * element_size }
    }
}

#[pymethods]
impl Received {
    #[new]
    fn made_of(source: u32, tag: u32, count: usize, nbytes: usize) -> Self {
        Received { source, tag, count, nbytes }
    }

    fn __getnewargs__(&self) -> (u32, u32, usize, usize) {
        (self.source, self.tag, self.count, self.nbytes)
    }

    fn __repr__(&self) -> String {
        let Received { source, tag, count, nbytes } = self;
        format!("Received(source={source}, tag={tag}, count={count}, nbytes={nbytes})")
    }
}

/// What both kinds of messages are made with, read.
struct Common {
    started: bool,
    options: Options<'static>,
}

impl Common {
    fn read(
        async_op: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self, Refusal> {
        let started = arguments::flag(async_op, "async_op")?;
        let timeout = arguments::timeout(timeout)?;
        Ok(Common { started, options: Options { timeout, ..Options::default() } })
    }
}

/// A message to be sent, or room for one, in memory that an [`Operand`] holds.
#[derive(Clone, Copy)]
struct Room {
    address: Address,
    count: usize,
    dtype: DataType,
}

impl Room {
    fn of(operand: &Operand) -> Self {
        Room { address: operand.address(), count: operand.count(), dtype: operand.dtype() }
    }

    fn send(self, to: Rank, tag: u32) -> RawSend {
        let Room { address, count, dtype } = self;
        RawSend { data: address.pointer().cast_const().cast(), count, dtype, to, tag }
    }

    fn recv(self, from: Source, tag: Tag) -> RawRecv {
        let Room { address, count, dtype } = self;
        RawRecv { data: address.pointer().cast(), count, dtype, from, tag }
    }

    fn bytes(self) -> Range<usize> {
        let start = self.address.pointer().addr();
        start..start + self.count * self.dtype.size()
    }
}

/// Send a message to a rank: `kirsh.Communicator.send` says how.
#[pyfunction]
#[pyo3(signature = (comm, x, dst, *, tag, async_op=None, timeout=None))]
pub(crate) fn send(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    x: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    tag: &Bound<'_, PyAny>,
    async_op: Option<&Bound<'_, PyAny>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    const NAME: &str = "send";
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let read = || {
        let common = Common::read(async_op, timeout)?;
        Ok((Operand::of(x)?, to(dst)?, own_tag(tag)?, common))
    };
    let (input, to, tag, Common { started, options }) =
        read().map_err(|refusal| refuse(py, comm, NAME, refusal))?;
    let message = Room::of(&input);
    let lent = Lent::new(vec![input], Reply::Nothing);
    if started {
        // SAFETY: the array is dense and as large as the message says; the `Work` or the graveyard
        // holds `lent`, and so it, until the operation is over.
        let work = py.detach(|| unsafe { comm.start_send_raw(&message.send(to, tag), &options) });
        return start(py, work, lent, comm, NAME);
    }
    // SAFETY: as above, and `lent` lives beyond the end of this call.
    let done = py.detach(|| unsafe { comm.send_raw(&message.send(to, tag), &options) });
    done.map_err(|error| raise(py, &error))?;
    lent.result(py)
}

/// Receive a message of a rank, or of any: `kirsh.Communicator.recv` says how.
#[pyfunction]
#[pyo3(signature = (comm, out, src, *, tag, async_op=None, timeout=None))]
pub(crate) fn recv(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    out: &Bound<'_, PyAny>,
    src: &Bound<'_, PyAny>,
    tag: &Bound<'_, PyAny>,
    async_op: Option<&Bound<'_, PyAny>>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Py<PyAny>> {
    const NAME: &str = "recv";
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let read = || {
        let common = Common::read(async_op, timeout)?;
        Ok((target(out)?, from(src)?, wanted_tag(tag)?, common))
    };
    let (output, from, tag, Common { started, options }) =
        read().map_err(|refusal| refuse(py, comm, NAME, refusal))?;
    let room = Room::of(&output);
    let lent = Lent::new(vec![output], Reply::Nothing);
    if started {
        // SAFETY: the array is dense, writable and as large as the room says; the `Work` or the
        // graveyard holds `lent`, and so it, until the operation is over.
        let work = py.detach(|| unsafe { comm.start_recv_raw(&room.recv(from, tag), &options) });
        return start(py, work, lent, comm, NAME);
    }
    // SAFETY: as above, and `lent` lives beyond the end of this call.
    let received = py.detach(|| unsafe { comm.recv_raw(&room.recv(from, tag), &options) });
    let received = received.map_err(|error| raise(py, &error))?;
    Received::new(received, lent.element_size()).into_py_any(py)
}

/// Send one message and receive another at once: `kirsh.Communicator.sendrecv` says how.
#[pyfunction]
#[pyo3(signature = (comm, x, dst, out, src, *, tag, timeout=None))]
#[expect(clippy::too_many_arguments, reason = "two messages have so many")]
pub(crate) fn sendrecv(
    py: Python<'_>,
    comm: &Bound<'_, Communicator>,
    x: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
    src: &Bound<'_, PyAny>,
    tag: &Bound<'_, PyAny>,
    timeout: Option<&Bound<'_, PyAny>>,
) -> PyResult<Received> {
    const NAME: &str = "sendrecv";
    graveyard::sweep(py);
    let comm = comm.get().comm();
    let read = || {
        let Common { options, .. } = Common::read(None, timeout)?;
        let (input, output) = (Operand::of(x)?, target(out)?);
        check_apart(Room::of(&input), Room::of(&output))?;
        Ok((input, to(dst)?, output, from(src)?, own_tag(tag)?, options))
    };
    let (input, to, output, from, tag, options) =
        read().map_err(|refusal| refuse(py, comm, NAME, refusal))?;
    let (message, room) = (Room::of(&input), Room::of(&output));
    // SAFETY: both arrays are dense, as large as is said and apart, and the second is writable;
    // `input` and `output`, which hold them, live beyond the end of this call.
    let received = py.detach(|| unsafe {
        comm.sendrecv_raw(&message.send(to, tag), &room.recv(from, Tag::Is(tag)), &options)
    });
    let received = received.map_err(|error| raise(py, &error))?;
    Ok(Received::new(received, room.dtype.size()))
}

pub(crate) fn start(
    py: Python<'_>,
    work: kirsh_core::Result<RawWork>,
    lent: Lent,
    comm: &kirsh_core::Communicator,
    name: &'static str,
) -> PyResult<Py<PyAny>> {
    let work = work.map_err(|error| raise(py, &error))?;
    Work::new(work, Arc::new(lent), comm.rank(), name).into_py_any(py)
}

/// The exception for a message that this rank does not send or receive.
fn refuse(
    py: Python<'_>,
    comm: &kirsh_core::Communicator,
    name: &'static str,
    refusal: Refusal,
) -> PyErr {
    let Refusal { error, cause } = refusal;
    let error = error.with_rank(comm.rank()).with_operation(name, None);
    refused(py, Refusal { error, cause })
}

/// The array that a message is received into.
fn target(out: &Bound<'_, PyAny>) -> Result<Operand, Refusal> {
    let output = Operand::of(out)?;
    if !output.is_array() {
        let text = "out must be an array, which a message can be received into: a number cannot";
        return Err(Refusal::invalid(text));
    }
    output.check_writable("out", "pass a writable array")?;
    Ok(output)
}

fn check_apart(message: Room, room: Room) -> Result<(), Refusal> {
    let (x, out) = (message.bytes(), room.bytes());
    if x.start.max(out.start) < x.end.min(out.end) {
        let text = "x and out overlap, and what is received would change what is still being \
                    sent: pass a copy of x";
        return Err(Refusal::invalid(text));
    }
    Ok(())
}

fn to(dst: &Bound<'_, PyAny>) -> Result<Rank, Refusal> {
    dst.extract()
        .map_err(|cause| Refusal::caused(&format!("dst={} is not a rank", shown(dst)), cause))
}

fn from(src: &Bound<'_, PyAny>) -> Result<Source, Refusal> {
    let wrong = |cause| {
        let text = format!("src={} is neither a rank nor kirsh.ANY_SOURCE", shown(src));
        Refusal::caused(&text, cause)
    };
    if src.extract::<i64>().is_ok_and(|number| number == ANY_SOURCE) {
        return Ok(Source::Any);
    }
    src.extract().map(Source::Rank).map_err(wrong)
}

fn own_tag(tag: &Bound<'_, PyAny>) -> Result<u32, Refusal> {
    tag.extract().map_err(|cause| {
        Refusal::caused(&format!("tag={} is no tag: those are 0 to 2**32 - 1", shown(tag)), cause)
    })
}

fn wanted_tag(tag: &Bound<'_, PyAny>) -> Result<Tag, Refusal> {
    if tag.extract::<i64>().is_ok_and(|number| number == ANY_TAG) {
        return Ok(Tag::Any);
    }
    tag.extract().map(Tag::Is).map_err(|cause| {
        let shown = shown(tag);
        let text = format!("tag={shown} is neither kirsh.ANY_TAG nor a tag, 0 to 2**32 - 1");
        Refusal::caused(&text, cause)
    })
}
