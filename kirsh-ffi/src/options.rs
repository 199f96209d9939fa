//! What can be said with one call.

use std::ffi::c_char;

use kirsh_core::Result;
use kirsh_core::comm::Options;

use crate::config::timeout;
use crate::numbers::{self, AlgorithmNumber, WireNumber};
use crate::sized::{self, SizedStruct};
use crate::text;

/// What can be said with one call. Start from KIRSH_OPTIONS_INIT. algorithm and wire must be the
/// same on every rank; timeout_ns, scale, name and weight are each rank's own. Only read during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_options_t {
    /// sizeof(kirsh_options_t).
    pub size: usize,
    /// How long the operation may take; when it runs out, the communicator is over. 0: as the
    /// communicator was configured.
    pub timeout_ns: i64,
    /// This rank's factor for KIRSH_PREMUL_SUM; an error with any other operator. 0: not set, which is
    /// a factor of 1 (for a factor of zero, sum zeros).
    pub scale: f64,
    /// KIRSH_ALGORITHM_AUTO lets the library choose.
    pub algorithm: AlgorithmNumber,
    /// How float elements travel in allreduce, reduce_scatter(v) and allgather(v): in fewer bytes, and so
    /// rounded, yet with the same result to the bit on every rank that has it. A call that cannot be
    /// encoded is refused. KIRSH_WIRE_DEFAULT leaves it to the communicator.
    pub wire: WireNumber,
    /// What to call the operation in this rank's log. NULL: nothing.
    pub name: *const c_char,
    /// This rank's weight in a mean, such as its number of samples: with KIRSH_AVG in allreduce, reduce,
    /// reduce_scatter and reduce_scatterv the result is sum(weight * x) / sum(weight). NULL: none, and all
    /// ranks count alike. All ranks give one or none does, else they hear KIRSH_MISMATCH. Weights are
    /// finite and not negative, and not all 0. They are exchanged by an allreduce of one double ahead of
    /// the call, in its place in the order, and this BLOCKS also where the call is only started; a plan
    /// exchanges them once, when it is made, which is collective then.
    pub weight: *const f64,
}

// SAFETY: repr(C); integers, a double and pointers of 8 bytes and one pair of 4-byte integers, no
// padding.
unsafe impl SizedStruct for kirsh_options_t {
    const INIT: Self = kirsh_options_t {
        size: size_of::<kirsh_options_t>(),
        timeout_ns: 0,
        scale: 0.0,
        algorithm: 0,
        wire: 0,
        name: std::ptr::null(),
        weight: std::ptr::null(),
    };
}

/// The options that a program handed in; null stands for the defaults. Allocates nothing.
///
/// # Safety
/// `options` and what it points to are null or as the header asks, for `'a`.
pub(crate) unsafe fn read<'a>(options: *const kirsh_options_t) -> Result<Options<'a>> {
    if options.is_null() {
        return Ok(Options::default());
    }
    // SAFETY: by the contract above.
    let given = unsafe { sized::read(options, "options", "KIRSH_OPTIONS_INIT") }?;
    Ok(Options {
        timeout: timeout(given.timeout_ns, "options->timeout_ns")?,
        scale: (given.scale != 0.0).then_some(given.scale),
        algorithm: numbers::algorithm(given.algorithm)?,
        // SAFETY: by the contract above.
        name: unsafe { text::optional(given.name, "options->name") }?,
        // SAFETY: null, or by the contract above a double to read.
        weight: unsafe { given.weight.as_ref() }.copied(),
        wire: numbers::wire(given.wire, "options->wire")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kirsh_core::comm::Timeout;
    use kirsh_core::{Algorithm, Wire};
    use std::time::Duration;

    fn read_whole(options: &kirsh_options_t) -> Result<Options<'_>> {
        // SAFETY: a whole struct with terminated strings.
        unsafe { read(options) }
    }

    #[test]
    fn what_is_set_arrives_and_zero_is_not_set() {
        let options = read_whole(&kirsh_options_t::INIT).unwrap();
        assert_eq!(options.timeout, Timeout::Default);
        assert!(options.scale.is_none() && options.algorithm.is_none() && options.name.is_none());
        assert!(options.weight.is_none() && options.wire.is_none());
        let given = kirsh_options_t {
            timeout_ns: 1_500_000_000,
            scale: 0.5,
            algorithm: 1,
            name: c"gradients".as_ptr(),
            weight: &0.0,
            wire: 3,
            ..kirsh_options_t::INIT
        };
        let options = read_whole(&given).unwrap();
        assert_eq!(options.timeout, Timeout::After(Duration::from_millis(1500)));
        assert_eq!((options.scale, options.algorithm), (Some(0.5), Some(Algorithm::Ring)));
        assert_eq!((options.name, options.weight), (Some("gradients"), Some(0.0)));
        assert_eq!(options.wire, Some(Wire::Int8));
        let plain = kirsh_options_t { wire: -1, ..kirsh_options_t::INIT };
        assert_eq!(read_whole(&plain).unwrap().wire, Some(Wire::Plain));
    }

    #[test]
    fn a_wire_format_that_nobody_knows_is_refused_by_name() {
        let options = kirsh_options_t { wire: 4, ..kirsh_options_t::INIT };
        let error = read_whole(&options).unwrap_err();
        assert!(error.message().starts_with("options->wire is 4"), "{error}");
    }
}
