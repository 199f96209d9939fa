//! Whether every rank can be reached: the last part of creating a communicator.

use std::time::{Duration, Instant};

use super::Creation;
use crate::comm::Inner;
use crate::driver::interrupt;
use crate::driver::lane::interrupted;
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::limits;
use crate::rendezvous::join::is_lost;
use crate::rendezvous::{Store, await_count};
use crate::types::Rank;

/// How long to wait for control links before looking for interrupts and word of failure again.
const REACH_STEP: Duration = Duration::from_millis(100);

/// How long rank 0's link may still take after rank 0 has taken its store down: it counts as
/// there when rank 0's word that it is has been sent, which then has to arrive.
const LAST_REACH: Duration = Duration::from_secs(2);

/// Where a rank that cannot reach another says so, for those that wait.
const UNREACHABLE: &str = "unreachable";

impl Creation<'_> {
    /// Waits for the control links between rank 0 and everybody, so that a rank that cannot be
    /// reached shows now, on every rank, and not in the middle of the work. `by_rank_0`: it is rank 0
    /// that serves the store.
    pub(super) fn reach_all(
        &self,
        inner: &Inner,
        store: &dyn Store,
        by_rank_0: bool,
    ) -> Result<()> {
        let key = self.unreachable_key();
        let mut lost = None;
        self.await_links(inner, store, by_rank_0, &mut lost).inspect_err(|error| {
            // Where the store itself is gone there is no way left to tell the others, and asking
            // it again would be to wait for it to come back.
            if lost.is_some() {
                return;
            }
            // The others wait for links that will not come.
            let heard = format!("{key}/heard");
            if store.add(&heard, 1).is_ok_and(|count| count == 1) {
                self.tell_failure(store, error);
            }
            // Rank 0 may be who serves the store: it stays until all have looked.
            if inner.rank == 0 {
                let bound = Duration::from_secs(limits::LINGER_SECONDS);
                await_count(store, &heard, inner.size, bound);
            }
        })
    }

    /// `lost` becomes the error of a store that went away, which is then not asked again.
    fn await_links(
        &self,
        inner: &Inner,
        store: &dyn Store,
        by_rank_0: bool,
        lost: &mut Option<Error>,
    ) -> Result<()> {
        let world = self.identity.world_size;
        let awaited: Vec<Rank> = if inner.rank == 0 { (1..world).collect() } else { vec![0] };
        let mut missing = awaited.clone();
        let mut look = Instant::now() + 5 * REACH_STEP;
        while !missing.is_empty() {
            missing = inner
                .process
                .reach(&awaited, REACH_STEP)
                .map_err(|error| error.with_rank(inner.rank).with_operation("create", None))?;
            if interrupt::check() {
                return Err(interrupted());
            }
            if missing.is_empty() {
                break;
            }
            match &*lost {
                // Rank 0 takes its store down when it has a link to everybody, so by now it had
                // to be seen on this side.
                Some(error) if by_rank_0 => return Err(Error::clone(error)),
                Some(_) => self.check_deadline(&missing)?,
                None if Instant::now() >= look => {
                    look = Instant::now() + 5 * REACH_STEP;
                    *lost = self.hear_of_failure(store, &missing)?;
                    if lost.is_some() {
                        // What comes of it is asked above.
                        let _ = inner.process.reach(&awaited, LAST_REACH);
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Says why this rank will not be reached, to those that wait for a link to it.
    pub(super) fn tell_failure(&self, store: &dyn Store, error: &Error) {
        let text = format!("rank {}: {}", self.identity.rank, error.message());
        // Without the store the others' deadline remains.
        let _ = store.set(&self.unreachable_key(), text.as_bytes());
    }

    fn unreachable_key(&self) -> String {
        format!("kirsh/{}/{UNREACHABLE}", self.generation)
    }

    /// Fails with what another rank said, or when the time is up. Gives the error of a store that is
    /// lost, and tells nothing any more.
    fn hear_of_failure(&self, store: &dyn Store, missing: &[Rank]) -> Result<Option<Error>> {
        match store.get(&self.unreachable_key()) {
            Ok(Some(text)) => {
                let text = String::from_utf8_lossy(&text).into_owned();
                return Err(self.failed(ErrorKind::PeerLost, text));
            }
            Err(error) if is_lost(&error) => {
                let text = format!("no connection with rank {missing:?}, and {}", error.message());
                let error = self.failed(ErrorKind::Rendezvous, text);
                return Ok(Some(error.with_scope(Scope::Link)));
            }
            // A store that answers in another way tells nothing; the deadline remains.
            Ok(None) | Err(_) => {}
        }
        self.check_deadline(missing).map(|()| None)
    }

    fn check_deadline(&self, missing: &[Rank]) -> Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let text = format!(
            "no connection with rank {missing:?} (KIRSH_JOIN_TIMEOUT sets how long to try)"
        );
        Err(self.failed(ErrorKind::Timeout, text))
    }

    fn failed(&self, kind: ErrorKind, text: String) -> Error {
        Error::new(kind, text).with_rank(self.identity.rank).with_operation("create", None)
    }
}
