//! `Communicator`: its life, and the one way in which all of its collectives are called.

use std::sync::Arc;

use kirsh_core::comm::RawCall;
use kirsh_core::{Collective, Config, DataType};
use pyo3::exceptions::{PySystemExit, PyTypeError};
use pyo3::prelude::*;

use crate::arguments::{self, Refusal};
use crate::exceptions::raise;
use crate::graveyard;
use crate::group::{self, Asked, Made};
use crate::interrupt;
use crate::leave::Member;
use crate::plan::Plan;
use crate::request::{self, Common, Given, Request};
use crate::shapes::{self, Place};
use crate::stats::{PeerStats, Stats};
use crate::store::PythonStore;
use crate::work::{Work, refused};

/// What `kirsh.Communicator` is built on.
///
/// The class that users see is written in Python (`kirsh._communicator`), where its methods have
/// their documentation and types.
#[pyclass(frozen, weakref, subclass, module = "kirsh._kirsh")]
pub(crate) struct Communicator {
    member: Arc<Member>,
}

impl Communicator {
    pub(crate) fn comm(&self) -> &kirsh_core::Communicator {
        &self.member.comm
    }

    /// Announces a call that this rank does not make, and gives the exception for it.
    fn refuse(&self, py: Python<'_>, collective: Collective, refusal: Refusal) -> PyErr {
        let Refusal { error, cause } = refusal;
        let error = py.detach(|| self.comm().refuse(collective, error));
        refused(py, Refusal { error, cause })
    }

    /// Reads a call's arguments; where they will not do, the peers are told so.
    fn read(
        &self,
        py: Python<'_>,
        collective: Collective,
        given: &Given<'_, '_>,
    ) -> PyResult<Request> {
        let place = Place { rank: self.comm().rank(), size: self.comm().size() };
        let mut failed = None;
        let mut exchange = |by: Collective, common: &Common, told: Vec<u64>, each: usize| {
            self.exchange(py, by, common, told, each).map_err(|error| {
                failed = Some(error);
                Refusal::invalid("the counts could not be exchanged")
            })
        };
        let read = shapes::read(collective, given, place, &mut exchange);
        read.map_err(|refusal| match failed {
            // A call of its own, whose failure the peers know of.
            Some(error) => raise(py, &error),
            None => self.refuse(py, collective, refusal),
        })
    }

    /// Tells the others numbers of rows, and hears theirs, of which there are `each`.
    fn exchange(
        &self,
        py: Python<'_>,
        by: Collective,
        common: &Common,
        told: Vec<u64>,
        each: usize,
    ) -> kirsh_core::Result<Vec<u64>> {
        let options = common.options_of_exchange();
        let root = common.root;
        py.detach(|| {
            let mut heard = vec![0u64; each];
            let call = RawCall::new(by, DataType::Uint64, 1).root(root);
            let call = call.send(told.as_ptr().cast()).recv(heard.as_mut_ptr().cast());
            // SAFETY: both vectors outlive the call, which blocks; `told` has one number, or one
            // for each rank in an alltoall, and `heard` one for each rank, or none where this rank
            // gets none.
            unsafe { self.comm().call_raw(&call, &options) }?;
            Ok(heard)
        })
    }

    /// Makes a call, or starts it.
    fn carry_out(
        &self,
        py: Python<'_>,
        collective: Collective,
        given: &Given<'_, '_>,
        async_op: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        graveyard::sweep(py);
        let started = arguments::flag(async_op, "async_op")
            .map_err(|refusal| self.refuse(py, collective, refusal))?;
        let request = self.read(py, collective, given)?;
        let options = request.common.options();
        let comm = self.comm();
        if started {
            // SAFETY: the arrays are dense, as large as the request says and writable where they
            // are written; the `Work` or the graveyard holds `lent`, and so them, until the
            // operation is over.
            let work = py.detach(|| unsafe { comm.start_raw(&request.raw(), &options) });
            let work = work.map_err(|error| raise(py, &error))?;
            let work = Work::new(work, request.lent, comm.rank(), collective.name());
            return Ok(Bound::new(py, work)?.into_any().unbind());
        }
        // SAFETY: as above, and `lent` lives beyond the end of this call.
        let done = py.detach(|| unsafe { comm.call_raw(&request.raw(), &options) });
        done.map_err(|error| raise(py, &error))?;
        request.lent.result(py)
    }
}

