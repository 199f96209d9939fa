//! From what a caller says to an operation and a job: validation, choice, plan.

use super::config::Options;
use super::{Communicator, Inner};
use crate::driver::clock::now_ns;
use crate::driver::job::{Buffers, Job};
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Region;
use crate::plan::algorithms;
use crate::reduce::Kernel;
use crate::session::{Alias, Operation};
use crate::types::{Call, Collective, DataType, Rank, ReduceOp};

/// The caller's arrays.
#[derive(Clone, Copy)]
pub(super) struct Arrays {
    pub(super) input: *const u8,
    pub(super) output: *mut u8,
}

impl Arrays {
    /// One array that is both.
    pub(super) fn one(array: *mut u8) -> Self {
        Arrays { input: array, output: array }
    }

    pub(super) fn none() -> Self {
        Arrays::one(std::ptr::null_mut())
    }
}

/// A call, with the collective's first algorithm until one is chosen.
pub(super) fn describe(
    collective: Collective,
    count: usize,
    dtype: DataType,
    op: ReduceOp,
    root: Rank,
) -> Call {
    let algorithm = algorithms(collective)[0];
    Call { collective, algorithm, dtype, op, root, count: count as u64 }
}

impl Communicator {
    /// Validates a call and makes it ready to run. A call that cannot be run is refused: it takes
    /// its place in the order of calls, and the peers are told.
    pub(super) fn prepare(
        &self,
        call: Call,
        arrays: Arrays,
        options: &Options<'_>,
    ) -> Result<(Operation, Job)> {
        let inner = &*self.0;
        inner.check_usable().map_err(|error| inner.name(error, call))?;
        build(inner, call, arrays, options).map_err(|error| self.refuse_call(call, error))
    }

    pub(super) fn refuse_call(&self, call: Call, error: Error) -> Error {
        let inner = &*self.0;
        if let Err(closed) = inner.check_usable() {
            return inner.name(closed, call);
        }
        let sequence = inner.lane.refuse(call, error.clone());
        error.with_rank(inner.rank).with_operation(call.collective.name(), Some(sequence))
    }
}

fn build(
    inner: &Inner,
    mut call: Call,
    arrays: Arrays,
    options: &Options<'_>,
) -> Result<(Operation, Job)> {
    if call.root >= inner.size {
        let text =
            format!("root {} is not a rank of this communicator of {}", call.root, inner.size);
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    check_arrays(&call, arrays)?;
    let kernel =
        call.collective.reduces().then(|| Kernel::choose(call.dtype, call.op)).transpose()?;
    if options.scale.is_some() && call.op != ReduceOp::PremulSum {
        let text = format!("scale is for premul_sum, not for {}", call.op);
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    let ready = inner.plans.get(&mut call, options.algorithm, inner.rank)?;
    if let Some(name) = options.name {
        tracing::debug!(rank = inner.rank, name, "{call} by {}", call.algorithm);
    }
    let scratch = match ready.plan.scratch_len() {
        0 => None,
        len => Some(Region::new(len as usize)?),
    };
    let deadline_ns = match options.timeout.or(inner.timeout) {
        Some(limit) => now_ns().saturating_add(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX)),
        None => u64::MAX,
    };
    let alias = if std::ptr::eq(arrays.input, arrays.output) {
        Alias::InputInOutput(0)
    } else {
        Alias::None
    };
    // SAFETY: whoever made the call promised that the arrays are valid for the call's count of
    // elements until the outcome is delivered (the contracts of the `*_raw` functions), and the
    // plan's spans lie within those counts.
    let buffers = unsafe { Buffers::new(arrays.input, arrays.output, scratch) };
    let job = Job {
        sequence: 0,
        buffers,
        kernel,
        dtype: call.dtype,
        scale: options.scale.unwrap_or(1.0),
        contributions: inner.size,
        completion: None,
    };
    let operation = Operation { call, plan: ready.plan, key: ready.key, alias, deadline_ns };
    Ok((operation, job))
}

/// Checks the arrays against the call and gives the bytes of one of them.
fn check_arrays(call: &Call, arrays: Arrays) -> Result<u64> {
    let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
    let size = call.dtype.size() as u64;
    let Some(bytes) = call.count.checked_mul(size).filter(|bytes| *bytes <= isize::MAX as u64)
    else {
        return invalid(format!("{} x {} is more than memory holds", call.count, call.dtype));
    };
    if bytes == 0 {
        return Ok(0);
    }
    if arrays.input.is_null() || arrays.output.is_null() {
        return invalid(format!("the array of {} x {} is a null pointer", call.count, call.dtype));
    }
    let (input, output) = (arrays.input as u64, arrays.output as u64);
    if input != output && input < output + bytes && output < input + bytes {
        return invalid(format!(
            "send and recv overlap by {} of {bytes} bytes; give the same pointer twice for in place, or arrays that do not overlap",
            bytes - input.abs_diff(output)
        ));
    }
    Ok(bytes)
}
