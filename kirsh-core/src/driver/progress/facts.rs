//! What the progress thread knows of its world and never changes: who is in it, and how links to
//! them are made.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::roll::Roll;
use crate::driver::local::Address;
use crate::driver::observed::Observed;
use crate::driver::peer::{ONE_RAIL, Peer, Way};
use crate::driver::socket::LinkOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::STRIPES_MAX;
use crate::types::Rank;
use crate::wire::auth::Token;
use crate::wire::handshake::{self, Hello, Local};

/// Congestion control between ranks of one host, where there is no congestion to control: the
/// plainest, which every kernel has and every user may choose. Where the system's default is bbr,
/// whose pacing holds loopback back, two ranks moved 1.3 to 1.5 times as much with it from 16 MiB
/// on.
const NEAR_CONGESTION: &str = "reno";

/// What the progress thread knows of its process and its peers.
pub(crate) struct Facts {
    pub(crate) rank: Rank,
    pub(crate) job: String,
    pub(crate) secret: Token,
    /// Whether the job has a token, so that whoever shook hands is one of those it was given to.
    pub(crate) authenticated: bool,
    /// Every rank of the world, this one included.
    pub(crate) peers: Vec<Peer>,
    pub(crate) checksums: bool,
    /// Silence on a control link after which a peer counts as lost; `u64::MAX` is never.
    pub(crate) liveness_ns: u64,
    /// How long bytes may stay unsent or unacknowledged on a control link; 0 leaves it to the system.
    pub(crate) user_timeout_ms: u32,
    /// Bytes a second that may go to other hosts; none where nobody limits it.
    pub(crate) rate_limit: Option<u64>,
    /// The rail that a link takes if nothing else is said; [`ONE_RAIL`] where they are all alike.
    pub(crate) rail: AtomicU8,
    /// Links for data within this host are Unix sockets, where the peer listens on one too.
    pub(crate) local_links: bool,
    pub(crate) roll: Roll,
    pub(crate) observed: Arc<Observed>,
}

impl Facts {
    pub(super) fn me(&self) -> &Peer {
        &self.peers[self.rank as usize]
    }

    /// Of two processes the one with the lower number dials. P-43
    pub(super) fn dials(&self, peer: Rank) -> bool {
        self.me().process_id < self.peers[peer as usize].process_id
    }

    /// Whether a peer is on this host.
    pub(super) fn near(&self, peer: Rank) -> bool {
        self.peers[peer as usize].host_id == self.me().host_id
    }

    /// How the sockets to a peer are set up.
    ///
    /// Only control links give up on bytes that are not taken: there the peer's progress thread
    /// reads all the time. On a collective link a peer that is late leaves its window shut for as
    /// long as it likes, and the kernel would count that as silence, too (`tcp_probe_timer`).
    pub(super) fn link_options(&self, peer: Rank, lane: handshake::Lane) -> LinkOptions {
        let watched = matches!(lane, handshake::Lane::Control);
        LinkOptions {
            user_timeout_ms: if watched { self.user_timeout_ms } else { 0 },
            congestion: self.near(peer).then(|| NEAR_CONGESTION.to_owned()),
            pacing_bytes_per_second: self.rate_limit.filter(|_| !watched && !self.near(peer)),
            ..LinkOptions::default()
        }
    }

    /// Where a peer of this host may listen besides, for links that carry data. Control links are always
    /// TCP's. P-44
    pub(super) fn local_address(&self, peer: Rank) -> Option<Address> {
        let process = self.peers[peer as usize].process_id;
        (self.local_links && self.near(peer)).then_some(Address::Local(process))
    }

    /// A peer's addresses that may lead to it from here, best first: those of the rail that the link should
    /// take, and among equals the one that it was reached by before, if any. P-44, P-61
    pub(super) fn addresses(
        &self,
        peer: Rank,
        known: Option<SocketAddr>,
        way: Option<Way>,
    ) -> Vec<SocketAddr> {
        let near = self.near(peer);
        let peer = &self.peers[peer as usize];
        let way = way.unwrap_or(Way { rail: self.rail.load(Ordering::Relaxed), only: false });
        let rails = peer.rail_of.iter().copied().chain(std::iter::repeat(ONE_RAIL));
        let mut by_rail: Vec<_> = peer.addresses.iter().copied().zip(rails).collect();
        if !near && way.rail != ONE_RAIL {
            by_rail.retain(|(_, rail)| !way.only || *rail == way.rail);
            by_rail.sort_by_key(|(address, rail)| (*rail != way.rail, Some(*address) != known));
        } else {
            by_rail.sort_by_key(|(address, _)| Some(*address) != known);
        }
        let (mut loopback, others): (Vec<_>, Vec<_>) = by_rail
            .into_iter()
            .map(|(address, _)| address)
            .partition(|address| address.ip().is_loopback());
        let mut addresses = others;
        if near {
            loopback.append(&mut addresses);
            addresses = loopback;
        }
        if near {
            addresses.sort_by_key(|address| Some(*address) != known);
        }
        addresses
    }
}

/// Whether somebody who dials is who should, and what we say of ourselves. P-39
pub(super) fn judge(facts: &Facts, hello: &Hello) -> Result<(Local, Token)> {
    let known = facts.peers.get(hello.rank as usize);
    if known.is_none_or(|peer| peer.process_id != hello.process) {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!(
                "rank {} of job {} does not know the process that calls itself rank {}: it is not the one that joined",
                facts.rank, facts.job, hello.rank
            ),
        )
        .with_peer(hello.rank));
    }
    // P-60
    let collective = matches!(hello.lane, handshake::Lane::Collective);
    let stripes = if collective { STRIPES_MAX } else { 1 };
    if hello.stripe >= u16::from(stripes) {
        let text = format!(
            "rank {} wants stripe {} of a link that has stripes 0 to {}",
            hello.rank,
            hello.stripe,
            stripes - 1
        );
        return Err(Error::new(ErrorKind::Protocol, text).with_peer(hello.rank));
    }
    let local = Local {
        job: facts.job.clone(),
        world: facts.peers.len() as u32,
        process: facts.me().process_id,
        rank: facts.rank,
        byte_position: 0,
        checksums: facts.checksums,
    };
    Ok((local, facts.secret.clone()))
}