#[pymethods]
impl Communicator {
    #[new]
    #[pyo3(signature = (*, rank=None, world_size=None, rendezvous=None, store=None, timeout=None,
                        join_timeout=None, job_id=None, wire=None, _made=None))]
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
        wire: Option<&Bound<'_, PyAny>>,
        _made: Option<&Bound<'_, Made>>,
    ) -> PyResult<Self> {
        if let Some(made) = _made {
            return Ok(Communicator { member: Arc::clone(&made.get().member) });
        }
        let refused = |refusal| refused(py, refusal);
        let store = match store {
            Some(store) => {
                Some(Arc::new(PythonStore::new(store)?) as Arc<dyn kirsh_core::rendezvous::Store>)
            }
            None => None,
        };
        let mut config = Config {
            rank,
            world_size,
            rendezvous,
            store,
            job_id,
            timeout: arguments::timeout(timeout).map_err(refused)?,
            join_timeout: arguments::timeout(join_timeout).map_err(refused)?,
            wire: arguments::wire(wire).map_err(refused)?,
        };
        graveyard::sweep(py);
        interrupt::remember_main_thread(py)?;
        // Before the ranks meet: late ones are warned about from then on.
        PyModule::import(py, "kirsh._logging")?.call_method0("start")?;
        if config.store.is_none()
            && let Some(store) = PythonStore::of_torchrun(py, &config)?
        {
            config.store = Some(Arc::new(store));
        }
        let comm = py.detach(|| kirsh_core::Communicator::create(&config));
        let comm = comm.map_err(|error| raise(py, &error))?;
        Ok(Communicator { member: Member::enlist(comm) })
    }

    /// Make a communicator from this one: `kirsh.Communicator` says how.
    #[pyo3(signature = (name, value=None, number=None, *, timeout=None))]
    fn _group(
        &self,
        py: Python<'_>,
        name: &str,
        value: Option<&Bound<'_, PyAny>>,
        number: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<Made>> {
        graveyard::sweep(py);
        let read = group::read(name, value, number, timeout);
        let (asked, options) =
            read.map_err(|refusal| self.refuse(py, Asked::COLLECTIVE, refusal))?;
        let made = py.detach(|| asked.make(self.comm(), &options));
        made.map_err(|error| raise(py, &error))
    }

    /// Make the collective call of this name, blocking or started.
    ///
    /// `kirsh.Communicator` has a method for each, which says what goes in and what comes out.
    #[pyo3(signature = (collective, x=None, *, out=None, op=None, root=None, counts=None,
                        recv_counts=None, many=false, async_op=None, timeout=None,
                        algorithm=None, scale=None, weight=None, wire=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn _call(
        &self,
        py: Python<'_>,
        collective: &str,
        x: Option<&Bound<'_, PyAny>>,
        out: Option<&Bound<'_, PyAny>>,
        op: Option<&Bound<'_, PyAny>>,
        root: Option<&Bound<'_, PyAny>>,
        counts: Option<&Bound<'_, PyAny>>,
        recv_counts: Option<&Bound<'_, PyAny>>,
        many: bool,
        async_op: Option<&Bound<'_, PyAny>>,
        timeout: Option<&Bound<'_, PyAny>>,
        algorithm: Option<&Bound<'_, PyAny>>,
        scale: Option<&Bound<'_, PyAny>>,
        weight: Option<&Bound<'_, PyAny>>,
        wire: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let collective = request::collective(collective).map_err(|error| raise(py, &error))?;
        let given = Given {
            x,
            out,
            op,
            root,
            counts,
            recv_counts,
            many,
            timeout,
            algorithm,
            scale,
            weight,
            wire,
        };
        self.carry_out(py, collective, &given, async_op)
    }

    /// Prepare the collective call of this name, to be made many times.
    #[pyo3(signature = (collective, x=None, *, out=None, op=None, root=None, many=false,
                        timeout=None, algorithm=None, scale=None, weight=None, wire=None))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn _plan(
        slf: &Bound<'_, Self>,
        collective: &str,
        x: Option<&Bound<'_, PyAny>>,
        out: Option<&Bound<'_, PyAny>>,
        op: Option<&Bound<'_, PyAny>>,
        root: Option<&Bound<'_, PyAny>>,
        many: bool,
        timeout: Option<&Bound<'_, PyAny>>,
        algorithm: Option<&Bound<'_, PyAny>>,
        scale: Option<&Bound<'_, PyAny>>,
        weight: Option<&Bound<'_, PyAny>>,
        wire: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Plan> {
        let (py, this) = (slf.py(), slf.get());
        graveyard::sweep(py);
        let collective = request::collective(collective).map_err(|error| raise(py, &error))?;
        let (counts, recv_counts) = (None, None);
        let given = Given {
            x,
            out,
            op,
            root,
            counts,
            recv_counts,
            many,
            timeout,
            algorithm,
            scale,
            weight,
            wire,
        };
        let request = this.read(py, collective, &given)?;
        if !request.lent.is_arrays() {
            let refusal = Refusal::invalid(
                "a plan works on the same memory each time, and a number has none: pass an array",
            );
            return Err(this.refuse(py, collective, refusal));
        }
        let options = request.common.options();
        // SAFETY: the arrays are dense, as large as the request says and writable where they are
        // written; the plan, and the `Work` of each run, hold `lent`, and so them.
        let plan = py.detach(|| unsafe { this.comm().plan_raw(&request.raw(), &options) });
        let plan = plan.map_err(|error| raise(py, &error))?;
        Ok(Plan::new(plan, request.lent, slf.clone().unbind(), collective))
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

    /// Whether the peers have proven to belong to the job: it has a token, or one rank only.
    fn authenticated(&self) -> bool {
        self.comm().authenticated()
    }

    /// What moves the bytes: "uring" or "poll".
    fn driver(&self) -> &'static str {
        self.comm().driver()
    }

    /// What this communicator has counted so far.
    fn stats(&self) -> Stats {
        self.comm().stats().into()
    }

    /// What it has had to do with each of its ranks, this one among them: one entry a rank, in order.
    fn stats_by_peer(&self) -> Vec<PeerStats> {
        self.comm().stats_by_peer().into_iter().map(Into::into).collect()
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
