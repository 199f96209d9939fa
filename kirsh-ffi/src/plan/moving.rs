//! Plans of collectives that move equal parts of arrays, and the barrier.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, kirsh_dtype_t};
use crate::options::kirsh_options_t;
use crate::plan::kirsh_plan_t;
use crate::status::kirsh_status_t;

/// Prepares kirsh_broadcast().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_broadcast(
    comm: *mut kirsh_comm_t,
    buffer: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Broadcast, dtype, count).root(root).recv(buffer);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_barrier().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_barrier(
    comm: *mut kirsh_comm_t,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Barrier, kirsh_dtype_t::KIRSH_BYTE as DtypeNumber, 0);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_allgather().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_allgather(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allgather, dtype, count).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_gather().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_gather(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Gather, dtype, count).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_scatter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_scatter(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Scatter, dtype, count).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_alltoall().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_alltoall(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Alltoall, dtype, count).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}
