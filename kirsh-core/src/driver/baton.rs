//! Who drives a lane: the hand-over core.
//!
//! At any time at most one thread holds a lane's baton, and only the holder drives. Anybody may
//! post: put something into the lane's mailbox and then say so here. A post is never lost:
//! - if somebody holds the baton, the post leaves a mark that the holder cannot let go over, and
//!   rings the holder's bell, in case the holder sleeps in the kernel;
//! - if nobody does, the poster is told, and wakes the progress thread.
//!
//! The holder publishes its bell *before* it looks at the mark, the poster sets the mark *before*
//! it looks for a bell; so one of the two always sees the other.

use std::sync::Arc;

use super::sync::{AtomicU32, Mutex, Ordering};

/// Wakes a thread that sleeps in the kernel.
pub(crate) trait Bell {
    fn ring(&self);
}

/// What became of a post.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// The holder will look at it.
    Told,
    /// Nobody holds the baton; somebody has to be woken.
    Unheld,
}

#[cfg(all(loom, test))]
mod model;

const HELD: u32 = 1;
const MARK: u32 = 2;

pub(crate) struct Baton<B> {
    state: AtomicU32,
    /// The bell of the thread that holds the baton, or held it last. Ringing one that no longer
    /// drives does no harm: it wakes for nothing, once.
    bell: Mutex<Option<Arc<B>>>,
}

impl<B: Bell> Baton<B> {
    pub(crate) fn new() -> Self {
        Baton { state: AtomicU32::new(0), bell: Mutex::new(None) }
    }

    /// Takes the baton, unless somebody holds it. The holder must look at the mark
    /// ([`Baton::take_mark`]) before it first sleeps.
    pub(crate) fn try_take(&self, bell: &Arc<B>) -> bool {
        let before = self.state.fetch_or(HELD, Ordering::AcqRel);
        if before & HELD != 0 {
            return false;
        }
        let mut slot = self.bell.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if !slot.as_ref().is_some_and(|last| Arc::ptr_eq(last, bell)) {
            *slot = Some(Arc::clone(bell));
        }
        true
    }

    /// Says that the mailbox has something new.
    pub(crate) fn post(&self) -> Posted {
        let before = self.state.fetch_or(MARK, Ordering::AcqRel);
        if before & HELD == 0 {
            return Posted::Unheld;
        }
        let slot = self.bell.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bell) = slot.as_ref() {
            bell.ring();
        }
        Posted::Told
    }

    /// Whether something was posted since the last look. For the holder.
    pub(crate) fn take_mark(&self) -> bool {
        if self.state.load(Ordering::Acquire) & MARK == 0 {
            return false;
        }
        self.state.fetch_and(!MARK, Ordering::AcqRel) & MARK != 0
    }

    /// Lets go, unless something was posted: then the holder still holds, and looks again.
    pub(crate) fn release(&self) -> bool {
        self.state.compare_exchange(HELD, 0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
