//! From what a caller says to an operation and a job: validation, choice, plan.

use std::sync::Arc;
use std::time::Duration;

use super::config::Options;
use super::raw::{RawCall, RawCounts};
use super::{Communicator, Inner, arrays};
use crate::driver::clock::now_ns;
use crate::driver::job::{Buffers, Job, Staged};
use crate::driver::parts::Parts;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Counts, Params, algorithms};
use crate::reduce::Kernel;
use crate::session::Operation;
use crate::types::{Call, Collective, DataType, Rank, ReduceOp, Wire};

/// A call that has been validated and planned, and can be run as often as its arrays live.
#[derive(Clone)]
pub(super) struct Prepared {
    operation: Operation,
    job: Job,
    /// All parts of the call, where it is cut; then operation and job are of the first one.
    parts: Option<Parts>,
    /// How long each run may take.
    timeout: Option<Duration>,
}

impl Prepared {
    /// An operation and a job for one run, whose deadline counts from now.
    pub(super) fn into_run(mut self) -> (Operation, Job, Option<Parts>) {
        self.operation.deadline_ns = match self.timeout {
            Some(limit) => {
                now_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
            }
            None => u64::MAX,
        };
        (self.operation, self.job, self.parts)
    }

    pub(super) fn call(&self) -> Call {
        self.operation.call
    }
}

/// A call by its bare name, for messages about one that never took shape.
pub(super) fn nameless(collective: Collective) -> Call {
    describe(&RawCall::new(collective, DataType::Byte, 0))
}

/// A call as all ranks see it, with the collective's first algorithm until one is chosen.
fn describe(raw: &RawCall<'_>) -> Call {
    let RawCall { collective, dtype, op, root, count, counts, .. } = *raw;
    let count = match counts {
        RawCounts::Even => count as u64,
        RawCounts::Known(counts) => {
            counts.iter().fold(0, |sum: u64, count| sum.saturating_add(*count as u64))
        }
        RawCounts::Pairs { .. } | RawCounts::Rooted { .. } => 0,
    };
    Call {
        collective,
        algorithm: algorithms(collective)[0],
        dtype,
        op: if collective.reduces() { op } else { ReduceOp::Sum },
        root: if collective.has_root() { root } else { 0 },
        count,
        wire: Wire::Plain,
    }
}

impl Communicator {
    /// Validates a call and makes it ready to run. A call that cannot be run is refused: it takes
    /// its place in the order of calls, and the peers are told.
    pub(super) fn prepare(&self, raw: &RawCall<'_>, options: &Options<'_>) -> Result<Prepared> {
        let wire = options.wire.unwrap_or(Wire::Plain);
        self.prepare_as(Call { wire, ..describe(raw) }, raw, options)
    }

    /// The same, for a call that is to be known by another description than its own.
    fn prepare_as(&self, call: Call, raw: &RawCall<'_>, options: &Options<'_>) -> Result<Prepared> {
        let inner = &*self.0;
        inner.check_usable().map_err(|error| inner.name(error, call))?;
        inner.preparations.validations.add(1);
        if let Some(weight) = options.weight {
            let scale = Some(self.share(call, weight, options)?);
            let (raw, options) = (raw.op(ReduceOp::PremulSum), Options { scale, ..*options });
            let call = Call { wire: call.wire, ..describe(&raw) };
            return build(inner, call, &raw, &options)
                .map_err(|error| self.refuse_call(call, error));
        }
        build(inner, call, raw, options).map_err(|error| self.refuse_call(call, error))
    }

    /// An allgather that serves a call by which a communicator is made.
    pub(super) fn prepare_made(
        &self,
        made: ReduceOp,
        raw: &RawCall<'_>,
        options: &Options<'_>,
    ) -> Result<Prepared> {
        self.prepare_as(Call { op: made, ..describe(raw) }, raw, options)
    }

    pub(super) fn refuse_call(&self, call: Call, error: Error) -> Error {
        let inner = &*self.0;
        if let Err(closed) = inner.check_usable() {
            return inner.name(closed, call);
        }
        let sequence = inner.lane.refuse(call, error.clone());
        error.with_rank(inner.rank).with_operation(call.name(), Some(sequence))
    }
}

