//! The collectives themselves.
//!
//! What this side refuses (a number that is no element type, a malformed struct) has its place in the
//! order of calls all the same: the peers are waiting for this rank, and hear of the refusal.

use std::ffi::c_void;

use kirsh_core::comm::{Communicator, RawCall, RawWork};
use kirsh_core::{Collective, Rank, Result};

use crate::boundary::invalid;
use crate::comm::{communicator, kirsh_comm_t};
use crate::numbers::{self, DtypeNumber, OpNumber};
use crate::options::{self, kirsh_options_t};
use crate::status::kirsh_status_t;
use crate::work::{self, kirsh_work_t};

/// Combines the arrays of all ranks, element by element, and gives every rank the same result, the same
/// to the bit. send == recv works in place; any other overlap is refused. `count` is in elements and
/// the same on every rank, as are dtype and op. A count of 0 allows NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_allreduce(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        let (dtype, op, options) = announced(comm, Collective::Allreduce, || {
            // SAFETY: the header asks for null or well-formed options.
            Ok((numbers::dtype(dtype)?, numbers::op(op)?, unsafe { options::read(options) }?))
        })?;
        let call = RawCall::new(Collective::Allreduce, dtype, count).op(op);
        let call = call.send(send.cast()).recv(recv.cast());
        if work_out.is_null() {
            // SAFETY: the header asks for `count` elements readable at `send` and writable at `recv`
            // until this call returns.
            unsafe { comm.call_raw(&call, &options) }?;
        } else {
            // SAFETY: the same, until the work handle says that the operation is over.
            let raw = unsafe { comm.start_raw(&call, &options) }?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { hand_out(raw, work_out) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Gives every rank the root's array. `count`, dtype and root are the same on every rank. A count of 0
/// allows NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_broadcast(
    comm: *mut kirsh_comm_t,
    buffer: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        let (dtype, root, options) = announced(comm, Collective::Broadcast, || {
            let root = Rank::try_from(root).map_err(|_| invalid(format!("root is {root}")))?;
            // SAFETY: the header asks for null or well-formed options.
            Ok((numbers::dtype(dtype)?, root, unsafe { options::read(options) }?))
        })?;
        let call = RawCall::new(Collective::Broadcast, dtype, count).root(root).recv(buffer.cast());
        if work_out.is_null() {
            // SAFETY: the header asks for `count` elements readable and writable at `buffer` until
            // this call returns.
            unsafe { comm.call_raw(&call, &options) }?;
        } else {
            // SAFETY: the same, until the work handle says that the operation is over.
            let raw = unsafe { comm.start_raw(&call, &options) }?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { hand_out(raw, work_out) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Ends once every rank has come to it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_barrier(
    comm: *mut kirsh_comm_t,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        let options = announced(comm, Collective::Barrier, || {
            // SAFETY: the header asks for null or well-formed options.
            unsafe { options::read(options) }
        })?;
        if work_out.is_null() {
            comm.barrier(&options)?;
        } else {
            let raw = comm.start_barrier(&options)?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { hand_out(raw, work_out) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Looks at the arguments. A refusal takes the call's place in the order and goes to the peers.
fn announced<T>(
    comm: &Communicator,
    collective: Collective,
    look: impl FnOnce() -> Result<T>,
) -> Result<T> {
    look().map_err(|error| comm.refuse(collective, error))
}

/// Gives the caller a handle for a started operation.
///
/// # Safety
/// `work_out` can be written.
unsafe fn hand_out(raw: RawWork, work_out: *mut *mut kirsh_work_t) {
    // SAFETY: by the contract above.
    unsafe { work_out.write(work::into_handle(raw)) };
}
