//! Where the library's log goes: to a callback of the program.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::sync::{PoisonError, RwLock};

use kirsh_core::Result;

use crate::boundary::invalid;
use crate::status::kirsh_status_t;

/// A `kirsh_log_level_t` that has not been looked at yet.
pub type LogLevelNumber = i32;

/// How much is said. Each level includes those above it.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_log_level_t {
    KIRSH_LOG_OFF = 0,
    /// What also comes back as a status.
    KIRSH_LOG_ERROR = 1,
    /// What a person should look at, such as ranks that are late.
    KIRSH_LOG_WARN = 2,
    /// Once per communicator.
    KIRSH_LOG_INFO = 3,
    /// Once per connection or operation.
    KIRSH_LOG_DEBUG = 4,
    /// Once per step.
    KIRSH_LOG_TRACE = 5,
}

/// Takes one line of the log, without a line end. `user` is what kirsh_set_log() was given; the text
/// is valid during the call. Called from any thread, several at a time, also from the library's own:
/// return soon, and throw nothing. The callback may call the library, but what these calls log is lost,
/// and kirsh_set_log() itself is refused there.
pub type kirsh_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: LogLevelNumber, text: *const c_char)>;

#[derive(Clone, Copy)]
struct Target {
    callback: unsafe extern "C" fn(*mut c_void, LogLevelNumber, *const c_char),
    user: *mut c_void,
    level: LogLevelNumber,
}

// SAFETY: the header tells whoever sets a callback that any thread may call it with `user`.
unsafe impl Send for Target {}
// SAFETY: as above; several threads may do so at once.
unsafe impl Sync for Target {}

/// Read while a callback runs, so that replacing one waits for those under way.
static TARGET: RwLock<Option<Target>> = RwLock::new(None);

thread_local! {
    /// Set while this thread is in a callback: reading the lock again could wait for a writer that
    /// waits for us.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Sends the log of all communicators of this process to a callback, up to this level, instead of to
/// standard error at the level of KIRSH_LOG. NULL or KIRSH_LOG_OFF silences it. When the call returns, the previous callback is not running and will
/// not be called again, so that its `user` may be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_set_log(
    callback: kirsh_log_fn,
    user: *mut c_void,
    level: LogLevelNumber,
) -> kirsh_status_t {
    boundary! {
        set(callback, user, level)?;
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

fn set(callback: kirsh_log_fn, user: *mut c_void, level: LogLevelNumber) -> Result<()> {
    let range = kirsh_log_level_t::KIRSH_LOG_OFF as i32..=kirsh_log_level_t::KIRSH_LOG_TRACE as i32;
    if !range.contains(&level) {
        return Err(invalid(format!("level is {level}, which is no kirsh_log_level_t")));
    }
    if INSIDE.get() {
        return Err(invalid("kirsh_set_log was called from within a log callback"));
    }
    let target = callback.map(|callback| Target { callback, user, level });
    *TARGET.write().unwrap_or_else(PoisonError::into_inner) = target;
    kirsh_core::log::set_sink(deliver);
    // What nobody takes need not be put into words either.
    kirsh_core::log::set_level(target.map_or(0, |target| target.level as u8));
    Ok(())
}

/// The sink of the core's log.
fn deliver(level: u8, text: &str) {
    if INSIDE.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    let target = TARGET.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Target { callback, user, level: limit }) = *target else { return };
    let level = LogLevelNumber::from(level);
    // The core filters too, but not together with the change of the target.
    if level > limit {
        return;
    }
    let mut bytes = text.as_bytes().to_vec();
    bytes.retain(|byte| *byte != 0);
    let Ok(text) = CString::new(bytes) else { return };
    INSIDE.set(true);
    // SAFETY: the header asks for a callback that any thread may call with `user` while it is set,
    // and it is: the lock is held. The text is terminated and outlives the call.
    unsafe { callback(user, level, text.as_ptr()) };
    INSIDE.set(false);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::last_error;
    use std::ffi::CStr;
    use std::sync::Mutex;

    type Lines = Mutex<Vec<(i32, String)>>;

    /// Notes the line, and tries what a callback must not do.
    unsafe extern "C" fn note(user: *mut c_void, level: LogLevelNumber, text: *const c_char) {
        // SAFETY: the test passes a `Lines` that outlives the callback's being set.
        let lines = unsafe { &*user.cast::<Lines>() };
        // SAFETY: the library passes terminated text.
        let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
        lines.lock().unwrap().push((level, text));
        deliver(1, "said from within a callback");
        // SAFETY: no callback at all is allowed.
        let again = unsafe { kirsh_set_log(None, std::ptr::null_mut(), 0) };
        assert_eq!(again, kirsh_status_t::KIRSH_INVALID_ARGUMENT);
    }

    #[test]
    fn a_callback_gets_its_levels_until_it_is_replaced_and_may_call_back() {
        let lines = Lines::default();
        let user = (&raw const lines).cast_mut().cast::<c_void>();
        // SAFETY: `lines` lives until the callback is taken away again below.
        assert_eq!(unsafe { kirsh_set_log(Some(note), user, 2) }, kirsh_status_t::KIRSH_OK);
        deliver(1, "broken");
        deliver(2, "late\0 ranks");
        deliver(3, "for the curious");
        // SAFETY: as above.
        assert_eq!(unsafe { kirsh_set_log(None, user, 5) }, kirsh_status_t::KIRSH_OK);
        deliver(1, "after the end");
        let seen = lines.lock().unwrap();
        assert_eq!(*seen, [(1, "broken".to_owned()), (2, "late ranks".to_owned())]);
    }

    #[test]
    fn a_level_that_does_not_exist_is_refused_by_name() {
        for level in [-1, 6] {
            // SAFETY: no callback at all is allowed.
            let status = unsafe { kirsh_set_log(None, std::ptr::null_mut(), level) };
            assert_eq!(status, kirsh_status_t::KIRSH_INVALID_ARGUMENT);
            assert!(last_error().starts_with(&format!("level is {level}")));
        }
    }
}
