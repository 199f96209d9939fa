//! Who else there is, as far as connections go.

use std::net::SocketAddr;
use std::sync::Arc;

/// One rank of the world as its peers reach it. A list of them is in the order of ranks, and has
/// this process's own entry, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Random, drawn anew by each process. Of two, the one with the lower number dials.
    pub(crate) process_id: u64,
    /// Equal where two ranks share a host, and so can use loopback addresses.
    pub(crate) host_id: u64,
    /// Best first. Loopback addresses lead to it only from its own host.
    pub(crate) addresses: Vec<SocketAddr>,
    /// The rail of each address, as far as they have one.
    pub(crate) rail_of: Vec<u8>,
}

/// The rail of an address, or of a link, that has none.
pub(crate) const ONE_RAIL: u8 = u8::MAX;

/// Which rails the stripes of a communicator take, in turn: stripe `s` that of number `s` modulo their
/// number.
#[derive(Clone, Debug)]
pub(crate) struct Rails {
    pub(crate) of: Arc<[u8]>,
    /// A link that cannot have its rail is none. Otherwise any other is as good.
    pub(crate) only: bool,
}

impl Rails {
    /// The way of a stripe.
    pub(crate) fn way(&self, stripe: u8) -> Option<Way> {
        let rail = *self.of.get(usize::from(stripe) % self.of.len().max(1))?;
        Some(Way { rail, only: self.only })
    }
}

/// The rail that a link should take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) rail: u8,
    pub(crate) only: bool,
}
