//! Operations that were started and not waited for yet.

use kirsh_core::Result;
use kirsh_core::comm::RawWork;

use crate::boundary::require;
use crate::config::timeout;
use crate::status::kirsh_status_t;

/// An operation that was started. Until it is over its buffers are lent to the library.
pub struct kirsh_work_t {
    raw: RawWork,
}

/// Waits for a started operation: KIRSH_OK once it has ended well, its failure once it has failed (both
/// as often as you ask), KIRSH_PENDING when timeout_ns has passed. That ends only the wait: the
/// operation goes on, its buffers stay lent, and only its own deadline ends it. 0 and KIRSH_FOREVER wait
/// for the end; to look without waiting there is kirsh_work_test().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_wait(
    work: *mut kirsh_work_t,
    timeout_ns: i64,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let raw = unsafe { raw(work) }?;
        let ended = raw.wait(timeout(timeout_ns, "timeout_ns")?)?;
        Ok(ended_or_pending(ended))
    }
}

/// The same without waiting: KIRSH_OK, KIRSH_PENDING or the operation's failure.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_test(work: *mut kirsh_work_t) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let ended = unsafe { raw(work) }?.test()?;
        Ok(ended_or_pending(ended))
    }
}

/// Frees the handle; NULL is allowed. Where the operation is not over this BLOCKS until it is, because
/// the library may still be writing into its buffers. How it ended is not told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_destroy(work: *mut kirsh_work_t) {
    boundary! {
        if !work.is_null() {
            // SAFETY: not null, so by the header's word made by `into_handle` and used for the last
            // time.
            drop(unsafe { Box::from_raw(work) });
        }
        Ok(())
    }
}

/// A handle for an operation that has started.
pub(crate) fn into_handle(raw: RawWork) -> *mut kirsh_work_t {
    Box::into_raw(Box::new(kirsh_work_t { raw }))
}

/// The operation behind a handle.
///
/// # Safety
/// `work` is null or a live handle, and stays so for `'a`.
unsafe fn raw<'a>(work: *const kirsh_work_t) -> Result<&'a RawWork> {
    require(work, "work")?;
    // SAFETY: not null, so by the contract above live.
    Ok(unsafe { &(*work).raw })
}

fn ended_or_pending(ended: bool) -> kirsh_status_t {
    if ended { kirsh_status_t::KIRSH_OK } else { kirsh_status_t::KIRSH_PENDING }
}
