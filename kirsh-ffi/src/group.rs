//! Communicators made from communicators.

use std::slice;

use kirsh_core::comm::{Communicator, Options};
use kirsh_core::{Collective, Error, Rank, Result};

use crate::boundary::{invalid, require};
use crate::comm::{communicator, into_handle, kirsh_comm_t};
use crate::options::{self, kirsh_options_t};
use crate::status::kirsh_status_t;

/// The color of a rank that wants no communicator from kirsh_comm_split.
pub const KIRSH_NO_COLOR: i64 = -1;

/// Makes a communicator of the ranks that give the same color, 0 to UINT32_MAX; in the order of key, and
/// where keys are equal in the order that they have in comm. A rank that gives KIRSH_NO_COLOR gets NULL,
/// but calls all the same. Collective over comm: it blocks until every rank of comm has called, and has
/// its place in the order of calls; options hold for it as for kirsh_allgather, and NULL is allowed.
/// Ranks that call kirsh_comm_split, _dup and _subgroup against one another all get KIRSH_MISMATCH, and
/// comm goes on. The new communicator is the caller's, to be destroyed like any other, before comm or after
/// it; it has its own order of calls and its own failures, and shares threads and control connections.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_split(
    comm: *mut kirsh_comm_t,
    color: i64,
    key: i32,
    options: *const kirsh_options_t,
    comm_out: *mut *mut kirsh_comm_t,
) -> kirsh_status_t {
    boundary! {
        let made = |comm: &Communicator, options: &Options<'_>| {
            let color = match color {
                KIRSH_NO_COLOR => None,
                color => Some(u32::try_from(color).map_err(|_| {
                    refuse(comm, "split", invalid(format!("color is {color}")))
                })?),
            };
            comm.split(color, key, options)
        };
        // SAFETY: the header asks for null or a live handle, for options that are null or well formed,
        // and for null or a place that can be written.
        unsafe { make(comm, "split", options, comm_out, made) }
    }
}

/// Makes a communicator of the same ranks, so that calls which do not depend on one another need not wait
/// for one another. Where several communicators have started operations at a time, the library's thread
/// serves those of higher priority first in each of its turns; one that was created has priority 0, and
/// each rank's priority is its own affair. It shares out no bandwidth, and calls that block and drive
/// themselves take no notice of it. Otherwise as kirsh_comm_split.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_dup(
    comm: *mut kirsh_comm_t,
    priority: i32,
    options: *const kirsh_options_t,
    comm_out: *mut *mut kirsh_comm_t,
) -> kirsh_status_t {
    boundary! {
        let made = |comm: &Communicator, options: &Options<'_>| comm.dup(priority, options).map(Some);
        // SAFETY: see kirsh_comm_split.
        unsafe { make(comm, "dup", options, comm_out, made) }
    }
}

/// Makes a communicator of these ranks of comm, in the order of the list. Every rank of comm calls with
/// the same list, else all get KIRSH_MISMATCH; those that are not in it get NULL. Otherwise as
/// kirsh_comm_split.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_subgroup(
    comm: *mut kirsh_comm_t,
    ranks: *const i32,
    count: usize,
    options: *const kirsh_options_t,
    comm_out: *mut *mut kirsh_comm_t,
) -> kirsh_status_t {
    boundary! {
        let made = |comm: &Communicator, options: &Options<'_>| {
            // SAFETY: the header asks for null or so many numbers.
            let list = unsafe { list(ranks, count) };
            let list = list.map_err(|error| refuse(comm, "subgroup", error))?;
            comm.subgroup(&list, options)
        };
        // SAFETY: see kirsh_comm_split.
        unsafe { make(comm, "subgroup", options, comm_out, made) }
    }
}

/// # Safety
/// `ranks` is null or has `count` numbers.
unsafe fn list(ranks: *const i32, count: usize) -> Result<Vec<Rank>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    require(ranks, "ranks")?;
    // SAFETY: not null, so by the contract above so many.
    let ranks = unsafe { slice::from_raw_parts(ranks, count) };
    let rank = |rank: &i32| {
        Rank::try_from(*rank).map_err(|_| invalid(format!("{rank} in ranks is no rank")))
    };
    ranks.iter().map(rank).collect()
}

/// Takes the place of the allgather that each of these is, and gives the error under its own name.
fn refuse(comm: &Communicator, name: &'static str, error: Error) -> Error {
    let error = comm.refuse(Collective::Allgather, error);
    let sequence = error.sequence();
    error.with_operation(name, sequence)
}

/// Writes what `made` makes, or null. What cannot even be asked for is refused, so that the peers hear.
///
/// # Safety
/// `comm` is null or a live handle, `options` null or well formed, `comm_out` null or a place that can
/// be written.
unsafe fn make(
    comm: *const kirsh_comm_t,
    name: &'static str,
    options: *const kirsh_options_t,
    comm_out: *mut *mut kirsh_comm_t,
    made: impl FnOnce(&Communicator, &Options<'_>) -> Result<Option<Communicator>>,
) -> Result<kirsh_status_t> {
    // SAFETY: by the contract above.
    let comm = unsafe { communicator(comm) }?;
    // SAFETY: by the contract above.
    let options = require(comm_out, "comm_out").and_then(|()| unsafe { options::read(options) });
    let options = options.map_err(|error| refuse(comm, name, error))?;
    let group = made(comm, &options)?;
    // SAFETY: not null, and by the contract above it can be written.
    unsafe { comm_out.write(group.map_or(std::ptr::null_mut(), into_handle)) };
    Ok(kirsh_status_t::KIRSH_OK)
}
