//! A store made of C callbacks, so that ranks can meet in whatever a program shares already.

use std::ffi::{CString, c_char, c_void};
use std::time::Instant;

use kirsh_core::limits::{REASON_BYTES_MAX, STORE_VALUE_MAX};
use kirsh_core::rendezvous::Store;
use kirsh_core::{Error, ErrorKind, Result};

use crate::boundary::{invalid, require};
use crate::sized::{self, SizedStruct};
use crate::status::{StatusNumber, kirsh_status_t};
use crate::text;

/// A small dictionary that all ranks share, made of callbacks. Start from KIRSH_STORE_INIT and set all
/// four operations. Each returns KIRSH_OK, or any failure, which kirsh_comm_create() then reports.
///
/// A value that was set is seen whole by every later get and wait of any rank; `add` is atomic across
/// ranks, counts a missing key from 0, and its counters read as decimal text. Callbacks come from any
/// thread, several at a time; one that waits must not keep out the others. They must throw nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_store_t {
    /// sizeof(kirsh_store_t).
    pub size: usize,
    /// Passed to every callback.
    pub user: *mut c_void,
    /// Writes a value, over an older one if there is one.
    pub set: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            key: *const c_char,
            value: *const c_void,
            length: usize,
            reply: *mut kirsh_reply_t,
        ) -> StatusNumber,
    >,
    /// Hands the value of a key to kirsh_reply_set_value(); KIRSH_PENDING where nobody has set it yet.
    pub get: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            key: *const c_char,
            reply: *mut kirsh_reply_t,
        ) -> StatusNumber,
    >,
    /// The same, but waits for the key to be set; KIRSH_PENDING once timeout_ns has passed.
    pub wait: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            key: *const c_char,
            timeout_ns: i64,
            reply: *mut kirsh_reply_t,
        ) -> StatusNumber,
    >,
    /// Adds to a counter and writes the sum.
    pub add: Option<
        unsafe extern "C" fn(
            user: *mut c_void,
            key: *const c_char,
            delta: i64,
            sum: *mut i64,
            reply: *mut kirsh_reply_t,
        ) -> StatusNumber,
    >,
    /// Called once, when the library needs `user` no longer: at the latest in kirsh_comm_destroy(), or
    /// before a failed kirsh_comm_create() returns. Only a `size` that is refused keeps it from being
    /// called. May be NULL.
    pub release: Option<unsafe extern "C" fn(user: *mut c_void)>,
}

// SAFETY: repr(C); a usize, a pointer and nullable function pointers, no padding. The library calls
// what the caller put there, which the header asks to be functions or null.
unsafe impl SizedStruct for kirsh_store_t {
    const INIT: Self = kirsh_store_t {
        size: size_of::<kirsh_store_t>(),
        user: std::ptr::null_mut(),
        set: None,
        get: None,
        wait: None,
        add: None,
        release: None,
    };
}

/// Where a store's callback puts its answer; valid during the callback.
pub struct kirsh_reply_t {
    value: Option<Vec<u8>>,
    message: Option<String>,
}

