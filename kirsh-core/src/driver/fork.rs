//! What the library owes to a process that forks or handles signals.
//!
//! A forked child gets a copy of every descriptor. Were it to keep them, the death of the parent
//! would close nothing, and its peers would wait for an end of stream that never comes. So every
//! descriptor of the library is noted here, and a child closes them before `fork` returns to its
//! caller. It closes and never shuts down, since a shutdown would reach through to the parent.
//!
//! The notes are one bit for each descriptor number, in static memory: the handler that runs in
//! the child may neither allocate nor take a lock that some other thread held when it forked.
//! A fork that falls between the opening of a descriptor and its note, or that goes round libc,
//! leaves a copy in the child; there the peers learn of a death by the liveness timeout instead.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// Descriptor numbers that can be noted: what `fs.nr_open` allows unless somebody raised it.
const DESCRIPTORS_MAX: usize = 1 << 20;

static NOTED: [AtomicU64; DESCRIPTORS_MAX / 64] = [const { AtomicU64::new(0) }; _];
/// Words of `NOTED` up to the last that was ever used, so that a child looks no further.
static WORDS_USED: AtomicUsize = AtomicUsize::new(0);
static GENERATION: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> libc::c_int;
}

/// Runs in a forked child before `fork` returns there. Only atomics and `close`.
unsafe extern "C" fn after_fork_in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    let used = WORDS_USED.load(Ordering::SeqCst).min(NOTED.len());
    for (index, word) in NOTED[..used].iter().enumerate() {
        let mut bits = word.swap(0, Ordering::SeqCst);
        while bits != 0 {
            let descriptor = index * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            // SAFETY: a noted descriptor belongs to the library, and in this child every owner of
            // one knows by the generation that it is gone (see `Fd::is_ours`), so none is closed
            // twice. `close` is async-signal-safe.
            unsafe { libc::close(descriptor as libc::c_int) };
        }
    }
}

/// Sees to it that children of this process are told of the fork. Everything here that opens a
/// descriptor calls it; further calls cost one load.
///
/// # Errors
/// When libc has no memory for the handler.
pub fn install() -> io::Result<()> {
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    // Two threads may both get here, and then the handler runs twice in a child, which does no
    // harm. A `Once` would: it stays locked in a child forked while it ran.
    // SAFETY: the handler is async-signal-safe and lives as long as the program.
    let failed = unsafe { pthread_atfork(None, None, Some(after_fork_in_child)) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    INSTALLED.store(true, Ordering::Release);
    Ok(())
}

/// How many forks lie between the first process that used the library and this one.
///
/// Keep it with a handle and hand it to [`check`] when the handle is used.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

/// Whether what was made in `generation` still works, that is, whether this is still the process
/// that made it. One atomic load.
///
/// # Errors
/// `Forked`, with what to do about it.
#[inline]
pub fn check(made_in: u64) -> Result<()> {
    if made_in == generation() { Ok(()) } else { Err(forked()) }
}

#[cold]
fn forked() -> Error {
    Error::new(
        ErrorKind::Forked,
        "this handle was made before a fork, and its connections stayed with the parent process: \
         use it in the parent only, or create a new communicator in the child (in Python, start \
         workers with the 'spawn' or 'forkserver' method if they are to communicate)",
    )
}

/// Notes a descriptor that a forked child is to close.
///
/// # Errors
/// When the number of the descriptor is beyond the table, or libc has no memory.
pub fn register(descriptor: RawFd) -> io::Result<()> {
    install()?;
    let index = usize::try_from(descriptor).map_err(|_| io::ErrorKind::InvalidInput)?;
    if index >= DESCRIPTORS_MAX {
        return Err(io::Error::other(format!(
            "descriptor {descriptor} is beyond the {DESCRIPTORS_MAX} that can be closed in a \
             forked child: lower the limit on open files (ulimit -n)"
        )));
    }
    WORDS_USED.fetch_max(index / 64 + 1, Ordering::SeqCst);
    NOTED[index / 64].fetch_or(1 << (index % 64), Ordering::SeqCst);
    Ok(())
}

/// Forgets a descriptor. To be called before it is closed, since its number may be given to
/// another thread at once.
pub fn unregister(descriptor: RawFd) {
    if let Ok(index) = usize::try_from(descriptor)
        && index < DESCRIPTORS_MAX
    {
        NOTED[index / 64].fetch_and(!(1 << (index % 64)), Ordering::SeqCst);
    }
}

/// The process and the generation in which something was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Birthplace {
    process: u32,
    generation: u64,
}

impl Birthplace {
    pub(crate) fn here() -> Self {
        Birthplace { process: std::process::id(), generation: generation() }
    }

    /// One load; does not see a fork that went round libc.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        check(self.generation)
    }

    /// Whether this is still the same process. The generation alone would miss a raw `clone`, and
    /// the number alone a pid namespace in which both are 1. Makes a system call.
    pub(crate) fn is_here(self) -> bool {
        self == Birthplace::here()
    }
}

/// A descriptor that a forked child loses. Dropping it closes it, except in a process other than
/// the one that opened it: there the number may by now belong to somebody else.
#[derive(Debug)]
pub struct Fd {
    descriptor: RawFd,
    born: Birthplace,
}

impl Fd {
    /// Takes over a descriptor and notes it.
    ///
    /// # Errors
    /// As [`register`]; the descriptor is then closed.
    pub fn new(owned: OwnedFd) -> io::Result<Self> {
        register(owned.as_raw_fd())?;
        Ok(Fd { descriptor: owned.into_raw_fd(), born: Birthplace::here() })
    }

    /// Whether this process opened the descriptor. False in a forked child, where the descriptor
    /// is closed and must not be used.
    #[inline]
    pub fn is_ours(&self) -> bool {
        self.born.check().is_ok()
    }

    /// Gives the descriptor away, without its note.
    ///
    /// # Errors
    /// `Forked` in a process that did not open it.
    pub fn into_owned(self) -> Result<OwnedFd> {
        use std::os::fd::FromRawFd;

        if !self.born.is_here() {
            return Err(forked());
        }
        let this = ManuallyDrop::new(self);
        unregister(this.descriptor);
        // SAFETY: the descriptor is open and ours, and `this` will not close it.
        Ok(unsafe { OwnedFd::from_raw_fd(this.descriptor) })
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as `self` in the process that opened it. In a forked child the
        // number is stale; users of handles check for a fork before they get here.
        unsafe { BorrowedFd::borrow_raw(self.descriptor) }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        if self.born.is_here() {
            unregister(self.descriptor);
            // SAFETY: we own the descriptor and nobody uses it after this.
            unsafe { libc::close(self.descriptor) };
        }
    }
}

/// Blocks every signal in the calling thread but those that the thread raises against itself.
///
/// The library's own threads call this first, so that signals go to the threads of the program,
/// where Ctrl-C is looked for. A fault must still reach its handler, hence the exceptions.
pub fn block_all_signals_in_this_thread() {
    const OWN_FAULTS: [libc::c_int; 7] = [
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGTRAP,
        libc::SIGABRT,
        libc::SIGSYS,
    ];
    let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `sigfillset` initialises the set that the calls after it use; all numbers are valid
    // signals, and a null pointer for the old mask is allowed.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        for signal in OWN_FAULTS {
            libc::sigdelset(set.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}
