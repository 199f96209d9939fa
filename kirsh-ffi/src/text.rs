//! Strings that C hands in.

use std::borrow::Cow;
use std::ffi::{CStr, c_char};

use kirsh_core::Result;

use crate::boundary::invalid;

/// The text behind a pointer, or `None` where it is null. What is not UTF-8 is refused under the name
/// of the argument.
///
/// # Safety
/// A pointer that is not null points to a terminated string that stays as it is for `'a`.
pub(crate) unsafe fn optional<'a>(pointer: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if pointer.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, so by the contract above terminated and unchanged for 'a.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map(Some).map_err(|_| invalid(format!("{name} is not UTF-8")))
}

/// The text behind a pointer for people to read: nothing for null, with replacement characters where
/// it is not UTF-8.
///
/// # Safety
/// As for [`optional`].
pub(crate) unsafe fn lossy<'a>(pointer: *const c_char) -> Cow<'a, str> {
    if pointer.is_null() {
        return Cow::Borrowed("");
    }
    // SAFETY: not null, so by the contract above terminated and unchanged for 'a.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy()
}
