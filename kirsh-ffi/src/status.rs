//! Status codes and scopes: the numbers under which C sees `ErrorKind` and `Scope`.

use std::ffi::c_char;

use kirsh_core::{ErrorKind, Scope};

/// A status that C hands in or back, not looked at yet.
pub type StatusNumber = i32;
/// A `kirsh_scope_t` as a plain field of a struct.
pub type ScopeNumber = i32;

/// What became of a call. Numbers are never reused or changed; new ones may be added, so treat one
/// you do not know as a failure.
///
/// kirsh_error_info() tells how far a failure reaches (kirsh_scope_t). As a rule: INVALID_ARGUMENT,
/// UNSUPPORTED and CONFIGURATION leave the communicator usable where every rank refuses alike; where
/// others went ahead they are told, get REFUSED, and the communicator is over. TIMEOUT, PEER_LOST,
/// MISMATCH, REFUSED, CORRUPT, PROTOCOL, ABORTED, INTERRUPTED and INTERNAL end the communicator: later
/// calls end with the first cause, and the contents of the buffers are undefined. RENDEZVOUS and
/// AUTHENTICATION come from kirsh_comm_create() alone, which then has made nothing. FORKED and CLOSED
/// say that this handle cannot be used here any more.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_status_t {
    /// Done.
    KIRSH_OK = 0,
    /// Not an error: the operation goes on and the buffers are still lent.
    KIRSH_PENDING = 1,
    /// An argument that could never have worked: null, overlapping, out of range.
    KIRSH_INVALID_ARGUMENT = 2,
    /// A valid wish that this build, machine or type cannot fulfil.
    KIRSH_UNSUPPORTED = 3,
    /// A deadline passed.
    KIRSH_TIMEOUT = 4,
    /// A peer died, left while it was needed, or fell silent.
    KIRSH_PEER_LOST = 5,
    /// Ranks called different things.
    KIRSH_MISMATCH = 6,
    /// A peer refused the call that this rank made; its reason is in the message.
    KIRSH_REFUSED = 7,
    /// A checksum did not fit.
    KIRSH_CORRUPT = 8,
    /// A peer sent what the protocol does not allow.
    KIRSH_PROTOCOL = 9,
    /// Somebody called kirsh_comm_abort().
    KIRSH_ABORTED = 10,
    /// A signal asked the blocking call to stop.
    KIRSH_INTERRUPTED = 11,
    /// The ranks did not find together.
    KIRSH_RENDEZVOUS = 12,
    /// A token or job id did not fit.
    KIRSH_AUTHENTICATION = 13,
    /// The operating system refused: memory, descriptors, a forbidden call.
    KIRSH_SYSTEM = 14,
    /// The handle was made before a fork and used in the child.
    KIRSH_FORKED = 15,
    /// The handle was used after it was closed.
    KIRSH_CLOSED = 16,
    /// A setting in the environment or the configuration is missing or malformed.
    KIRSH_CONFIGURATION = 17,
    /// A defect of the library itself.
    KIRSH_INTERNAL = 18,
}

use kirsh_status_t::*;

/// What a failure leaves unusable.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kirsh_scope_t {
    /// Only this call; the communicator goes on.
    KIRSH_SCOPE_CALL = 0,
    /// One connection; the communicator may open another.
    KIRSH_SCOPE_LINK = 1,
    /// The communicator: destroy it. Later calls on it return this same failure.
    KIRSH_SCOPE_COMMUNICATOR = 2,
}

