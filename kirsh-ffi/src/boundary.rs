//! The edge that every exported function stands behind: errors and panics become return values.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kirsh_core::{Error, ErrorKind, Result};

use crate::error;
use crate::status::kirsh_status_t;

/// Wraps the body of one exported function. The body is a closure of its own, so `?` works in it; it
/// ends in a `Result` of what the function returns.
macro_rules! boundary {
    ($($body:tt)*) => {
        $crate::boundary::cross(|| { $($body)* })
    };
}

/// What an exported function returns, and which value of it stands for failure.
pub(crate) trait Outcome {
    fn failure(status: kirsh_status_t) -> Self;
}

impl Outcome for kirsh_status_t {
    fn failure(status: kirsh_status_t) -> Self {
        status
    }
}

/// A rank or a count of ranks; neither is ever negative.
impl Outcome for i32 {
    fn failure(_status: kirsh_status_t) -> Self {
        -1
    }
}

impl Outcome for () {
    fn failure(_status: kirsh_status_t) -> Self {}
}

/// Runs the body. An error becomes the thread's last error and the failure value; so does a panic,
/// which must never unwind into C.
pub(crate) fn cross<T: Outcome>(body: impl FnOnce() -> Result<T>) -> T {
    // What a panic leaves half done is inside kirsh_core, which answers for it with its own locks and
    // poisoning; nothing on this side outlives the call.
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value,
        Ok(Err(error)) => error,
        Err(panic) => Error::new(
            ErrorKind::Internal,
            format!("a defect of libkirsh, please report it: {}", panic_text(&*panic)),
        ),
    };
    let status = kirsh_status_t::from(error.kind());
    error::remember(error);
    T::failure(status)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("panic without a message")
}

/// An error of the kind that callers can avoid.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Refuses a null pointer under the name that the argument has in the header.
pub(crate) fn require<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() { Err(invalid(format!("{name} is NULL"))) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::last_error;

    #[test]
    fn a_panic_becomes_a_status_and_its_text_the_last_error() {
        let status: kirsh_status_t = boundary! { panic!("rank {} fell over", 3) };
        assert_eq!(status, kirsh_status_t::KIRSH_INTERNAL);
        let text = last_error();
        assert!(text.contains("rank 3 fell over") && text.contains("report"), "{text}");
    }

    #[test]
    fn an_error_becomes_its_own_number_and_a_count_becomes_negative() {
        let status: kirsh_status_t = boundary! { Err(Error::new(ErrorKind::Timeout, "late")) };
        assert_eq!(status, kirsh_status_t::KIRSH_TIMEOUT);
        let count: i32 = boundary! { Err(invalid("comm is NULL")) };
        assert_eq!(count, -1);
        assert_eq!(last_error(), "comm is NULL");
    }
}
