//! Communicators: made, asked, aborted, destroyed.

use std::ffi::c_char;

use kirsh_core::comm::Communicator;
use kirsh_core::{Collective, Result};

use crate::boundary::{invalid, require};
use crate::config::{self, kirsh_config_t};
use crate::status::kirsh_status_t;
use crate::text;

/// A group of ranks that call collectives together.
pub struct kirsh_comm_t {
    communicator: Communicator,
}

/// Creates a communicator. Collective: every rank calls it, and it blocks until all have come or the
/// join timeout has passed. NULL as config takes everything from the environment. A process may
/// hold several communicators, and make a new one after destroying another.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_create(
    config: *const kirsh_config_t,
    comm_out: *mut *mut kirsh_comm_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a well-formed struct.
        let config = unsafe { config::read(config) }?;
        require(comm_out, "comm_out")?;
        let communicator = Communicator::create(&config)?;
        // SAFETY: not null, and the header asks for a place that can be written.
        unsafe { comm_out.write(into_handle(communicator)) };
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Leaves the communicator and frees the handle; NULL is allowed. Not collective: the others go on, and
/// only an operation that needs this rank fails. What still runs here is given half a second, then
/// aborted, which is what KIRSH_ABORTED says; blocks for little more than a second at most. Handles of
/// started operations stay valid and are destroyed on their own. The handle is gone whatever is
/// returned, so no other call on it may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_destroy(comm: *mut kirsh_comm_t) -> kirsh_status_t {
    boundary! {
        if comm.is_null() {
            return Ok(kirsh_status_t::KIRSH_OK);
        }
        // SAFETY: not null, so by the header's word from kirsh_comm_create and used for the last time.
        let comm = unsafe { Box::from_raw(comm) };
        comm.communicator.close()?;
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// This process's rank, from 0; -1 where comm is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_rank(comm: *const kirsh_comm_t) -> i32 {
    // SAFETY: the header asks for null or a live handle; the others below likewise.
    boundary! { Ok(count(unsafe { communicator(comm) }?.rank())) }
}

/// How many ranks the communicator has; -1 where comm is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_size(comm: *const kirsh_comm_t) -> i32 {
    // SAFETY: see kirsh_comm_rank.
    boundary! { Ok(count(unsafe { communicator(comm) }?.size())) }
}

/// This process's rank among those on its host, from 0; -1 where comm is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_local_rank(comm: *const kirsh_comm_t) -> i32 {
    // SAFETY: see kirsh_comm_rank.
    boundary! { Ok(count(unsafe { communicator(comm) }?.local_rank())) }
}

/// How many ranks are on this process's host; -1 where comm is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_local_size(comm: *const kirsh_comm_t) -> i32 {
    // SAFETY: see kirsh_comm_rank.
    boundary! { Ok(count(unsafe { communicator(comm) }?.local_size())) }
}

/// Ends the communicator on every rank: operations under way and later ones return KIRSH_ABORTED with
/// this reason (NULL: none). May be called from any thread, also while others wait; does not wait for
/// the peers. The handle still has to be destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_abort(
    comm: *mut kirsh_comm_t,
    reason: *const c_char,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let communicator = unsafe { communicator(comm) }?;
        // SAFETY: the header asks for null or terminated text.
        communicator.abort(&unsafe { text::lossy(reason) });
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Takes the place of a collective that this process should make now and cannot (an array of the wrong
/// shape, a batch that is missing): the peers, who wait for it, get KIRSH_REFUSED with this reason at
/// once, not a timeout. `operation` is the collective's name, such as "allreduce". For layers on top of
/// this one, so it returns what that layer should return: never KIRSH_OK, but KIRSH_INVALID_ARGUMENT or
/// the failure that the communicator had already.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_refuse(
    comm: *mut kirsh_comm_t,
    operation: *const c_char,
    reason: *const c_char,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let communicator = unsafe { communicator(comm) }?;
        // SAFETY: the header asks for null or terminated text, here and for the reason.
        let operation = unsafe { text::lossy(operation) };
        let collective = Collective::from_name(&operation)
            .ok_or_else(|| invalid(format!("operation is {operation:?}, which is no collective")))?;
        // SAFETY: see above.
        let reason = unsafe { text::lossy(reason) };
        Err(communicator.refuse(collective, invalid(reason)))
    }
}

/// A handle for a communicator, to be taken back by kirsh_comm_destroy.
pub(crate) fn into_handle(communicator: Communicator) -> *mut kirsh_comm_t {
    Box::into_raw(Box::new(kirsh_comm_t { communicator }))
}

/// The communicator behind a handle.
///
/// # Safety
/// `comm` is null or a live handle, and stays so for `'a`.
pub(crate) unsafe fn communicator<'a>(comm: *const kirsh_comm_t) -> Result<&'a Communicator> {
    require(comm, "comm")?;
    // SAFETY: not null, so by the contract above live.
    Ok(unsafe { &(*comm).communicator })
}

/// A rank or a number of ranks for C. The world's limit lies far below what the type holds.
fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
