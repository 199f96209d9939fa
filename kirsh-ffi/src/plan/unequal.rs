//! Plans of collectives in which each rank's part has a count of its own.
//!
//! Counts and displacements are arrays with a number for each rank, in elements.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, OpNumber};
use crate::options::kirsh_options_t;
use crate::plan::kirsh_plan_t;
use crate::status::kirsh_status_t;

/// Prepares kirsh_allgatherv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_allgatherv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allgatherv, dtype, 0).send(send).recv_parts(recv, counts, displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_reduce_scatterv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_reduce_scatterv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::ReduceScatterv, dtype, 0).op(op).send_parts(send, counts, displacements).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_gatherv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_gatherv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    send_count: usize,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Gatherv, dtype, send_count).root(root).send(send).recv_parts(recv, counts, displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_scatterv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_scatterv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    counts: *const usize,
    displacements: *const usize,
    recv: *mut c_void,
    recv_count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Scatterv, dtype, recv_count).root(root).send_parts(send, counts, displacements).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}

/// Prepares kirsh_alltoallv().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_alltoallv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    send_counts: *const usize,
    send_displacements: *const usize,
    recv: *mut c_void,
    recv_counts: *const usize,
    recv_displacements: *const usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    plan_out: *mut *mut kirsh_plan_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Alltoallv, dtype, 0).send_parts(send, send_counts, send_displacements)
            .recv_parts(recv, recv_counts, recv_displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Plan(plan_out)) }
    }
}
