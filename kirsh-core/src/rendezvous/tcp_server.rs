//! The built-in store's server: one thread, one poll(2) loop, some hundred clients.
//!
//! What clients say is held against `limits.rs` before anything is kept: a client that has not yet
//! proven itself costs some hundred bytes, a claimed length costs nothing, and one that reads
//! slowly is not read from until it has caught up.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::shelf::Shelf;
use super::sys::{self, Watched};
use super::tcp_client::{Client, Shop};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::wire::auth::Token;

/// Connections that wait in the kernel to be accepted: all ranks of a job start at once.
const BACKLOG: i32 = 1024;

/// How long to leave the listener alone when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// After how long without a word the kernel asks whether a client's host still lives.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A running store server. Dropping it closes every connection and ends its thread, which never
/// blocks on a client, within milliseconds.
#[derive(Debug)]
pub struct TcpServer {
    addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
    wake: UnixStream,
    pid: u32,
}

impl TcpServer {
    /// Listens on `addr` (port 0: any free one) and serves a store to the ranks of `job` that know
    /// `token`, from a thread of its own that takes no signals. Does not block.
    ///
    /// # Errors
    /// - `Authentication`: without a token only loopback is served, and `addr` is another;
    /// - `Configuration`: the port is taken;
    /// - `System`: the kernel refused a socket or a thread.
    pub fn bind(addr: SocketAddr, job: &str, token: Option<Token>) -> Result<TcpServer> {
        TcpServer::bind_with(addr, job, token, Shelf::default())
    }

    /// The same, with a store that holds something from the first.
    pub(super) fn bind_with(
        addr: SocketAddr,
        job: &str,
        token: Option<Token>,
        shelf: Shelf,
    ) -> Result<TcpServer> {
        if token.is_none() && !addr.ip().is_loopback() {
            return Err(Error::new(
                ErrorKind::Authentication,
                format!(
                    "a store on {addr} could be reached from other hosts, and the job has no \
                     token: write one with `kirsh token` and point KIRSH_TOKEN_FILE to it on every \
                     rank, or meet on 127.0.0.1"
                ),
            ));
        }
        let listener = listen(addr).map_err(|cause| match cause.kind() {
            io::ErrorKind::AddrInUse => Error::new(
                ErrorKind::Configuration,
                format!("the port {} of {} is taken by another program", addr.port(), addr.ip()),
            ),
            _ => Error::system(format_args!("listening on {addr} for the store"), &cause),
        })?;
        TcpServer::start(listener, job, token, shelf)
    }

    /// Serves from a listener that [`listen`] made.
    fn start(
        listener: TcpListener,
        job: &str,
        token: Option<Token>,
        shelf: Shelf,
    ) -> Result<TcpServer> {
        let failed = |cause: io::Error| Error::system("starting the store's server", &cause);
        let addr = listener.local_addr().map_err(failed)?;
        let (wake, woken) = UnixStream::pair().map_err(failed)?;
        let shop = Shop { addr, job: job.to_owned(), token, shelf };
        let looping = Loop { listener, woken, shop, clients: Vec::new(), accept_from: None };
        let thread = sys::spawn_without_signals("kirsh-store", || looping.run()).map_err(failed)?;
        Ok(TcpServer { addr, thread: Some(thread), wake, pid: std::process::id() })
    }

    /// The address that is listened on, with the port that was given or found.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // In a forked child the thread does not exist, and the parent's must go on.
        if self.pid != std::process::id() {
            return;
        }
        // A byte rather than a hang-up: a forked child may hold the other end's twin. It cannot
        // fail to fit, as nothing else is ever written.
        let _ = io::Write::write_all(&mut self.wake, &[0]);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener that does not block; on the IPv6 wildcard it takes IPv4 too.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier server in TIME_WAIT do not stand in the way.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// The server's thread.
struct Loop {
    listener: TcpListener,
    woken: UnixStream,
    shop: Shop,
    clients: Vec<Client>,
    /// Not before then, after the process ran out of descriptors.
    accept_from: Option<Instant>,
}

impl Loop {
    fn run(mut self) {
        loop {
            let now = Instant::now();
            if self.accept_from.is_some_and(|from| from <= now) {
                self.accept_from = None;
            }
            let mut watched = Vec::with_capacity(2 + self.clients.len());
            watched.push(Watched::new(self.woken.as_fd(), true, false));
            watched.push(match self.may_accept() {
                true => Watched::new(self.listener.as_fd(), true, false),
                false => Watched::none(),
            });
            watched.extend(self.clients.iter().map(Client::watch));
            let next = self.clients.iter().filter_map(Client::next_deadline);
            let next = next.chain(self.accept_from).min();
            let timeout = next.map(|next| next.saturating_duration_since(now));
            if let Err(cause) = sys::poll(&mut watched, timeout) {
                tracing::error!("the store at {} stops: poll failed: {cause}", self.shop.addr);
                return;
            }
            if watched[0].ready() {
                return;
            }
            self.serve(&watched[2..]);
            if watched[1].ready() {
                self.accept();
            }
        }
    }

    /// Lets every client that has something to do, do it; then answers those who wait for what
    /// that changed, and drops those who are gone.
    fn serve(&mut self, watched: &[Watched]) {
        for (client, watched) in self.clients.iter_mut().zip(watched) {
            if watched.ready() {
                client.advance(&mut self.shop);
            }
        }
        let now = Instant::now();
        for client in &mut self.clients {
            client.look_again(&self.shop, now);
        }
        self.shop.shelf.forget_changes();
        self.clients.retain(|client| !client.is_gone());
        let unfinished: usize = self.clients.iter().map(Client::unfinished_bytes).sum();
        if unfinished > limits::STORE_BYTES_MAX {
            // Together they claim more than the store may hold: the largest goes.
            let largest = self.clients.iter().enumerate().max_by_key(|(_, c)| c.unfinished_bytes());
            if let Some((index, _)) = largest {
                self.clients.swap_remove(index);
            }
        }
    }

    /// Whether there is room for another client.
    fn may_accept(&self) -> bool {
        let strangers = self.clients.iter().filter(|client| client.is_stranger()).count();
        self.accept_from.is_none()
            && strangers < limits::HANDSHAKES_PENDING_MAX
            && self.clients.len() < limits::STORE_CLIENTS_MAX
    }

    fn accept(&mut self) {
        while self.may_accept() {
            match self.listener.accept() {
                Ok((stream, from)) => {
                    // None of these can make the service wrong, only slower.
                    let socket = SockRef::from(&stream);
                    let _ = socket.set_tcp_nodelay(true);
                    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE));
                    if stream.set_nonblocking(true).is_ok() {
                        self.clients.push(Client::new(stream, from));
                    }
                }
                Err(cause) => match cause.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    // The client was gone before it was let in, or a signal came.
                    Some(libc::ECONNABORTED | libc::EINTR | libc::EPROTO) => {}
                    _ => {
                        tracing::warn!(
                            "the store at {} cannot accept for now: {cause}",
                            self.shop.addr
                        );
                        self.accept_from = Some(Instant::now() + ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
    }
}