/// A short name for a status, such as "peer lost". Never NULL, also for numbers that this library does
/// not know; the text is static. What went wrong this time is in kirsh_last_error().
#[unsafe(no_mangle)]
pub extern "C" fn kirsh_status_string(status: StatusNumber) -> *const c_char {
    let text = match kirsh_status_t::from_number(status) {
        None => c"unknown status",
        Some(status) => match status {
            KIRSH_OK => c"ok",
            KIRSH_PENDING => c"pending",
            KIRSH_INVALID_ARGUMENT => c"invalid argument",
            KIRSH_UNSUPPORTED => c"unsupported",
            KIRSH_TIMEOUT => c"timeout",
            KIRSH_PEER_LOST => c"peer lost",
            KIRSH_MISMATCH => c"mismatch",
            KIRSH_REFUSED => c"refused",
            KIRSH_CORRUPT => c"corrupt",
            KIRSH_PROTOCOL => c"protocol violation",
            KIRSH_ABORTED => c"aborted",
            KIRSH_INTERRUPTED => c"interrupted",
            KIRSH_RENDEZVOUS => c"rendezvous",
            KIRSH_AUTHENTICATION => c"authentication",
            KIRSH_SYSTEM => c"system",
            KIRSH_FORKED => c"forked",
            KIRSH_CLOSED => c"closed",
            KIRSH_CONFIGURATION => c"configuration",
            KIRSH_INTERNAL => c"internal",
        },
    };
    text.as_ptr()
}

impl kirsh_status_t {
    /// The status with this number, if there is one.
    pub(crate) fn from_number(number: StatusNumber) -> Option<Self> {
        const ALL: [kirsh_status_t; 19] = [
            KIRSH_OK,
            KIRSH_PENDING,
            KIRSH_INVALID_ARGUMENT,
            KIRSH_UNSUPPORTED,
            KIRSH_TIMEOUT,
            KIRSH_PEER_LOST,
            KIRSH_MISMATCH,
            KIRSH_REFUSED,
            KIRSH_CORRUPT,
            KIRSH_PROTOCOL,
            KIRSH_ABORTED,
            KIRSH_INTERRUPTED,
            KIRSH_RENDEZVOUS,
            KIRSH_AUTHENTICATION,
            KIRSH_SYSTEM,
            KIRSH_FORKED,
            KIRSH_CLOSED,
            KIRSH_CONFIGURATION,
            KIRSH_INTERNAL,
        ];
        usize::try_from(number).ok().and_then(|index| ALL.get(index).copied())
    }
}

impl From<ErrorKind> for kirsh_status_t {
    fn from(kind: ErrorKind) -> Self {
        // The kinds carry the numbers of the status codes. One that this crate has not heard of can
        // only be a defect, and the test below finds it first.
        kirsh_status_t::from_number(kind as i32).unwrap_or(KIRSH_INTERNAL)
    }
}

impl From<Scope> for kirsh_scope_t {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Call => kirsh_scope_t::KIRSH_SCOPE_CALL,
            Scope::Link => kirsh_scope_t::KIRSH_SCOPE_LINK,
            Scope::Communicator => kirsh_scope_t::KIRSH_SCOPE_COMMUNICATOR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text(number: i32) -> String {
        // SAFETY: the function returns static, terminated text.
        unsafe { CStr::from_ptr(kirsh_status_string(number)) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn every_kind_of_error_has_its_number_and_its_name_in_c() {
        let mut kinds = 0;
        for number in 0..=u8::MAX {
            let Some(kind) = ErrorKind::from_u8(number) else { continue };
            let status = kirsh_status_t::from(kind);
            assert_eq!(status as i32, i32::from(number));
            assert_eq!(text(status as i32), kind.name());
            kinds += 1;
        }
        assert_eq!(kinds, 17, "each kind of error and no other has a status");
    }

    #[test]
    fn numbers_are_their_own_index_and_strangers_have_a_name_too() {
        for number in 0..19 {
            assert_eq!(kirsh_status_t::from_number(number).unwrap() as i32, number);
        }
        for stranger in [-1, 19, i32::MAX, i32::MIN] {
            assert_eq!(kirsh_status_t::from_number(stranger), None);
            assert_eq!(text(stranger), "unknown status");
        }
    }

    #[test]
    fn scopes_have_the_numbers_of_the_core() {
        for scope in [Scope::Call, Scope::Link, Scope::Communicator] {
            assert_eq!(kirsh_scope_t::from(scope) as i32, scope as i32);
        }
    }
}
