//! How a communicator is to be made.

use std::ffi::c_char;
use std::sync::Arc;
use std::time::Duration;

use kirsh_core::comm::{Config, Timeout};
use kirsh_core::rendezvous::Store;
use kirsh_core::{Rank, Result};

use crate::boundary::invalid;
use crate::numbers::{self, WireNumber};
use crate::sized::{self, SizedStruct};
use crate::store::{CallbackStore, kirsh_store_t};
use crate::text;

/// A timeout that never runs out.
pub const KIRSH_FOREVER: i64 = i64::MAX;

/// How to create a communicator. Start from KIRSH_CONFIG_INIT and change what you need: everything left
/// alone comes from the environment. Strings are only read during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_config_t {
    /// sizeof(kirsh_config_t).
    pub size: usize,
    /// This process's rank; -1: from the environment (RANK). Set together with world_size.
    pub rank: i32,
    /// How many ranks there are; -1: from the environment (WORLD_SIZE).
    pub world_size: i32,
    /// Where the ranks meet: "tcp://host:port", which rank 0 serves, or "file://path" in a directory
    /// that all ranks see. NULL: from the environment (KIRSH_RENDEZVOUS).
    pub rendezvous: *const c_char,
    /// A store that the ranks share already, instead of a rendezvous. NULL: none.
    pub store: *const kirsh_store_t,
    /// Keeps jobs apart that meet in one place. NULL: from the environment (KIRSH_JOB_ID).
    pub job_id: *const c_char,
    /// How long the ranks may take to find together. 0: from the environment (KIRSH_JOIN_TIMEOUT),
    /// else 300 s.
    pub join_timeout_ns: i64,
    /// How long each operation may take unless its options say otherwise. 0: from the environment
    /// (KIRSH_TIMEOUT), else 600 s.
    pub timeout_ns: i64,
    /// How float elements travel in every call that can be encoded and whose options say nothing else;
    /// rank 0's word counts. KIRSH_WIRE_DEFAULT: from the environment (KIRSH_WIRE).
    pub wire: WireNumber,
    /// 0.
    pub reserved: i32,
}

// SAFETY: repr(C); integers and pointers of 8 bytes and two pairs of 4-byte integers, no padding.
unsafe impl SizedStruct for kirsh_config_t {
    const INIT: Self = kirsh_config_t {
        size: size_of::<kirsh_config_t>(),
        rank: -1,
        world_size: -1,
        rendezvous: std::ptr::null(),
        store: std::ptr::null(),
        job_id: std::ptr::null(),
        join_timeout_ns: 0,
        timeout_ns: 0,
        wire: 0,
        reserved: 0,
    };
}

/// The configuration that a program handed in; null stands for the environment alone.
///
/// # Safety
/// `config` and what it points to are null or as the header asks.
pub(crate) unsafe fn read(config: *const kirsh_config_t) -> Result<Config> {
    if config.is_null() {
        return Ok(Config::default());
    }
    // SAFETY: by the contract above.
    let given = unsafe { sized::read(config, "config", "KIRSH_CONFIG_INIT") }?;
    // Adopted first, so that every later refusal releases the store's user too.
    let store: Option<Arc<dyn Store>> = if given.store.is_null() {
        None
    } else {
        // SAFETY: by the contract above.
        Some(Arc::new(unsafe { CallbackStore::adopt(given.store) }?))
    };
    if given.reserved != 0 {
        return Err(invalid(format!("config->reserved is {}; it is 0", given.reserved)));
    }
    // SAFETY: by the contract above, here and for the job id.
    let rendezvous = unsafe { text::optional(given.rendezvous, "config->rendezvous") }?;
    // SAFETY: see above.
    let job_id = unsafe { text::optional(given.job_id, "config->job_id") }?;
    Ok(Config {
        rank: rank(given.rank)?,
        world_size: world_size(given.world_size)?,
        rendezvous: rendezvous.map(str::to_owned),
        store,
        job_id: job_id.map(str::to_owned),
        join_timeout: timeout(given.join_timeout_ns, "config->join_timeout_ns")?,
        timeout: timeout(given.timeout_ns, "config->timeout_ns")?,
        wire: numbers::wire(given.wire, "config->wire")?,
    })
}

