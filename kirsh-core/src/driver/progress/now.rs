//! Socket calls that never wait, for the small traffic of control and handshakes.

use std::io;
use std::os::fd::RawFd;

/// Receives what is there. `Ok(0)` is the end of the stream, `WouldBlock` that nothing is there.
pub(super) fn receive(descriptor: RawFd, into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is valid for its length, and the kernel is done with it on return.
    let moved =
        unsafe { libc::recv(descriptor, into.as_mut_ptr().cast(), into.len(), libc::MSG_DONTWAIT) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Sends what fits.
pub(super) fn send(descriptor: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the buffer is valid for its length, and the kernel is done with it on return.
    let moved = unsafe { libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}

/// Ends the sending direction: the peer reads what was sent, then the end.
pub(super) fn end_sending(descriptor: RawFd) {
    // SAFETY: a plain system call on a descriptor; failure means that the connection is gone.
    unsafe { libc::shutdown(descriptor, libc::SHUT_WR) };
}
