//! Calls that are prepared once and made many times.

pub mod moving;
pub mod reducing;
pub mod unequal;

use kirsh_core::Result;
use kirsh_core::comm::RawPlan;

use crate::boundary::require;
use crate::status::kirsh_status_t;
use crate::work::{self, kirsh_work_t};

/// A collective call that is prepared once and made many times, always with the same arrays. Making one is
/// not collective (but with a weight), and moves nothing: kirsh_plan_run() does.
///
/// There is a kirsh_plan_*() for each collective, with its arguments; counts, displacements and
/// descriptions of arrays are only read there. Whatever is wrong with them is refused there, and the
/// peers hear of it as if the call itself had been refused. The arrays must be there as long as the plan
/// is used. They are lent during each run, and the program's own between runs.
pub struct kirsh_plan_t {
    raw: RawPlan,
}

/// Makes the call that was prepared: as the function that the plan is named after, but nothing is
/// validated, chosen or allocated any more. Collective; each rank may make its part of the call with or
/// without a plan. One plan may be started again while an earlier run goes on, but only where the arrays
/// bear it: the runs follow each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_run(
    plan: *mut kirsh_plan_t,
    work_out: *mut *mut kirsh_work_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let raw = unsafe { raw(plan) }?;
        if work_out.is_null() {
            // SAFETY: the header asks for the plan's arrays to be there until this call returns.
            unsafe { raw.run() }?;
        } else {
            // SAFETY: the same, until the work handle says that the operation is over.
            let started = unsafe { raw.start() }?;
            // SAFETY: not null, and the header asks for a place that can be written.
            unsafe { work_out.write(work::into_handle(started)) };
        }
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Frees the plan; NULL is allowed. Operations that were started from it go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_plan_destroy(plan: *mut kirsh_plan_t) {
    boundary! {
        if !plan.is_null() {
            // SAFETY: not null, so by the header's word made by `into_handle` and used for the last
            // time.
            drop(unsafe { Box::from_raw(plan) });
        }
        Ok(())
    }
}

/// A handle for a prepared call.
pub(crate) fn into_handle(raw: RawPlan) -> *mut kirsh_plan_t {
    Box::into_raw(Box::new(kirsh_plan_t { raw }))
}

/// The prepared call behind a handle.
///
/// # Safety
/// `plan` is null or a live handle, and stays so for `'a`.
unsafe fn raw<'a>(plan: *const kirsh_plan_t) -> Result<&'a RawPlan> {
    require(plan, "plan")?;
    // SAFETY: not null, so by the contract above live.
    Ok(unsafe { &(*plan).raw })
}
