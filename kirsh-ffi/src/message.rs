//! Messages between two ranks.

use std::ffi::c_void;

use kirsh_core::comm::{RawRecv, RawSend, Received, Source, Tag};
use kirsh_core::{Rank, Result};

use crate::boundary::{invalid, require};
use crate::comm::{communicator, kirsh_comm_t};
use crate::numbers::{self, DtypeNumber};
use crate::options::{self, kirsh_options_t};
use crate::status::kirsh_status_t;
use crate::work::{self, kirsh_work_t};

/// As the source of kirsh_recv: a message of whichever rank comes first.
pub const KIRSH_ANY_SOURCE: i32 = -1;

/// As the tag of kirsh_recv: a message under whichever tag.
pub const KIRSH_ANY_TAG: i64 = -1;

/// What has been received. It has no size of its own and never grows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kirsh_received_t {
    /// In elements; what lies in the buffer behind them is as it was.
    pub count: usize,
    /// Who sent it.
    pub source: i32,
    pub tag: u32,
}

impl From<Received> for kirsh_received_t {
    fn from(received: Received) -> Self {
        kirsh_received_t {
            count: received.count,
            source: received.source as i32,
            tag: received.tag,
        }
    }
}

/// Sends `count` elements to one rank, which may be this one, under a tag of your choice. The message goes
/// to the first receive there that fits, and messages of one tag arrive in the order in which they were
/// sent. Blocks until `data` may be changed again: a short message may still be on its way then, a long
/// one has been received, and so has a short one where 256 messages or 1 MiB wait there already. Two ranks that send to one another before they receive wait for ever where the
/// messages are long: use kirsh_sendrecv, or a work_out. Messages take no part in the order of
/// collectives; of the options only timeout_ns and name are for them. What is refused is nobody
/// else's business, and what fails with KIRSH_SCOPE_CALL leaves the communicator usable, a timeout
/// among them unless bytes of the message are stuck on their way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_send(
    comm: *mut kirsh_comm_t,
    data: *const c_void,
    count: usize,
    dtype: DtypeNumber,
    to: i32,
    tag: u32,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        // SAFETY: the header asks for null or well-formed options.
        let options = unsafe { options::read(options) }?;
        let send = sending(data, count, dtype, to, tag)?;
        if work_out.is_null() {
            // SAFETY: the header asks for so many elements, until this returns.
            unsafe { comm.send_raw(&send, &options) }?;
        } else {
            // SAFETY: the same, until the work is over.
            let raw = unsafe { comm.start_send_raw(&send, &options) }?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { work_out.write(work::into_handle(raw)) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Receives a message of at most `count` elements from `source` (or KIRSH_ANY_SOURCE) under `tag` (or
/// KIRSH_ANY_TAG): the first that fits. A longer one, or one of another dtype, is dropped, with
/// KIRSH_MISMATCH and KIRSH_SCOPE_CALL. `received_out` may be NULL; where work_out is not, it must be, and
/// kirsh_work_received tells instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_recv(
    comm: *mut kirsh_comm_t,
    data: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    source: i32,
    tag: i64,
    received_out: *mut kirsh_received_t,
    options: *const kirsh_options_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        // SAFETY: the header asks for null or well-formed options.
        let options = unsafe { options::read(options) }?;
        let recv = receiving(data, count, dtype, source, tag)?;
        if work_out.is_null() {
            // SAFETY: the header asks for room for so many elements, until this returns.
            let received = unsafe { comm.recv_raw(&recv, &options) }?;
            // SAFETY: the header asks for null or a place that can be written.
            unsafe { tell(received, received_out) };
        } else {
            if !received_out.is_null() {
                let text = "received_out of a receive that only starts: ask kirsh_work_received";
                return Err(invalid(text.to_owned()));
            }
            // SAFETY: as above, until the work is over.
            let raw = unsafe { comm.start_recv_raw(&recv, &options) }?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { work_out.write(work::into_handle(raw)) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Sends one message and receives another at once, both under one tag, so that two ranks, or a ring of
/// them, can exchange messages of any length. Blocks until both are done. The buffers must not overlap.
/// `received_out` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_sendrecv(
    comm: *mut kirsh_comm_t,
    send: *const c_void,
    send_count: usize,
    send_dtype: DtypeNumber,
    to: i32,
    recv: *mut c_void,
    recv_count: usize,
    recv_dtype: DtypeNumber,
    source: i32,
    tag: u32,
    received_out: *mut kirsh_received_t,
    options: *const kirsh_options_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let comm = unsafe { communicator(comm) }?;
        // SAFETY: the header asks for null or well-formed options.
        let options = unsafe { options::read(options) }?;
        let send = sending(send, send_count, send_dtype, to, tag)?;
        let recv = receiving(recv, recv_count, recv_dtype, source, tag.into())?;
        // SAFETY: the header asks for so many elements, and room for so many, which are apart, until
        // this returns.
        let received = unsafe { comm.sendrecv_raw(&send, &recv, &options) }?;
        // SAFETY: the header asks for null or a place that can be written.
        unsafe { tell(received, received_out) };
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// What a started receive has received, once it has ended well; before that, and for any other
/// operation, KIRSH_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_received(
    work: *mut kirsh_work_t,
    received_out: *mut kirsh_received_t,
) -> kirsh_status_t {
    boundary! {
        require(received_out, "received_out")?;
        // SAFETY: the header asks for null or a live handle.
        let raw = unsafe { work::raw(work) }?;
        let received = raw.received().ok_or_else(|| {
            invalid("this is no receive that has ended well".to_owned())
        })?;
        // SAFETY: not null, and the header asks for a place that can be written.
        unsafe { tell(received, received_out) };
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

fn sending(
    data: *const c_void,
    count: usize,
    dtype: DtypeNumber,
    to: i32,
    tag: u32,
) -> Result<RawSend> {
    let to = Rank::try_from(to).map_err(|_| invalid(format!("to is {to}, which is no rank")))?;
    Ok(RawSend { data, count, dtype: numbers::dtype(dtype)?, to, tag })
}

fn receiving(
    data: *mut c_void,
    count: usize,
    dtype: DtypeNumber,
    source: i32,
    tag: i64,
) -> Result<RawRecv> {
    let from = match source {
        KIRSH_ANY_SOURCE => Source::Any,
        rank => Source::Rank(
            Rank::try_from(rank)
                .map_err(|_| invalid(format!("source is {rank}, which is no rank")))?,
        ),
    };
    let tag = match tag {
        KIRSH_ANY_TAG => Tag::Any,
        tag => Tag::Is(
            u32::try_from(tag)
                .map_err(|_| invalid(format!("tag is {tag}, and tags are 0 to {}", u32::MAX)))?,
        ),
    };
    Ok(RawRecv { data, count, dtype: numbers::dtype(dtype)?, from, tag })
}

/// # Safety
/// `received_out` is null or can be written.
unsafe fn tell(received: Received, received_out: *mut kirsh_received_t) {
    if !received_out.is_null() {
        // SAFETY: not null, and by the contract above it can be written.
        unsafe { received_out.write(received.into()) };
    }
}