fn build(inner: &Inner, call: Call, raw: &RawCall<'_>, options: &Options<'_>) -> Result<Prepared> {
    let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
    if call.root >= inner.size {
        return invalid(format!(
            "root {} is not a rank of this communicator of {}",
            call.root, inner.size
        ));
    }
    if options.scale.is_some() && call.op != ReduceOp::PremulSum {
        return invalid(format!("scale is for premul_sum, not for {}", call.op));
    }
    let wire = options.wire.unwrap_or_else(|| inner.plans.wire_of(&call, options.algorithm));
    let call = Call { wire, ..call };
    // The slice does not matter to what is asked of these.
    let size = call.dtype.size();
    let mut params = Params::new(call, inner.size, size as u32);
    params.counts = counts(&call, raw.counts, inner.rank, inner.size)?;
    let bytes = params.elements().and_then(|elements| elements.checked_mul(size as u64));
    if bytes.is_none_or(|bytes| bytes > isize::MAX as u64) {
        return invalid(format!("{call} on {} ranks is more than memory holds", inner.size));
    }
    let arrays = arrays::check(&params, inner.rank, raw.send, raw.recv)?;
    let reduces = call.collective.reduces();
    let kernel = reduces.then(|| Kernel::choose(call.dtype, call.op)).transpose()?;
    let input_len = params.input_elements(inner.rank) as usize * size;
    let ready = inner.plans.get(params, options.algorithm, inner.rank, &inner.preparations)?;
    let call = ready.call;
    if let Some(name) = options.name {
        tracing::debug!(rank = inner.rank, name, "{call} by {}", call.algorithm);
    }
    let staged = arrays.staged.then(|| Staged::new(input_len)).transpose()?;
    // SAFETY: whoever made the call promised that the arrays are valid for as many elements as the
    // call says until the outcome is delivered (the contract of `RawCall`'s users), and the plan's
    // spans lie within those.
    let buffers = unsafe { Buffers::new(arrays.input, arrays.output, staged) };
    let label = options.name.filter(|_| inner.process.observed().trace().is_some());
    let mut job = Job {
        sequence: 0,
        call,
        label: label.map(Arc::from),
        enqueued_ns: 0,
        buffers,
        scratch_len: ready.plan.scratch_len(),
        encoded_len: ready.plan.encoded_len(),
        seated: false,
        kernel,
        dtype: call.dtype,
        scale: options.scale.unwrap_or(1.0),
        contributions: inner.size,
        completion: None,
    };
    let (plan, key) = (ready.plan.clone(), ready.key);
    let (alias, stripes) = (arrays.alias, ready.stripes);
    let mut operation = Operation { call, plan, key, stripes, alias, deadline_ns: u64::MAX };
    let parts = inner.cut(&ready, &mut operation, &mut job)?;
    Ok(Prepared { operation, job, parts, timeout: options.timeout.or(inner.timeout) })
}

/// The counts as plans take them.
fn counts(call: &Call, raw: RawCounts<'_>, rank: Rank, world: u32) -> Result<Counts> {
    use Collective::*;
    let invalid = |text: String| Error::new(ErrorKind::InvalidArgument, text);
    let each = |name: &str, counts: &[usize]| {
        if counts.len() != world as usize {
            let given = counts.len();
            let text = format!("{given} {name} for {call} on {world} ranks: give one for each");
            return Err(invalid(text));
        }
        Ok(counts.iter().map(|count| *count as u64).collect::<Arc<[u64]>>())
    };
    // From or to the root alone.
    let root_only = |count: usize| {
        let mut counts = vec![0u64; world as usize];
        counts[call.root as usize] = count as u64;
        Arc::from(counts)
    };
    let (send, recv) = match (call.collective, raw) {
        (Allgatherv | ReduceScatterv, RawCounts::Known(counts)) => {
            return Ok(Counts::Known(each("counts", counts)?));
        }
        (Alltoallv, RawCounts::Pairs { send, recv }) => {
            (each("send counts", send)?, each("receive counts", recv)?)
        }
        (Gatherv, RawCounts::Rooted { own, each: counts }) if rank == call.root => {
            (root_only(own), each("counts", counts)?)
        }
        (Scatterv, RawCounts::Rooted { own, each: counts }) if rank == call.root => {
            (each("counts", counts)?, root_only(own))
        }
        (Gatherv, RawCounts::Rooted { own, .. }) => (root_only(own), root_only(0)),
        (Scatterv, RawCounts::Rooted { own, .. }) => (root_only(0), root_only(own)),
        (Allgatherv | ReduceScatterv | Alltoallv | Gatherv | Scatterv, _) => {
            return Err(invalid(format!("{call} needs counts for each rank")));
        }
        (_, RawCounts::Even) => return Ok(Counts::Even),
        (other, _) => return Err(invalid(format!("{other} takes no counts for each rank"))),
    };
    let (sent, received) = (send[rank as usize], recv[rank as usize]);
    if sent != received {
        let text = format!("{call}: rank {rank} gives itself {sent} elements and takes {received}");
        return Err(invalid(text));
    }
    Ok(Counts::Own { send, recv })
}
