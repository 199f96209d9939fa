//! The last error of each thread.

use std::cell::RefCell;
use std::ffi::{CString, c_char};

use kirsh_core::Error;

use crate::sized::{self, SizedStruct};
use crate::status::{ScopeNumber, StatusNumber, kirsh_scope_t, kirsh_status_t};

/// Everything known about the last failure on this thread. Start from KIRSH_ERROR_INFO_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_error_info_t {
    /// sizeof(kirsh_error_info_t).
    pub size: usize,
    /// KIRSH_OK where nothing has failed on this thread yet.
    pub status: StatusNumber,
    pub scope: ScopeNumber,
    /// The rank that reports the failure, which is this process's own; -1 where it had none yet.
    pub rank: i32,
    /// The rank that the failure is about; -1 where there is none.
    pub peer: i32,
    /// The number of the operation within its communicator, counted from 0; -1 where there is none.
    pub sequence: i64,
    /// The operation, such as "allreduce"; "" where there is none. Valid like kirsh_last_error().
    pub operation: *const c_char,
    /// The text of kirsh_last_error().
    pub message: *const c_char,
}

// SAFETY: repr(C); integers and pointers of 8 bytes and two pairs of 4-byte integers, no padding.
unsafe impl SizedStruct for kirsh_error_info_t {
    const INIT: Self = kirsh_error_info_t {
        size: size_of::<kirsh_error_info_t>(),
        status: kirsh_status_t::KIRSH_OK as StatusNumber,
        scope: kirsh_scope_t::KIRSH_SCOPE_CALL as ScopeNumber,
        rank: -1,
        peer: -1,
        sequence: -1,
        operation: c"".as_ptr(),
        message: c"".as_ptr(),
    };
}

struct Last {
    error: Error,
    message: CString,
    operation: CString,
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// What the last failed call on this thread has to say: the rank, the operation, what was waited for
/// and which setting changes it. Never NULL; "" where nothing has failed. Calls that succeed leave it
/// as it is. The text belongs to the library and is valid until the next failure on this thread.
#[unsafe(no_mangle)]
pub extern "C" fn kirsh_last_error() -> *const c_char {
    with_last(|last| last.map_or(c"".as_ptr(), |last| last.message.as_ptr()))
}

/// Fills in what is known about the last failure on this thread. `out->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_error_info(out: *mut kirsh_error_info_t) -> kirsh_status_t {
    boundary! {
        let info = with_last(|last| last.map_or(kirsh_error_info_t::INIT, Last::info));
        // SAFETY: the header asks for null or a struct that begins with its size.
        unsafe { sized::write(out, &info, "out", "KIRSH_ERROR_INFO_INIT") }?;
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Makes this the last error of the thread.
pub(crate) fn remember(error: Error) {
    let last = Last {
        message: terminated(error.to_string()),
        operation: terminated(error.operation().unwrap_or_default().to_owned()),
        error,
    };
    // A thread that is past its thread-locals has nobody left to ask.
    let _ = LAST.try_with(|slot| slot.replace(Some(last)));
}

fn with_last<T>(look: impl Fn(Option<&Last>) -> T) -> T {
    LAST.try_with(|slot| look(slot.borrow().as_ref())).unwrap_or_else(|_| look(None))
}

impl Last {
    fn info(&self) -> kirsh_error_info_t {
        kirsh_error_info_t {
            status: kirsh_status_t::from(self.error.kind()) as StatusNumber,
            scope: kirsh_scope_t::from(self.error.scope()) as ScopeNumber,
            rank: number(self.error.rank()),
            peer: number(self.error.peer()),
            sequence: self
                .error
                .sequence()
                .and_then(|sequence| i64::try_from(sequence).ok())
                .unwrap_or(-1),
            operation: self.operation.as_ptr(),
            message: self.message.as_ptr(),
            ..kirsh_error_info_t::INIT
        }
    }
}

/// A rank for C, where absence is negative.
fn number(rank: Option<u32>) -> i32 {
    rank.and_then(|rank| i32::try_from(rank).ok()).unwrap_or(-1)
}

/// Text for C. A peer's reason may hold zeros, which would end the text early.
fn terminated(text: String) -> CString {
    let mut bytes = text.into_bytes();
    bytes.retain(|byte| *byte != 0);
    CString::new(bytes).unwrap_or_default()
}

#[cfg(test)]
pub(crate) fn last_error() -> String {
    // SAFETY: the function returns terminated text that lives until this thread's next failure.
    unsafe { std::ffi::CStr::from_ptr(kirsh_last_error()) }.to_str().unwrap().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kirsh_core::{ErrorKind, Scope};
    use std::ffi::CStr;

    fn info() -> kirsh_error_info_t {
        let mut info = kirsh_error_info_t::INIT;
        // SAFETY: a whole struct with its size set.
        assert_eq!(unsafe { kirsh_error_info(&mut info) }, kirsh_status_t::KIRSH_OK);
        info
    }

    #[test]
    fn each_thread_has_its_own_last_error() {
        remember(Error::new(ErrorKind::Timeout, "here"));
        std::thread::spawn(|| {
            assert_eq!(last_error(), "");
            assert_eq!(info().status, kirsh_status_t::KIRSH_OK as StatusNumber);
            remember(Error::new(ErrorKind::Corrupt, "there"));
        })
        .join()
        .unwrap();
        assert_eq!(last_error(), "here");
    }

    #[test]
    fn the_info_carries_every_field_and_says_minus_one_for_none() {
        remember(
            Error::new(ErrorKind::PeerLost, "gone\0away")
                .with_scope(Scope::Communicator)
                .with_rank(1)
                .with_peer(3)
                .with_operation("allreduce", Some(17)),
        );
        let full = info();
        assert_eq!(full.status, kirsh_status_t::KIRSH_PEER_LOST as StatusNumber);
        assert_eq!(full.scope, kirsh_scope_t::KIRSH_SCOPE_COMMUNICATOR as ScopeNumber);
        assert_eq!((full.rank, full.peer, full.sequence), (1, 3, 17));
        // SAFETY: terminated text, valid until the next failure on this thread.
        let (operation, message) =
            unsafe { (CStr::from_ptr(full.operation), CStr::from_ptr(full.message)) };
        assert_eq!(operation, c"allreduce");
        assert_eq!(message, c"rank 1: allreduce #17: goneaway");

        remember(Error::new(ErrorKind::System, "no memory"));
        let bare = info();
        assert_eq!((bare.rank, bare.peer, bare.sequence), (-1, -1, -1));
        // SAFETY: as above.
        assert_eq!(unsafe { CStr::from_ptr(bare.operation) }, c"");
    }

    #[test]
    fn asking_without_a_place_for_the_answer_names_the_argument() {
        // SAFETY: null is allowed, and refused.
        let status = unsafe { kirsh_error_info(std::ptr::null_mut()) };
        assert_eq!(status, kirsh_status_t::KIRSH_INVALID_ARGUMENT);
        assert_eq!(last_error(), "out is NULL");
    }
}