/// A timeout in nanoseconds, under the name of the argument.
pub(crate) fn timeout(timeout_ns: i64, name: &str) -> Result<Timeout> {
    match u64::try_from(timeout_ns) {
        Ok(0) => Ok(Timeout::Default),
        Ok(_) if timeout_ns == KIRSH_FOREVER => Ok(Timeout::Forever),
        Ok(nanoseconds) => Ok(Timeout::After(Duration::from_nanos(nanoseconds))),
        Err(_) => Err(invalid(format!("{name} is {timeout_ns}; KIRSH_FOREVER means no timeout"))),
    }
}

fn rank(number: i32) -> Result<Option<Rank>> {
    match number {
        -1 => Ok(None),
        _ => Rank::try_from(number)
            .map(Some)
            .map_err(|_| invalid(format!("config->rank is {number}; -1 means the environment"))),
    }
}

fn world_size(number: i32) -> Result<Option<u32>> {
    match u32::try_from(number) {
        Ok(size) if size > 0 => Ok(Some(size)),
        _ if number == -1 => Ok(None),
        _ => Err(invalid(format!("config->world_size is {number}; -1 means the environment"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kirsh_core::Wire;

    fn read_whole(config: &kirsh_config_t) -> Result<Config> {
        // SAFETY: a whole struct with terminated strings and no store.
        unsafe { read(config) }
    }

    fn refused(config: kirsh_config_t) -> String {
        read_whole(&config).err().expect("a refusal").message().to_owned()
    }

    #[test]
    fn the_initial_config_leaves_everything_to_the_environment() {
        // SAFETY: null is allowed.
        for config in [read_whole(&kirsh_config_t::INIT), unsafe { read(std::ptr::null()) }] {
            let config = config.unwrap();
            assert_eq!((config.rank, config.world_size), (None, None));
            assert!(config.rendezvous.is_none() && config.job_id.is_none());
            assert!(config.store.is_none());
            assert_eq!((config.join_timeout, config.timeout), Default::default());
            assert_eq!(config.wire, None);
        }
    }

    #[test]
    fn what_is_set_arrives() {
        let config = read_whole(&kirsh_config_t {
            rank: 0,
            world_size: 4,
            rendezvous: c"tcp://h:1".as_ptr(),
            job_id: c"job".as_ptr(),
            join_timeout_ns: 5,
            timeout_ns: KIRSH_FOREVER,
            wire: 1,
            ..kirsh_config_t::INIT
        })
        .unwrap();
        assert_eq!((config.rank, config.world_size), (Some(0), Some(4)));
        assert_eq!(config.rendezvous.as_deref(), Some("tcp://h:1"));
        assert_eq!(config.job_id.as_deref(), Some("job"));
        assert_eq!(config.join_timeout, Timeout::After(Duration::from_nanos(5)));
        assert_eq!(config.timeout, Timeout::Forever);
        assert_eq!(config.wire, Some(Wire::Bf16));
    }

    #[test]
    fn values_that_can_never_work_are_refused_by_name() {
        let init = kirsh_config_t::INIT;
        for (config, name) in [
            (kirsh_config_t { rank: -2, ..init }, "config->rank is -2"),
            (kirsh_config_t { world_size: 0, ..init }, "config->world_size is 0"),
            (kirsh_config_t { world_size: -9, ..init }, "config->world_size is -9"),
            (kirsh_config_t { timeout_ns: -1, ..init }, "config->timeout_ns is -1"),
            (kirsh_config_t { join_timeout_ns: i64::MIN, ..init }, "config->join_timeout_ns is -9"),
            (kirsh_config_t { wire: -2, ..init }, "config->wire is -2"),
            (kirsh_config_t { reserved: 1, ..init }, "config->reserved is 1"),
            (kirsh_config_t { job_id: c"\xff".as_ptr(), ..init }, "config->job_id is not UTF-8"),
        ] {
            assert!(refused(config).starts_with(name), "{name}");
        }
    }
}
