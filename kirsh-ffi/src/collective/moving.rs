//! Collectives that move equal parts of arrays, and the barrier.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, kirsh_dtype_t};
use crate::options::kirsh_options_t;
use crate::status::kirsh_status_t;
use crate::work::kirsh_work_t;

/// Gives every rank the root's array, in place: `buffer` is read on the root and written elsewhere.
/// `count` is that of every array.
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
        let asked = Asked::new(Collective::Broadcast, dtype, count).root(root).recv(buffer);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
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
        let asked = Asked::new(Collective::Barrier, kirsh_dtype_t::KIRSH_BYTE as DtypeNumber, 0);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives every rank the arrays of all, one behind the other in the order of ranks. `count` is what each
/// rank sends: recv has the world size times as many elements. In place: send == recv + rank * count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_allgather(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allgather, dtype, count).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives the root the arrays of all ranks, one behind the other in the order of ranks. `count` is what
/// each rank sends: the root's recv has the world size times as many elements. In place, on the root:
/// send == recv + rank * count. Off the root recv is not looked at, and may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_gather(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Gather, dtype, count).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives rank r part r of the root's array. `count` is what each rank receives: the root's send has the
/// world size times as many elements. In place, on the root: recv == send + rank * count. Off the root
/// send is not looked at, and may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_scatter(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Scatter, dtype, count).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// Gives rank r part r of every rank's array, one behind the other in the order of ranks. `count` is what
/// each pair of ranks exchanges: send and recv have the world size times as many elements. In place:
/// send == recv, at the price of a copy of what is sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_alltoall(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Alltoall, dtype, count).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}
