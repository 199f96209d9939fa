//! What wakes a thread that waits in an `Io`: an eventfd, awaited with `Op::Readable`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::fork::Fd;

/// A bell that any thread may ring and that one thread listens to.
///
/// It stays rung until [`clear`](Doorbell::clear). The listener clears first and looks for work
/// afterwards, so that a ring in between is not lost.
#[derive(Debug)]
pub struct Doorbell {
    event: Fd,
}

impl Doorbell {
    /// A silent bell.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointer.
        let raw = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if raw < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just made, owned by nobody else.
        let owned = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Doorbell { event: Fd::new(owned)? })
    }

    /// Rings. Does not block, allocates nothing, leaves `errno` alone, and may be called from a
    /// signal handler. Nothing happens in a forked child.
    pub fn ring(&self) {
        if !self.event.is_ours() {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: `__errno_location` points to this thread's errno. The write reads eight bytes of
        // `one`. It can fail only with EAGAIN, when the counter is full and the bell rings anyway.
        unsafe {
            let errno = libc::__errno_location();
            let before = *errno;
            libc::write(self.fd(), one.as_ptr().cast(), one.len());
            *errno = before;
        }
    }

    /// Silences the bell; says whether it was rung. Does not block.
    pub fn clear(&self) -> bool {
        if !self.event.is_ours() {
            return false;
        }
        let mut rings = [0u8; 8];
        // SAFETY: an eventfd writes exactly eight bytes into `rings`, or fails with EAGAIN.
        let read = unsafe { libc::read(self.fd(), rings.as_mut_ptr().cast(), rings.len()) };
        read == 8
    }

    /// The descriptor to await with [`Op::Readable`](super::io::Op::Readable).
    pub fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
