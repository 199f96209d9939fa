//! Makes a store of a rendezvous: connects to the one that is there, or serves it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::address::{ANY_V4, ANY_V6, is_local};
use super::file_store::FileStore;
use super::identity::{Identity, Rendezvous};
use super::join::{linger, prefix};
use super::patience::Patience;
use super::shelf::Shelf;
use super::store::Store;
use super::table::{Joiner, Table};
use super::tcp_server::TcpServer;
use super::tcp_store::{Greeting, TcpStore};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::wire::auth::Token;

/// How long rank 0 tries to bind a port that another store of the same job still holds: that store
/// may be lingering for the readers of an earlier world.
const REBIND_FOR: Duration = Duration::from_secs(limits::LINGER_SECONDS + 1);

/// How long to let pass between two tries.
const REBIND_EVERY: Duration = Duration::from_millis(50);

/// How long a rank that will not be let in looks for a store to tell so: ranks are started within
/// such a time of each other, and nobody should wait long for what cannot be.
const WITHOUT_TOKEN_FOR: Duration = Duration::from_secs(3);

/// What a launcher opens its store for: communicators of every generation meet there, and losing it
/// is losing the launcher rather than rank 0.
pub const EVERY_GENERATION: u64 = u64::MAX;

/// The key that tells which generation a rank 0 serves its store for. It is there before anybody
/// can connect.
const SERVED_FOR: &str = "kirsh/served-for";

/// How long the occupant of a taken port may take to say what it is.
const PROBE_FOR: Duration = Duration::from_secs(2);

/// A rendezvous that is open to this rank.
pub struct Opened {
    pub store: Arc<dyn Store>,
    /// The server, where this rank serves. It lives as long as this value; ranks still in
    /// [`join`](super::join()) need it, so [`Opened::linger`] comes before dropping it.
    pub server: Option<TcpServer>,
    directory: Option<Arc<FileStore>>,
    /// What the store says it is served for, where it does.
    served_for: Option<u64>,
}

impl Opened {
    /// Whether rank 0 serves this store for this very generation, so that losing it is losing rank 0.
    /// A rank that is early may instead have met the store of the generation before, which goes away
    /// in good order.
    pub fn is_for(&self, generation: u64) -> bool {
        self.served_for == Some(generation)
    }

    /// Waits until all ranks have read how the meeting ended, at most
    /// [`LINGER_SECONDS`](limits::LINGER_SECONDS): for rank 0, before it lets go of the store,
    /// whether [`join`](super::join()) succeeded or not. In a shared directory it then removes what
    /// this meeting left, so that the next run can use the same one.
    pub fn linger(&self, me: &Joiner, outcome: &Result<Table>) {
        let bound = Duration::from_secs(limits::LINGER_SECONDS);
        let all_read = linger(&*self.store, me.generation, me.world_size, bound);
        // A table stays until the last has it, however slow; a failure holds nobody up.
        if let Some(directory) = &self.directory
            && (all_read || outcome.is_err())
        {
            directory.remove(&prefix(me.generation));
        }
    }
}

/// Opens the store of a rendezvous within the deadline. For `tcp://` rank 0 serves it, if the host
/// named is its own and no launcher does (`served_elsewhere`, from `KIRSH_RENDEZVOUS_SERVED`);
/// everyone else connects, also before it is there. `generation` is what the store is opened for, as
/// in [`Joiner`]. Blocks the calling thread.
///
/// # Errors
/// - `Rendezvous`: nobody served within the deadline; the text lists every address tried and why
///   each failed;
/// - `Authentication`: the server is another job's, its token differs, or the rendezvous is beyond
///   loopback and this rank has no token;
/// - `Configuration`: the port is taken, with what has it.
pub fn open<'p>(
    rendezvous: &Rendezvous,
    identity: &Identity,
    job: &str,
    token: Option<&Token>,
    served_elsewhere: bool,
    generation: u64,
    patience: impl Into<Patience<'p>>,
) -> Result<Opened> {
    let patience = patience.into();
    let (host, port) = match rendezvous {
        Rendezvous::Tcp { host, port } => (host.as_str(), *port),
        Rendezvous::File(path) => {
            let store = Arc::new(FileStore::open(path)?);
            let directory = Some(store.clone());
            return Ok(Opened { store, server: None, directory, served_for: None });
        }
    };
    let greeting = Greeting { job, rank: Some(identity.rank), token };
    let mut server = None;
    if identity.rank == 0 && !served_elsewhere {
        server = serve(host, port, &greeting, generation, patience)?;
    }
    let connected = match &server {
        // Through the address that was bound: the host's name may lead elsewhere from here.
        Some(server) => {
            let at = reachable(server.addr());
            TcpStore::connect(&at.ip().to_string(), at.port(), &greeting, patience)
        }
        None if token.is_none() && leads_elsewhere(host, port) => {
            connect_without_token(host, port, &greeting, patience)
        }
        None => TcpStore::connect(host, port, &greeting, patience),
    };
    let store = connected.map_err(|error| error.with_rank(identity.rank))?;
    // A store that is lost already tells nothing, and is met as lost.
    let served_for = store.get(SERVED_FOR).ok().flatten();
    let served_for = served_for.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
    Ok(Opened { store: Arc::new(store), server, directory: None, served_for })
}

