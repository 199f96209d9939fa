//! The system calls of the launcher, in safe clothes: signals taken from a descriptor, children
//! looked at without being reaped, process groups, and what a child does between fork and exec.
//!
//! All of the command's `unsafe` is here.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Signals that the launcher acts on, unless it was started with them ignored (as nohup does).
const HANDLED: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGTSTP];

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Code(i32),
    Signal { number: i32, core: bool },
}

impl Exit {
    /// The code under which a shell would report it.
    pub(super) fn code(self) -> i32 {
        match self {
            Exit::Code(code) => code,
            Exit::Signal { number, .. } => 128 + number,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exited with code {code}"),
            Exit::Signal { number, core } => {
                let dumped = if *core { " (core dumped)" } else { "" };
                write!(f, "was killed by {}{dumped}", SignalName(*number))
            }
        }
    }
}

/// A signal's number that prints as its name.
pub(super) struct SignalName(pub(super) i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            libc::SIGHUP => "SIGHUP",
            libc::SIGINT => "SIGINT",
            libc::SIGQUIT => "SIGQUIT",
            libc::SIGILL => "SIGILL",
            libc::SIGTRAP => "SIGTRAP",
            libc::SIGABRT => "SIGABRT",
            libc::SIGBUS => "SIGBUS",
            libc::SIGFPE => "SIGFPE",
            libc::SIGKILL => "SIGKILL",
            libc::SIGUSR1 => "SIGUSR1",
            libc::SIGSEGV => "SIGSEGV",
            libc::SIGUSR2 => "SIGUSR2",
            libc::SIGPIPE => "SIGPIPE",
            libc::SIGALRM => "SIGALRM",
            libc::SIGTERM => "SIGTERM",
            libc::SIGXCPU => "SIGXCPU",
            libc::SIGXFSZ => "SIGXFSZ",
            libc::SIGSYS => "SIGSYS",
            number => return write!(f, "signal {number}"),
        };
        f.write_str(name)
    }
}

/// The calling thread's signals, taken over for as long as this lives.
///
/// They are blocked and come through a descriptor. Threads started meanwhile inherit the block, so
/// that no signal to the process finds another way. Dropping it puts everything back; do that on
/// the thread that made it.
pub(super) struct Signals {
    arrivals: File,
    old_mask: libc::sigset_t,
    old_child: libc::sigaction,
}

impl Signals {
    pub(super) fn take_over() -> io::Result<Self> {
        let mut mask = empty_mask();
        let mut wanted = vec![libc::SIGCHLD];
        wanted.extend(HANDLED.into_iter().filter(|&signal| !is_ignored(signal)));
        for signal in wanted {
            // SAFETY: `mask` is an initialised set and the number is a valid signal's.
            unsafe { libc::sigaddset(&mut mask, signal) };
        }
        // A launcher that was started with SIGCHLD ignored would have its children reaped unseen.
        // SAFETY: all-zero is a valid sigaction: the default action, no flags, an empty mask.
        let default: libc::sigaction = unsafe { std::mem::zeroed() };
        let mut old_child = MaybeUninit::uninit();
        // SAFETY: both pointers are valid for the call, which fills `old_child`.
        check(unsafe { libc::sigaction(libc::SIGCHLD, &default, old_child.as_mut_ptr()) })?;
        // SAFETY: the call above succeeded and so has written it.
        let old_child = unsafe { old_child.assume_init() };
        let mut old_mask = empty_mask();
        // SAFETY: both sets are initialised and valid for the call.
        let error = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &mask, &mut old_mask) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: `mask` is an initialised set; -1 asks for a new descriptor.
        let fd = unsafe { libc::signalfd(-1, &mask, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if fd < 0 {
            let error = io::Error::last_os_error();
            restore(&old_mask, &old_child);
            return Err(error);
        }
        // SAFETY: signalfd has just returned this descriptor, and nobody else knows it.
        let arrivals = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Signals { arrivals, old_mask, old_child })
    }

    /// Sleeps until a signal is there, `other` is readable or hung up, or the time is over.
    pub(super) fn wait(
        &self,
        other: Option<BorrowedFd<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let mut fds = vec![readable(self.arrivals.as_raw_fd())];
        fds.extend(other.map(|fd| readable(fd.as_raw_fd())));
        poll(&mut fds, timeout)
    }

    /// The next signal that has arrived, if there is one.
    pub(super) fn next(&mut self) -> Option<i32> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        self.arrivals.read_exact(&mut info).ok()?;
        // The kernel's structure begins with the signal's number.
        Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }

    /// Makes a command's process a rank's: leader of a group of its own, with the signals that the
    /// launcher had before, and dead as soon as the calling thread is.
    pub(super) fn prepare(&self, command: &mut Command) {
        let old_mask = self.old_mask;
        let launcher = std::process::id();
        command.process_group(0);
        let before_exec = move || {
            // SAFETY: the set is a copy of an initialised one; a null pointer means that the
            // old mask is not wanted.
            let error = unsafe {
                libc::pthread_sigmask(libc::SIG_SETMASK, &old_mask, std::ptr::null_mut())
            };
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error));
            }
            // SAFETY: this option takes a signal's number and touches no memory.
            check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong) })?;
            // A launcher that died before the line above will send nothing.
            if std::os::unix::process::parent_id() != launcher {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        };
        // SAFETY: between fork and exec only async-signal-safe calls are allowed, and no lock or
        // allocation. The closure makes three plain system calls and builds errors of a number
        // alone, which allocate nothing.
        unsafe { command.pre_exec(before_exec) };
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        restore(&self.old_mask, &self.old_child);
    }
}

