//! Connections between ranks of one host: Unix sockets, which spare the data TCP's way through the
//! kernel (segments, acknowledgements, a second queue) and so take about half its time there.
//!
//! Their names are abstract: of the network namespace, no files, gone with the listener. A name is made
//! of the number that a process drew at random, so peers know it from the table of their world, and
//! nobody else can take it before.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockAddr, Socket, Type};

use super::fork::Fd;
use super::socket::LISTEN_BACKLOG;

/// What the kernel is asked to hold of data that the peer has not read; it gives at most
/// `net.core.wmem_max`, and adapts nothing by itself here.
pub(super) const SEND_BUFFER_BYTES: usize = 512 << 10;

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// The process of this number, on this host.
    Local(u64),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Local(process) => f.write_str(&name(*process)),
        }
    }
}

/// The name without the byte before it that makes it abstract.
fn name(process: u64) -> String {
    format!("kirsh-{process:016x}")
}

fn address(process: u64) -> io::Result<SockAddr> {
    SockAddr::unix(format!("\0{}", name(process)))
}

/// Listens as this process. The listener is non-blocking; await it with `Op::Readable`.
///
/// # Errors
/// When the system has no such sockets, or no descriptor for one.
pub fn listen(process: u64) -> io::Result<Fd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address(process)?)?;
    socket.listen(LISTEN_BACKLOG)?;
    Fd::new(OwnedFd::from(socket))
}

/// Connects to a process of this host. Does not block; the connection is up when this returns.
///
/// # Errors
/// When nobody listens under that number in this network namespace, or more wait there than may.
pub fn connect(process: u64) -> io::Result<Fd> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address(process)?)?;
    Fd::new(OwnedFd::from(socket))
}
