//! Who has been reached: what a joining caller waits for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::types::Rank;

#[derive(Default)]
struct Called {
    here: Vec<bool>,
    failed: Option<Error>,
}

/// The ranks to which a control link is up, as far as a joining caller cares.
pub(crate) struct Roll {
    called: Mutex<Called>,
    changed: Condvar,
}

impl Roll {
    pub(crate) fn new(world: u32) -> Self {
        let here = vec![false; world as usize];
        Roll { called: Mutex::new(Called { here, failed: None }), changed: Condvar::new() }
    }

    pub(crate) fn mark(&self, rank: Rank) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = called.here.get_mut(rank as usize) {
            *here = true;
        }
        self.changed.notify_all();
    }

    pub(crate) fn fail(&self, error: Error) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Waits a while for these ranks; gives those that are still missing.
    pub(crate) fn wait(&self, ranks: &[Rank], pause: Duration) -> Result<Vec<Rank>, Error> {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |called: &Called| -> Vec<Rank> {
            ranks.iter().copied().filter(|rank| !called.here[*rank as usize]).collect()
        };
        let (called, _) = self
            .changed
            .wait_timeout_while(called, pause, |called| {
                called.failed.is_none() && !missing(called).is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match &called.failed {
            Some(error) => Err(error.clone()),
            None => Ok(missing(&called)),
        }
    }
}