/// Answers a get or wait with these bytes, which are copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_reply_set_value(
    reply: *mut kirsh_reply_t,
    value: *const c_void,
    length: usize,
) -> kirsh_status_t {
    boundary! {
        require(reply, "reply")?;
        if length > STORE_VALUE_MAX {
            return Err(invalid(format!("length is {length}, beyond the {STORE_VALUE_MAX} of a value")));
        }
        let mut bytes = Vec::new();
        if length > 0 {
            require(value, "value")?;
            // SAFETY: not null, and the header asks for `length` readable bytes.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(value.cast(), length) });
        }
        // SAFETY: not null, and during a callback the reply is the callback's alone.
        unsafe { (*reply).value = Some(bytes) };
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Says why a store's callback is about to return a failure. The text is copied and becomes part of
/// the message that kirsh_comm_create() leaves.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_reply_set_message(
    reply: *mut kirsh_reply_t,
    message: *const c_char,
) -> kirsh_status_t {
    boundary! {
        require(reply, "reply")?;
        require(message, "message")?;
        // SAFETY: not null, and the header asks for terminated text.
        let text: String = unsafe { text::lossy(message) }.chars().take(REASON_BYTES_MAX).collect();
        // SAFETY: not null, and during a callback the reply is the callback's alone.
        unsafe { (*reply).message = Some(text) };
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// The callbacks as the store that the core asks for.
pub(crate) struct CallbackStore {
    callbacks: kirsh_store_t,
}

// SAFETY: the header asks for callbacks that any thread may call with `user`.
unsafe impl Send for CallbackStore {}
// SAFETY: as above; several threads may do so at once.
unsafe impl Sync for CallbackStore {}

impl CallbackStore {
    /// Takes the callbacks over, and with them the duty to release `user`.
    ///
    /// # Safety
    /// `store` is null or as the header asks, its functions with it.
    pub(crate) unsafe fn adopt(store: *const kirsh_store_t) -> Result<Self> {
        // SAFETY: by the contract above.
        let callbacks = unsafe { sized::read(store, "config->store", "KIRSH_STORE_INIT") }?;
        // Built before the check, so that a refusal releases `user` like any other failure.
        let adopted = CallbackStore { callbacks };
        for (missing, name) in [
            (callbacks.set.is_none(), "set"),
            (callbacks.get.is_none(), "get"),
            (callbacks.wait.is_none(), "wait"),
            (callbacks.add.is_none(), "add"),
        ] {
            if missing {
                return Err(invalid(format!("config->store->{name} is NULL")));
            }
        }
        Ok(adopted)
    }

    /// Runs one callback; `None` is its KIRSH_PENDING.
    fn call(
        &self,
        name: &str,
        key: &str,
        callback: impl FnOnce(*mut c_void, *const c_char, *mut kirsh_reply_t) -> Option<StatusNumber>,
    ) -> Result<Option<kirsh_reply_t>> {
        let c_key = CString::new(key)
            .map_err(|_| invalid(format!("the key {key:?} of a store holds a zero byte")))?;
        let mut reply = kirsh_reply_t { value: None, message: None };
        let status = callback(self.callbacks.user, c_key.as_ptr(), &raw mut reply)
            .ok_or_else(|| invalid(format!("config->store->{name} is NULL")))?;
        match kirsh_status_t::from_number(status) {
            Some(kirsh_status_t::KIRSH_OK) => Ok(Some(reply)),
            Some(kirsh_status_t::KIRSH_PENDING) => Ok(None),
            _ => {
                let why = reply.message.unwrap_or_else(|| format!("it returned {status}"));
                Err(Error::new(
                    ErrorKind::Rendezvous,
                    format!("the store's callback {name:?} failed for the key {key:?}: {why}"),
                ))
            }
        }
    }

    /// A callback that may not answer KIRSH_PENDING, or answered KIRSH_OK without a value, has broken
    /// its promise.
    fn broken(name: &str, key: &str, what: &str) -> Error {
        Error::new(
            ErrorKind::Rendezvous,
            format!("the store's callback {name:?} returned {what} for the key {key:?}"),
        )
    }
}

impl Store for CallbackStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        self.call("set", key, |user, key, reply| {
            // SAFETY: a callback as the header asks for; text, value and reply outlive the call.
            self.callbacks
                .set
                .map(|set| unsafe { set(user, key, value.as_ptr().cast(), value.len(), reply) })
        })?
        .map(drop)
        .ok_or_else(|| Self::broken("set", key, "KIRSH_PENDING"))
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let reply = self.call("get", key, |user, key, reply| {
            // SAFETY: a callback as the header asks for; text and reply outlive the call.
            self.callbacks.get.map(|get| unsafe { get(user, key, reply) })
        })?;
        value_of(reply, "get", key)
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout_ns = i64::try_from(left.as_nanos()).unwrap_or(i64::MAX);
        let reply = self.call("wait", key, |user, key, reply| {
            // SAFETY: a callback as the header asks for; text and reply outlive the call.
            self.callbacks.wait.map(|wait| unsafe { wait(user, key, timeout_ns, reply) })
        })?;
        value_of(reply, "wait", key)
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        let mut sum = 0;
        self.call("add", key, |user, key, reply| {
            // SAFETY: a callback as the header asks for; text, sum and reply outlive the call.
            self.callbacks.add.map(|add| unsafe { add(user, key, delta, &raw mut sum, reply) })
        })?
        .map(|_| sum)
        .ok_or_else(|| Self::broken("add", key, "KIRSH_PENDING"))
    }

    fn describe(&self) -> String {
        "the store of C callbacks".to_owned()
    }
}

fn value_of(reply: Option<kirsh_reply_t>, name: &str, key: &str) -> Result<Option<Vec<u8>>> {
    match reply {
        None => Ok(None),
        Some(kirsh_reply_t { value: Some(value), .. }) => Ok(Some(value)),
        Some(_) => Err(CallbackStore::broken(name, key, "KIRSH_OK without a value")),
    }
}

impl Drop for CallbackStore {
    fn drop(&mut self) {
        if let Some(release) = self.callbacks.release {
            // SAFETY: a callback as the header asks for, called once, after all others.
            unsafe { release(self.callbacks.user) };
        }
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
