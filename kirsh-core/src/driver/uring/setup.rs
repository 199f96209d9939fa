//! Making a ring with as many of the wanted features as this kernel has, and finding out whether
//! io_uring can be used at all.

use std::io;
use std::time::Duration;

use io_uring::{Builder, IoUring, Probe, cqueue, opcode, squeue, types};

use super::op;
use crate::driver::doorbell::Doorbell;

/// Entries in the submission queue. When more come between two waits, `submit` passes them on and
/// pays one system call for it. Small on purpose: kernels from 6.13 on charge a ring to the user's
/// locked memory, of which all processes together have 64 KiB on older distributions and 8 MiB on
/// newer ones. This ring takes 12 KiB; with 256 entries it took 40.
const SUBMISSIONS: u32 = 64;

/// Entries in the completion queue. A wait can find more completions than one batch of submissions,
/// and an overflow costs the kernel an allocation each.
const COMPLETIONS: u32 = 4 * SUBMISSIONS;

/// How long the probe waits for an answer that a healthy kernel gives at once, in milliseconds.
const PROBE_TIMEOUT_MS: u64 = 2000;

type Building = Builder<squeue::Entry, cqueue::Entry>;
type Feature = (&'static str, fn(&mut Building) -> &mut Building);

/// What we ask of a ring, the newest first, so that leaving off from the top gives the ring that an
/// older kernel would make.
const FEATURES: [Feature; 6] = [
    // 6.6: one indirection less.
    ("no_sqarray", Builder::setup_no_sqarray),
    // 6.1: completions are worked off when this thread asks for them, not by interrupting it.
    ("defer_taskrun", Builder::setup_defer_taskrun),
    // 6.0: this thread alone submits.
    ("single_issuer", Builder::setup_single_issuer),
    // 5.19: no interrupt to tell a running thread that there is something to work off. Without the
    // flag below a spinning thread would not learn of it, so it goes first.
    ("coop_taskrun", Builder::setup_coop_taskrun),
    // 5.19: a flag in shared memory says so instead; spinning reads it. Needs one of those above.
    ("taskrun_flag", Builder::setup_taskrun_flag),
    // 5.18: one bad entry does not hold up those behind it.
    ("submit_all", Builder::setup_submit_all),
];

/// A ring for the calling thread, and the features it has. Its memory is not passed to children.
///
/// # Errors
/// What `io_uring_setup` or `mmap` said.
pub(super) fn ring() -> io::Result<(IoUring, Vec<&'static str>)> {
    ring_without(0)
}

/// As [`ring`], without the newest so many features.
pub(super) fn ring_without(mut left_off: usize) -> io::Result<(IoUring, Vec<&'static str>)> {
    loop {
        let wanted = &FEATURES[left_off..];
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(COMPLETIONS);
        for (_, ask) in wanted {
            ask(&mut builder);
        }
        match builder.build(SUBMISSIONS) {
            Ok(ring) => return Ok((ring, wanted.iter().map(|(name, _)| *name).collect())),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !wanted.is_empty() => {
                left_off += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Finds out whether io_uring can be used here: a ring is made, asked for the operations that the
/// driver needs, and tried with a poll that is cancelled by its descriptor, which kernels before
/// 5.19 refuse although they list the operation.
///
/// # Errors
/// Why not, in words for `kirsh info`.
pub fn probe() -> std::result::Result<Vec<&'static str>, String> {
    let (mut ring, features) = ring().map_err(|error| explain(&error))?;
    let parameters = ring.params();
    for (has, name) in [
        (parameters.is_feature_nodrop(), "NODROP (kernel 5.5)"),
        (parameters.is_feature_ext_arg(), "EXT_ARG (kernel 5.11)"),
        (parameters.is_feature_submit_stable(), "SUBMIT_STABLE (kernel 5.5)"),
    ] {
        if !has {
            return Err(format!("this kernel's io_uring lacks {name}; 6.1 or later is needed"));
        }
    }
    let mut known = Probe::new();
    ring.submitter()
        .register_probe(&mut known)
        .map_err(|error| format!("asking for its operations: {}", explain(&error)))?;
    for (code, name) in [
        (opcode::SendMsg::CODE, "SENDMSG"),
        (opcode::RecvMsg::CODE, "RECVMSG"),
        (opcode::PollAdd::CODE, "POLL_ADD"),
        (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL"),
    ] {
        if !known.is_supported(code) {
            return Err(format!("this kernel's io_uring lacks the operation {name}"));
        }
    }
    try_cancel(&mut ring).map_err(|error| format!("trying a cancel: {}", explain(&error)))?;
    Ok(features)
}

/// Polls a bell that nobody rings and cancels that by descriptor; both must complete.
fn try_cancel(ring: &mut IoUring) -> io::Result<()> {
    const POLL: u64 = 1;
    const CANCEL: u64 = 2;

    let bell = Doorbell::new()?;
    let entries = [
        op::poll::entry(bell.fd(), libc::POLLIN).user_data(POLL),
        op::poll::cancel(bell.fd()).user_data(CANCEL),
    ];
    // SAFETY: neither entry names memory, and the ring is gone before anything else is pushed.
    unsafe { ring.submission().push_multiple(&entries) }.map_err(io::Error::other)?;

    let patience = types::Timespec::from(Duration::from_millis(PROBE_TIMEOUT_MS));
    let limits = types::SubmitArgs::new().timespec(&patience);
    let mut answered = 0;
    while answered < entries.len() {
        match ring.submitter().submit_with_args(entries.len() - answered, &limits) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for completion in ring.completion() {
            answered += 1;
            match (completion.user_data(), completion.result()) {
                (POLL, result) if result == -libc::ECANCELED => {}
                (CANCEL, result) if result >= 0 => {}
                (_, result) if result < 0 => return Err(io::Error::from_raw_os_error(-result)),
                (token, result) => {
                    return Err(io::Error::other(format!("entry {token} gave {result}")));
                }
            }
        }
    }
    Ok(())
}

/// The error, and what usually stands behind it.
pub(in crate::driver) fn explain(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => {
            "forbidden by a seccomp profile, as containers have it, or by kernel.io_uring_disabled"
        }
        Some(libc::ENOSYS) => "the kernel has no io_uring, or a seccomp profile hides it",
        Some(libc::ENOMEM) => "no memory that may be locked: raise ulimit -l",
        Some(libc::EMFILE | libc::ENFILE) => "no descriptor left: raise ulimit -n",
        Some(libc::EINVAL) => "the kernel is older than 6.1",
        _ => return error.to_string(),
    };
    format!("{error}: {hint}")
}
