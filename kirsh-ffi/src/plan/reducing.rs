//! Plans of collectives in which the elements of several ranks become one.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into, kirsh_array_t};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, OpNumber};
use crate::options::kirsh_options_t;
use crate::plan::kirsh_plan_t;
use crate::status::kirsh_status_t;

/// Prepares kirsh_allreduce().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_allreduce(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allreduce, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_allreduce_many().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_allreduce_many(
    comm: *mut kirsh_comm_t,
    arrays: *const kirsh_array_t,
    n: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allreduce, dtype, 0).op(op).many(arrays, n);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_reduce().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_reduce(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Reduce, dtype, count).op(op).root(root).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_reduce_scatter().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_reduce_scatter(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::ReduceScatter, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_scan().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_scan(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Scan, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_exscan().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_exscan(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Exscan, dtype, count).op(op).send(send).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}