/// Whether no address of the rendezvous is a loopback address. A name that does not resolve yet may
/// still come to lead anywhere.
fn leads_elsewhere(host: &str, port: u16) -> bool {
    (host, port)
        .to_socket_addrs()
        .is_ok_and(|mut addresses| addresses.all(|address| !address.ip().is_loopback()))
}

/// Connects to a store that other hosts can reach, for a rank without a token. No store lets it in,
/// but one that is there records who came, so that the other ranks learn of it too.
fn connect_without_token(
    host: &str,
    port: u16,
    greeting: &Greeting<'_>,
    patience: Patience<'_>,
) -> Result<TcpStore> {
    TcpStore::connect(host, port, greeting, patience.at_most(WITHOUT_TOKEN_FOR)).map_err(|error| {
        if error.kind() != ErrorKind::Rendezvous {
            return error;
        }
        Error::new(
            ErrorKind::Authentication,
            format!(
                "this rank has no token, and without one no store is served beyond loopback: write \
                 one with `kirsh token` and point KIRSH_TOKEN_FILE to it on every rank ({})",
                error.message()
            ),
        )
    })
}

/// Serves the rendezvous if that is for this process to do: `None` where the host named is not this
/// one, or where a store of this very job is there already.
fn serve(
    host: &str,
    port: u16,
    greeting: &Greeting<'_>,
    generation: u64,
    patience: Patience<'_>,
) -> Result<Option<TcpServer>> {
    // A name that does not resolve yet is not this host's; connecting tells what is wrong with it.
    let Ok(found) = (host, port).to_socket_addrs() else { return Ok(None) };
    let found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    if !found.iter().any(|ip| is_local(*ip)) {
        return Ok(None);
    }
    let own: Vec<IpAddr> = found.into_iter().filter(|ip| is_local(*ip)).collect();
    let candidates = candidates(host, own, greeting.token.is_some());
    let give_up = Instant::now() + REBIND_FOR.min(patience.left());
    let mut known = false;
    loop {
        match bind_first(&candidates, port, greeting, generation) {
            Ok(server) => return Ok(Some(server)),
            // Only a taken port is worth another look.
            Err(error) if error.kind() != ErrorKind::Configuration => return Err(error),
            Err(error) if !known => {
                if let Err(told) = check_occupant(host, port, greeting, &patience, error) {
                    // A connection that the kernel gave this port to for a while is no occupant.
                    return bind_first(&candidates, port, greeting, generation)
                        .map(Some)
                        .map_err(|_| told);
                }
                known = true;
            }
            // Two processes believe to be rank 0: as a client this one finds out which is which.
            Err(_) if Instant::now() >= give_up => return Ok(None),
            Err(_) => {}
        }
        patience.check()?;
        std::thread::sleep(REBIND_EVERY);
    }
}

/// What to bind for a host that is this one, in order of preference.
///
/// An address given as a number is bound as it stands. A name may lead elsewhere on other hosts
/// than on this one, where it often leads to 127.0.1.1: under a token all addresses are bound.
fn candidates(host: &str, own: Vec<IpAddr>, has_token: bool) -> Vec<IpAddr> {
    let literal = host == "localhost" || host.parse::<IpAddr>().is_ok();
    if has_token && !literal {
        return vec![ANY_V6, ANY_V4];
    }
    // Without a token only loopback can be served; if there is none the first says why not.
    let mut own = own;
    own.sort_by_key(|ip| !ip.is_loopback());
    own.dedup();
    own
}

/// Binds the first of these that the kernel has.
fn bind_first(
    candidates: &[IpAddr],
    port: u16,
    greeting: &Greeting<'_>,
    generation: u64,
) -> Result<TcpServer, Error> {
    let mut failure = None;
    for ip in candidates {
        let token = greeting.token.cloned();
        let mut shelf = Shelf::default();
        shelf
            .set(SERVED_FOR, generation.to_string().as_bytes())
            .map_err(|why| Error::new(ErrorKind::Internal, why))?;
        let at = SocketAddr::new(*ip, port);
        match TcpServer::bind_with(at, greeting.job, token, shelf) {
            Ok(server) => return Ok(server),
            // No IPv6 here, for one: the next may do.
            Err(error) if error.kind() == ErrorKind::System => failure = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Internal, "no address to serve on")))
}

/// Asks whoever has the port what it is: fine if it is a store of this very job.
fn check_occupant(
    host: &str,
    port: u16,
    greeting: &Greeting<'_>,
    patience: &Patience<'_>,
    bind_error: Error,
) -> Result<()> {
    let until = Instant::now() + PROBE_FOR.min(patience.left());
    let Err(probed) = TcpStore::connect(host, port, greeting, until) else { return Ok(()) };
    let what = match probed.kind() {
        ErrorKind::Authentication => format!(
            "the occupant is a Kirsh store of another job: {}; choose another port in \
             KIRSH_RENDEZVOUS, or end that job",
            probed.message()
        ),
        ErrorKind::Protocol => "the occupant is no Kirsh store; choose another port in \
                                KIRSH_RENDEZVOUS"
            .to_owned(),
        _ => "the occupant did not say what it is; choose another port in KIRSH_RENDEZVOUS"
            .to_owned(),
    };
    Err(Error::new(ErrorKind::Configuration, format!("{}; {what}", bind_error.message())))
}

/// Where a server that listens there can be reached from its own process.
fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = if addr.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { addr.ip() };
    SocketAddr::new(ip, addr.port())
}