fn restore(mask: &libc::sigset_t, child: &libc::sigaction) {
    // SAFETY: `child` was filled by the kernel; a null pointer means that the old one is not wanted.
    unsafe { libc::sigaction(libc::SIGCHLD, child, std::ptr::null_mut()) };
    // SAFETY: `mask` was filled by pthread_sigmask; the null pointer as above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut()) };
}

fn empty_mask() -> libc::sigset_t {
    let mut mask = MaybeUninit::uninit();
    // SAFETY: the pointer is valid for writing a set.
    unsafe { libc::sigemptyset(mask.as_mut_ptr()) };
    // SAFETY: sigemptyset initialises the set and cannot fail on a valid pointer.
    unsafe { mask.assume_init() }
}

fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null pointer leaves the action alone, and the other is valid for writing.
    if unsafe { libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded and so has filled it.
    unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

/// While this lives, processes that the ranks leave behind become children of this process, so
/// that it can reap them: PID 1 of a container often does not.
pub(super) struct Subreaper {
    was_on: bool,
}

impl Subreaper {
    pub(super) fn turn_on() -> io::Result<Self> {
        let mut was_on: libc::c_int = 0;
        // SAFETY: this option writes an int to the pointer, which is valid.
        check(unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut was_on) })?;
        set_subreaper(true)?;
        Ok(Subreaper { was_on: was_on != 0 })
    }
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        // Turning it off cannot fail where turning it on has not.
        let _ = set_subreaper(self.was_on);
    }
}

fn set_subreaper(on: bool) -> io::Result<()> {
    // SAFETY: this option takes a number and touches no memory.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, libc::c_ulong::from(on)) })
}

/// How this child has ended, if it has. It stays a zombie, so its number, which is also its
/// group's, belongs to nobody else until [`reap_group`].
pub(super) fn exit_of(pid: i32) -> io::Result<Option<Exit>> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    Ok(waitid(libc::P_PID, pid, flags)?.map(|(_, exit)| exit))
}

/// Lets go of a child and of all dead children in the group it leads. From here on its number may become somebody else's.
pub(super) fn reap_group(leader: i32) {
    let flags = libc::WEXITED | libc::WNOHANG;
    while let Ok(Some(_)) = waitid(libc::P_PGID, leader, flags) {}
    // If it has moved to another group; else there is no such child any more.
    let _ = waitid(libc::P_PID, leader, flags);
}

fn waitid(kind: libc::idtype_t, id: i32, flags: i32) -> io::Result<Option<(i32, Exit)>> {
    let id = libc::id_t::try_from(id).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is valid for writing a siginfo.
    check(unsafe { libc::waitid(kind, id, info.as_mut_ptr(), flags) })?;
    // SAFETY: it is all zeros, which is valid, or filled by the kernel.
    let info = unsafe { info.assume_init() };
    // SAFETY: waitid fills the fields of SIGCHLD or none; zeros are valid for them too.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        code => Exit::Signal { number: status, core: code == libc::CLD_DUMPED },
    };
    Ok((pid != 0).then_some((pid, exit)))
}

/// Sends a signal to the group that this child leads. The child must not have been reaped.
pub(super) fn signal_group(leader: i32, signal: i32) {
    debug_assert!(leader > 1, "0 and -1 would reach processes of others");
    // SAFETY: kill touches no memory.
    let result = unsafe { libc::kill(-leader, signal) };
    if check(result).is_err_and(|error| error.raw_os_error() == Some(libc::ESRCH)) {
        // The child has moved to another group and left nobody in its own.
        // SAFETY: as above; the number is a child's that has not been reaped.
        unsafe { libc::kill(leader, signal) };
    }
}

/// Stops this process until somebody continues it, as Ctrl-Z would have.
pub(super) fn suspend_self() {
    // SAFETY: raise touches no memory of this process; every thread stops until SIGCONT.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// The entry that asks poll whether a descriptor can be read or has been hung up.
pub(super) fn readable(fd: i32) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits until one of the descriptors is ready or the time is over; `None` waits without end. A
/// signal handler's interruption counts as a wake-up.
pub(super) fn poll(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<()> {
    let timeout_ms = match timeout {
        None => -1,
        // Rounded up, since waking a little early would turn the caller's loop into a spin.
        Some(time) => i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX),
    };
    // SAFETY: the slice is valid for its length for the whole call.
    let result = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    match check(result) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            fds.iter_mut().for_each(|fd| fd.revents = 0);
            Ok(())
        }
        done => done,
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
