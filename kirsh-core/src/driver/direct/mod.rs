//! Point-to-point messages: what callers hand to the progress thread, which alone drives them.
//!
//! `core` does what the deciding part (`session::direct`) asks; here is how callers reach it and how
//! they hear of the outcome.

mod core;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub(crate) use self::core::DirectCore;

use super::array::Array;
use super::completion::Completion;
use super::lane::{Lane, closed};
use crate::error::{Error, ErrorKind, Result};
use crate::session::direct::{self, Received};
use crate::types::Rank;

/// Completion tokens of direct links carry this and the lane's number in the upper half.
pub(crate) const TOKEN_CLASS: u32 = super::lane::NUMBER_MAX;

/// Something asked of the messages of one communicator.
pub(crate) enum Ask {
    Post(Post),
    /// Open the link for this rank's messages to a peer.
    Dial {
        peer: Rank,
    },
    /// See that this peer's end is noticed.
    Watch {
        peer: Rank,
    },
    /// The communicator is over.
    Over(Error),
    /// End as soon as nothing runs any more; then say so here.
    Close(Arc<Completion>),
}

/// A send or a receive on its way to the progress thread.
pub(crate) struct Post {
    pub(super) request: direct::Request,
    pub(super) memory: Array,
    pub(super) outcome: Outcome,
}

/// Where the outcome of a send or a receive appears.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) completion: Arc<Completion>,
    received: Arc<OnceLock<Received>>,
}

impl Pending {
    /// What has been received, if this was a receive and went well.
    pub(crate) fn received(&self) -> Option<Received> {
        self.received.get().copied()
    }
}

/// The other end of a [`Pending`]: gives the outcome once. When it is dropped without one, whoever
/// should have driven is gone, and with it whatever the kernel had.
pub(super) struct Outcome(Pending);

impl Outcome {
    fn set(self, result: Result<Option<Received>>) {
        let outcome = result.map(|received| {
            if let Some(received) = received {
                let _ = self.0.received.set(received);
            }
        });
        self.0.completion.set(outcome);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        // Changes nothing where there is an outcome already.
        let text = "the progress thread has ended with messages still under way";
        self.0.completion.set(Err(Error::new(ErrorKind::Internal, text)));
    }
}

impl Post {
    /// Refuses it: its communicator has been closed.
    pub(super) fn refuse_closed(self) {
        self.outcome.set(Err(closed()));
    }
}

impl Lane {
    /// Starts a send or a receive, driven by the progress thread.
    ///
    /// # Safety
    /// `memory` is readable (for a send) or writable (for a receive) for as many bytes as the request
    /// says, and nobody else writes the former or touches the latter, until the outcome is there.
    pub(crate) unsafe fn post_message(&self, request: direct::Request, memory: Array) -> Pending {
        let completion = Arc::new(Completion::counted(&self.messages));
        let pending = Pending { completion, received: Arc::default() };
        let outcome = Outcome(pending.clone());
        self.ask_direct(Ask::Post(Post { request, memory, outcome }));
        pending
    }

    pub(super) fn end_messages(&self, error: Error) {
        self.ask_direct(Ask::Over(error));
    }

    /// Ends the messages: in peace if those under way end within `patience`, else with the
    /// communicator. Gives the error of that.
    pub(crate) fn close_messages(&self, patience: Duration) -> Result<()> {
        let done = Arc::new(Completion::default());
        self.ask_direct(Ask::Close(Arc::clone(&done)));
        if done.wait(Some(patience), || {}).is_some() {
            return Ok(());
        }
        let text = "the communicator was closed with messages still under way";
        let error = Error::new(ErrorKind::Aborted, text);
        self.abort(error.clone());
        let _ = done.wait(Some(patience), || {});
        Err(error)
    }
}
