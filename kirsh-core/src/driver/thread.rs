//! What a driving thread owns: its way into the kernel and the bell that wakes it.
//!
//! A ring belongs to the thread that made it, so each thread that drives has its own, made on
//! first use and kept until the thread ends.

use std::cell::Cell;
use std::io;
use std::sync::Arc;

use super::baton::Bell;
use super::choose::{AnyIo, Choice, DriverKind};
use super::doorbell::Doorbell;
use super::fork;
use super::io::{Completion, Io, Op, Wait};
use crate::error::{Error, Result};

/// The token of the bell; lanes and the progress thread use other classes.
pub(crate) const BELL: u64 = 0xff00_0000 << 32;

/// Completions kept room for; a wait rarely brings more than a few.
const DONE_ROOM: usize = 256;

pub(crate) struct ThreadIo {
    pub(crate) io: AnyIo,
    pub(crate) bell: Arc<Doorbell>,
    /// Whether the kernel watches the bell.
    watched: bool,
    done: Vec<Completion>,
    /// What was asked for; a thread for which the kernel has no ring left polls instead.
    asked: DriverKind,
    made_in: u64,
}

impl Bell for Doorbell {
    fn ring(&self) {
        Doorbell::ring(self);
    }
}

impl ThreadIo {
    pub(crate) fn new(choice: &Choice) -> Result<Self> {
        let bell = Doorbell::new()
            .map_err(|cause| Error::system("cannot make an eventfd to wake a thread", &cause))?;
        Ok(ThreadIo {
            io: choice.open()?,
            asked: choice.kind,
            bell: Arc::new(bell),
            watched: false,
            done: Vec::with_capacity(DONE_ROOM),
            made_in: fork::generation(),
        })
    }

    /// Waits for completions, the bell, the time or a signal; `each` gets every completion but
    /// the bell's.
    pub(crate) fn wait(
        &mut self,
        wait: Wait,
        mut each: impl FnMut(&mut AnyIo, Completion),
    ) -> io::Result<()> {
        if !self.watched {
            self.watched = true;
            // SAFETY: the operation names no memory, and the bell's descriptor lives as long as
            // this structure, whose `io` is dropped (and drained) before the bell.
            unsafe { self.io.submit(BELL, self.bell.fd(), Op::Readable) };
        }
        let waited = self.io.wait(wait, &mut self.done);
        let mut done = std::mem::take(&mut self.done);
        for completion in done.drain(..) {
            if completion.token == BELL {
                self.watched = false;
                self.bell.clear();
            } else {
                each(&mut self.io, completion);
            }
        }
        self.done = done;
        waited
    }
}

thread_local! {
    static OWN: Cell<Option<Box<ThreadIo>>> = const { Cell::new(None) };
}

/// Runs with this thread's own io. Where that is in use already (a signal handler that calls
/// again) or of another kind, with a fresh one.
pub(crate) fn with<R>(choice: &Choice, run: impl FnOnce(&mut ThreadIo) -> R) -> Result<R> {
    let own = OWN.with(Cell::take);
    let mut own = match own {
        Some(own) if own.asked == choice.kind && own.made_in == fork::generation() => own,
        _ => Box::new(ThreadIo::new(choice)?),
    };
    let result = run(&mut own);
    OWN.with(|cell| cell.set(Some(own)));
    Ok(result)
}
