//! What others put into a lane's mailbox for whoever drives it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::completion::Completion;
use super::fork::Fd;
use super::job::Job;
use super::lane::closed;
use super::link::Port;
use crate::error::Error;
use crate::session::Operation;
use crate::types::{Call, Rank, Sequence};
use crate::wire::control::Message;

/// Something for the holder of the baton.
// A job in a box of its own would be an allocation in each call that is handed over.
#[allow(clippy::large_enum_variant)]
pub(crate) enum Mail {
    /// A started operation, or a blocking one that came while another thread drove.
    Enqueue { operation: Operation, job: Job },
    /// A call that this rank refuses.
    Refuse { call: Call, reason: Error },
    /// A connection to the peer is ready.
    LinkUp { port: Port, fd: Fd },
    /// No connection to the peer can be had.
    LinkFailed { port: Port, cause: Error },
    /// A peer said something about this communicator.
    Message(Message),
    /// The process of a peer is gone, in peace or not.
    PeerGone { peer: Rank, cause: Error },
    /// The process of a peer has not been heard of for the liveness timeout.
    PeerSilent { peer: Rank, cause: Error },
    /// The communicator is to end.
    Abort(Error),
    /// Another channel of the communicator has failed.
    ChannelFailed(Error),
    #[cfg(test)]
    /// Panic, to see what becomes of the callers.
    Panic,
    /// The communicator is to close as soon as nothing runs or waits in it; then say so here.
    Close(Arc<Completion>),
}

impl Mail {
    /// It came too late to be read. A link ends with it, which tells the peer.
    pub(crate) fn turn_away(self) {
        match self {
            Mail::Enqueue { job, .. } => {
                if let Some(completion) = job.completion {
                    completion.set(Err(closed()));
                }
            }
            Mail::Close(done) => done.set(Ok(())),
            _ => {}
        }
    }
}

/// The mailbox. Sequence numbers are given out under its lock, so that their order is the order
/// of the mail.
pub(crate) struct Mailbox {
    pub(crate) queue: VecDeque<Mail>,
    pub(crate) next_sequence: Sequence,
    /// The lane is closed, and nobody reads any more.
    pub(crate) ended: bool,
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Mailbox { queue: VecDeque::with_capacity(64), next_sequence: 0, ended: false }
    }

    pub(crate) fn take_sequence(&mut self) -> Sequence {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        sequence
    }
}
