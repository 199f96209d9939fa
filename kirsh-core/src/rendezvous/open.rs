//! Makes a store of a rendezvous: connects to the one that is there, or serves it.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::{ANY_V4, ANY_V6, is_local};
use super::file_store::FileStore;
use super::identity::{Identity, Rendezvous};
use super::join::{linger, prefix};
use super::store::Store;
use super::tcp_server::TcpServer;
use super::tcp_store::{Greeting, TcpStore};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::wire::auth::Token;

/// How long rank 0 tries to bind a port that another store of the same job still holds: that store
/// may be lingering for the readers of an earlier world.
const REBIND_FOR: Duration = Duration::from_secs(limits::LINGER_SECONDS + 1);

/// How long the occupant of a taken port may take to say what it is.
const PROBE_FOR: Duration = Duration::from_secs(2);

/// A rendezvous that is open to this rank.
pub struct Opened {
    pub store: Arc<dyn Store>,
    /// The server, where this rank serves. It lives as long as this value; ranks still in
    /// [`join`](super::join()) need it, so [`Opened::linger`] comes before dropping it.
    pub server: Option<TcpServer>,
    directory: Option<Arc<FileStore>>,
}

impl Opened {
    /// Waits until all ranks have read how the meeting ended, at most
    /// [`LINGER_SECONDS`](limits::LINGER_SECONDS): for rank 0, before it lets go of the store. In a
    /// shared directory it then removes what this meeting left, so that the next run can use the
    /// same one.
    pub fn linger(&self, generation: u64, world_size: u32) {
        let bound = Duration::from_secs(limits::LINGER_SECONDS);
        let all_read = linger(&*self.store, generation, world_size, bound);
        if let Some(directory) = &self.directory
            && all_read
        {
            directory.remove(&prefix(generation));
        }
    }
}

/// Opens the store of a rendezvous within the deadline. For `tcp://` rank 0 serves it, if the host
/// named is its own and no launcher does (`served_elsewhere`, from `KIRSH_RENDEZVOUS_SERVED`);
/// everyone else connects, also before it is there. Blocks the calling thread.
///
/// # Errors
/// - `Rendezvous`: nobody served within the deadline; the text lists every address tried and why
///   each failed;
/// - `Authentication`: the server is another job's, or its token differs;
/// - `Configuration`: rank 0 would have to serve other hosts without a token, or the port is taken.
pub fn open(
    rendezvous: &Rendezvous,
    identity: &Identity,
    job: &str,
    token: Option<&Token>,
    served_elsewhere: bool,
    deadline: Instant,
) -> Result<Opened> {
    let (host, port) = match rendezvous {
        Rendezvous::Tcp { host, port } => (host.as_str(), *port),
        Rendezvous::File(path) => {
            let store = Arc::new(FileStore::open(path)?);
            let directory = Some(store.clone());
            return Ok(Opened { store, server: None, directory });
        }
    };
    let greeting = Greeting { job, rank: Some(identity.rank), token };
    let mut server = None;
    if identity.rank == 0 && !served_elsewhere {
        server = serve(host, port, &greeting, deadline)?;
    }
    let connected = match &server {
        // Through the address that was bound: the host's name may lead elsewhere from here.
        Some(server) => {
            let at = reachable(server.addr());
            TcpStore::connect(&at.ip().to_string(), at.port(), &greeting, deadline)
        }
        None => TcpStore::connect(host, port, &greeting, deadline),
    };
    let store = connected.map_err(|error| error.with_rank(identity.rank))?;
    Ok(Opened { store: Arc::new(store), server, directory: None })
}
