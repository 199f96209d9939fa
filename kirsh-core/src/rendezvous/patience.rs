//! How long to wait, and who may say that it is enough before.

use std::fmt;
use std::time::{Duration, Instant};

use crate::error::Result;

/// A deadline, and a question asked now and then while waiting: whether to go on. An `Instant`
/// alone is a patience that nobody interrupts.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    deadline: Instant,
    interrupt: Option<&'a dyn Fn() -> Result<()>>,
}

impl<'a> Patience<'a> {
    /// Waits until the deadline, unless `interrupt` returns an error, which then ends the wait. It
    /// is asked about twice a second on the waiting thread; Python asks for Ctrl-C here.
    pub fn new(deadline: Instant, interrupt: &'a dyn Fn() -> Result<()>) -> Self {
        Patience { deadline, interrupt: Some(interrupt) }
    }

    /// The same, but for no longer than this from now.
    pub(super) fn at_most(self, bound: Duration) -> Self {
        Patience { deadline: self.deadline.min(Instant::now() + bound), ..self }
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What is left of the time; zero when it is over.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero()
    }

    /// Asks whether to go on.
    pub(super) fn check(&self) -> Result<()> {
        self.interrupt.map_or(Ok(()), |interrupt| interrupt())
    }
}

impl From<Instant> for Patience<'_> {
    fn from(deadline: Instant) -> Self {
        Patience { deadline, interrupt: None }
    }
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}
