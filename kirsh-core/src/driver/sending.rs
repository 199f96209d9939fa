//! How the frames of a communicator go out to each of its ranks.

use std::sync::Arc;

use super::rate::{Gate, Limiter};
use super::zero_copy::{Lending, ZeroCopy};
use crate::types::Rank;

#[derive(Clone, Debug)]
pub(crate) struct Sending {
    /// By rank, whether it is on this host.
    pub(crate) near: Arc<[bool]>,
    pub(crate) zero_copy: ZeroCopy,
    /// Of the process; none where nobody limits it.
    pub(crate) limiter: Option<Arc<Limiter>>,
}

impl Sending {
    pub(crate) fn is_near(&self, peer: Rank) -> bool {
        self.near[peer as usize]
    }

    /// What a link to this peer may lend.
    pub(crate) fn lending(&self, peer: Rank) -> Lending {
        Lending::new(self.zero_copy, self.is_near(peer))
    }

    /// A gate for one lane's frames to other hosts.
    pub(crate) fn gate(&self) -> Gate {
        Gate::new(self.limiter.clone())
    }
}
