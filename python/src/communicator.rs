//! `Communicator`: the collectives, as methods.

use std::sync::Arc;

use kirsh_core::comm::RawCall;
use kirsh_core::{Collective, Config, Options, RawWork};
use pyo3::exceptions::{PyException, PySystemExit, PyTypeError};
use pyo3::prelude::*;

use crate::arguments::{self, Refusal};
use crate::exceptions::raise;
use crate::graveyard;
use crate::interrupt;
use crate::leave::Member;
use crate::operand::{Lent, Operand};
use crate::store::PythonStore;
use crate::work::{Work, refused};

/// A group of ranks that do collectives together; creating one is itself collective.
///
/// Any thread may call its methods; calls are carried out one after the other, and all ranks must
/// make the same calls in the same order. Arguments left at None come from the environment.
#[pyclass(frozen, weakref, module = "kirsh")]
pub(crate) struct Communicator {
    member: Arc<Member>,
}

/// What a communicator has counted since it was created.
#[pyclass(frozen, get_all, module = "kirsh")]
pub(crate) struct Stats {
    /// Operations that are over.
    operations: u64,
    /// Bytes of payload given to the network.
    bytes_sent: u64,
    /// Bytes of payload taken from the network.
    bytes_received: u64,
    /// Of those, bytes that the kernel put straight into their final place.
    bytes_received_direct: u64,
    /// Bytes that the library copied within this process.
    bytes_copied: u64,
    /// Frames given to the network.
    frames_sent: u64,
    /// Frames taken from the network.
    frames_received: u64,
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "Stats(operations={}, bytes_sent={}, bytes_received={}, bytes_received_direct={}, \
             bytes_copied={}, frames_sent={}, frames_received={})",
            self.operations,
            self.bytes_sent,
            self.bytes_received,
            self.bytes_received_direct,
            self.bytes_copied,
            self.frames_sent,
            self.frames_received
        )
    }
}

/// The arguments that every collective has.
struct Common {
    timeout: kirsh_core::Timeout,
    algorithm: Option<kirsh_core::Algorithm>,
    started: bool,
}

impl Common {
    fn read(
        timeout: Option<&Bound<'_, PyAny>>,
        algorithm: Option<&Bound<'_, PyAny>>,
        async_op: Option<&Bound<'_, PyAny>>,
    ) -> Result<Self, Refusal> {
        Ok(Common {
            timeout: arguments::timeout(timeout)?,
            algorithm: arguments::algorithm(algorithm)?,
            started: arguments::flag(async_op, "async_op")?,
        })
    }

    fn options(&self) -> Options<'static> {
        Options { timeout: self.timeout, algorithm: self.algorithm, ..Options::default() }
    }
}

impl Communicator {
    fn comm(&self) -> &kirsh_core::Communicator {
        &self.member.comm
    }

    /// Announces a call that this rank does not make, and gives the exception for it.
    fn refuse(&self, py: Python<'_>, collective: Collective, refusal: Refusal) -> PyErr {
        let Refusal { error, cause } = refusal;
        let error = py.detach(|| self.comm().refuse(collective, error));
        match cause {
            // Ctrl-C while an argument was read, say: the peers have been told, and that is all.
            Some(cause) if !cause.is_instance_of::<PyException>(py) => cause,
            cause => {
                let raised = raise(py, &error);
                raised.set_cause(py, cause);
                raised
            }
        }
    }

    /// Makes a blocking call, and gives its result.
    fn block(
        &self,
        py: Python<'_>,
        lent: &Lent,
        call: impl FnOnce() -> kirsh_core::Result<()> + Send,
    ) -> PyResult<Py<PyAny>> {
        py.detach(call).map_err(|error| raise(py, &error))?;
        lent.result(py)
    }

    /// Makes a call that starts an operation, and gives its `Work`.
    fn start(
        &self,
        py: Python<'_>,
        lent: Lent,
        collective: Collective,
        call: impl FnOnce() -> kirsh_core::Result<RawWork> + Send,
    ) -> PyResult<Py<PyAny>> {
        let work = py.detach(call).map_err(|error| raise(py, &error))?;
        let work = Work::new(work, lent, self.comm().rank(), collective.name());
        Ok(Bound::new(py, work)?.into_any().unbind())
    }
}

