//! Operations that were started and not waited for yet.

use std::slice;

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

/// Waits for all of these operations, which may be of several communicators: KIRSH_OK once all have ended
/// well, KIRSH_PENDING when timeout_ns has passed (0 and KIRSH_FOREVER wait for the end), the failure of
/// the first that fails as soon as it does, whatever becomes of the others: their buffers stay lent. NULL
/// entries are passed over, and so is a NULL works where `n` is 0. The handles stay yours to destroy.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_wait_all(
    works: *const *mut kirsh_work_t,
    n: usize,
    timeout_ns: i64,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or `n` handles, each null or live.
        let (_, works) = unsafe { raws(works, n) }?;
        let ended = RawWork::wait_all(&works, timeout(timeout_ns, "timeout_ns")?)?;
        Ok(ended_or_pending(ended))
    }
}

/// Waits until one of these operations is over, well or not: writes its index, also where it failed, and
/// returns KIRSH_OK or its failure. The first of them where several are over already. KIRSH_PENDING when
/// timeout_ns has passed, as above. NULL entries are passed over; where there are no others the result is
/// KIRSH_OK with an index of `n`. So set the entry to NULL that you have had.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_work_wait_any(
    works: *const *mut kirsh_work_t,
    n: usize,
    timeout_ns: i64,
    index_out: *mut usize,
) -> kirsh_status_t {
    boundary! {
        require(index_out, "index_out")?;
        // SAFETY: the header asks for null or `n` handles, each null or live.
        let (places, works) = unsafe { raws(works, n) }?;
        let over = RawWork::wait_any(&works, timeout(timeout_ns, "timeout_ns")?)?;
        let Some(over) = over else {
            if works.is_empty() {
                // SAFETY: not null, and the header asks for a place that can be written.
                unsafe { index_out.write(n) };
            }
            return Ok(ended_or_pending(works.is_empty()));
        };
        // SAFETY: as above.
        unsafe { index_out.write(places[over]) };
        Ok(ended_or_pending(works[over].test()?))
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
pub(crate) unsafe fn raw<'a>(work: *const kirsh_work_t) -> Result<&'a RawWork> {
    require(work, "work")?;
    // SAFETY: not null, so by the contract above live.
    Ok(unsafe { &(*work).raw })
}

/// The operations behind handles, without those that are null, and where in the list each was.
///
/// # Safety
/// `works` is null or points to `n` handles, each null or live, and they stay so for `'a`.
unsafe fn raws<'a>(
    works: *const *mut kirsh_work_t,
    n: usize,
) -> Result<(Vec<usize>, Vec<&'a RawWork>)> {
    if n == 0 {
        return Ok((Vec::new(), Vec::new()));
    }
    require(works, "works")?;
    // SAFETY: not null, so by the contract above `n` handles.
    let works = unsafe { slice::from_raw_parts(works, n) };
    let live = works.iter().enumerate().filter(|(_, work)| !work.is_null());
    // SAFETY: not null, so by the contract above live.
    Ok(live.map(|(place, work)| (place, unsafe { &(**work).raw })).unzip())
}

fn ended_or_pending(ended: bool) -> kirsh_status_t {
    if ended { kirsh_status_t::KIRSH_OK } else { kirsh_status_t::KIRSH_PENDING }
}
