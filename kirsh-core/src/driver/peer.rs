//! Who else there is, as far as connections go.

use std::net::SocketAddr;

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
}