#[pymethods]
impl Communicator {
    #[new]
    #[pyo3(signature = (*, rank=None, world_size=None, rendezvous=None, store=None, timeout=None,
                        join_timeout=None, job_id=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn new(
        py: Python<'_>,
        rank: Option<u32>,
        world_size: Option<u32>,
        rendezvous: Option<String>,
        store: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        join_timeout: Option<&Bound<'_, PyAny>>,
        job_id: Option<String>,
    ) -> PyResult<Self> {
        let refused = |refusal| refused(py, refusal);
        let store = match store {
            Some(store) => {
                Some(Arc::new(PythonStore::new(store)?) as Arc<dyn kirsh_core::rendezvous::Store>)
            }
            None => None,
        };
        let config = Config {
            rank,
            world_size,
            rendezvous,
            store,
            job_id,
            timeout: arguments::timeout(timeout).map_err(refused)?,
            join_timeout: arguments::timeout(join_timeout).map_err(refused)?,
        };
        graveyard::sweep(py);
        interrupt::remember_main_thread(py)?;
        // Before the ranks meet: late ones are warned about from then on.
        PyModule::import(py, "kirsh._logging")?.call_method0("start")?;
        let comm = py.detach(|| kirsh_core::Communicator::create(&config));
        let comm = comm.map_err(|error| raise(py, &error))?;
        Ok(Communicator { member: Member::enlist(comm) })
    }

