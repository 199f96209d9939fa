//! Collectives in which each rank's part has a count of its own.
//!
//! Counts and displacements are arrays with a number for each rank, in elements.

use std::ffi::c_void;

use kirsh_core::Collective;

use crate::asked::{Asked, Into};
use crate::comm::kirsh_comm_t;
use crate::numbers::{DtypeNumber, OpNumber};
use crate::options::kirsh_options_t;
use crate::status::kirsh_status_t;
use crate::work::kirsh_work_t;

/// kirsh_allgather() with counts[r] elements from rank r, which all ranks know alike: send has
/// counts[rank]. Part r is put at recv + displacements[r]. In place: send is where this rank's part of
/// recv is, packed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_allgatherv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Allgatherv, dtype, 0).send(send).recv_parts(recv, counts, displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// kirsh_reduce_scatter() with counts[r] elements for rank r, which all ranks know alike: recv has
/// counts[rank]. Part r is taken from send + displacements[r]. In place: recv is where this rank's part
/// of send is, packed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_reduce_scatterv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    op: OpNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::ReduceScatterv, dtype, 0).op(op).send_parts(send, counts, displacements).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// kirsh_gather() with counts[r] elements from rank r, which sends send_count: rank r and the root must
/// agree on that. Part r is put at the root's recv + displacements[r]. In place, on the root: send is
/// where its own part of recv is, packed. Off the root recv, counts and displacements are not looked at,
/// and may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_gatherv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    send_count: usize,
    recv: *mut c_void,
    counts: *const usize,
    displacements: *const usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Gatherv, dtype, send_count).root(root).send(send).recv_parts(recv, counts, displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// kirsh_scatter() with counts[r] elements for rank r, which receives recv_count: rank r and the root must
/// agree on that. Part r is taken from the root's send + displacements[r]. In place, on the root: recv is
/// where its own part of send is, packed. Off the root send, counts and displacements are not looked at,
/// and may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_scatterv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    counts: *const usize,
    displacements: *const usize,
    recv: *mut c_void,
    recv_count: usize,
    dtype: DtypeNumber,
    root: i32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Scatterv, dtype, recv_count).root(root).send_parts(send, counts, displacements).recv(recv);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}

/// kirsh_alltoall() with send_counts[r] elements to rank r and recv_counts[r] from it: each pair of ranks
/// must agree on both. Part r is taken from send + send_displacements[r] and put at
/// recv + recv_displacements[r]. In place: send == recv, with equal displacements or none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_alltoallv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    send_counts: *const usize,
    send_displacements: *const usize,
    recv: *mut c_void,
    recv_counts: *const usize,
    recv_displacements: *const usize,
    dtype: DtypeNumber,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        let asked = Asked::new(Collective::Alltoallv, dtype, 0).send_parts(send, send_counts, send_displacements)
            .recv_parts(recv, recv_counts, recv_displacements);
        // SAFETY: the header asks of callers what this asks of us.
        unsafe { asked.carry_out(comm, options, Into::Work(work_out)) }
    }
}
