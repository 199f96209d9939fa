//! Which driver this process uses, and why.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use super::io::{Account, Completion, Io, Op, Wait};
use super::poll::PollIo;
use super::uring::{UringIo, setup};
use crate::error::{Error, ErrorKind, Result};

/// The ways to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// io_uring, where the kernel has it (6.1 and later) and lets us.
    Uring,
    /// poll(2) with non-blocking calls: everywhere.
    Poll,
}

impl DriverKind {
    /// The spelling in `KIRSH_DRIVER` and in messages.
    pub const fn name(self) -> &'static str {
        match self {
            DriverKind::Uring => "uring",
            DriverKind::Poll => "poll",
        }
    }

    /// The driver with this spelling, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "uring" => Some(DriverKind::Uring),
            "poll" => Some(DriverKind::Poll),
            _ => None,
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A driver, with what led to it.
#[derive(Clone, Debug)]
pub struct Choice {
    pub kind: DriverKind,
    /// Whether somebody asked for this one; then nothing else will do.
    pub forced: bool,
    /// For people: `kirsh info` shows it.
    pub why: String,
    /// Ring features in force; none with poll.
    pub features: Vec<&'static str>,
}

impl Choice {
    /// Opens the driver for the calling thread, to which it stays bound. A process that may use
    /// io_uring can still run out of locked memory or descriptors for one ring more; unless the
    /// choice was forced, such a thread gets the poll driver, and a warning is logged.
    ///
    /// # Errors
    /// As [`open`].
    pub fn open(&self) -> Result<AnyIo> {
        match open(self.kind) {
            Err(error) if self.kind == DriverKind::Uring && !self.forced => {
                tracing::warn!(%error, "this thread uses the poll driver instead");
                open(DriverKind::Poll)
            }
            opened => opened,
        }
    }
}

/// Chooses a driver. What the probe of io_uring found is remembered for the life of the process.
///
/// # Errors
/// `Unsupported` when io_uring is forced and cannot be had: a forced driver never falls back.
pub fn choose(forced: Option<DriverKind>) -> Result<Choice> {
    static PROBED: OnceLock<Result<Vec<&'static str>, String>> = OnceLock::new();

    if forced == Some(DriverKind::Poll) {
        let why = "KIRSH_DRIVER=poll asks for it".to_owned();
        return Ok(Choice { kind: DriverKind::Poll, forced: true, why, features: Vec::new() });
    }
    match (PROBED.get_or_init(setup::probe), forced) {
        (Ok(features), forced) => Ok(Choice {
            kind: DriverKind::Uring,
            forced: forced.is_some(),
            why: match forced {
                Some(_) => "KIRSH_DRIVER=uring asks for it".to_owned(),
                None => "io_uring passed its probe".to_owned(),
            },
            features: features.clone(),
        }),
        (Err(reason), Some(_)) => Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "KIRSH_DRIVER=uring, but io_uring cannot be used here: {reason}; unset \
                 KIRSH_DRIVER or set KIRSH_DRIVER=poll"
            ),
        )),
        (Err(reason), None) => Ok(Choice {
            kind: DriverKind::Poll,
            forced: false,
            why: format!("io_uring cannot be used here: {reason}"),
            features: Vec::new(),
        }),
    }
}

/// Opens this driver and no other for the calling thread, to which it stays bound.
///
/// # Errors
/// `System` when the kernel has no ring, descriptor or memory to give.
pub fn open(kind: DriverKind) -> Result<AnyIo> {
    let opened = match kind {
        DriverKind::Uring => UringIo::new().map(AnyIo::Uring),
        DriverKind::Poll => PollIo::new().map(AnyIo::Poll),
    };
    opened.map_err(|error| {
        Error::new(
            ErrorKind::System,
            format!(
                "opening the {kind} driver: {} (KIRSH_DRIVER chooses another)",
                setup::explain(&error)
            ),
        )
    })
}

/// Either driver. One for each thread that drives, so its size does not matter.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub enum AnyIo {
    Uring(UringIo),
    Poll(PollIo),
}

impl AnyIo {
    /// Which one it is.
    pub fn kind(&self) -> DriverKind {
        match self {
            AnyIo::Uring(_) => DriverKind::Uring,
            AnyIo::Poll(_) => DriverKind::Poll,
        }
    }
}

impl Io for AnyIo {
    unsafe fn submit(&mut self, token: u64, descriptor: RawFd, op: Op) {
        match self {
            // SAFETY: the caller's promise is passed on unchanged.
            AnyIo::Uring(io) => unsafe { io.submit(token, descriptor, op) },
            // SAFETY: as above.
            AnyIo::Poll(io) => unsafe { io.submit(token, descriptor, op) },
        }
    }

    fn wait(&mut self, wait: Wait, done: &mut Vec<Completion>) -> io::Result<()> {
        match self {
            AnyIo::Uring(io) => io.wait(wait, done),
            AnyIo::Poll(io) => io.wait(wait, done),
        }
    }

    fn cancel(&mut self, descriptor: RawFd) {
        match self {
            AnyIo::Uring(io) => io.cancel(descriptor),
            AnyIo::Poll(io) => io.cancel(descriptor),
        }
    }

    fn in_flight(&self) -> usize {
        match self {
            AnyIo::Uring(io) => io.in_flight(),
            AnyIo::Poll(io) => io.in_flight(),
        }
    }

    fn account(&mut self) -> &mut Account {
        match self {
            AnyIo::Uring(io) => io.account(),
            AnyIo::Poll(io) => io.account(),
        }
    }
}
