//! Who has been reached: what a joining caller waits for.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Error;
use crate::types::Rank;

#[derive(Default)]
struct Called {
    here: Vec<bool>,
    /// Whom no control link leads to, and why.
    unreachable: HashMap<Rank, Error>,
    /// What ended the progress thread.
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
        let called = Called { here, ..Called::default() };
        Roll { called: Mutex::new(called), changed: Condvar::new() }
    }

    pub(crate) fn mark(&self, rank: Rank) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(here) = called.here.get_mut(rank as usize) {
            *here = true;
        }
        self.changed.notify_all();
    }

    /// This rank cannot be reached. That concerns callers who wait for it.
    pub(crate) fn give_up(&self, rank: Rank, error: Error) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.unreachable.entry(rank).or_insert(error);
        self.changed.notify_all();
    }

    /// Nobody can be reached any more.
    pub(crate) fn fail(&self, error: Error) {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.failed.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Waits a while for these ranks; gives those that are still missing.
    ///
    /// # Errors
    /// When one of them cannot be reached, or nobody.
    pub(crate) fn wait(&self, ranks: &[Rank], pause: Duration) -> Result<Vec<Rank>, Error> {
        let called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |called: &Called| -> Vec<Rank> {
            ranks.iter().copied().filter(|rank| !called.here[*rank as usize]).collect()
        };
        let failure = |called: &Called| -> Option<Error> {
            let unreachable = || ranks.iter().find_map(|rank| called.unreachable.get(rank));
            called.failed.as_ref().or_else(unreachable).cloned()
        };
        let (called, _) = self
            .changed
            .wait_timeout_while(called, pause, |called| {
                failure(called).is_none() && !missing(called).is_empty()
            })
            .unwrap_or_else(PoisonError::into_inner);
        match failure(&called) {
            Some(error) => Err(error),
            None => Ok(missing(&called)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_those_who_are_waited_for_are_missed() {
        let roll = Roll::new(4);
        let lost = |rank| Error::new(ErrorKind::PeerLost, "gone").with_peer(rank);
        roll.mark(0);
        roll.give_up(2, lost(2));
        roll.give_up(2, lost(3));
        assert_eq!(roll.wait(&[0, 1], Duration::ZERO).unwrap(), [1]);
        assert_eq!(roll.wait(&[1, 2], Duration::ZERO).unwrap_err().peer(), Some(2));
        roll.fail(Error::new(ErrorKind::Internal, "over"));
        assert_eq!(roll.wait(&[0], Duration::ZERO).unwrap_err().kind(), ErrorKind::Internal);
    }
}
