//! Collectives in which the elements of several ranks become one.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into, kirsh_array_t};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, OpNumber};
use crate::options::kirsh_options_t;
use crate::status::kirsh_status_t;
use crate::work::kirsh_work_t;

/// Combines the arrays of all ranks, element by element, and gives every rank the same result, the same
/// to the bit. `count` elements go in and come out, as many on every rank. In place: send == recv.
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
        let asked = Asked::new(Collective::Allreduce, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Combines many arrays in one operation, each in place, as if they lay one behind the other: all
/// gradients of a model without packing them. The counts sum up to the same number on every rank; how
/// that is cut into arrays is each rank's own business. The `n` descriptions are only read during the
/// call, the arrays are lent. They must not overlap. arrays may be NULL where `n` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_allreduce_many(
    comm: *mut kirsh_comm_t,
    arrays: *const kirsh_array_t,
    n: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allreduce, dtype, 0).op(op).many(arrays, n);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Combines the arrays of all ranks into the root's recv. `count` is that of every array. In place:
/// send == recv on the root. Off the root recv is neither read nor written, and may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_reduce(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Reduce, dtype, count).op(op).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Combines the arrays of all ranks, of which rank r gets part r. `count` is what each rank receives:
/// send has the world size times as many elements. In place: recv == send + rank * count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_reduce_scatter(
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
        let asked = Asked::new(Collective::ReduceScatter, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives rank r what the arrays of ranks 0 to r combine to. `count` is that of every array. In place:
/// send == recv. Knows every operator but KIRSH_AVG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_scan(
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
        let asked = Asked::new(Collective::Scan, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives rank r what the arrays of the ranks below r combine to: the scan without this rank's own. For
/// rank 0 that is nothing, and its recv stays as it is. In place: send == recv. Knows every operator but
/// KIRSH_AVG.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_exscan(
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
        let asked = Asked::new(Collective::Exscan, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}