    /// Combine ``x`` over all ranks, in place unless ``out`` is given, and return the result.
    #[pyo3(signature = (x, *, op=None, out=None, async_op=None, timeout=None, scale=None,
                        algorithm=None),
           text_signature = "($self, x, *, op='sum', out=None, async_op=False, timeout=None, \
                             scale=None, algorithm=None)")]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn allreduce(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        op: Option<&Bound<'_, PyAny>>,
        out: Option<&Bound<'_, PyAny>>,
        async_op: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        scale: Option<&Bound<'_, PyAny>>,
        algorithm: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        graveyard::sweep(py);
        let read = || {
            let common = Common::read(timeout, algorithm, async_op)?;
            let op = arguments::reduce_op(op)?;
            let options = Options { scale: arguments::scale(scale)?, ..common.options() };
            let input = Operand::of(x)?;
            let output = out.map(Operand::of).transpose()?;
            match &output {
                Some(out) => input.check_out(out)?,
                None => input.check_writable("x", "pass out=, or a writable copy of x")?,
            }
            Ok((common, op, options, input, output))
        };
        let (common, op, options, input, output) =
            read().map_err(|refusal| self.refuse(py, Collective::Allreduce, refusal))?;
        let (count, dtype) = (input.count(), input.dtype());
        let send = input.address();
        let recv = output.as_ref().unwrap_or(&input).address();
        let lent = Lent::new(input, output);
        let comm = self.comm();
        if common.started {
            self.start(py, lent, Collective::Allreduce, || {
                let call = RawCall::new(Collective::Allreduce, dtype, count).op(op);
                let call = call.send(send.pointer()).recv(recv.pointer());
                // SAFETY: both are dense arrays of `count` elements of `dtype`, `recv` writable;
                // the `Work` or the graveyard holds them until the operation is over.
                unsafe { comm.start_raw(&call, &options) }
            })
        } else {
            self.block(py, &lent, || {
                let call = RawCall::new(Collective::Allreduce, dtype, count).op(op);
                let call = call.send(send.pointer()).recv(recv.pointer());
                // SAFETY: both are dense arrays of `count` elements of `dtype`, `recv` writable;
                // `lent` holds them beyond the end of this call.
                unsafe { comm.call_raw(&call, &options) }
            })
        }
    }

    /// Copy ``x`` of rank ``root`` over ``x`` of all other ranks, in place, and return it.
    #[pyo3(signature = (x, *, root=None, async_op=None, timeout=None, algorithm=None),
           text_signature = "($self, x, *, root=0, async_op=False, timeout=None, algorithm=None)")]
    fn broadcast(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        root: Option<&Bound<'_, PyAny>>,
        async_op: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        algorithm: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        graveyard::sweep(py);
        let read = || {
            let common = Common::read(timeout, algorithm, async_op)?;
            let root = arguments::root(root)?;
            let buffer = Operand::of(x)?;
            buffer.check_writable("x", "pass a writable copy of x")?;
            Ok((common, root, buffer))
        };
        let (common, root, buffer) =
            read().map_err(|refusal| self.refuse(py, Collective::Broadcast, refusal))?;
        let (count, dtype, address) = (buffer.count(), buffer.dtype(), buffer.address());
        let options = common.options();
        let lent = Lent::new(buffer, None);
        let comm = self.comm();
        if common.started {
            self.start(py, lent, Collective::Broadcast, || {
                let call = RawCall::new(Collective::Broadcast, dtype, count).root(root);
                let call = call.recv(address.pointer());
                // SAFETY: a dense, writable array of `count` elements of `dtype`, which the `Work`
                // or the graveyard holds until the operation is over.
                unsafe { comm.start_raw(&call, &options) }
            })
        } else {
            self.block(py, &lent, || {
                let call = RawCall::new(Collective::Broadcast, dtype, count).root(root);
                let call = call.recv(address.pointer());
                // SAFETY: a dense, writable array of `count` elements of `dtype`, which `lent`
                // holds beyond the end of this call.
                unsafe { comm.call_raw(&call, &options) }
            })
        }
    }

    /// Wait until every rank has called this.
    #[pyo3(signature = (*, async_op=None, timeout=None),
           text_signature = "($self, *, async_op=False, timeout=None)")]
    fn barrier(
        &self,
        py: Python<'_>,
        async_op: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        graveyard::sweep(py);
        let common = Common::read(timeout, None, async_op)
            .map_err(|refusal| self.refuse(py, Collective::Barrier, refusal))?;
        let options = common.options();
        if common.started {
            self.start(py, Lent::nothing(), Collective::Barrier, || {
                self.comm().start_barrier(&options)
            })
        } else {
            self.block(py, &Lent::nothing(), || self.comm().barrier(&options))
        }
    }

    /// The index of this process among the ranks, from 0.
    fn rank(&self) -> u32 {
        self.comm().rank()
    }

    /// The number of ranks.
    fn size(&self) -> u32 {
        self.comm().size()
    }

    /// The index of this process among the ranks on its host, from 0.
    fn local_rank(&self) -> u32 {
        self.comm().local_rank()
    }

    /// The number of ranks on this host.
    fn local_size(&self) -> u32 {
        self.comm().local_size()
    }

    /// Whether anything, a launcher or arguments, named a world. If not, it is a world of one.
    fn launched(&self) -> bool {
        self.comm().launched()
    }

    /// What moves the bytes: "uring" or "poll".
    fn driver(&self) -> &'static str {
        self.comm().driver()
    }

    /// What this communicator has counted so far.
    fn stats(&self) -> Stats {
        let stats = self.comm().stats();
        Stats {
            operations: stats.operations,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            bytes_received_direct: stats.bytes_received_direct,
            bytes_copied: stats.bytes_copied,
            frames_sent: stats.frames_sent,
            frames_received: stats.frames_received,
        }
    }

    /// End every operation of this communicator, here and on all peers, with this reason.
    ///
    /// May be called from any thread at any time, and does not wait for the peers. The
    /// communicator is of no use afterwards; every call on it raises AbortedError.
    #[pyo3(signature = (reason=""))]
    fn abort(&self, py: Python<'_>, reason: &str) {
        py.detach(|| self.comm().abort(reason));
    }

    /// Leave: say goodbye to the peers, within little more than a second.
    ///
    /// Started operations are given half a second; if some had to be aborted then, AbortedError
    /// says so when all is done. Later calls raise; closing again does nothing.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let closed = py.detach(|| self.member.close());
        graveyard::sweep(py);
        closed.map_err(|error| raise(py, &error))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Close; on the way out of a failure abort first, so that the peers do not wait for this rank.
    fn __exit__(
        &self,
        py: Python<'_>,
        exception_type: Option<&Bound<'_, PyAny>>,
        exception: Option<&Bound<'_, PyAny>>,
        _traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<bool> {
        if let Some(exception) = exception
            && exception_type.is_some()
            && !exception.is_instance_of::<PySystemExit>()
        {
            let name = arguments::type_name(exception);
            let reason = format!("a with block was left by {name}: {exception}");
            py.detach(|| self.comm().abort(&reason));
            // What broke the block matters more than how the goodbye went.
            let _ = self.close(py);
            return Ok(false);
        }
        self.close(py)?;
        Ok(false)
    }

    fn __repr__(&self) -> String {
        let (rank, size, driver) = (self.comm().rank(), self.comm().size(), self.comm().driver());
        let closed = if self.member.is_closed() { ", closed" } else { "" };
        format!("<kirsh.Communicator rank {rank} of {size} over {driver}{closed}>")
    }

    fn __reduce_ex__(&self, _protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a kirsh.Communicator cannot be pickled or copied: it is the connections of this \
             process; create one in each process",
        ))
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        // The goodbye may take a moment, and that must not be spent holding the GIL. Nobody is
        // there to be told of an error.
        if !self.member.is_closed() {
            Python::attach(|py| py.detach(|| drop(self.member.close())));
        }
    }
}
