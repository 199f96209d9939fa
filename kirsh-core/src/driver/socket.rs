//! The sockets that data and control run over: opened, set up and ended here, driven elsewhere.
//!
//! Listeners and sockets that are still connecting are non-blocking, so that nobody waits in
//! `accept` or `connect`; sockets that carry data are blocking, as `Io` wants them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::str::FromStr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::fork::Fd;
use super::local;
use crate::error::{Error, ErrorKind, Result};

/// Connections that may wait for `accept`. All ranks of a large world may dial one at once; the
/// kernel cuts it down to `net.core.somaxconn`.
pub(super) const LISTEN_BACKLOG: i32 = 4096;

/// Seconds of silence before the kernel asks whether the peer's host is there, and between asking
/// again. Only a net under the liveness check, for connections that nobody watches.
const KEEPALIVE_SECONDS: u64 = 15;

/// Unanswered questions before the connection counts as dead.
const KEEPALIVE_PROBES: u32 = 4;

/// The ports a rank may listen on, both ends included. 0 to 0 leaves the choice to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    /// Any port that is free.
    pub const ANY: PortRange = PortRange { low: 0, high: 0 };

    /// The ports from `low` to `high`, or none if these are no range of ports.
    pub const fn new(low: u16, high: u16) -> Option<Self> {
        let any = low == 0 && high == 0;
        if any || (low > 0 && low <= high) { Some(PortRange { low, high }) } else { None }
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.low == self.high {
            write!(f, "{}", self.low)
        } else {
            write!(f, "{}-{}", self.low, self.high)
        }
    }
}

impl FromStr for PortRange {
    type Err = Error;

    /// Reads `low-high`, a single port, or `0` for any.
    fn from_str(text: &str) -> Result<Self> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        low.trim()
            .parse()
            .ok()
            .zip(high.trim().parse().ok())
            .and_then(|(low, high)| PortRange::new(low, high))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Configuration,
                    format!(
                        "KIRSH_PORTS is '{text}', which is no range of ports: give two ports as \
                         low-high, such as 29600-29699, or one port, or 0 for any"
                    ),
                )
            })
    }
}

/// Listens on the first free port of the range. `::` accepts IPv4 as well, and becomes `0.0.0.0` on
/// a host without IPv6. The listener is non-blocking; await it with `Op::Readable`.
///
/// # Errors
/// `System` when the address is not this host's or no port is free, naming both.
pub fn listen(address: IpAddr, ports: PortRange) -> Result<(Fd, SocketAddr)> {
    let mut last = None;
    for port in ports.low..=ports.high {
        let listened = match listen_at(SocketAddr::new(address, port)) {
            Err(error)
                if error.raw_os_error() == Some(libc::EAFNOSUPPORT)
                    && address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) =>
            {
                listen_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
            }
            other => other,
        };
        match listened {
            Ok(listener) => return Ok(listener),
            // In use, or not allowed to us: the next may be.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EADDRINUSE | libc::EACCES)) => {
                last = Some(error);
            }
            Err(error) => {
                return Err(Error::system(
                    format_args!("listening on {address}, port {port}"),
                    &error,
                ));
            }
        }
    }
    let cause = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    Err(Error::new(
        ErrorKind::System,
        format!(
            "listening on {address}: no usable port in {ports} ({cause}); KIRSH_PORTS sets the range"
        ),
    ))
}

fn listen_at(address: SocketAddr) -> io::Result<(Fd, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A port whose last connections are still in TIME_WAIT can be taken; one that somebody
    // listens on cannot.
    socket.set_reuse_address(true)?;
    if let SocketAddr::V6(v6) = address {
        socket.set_only_v6(!v6.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    let bound = plain(socket.local_addr()?)?;
    Ok((Fd::new(OwnedFd::from(socket))?, bound))
}

/// Accepts a connection, if one is waiting, and says from where it comes; `None` is from this host,
/// over a Unix socket. Does not block; the new socket is blocking.
///
/// # Errors
/// When the system has no descriptor or memory for it. The connection stays in the queue then.
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(Fd, Option<SocketAddr>)>> {
    loop {
        match SockRef::from(&listener).accept() {
            Ok((socket, peer)) => {
                let from = if peer.is_unix() { None } else { Some(plain(peer)?) };
                return Ok(Some((Fd::new(OwnedFd::from(socket))?, from)));
            }
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                // The connection died in the queue, or one of the network errors that Linux hands
                // on here (accept(2)): look at the next.
                Some(
                    libc::EINTR
                    | libc::ECONNABORTED
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENETUNREACH
                    | libc::EHOSTDOWN
                    | libc::EHOSTUNREACH
                    | libc::ENONET,
                ) => {}
                _ => return Err(error),
            },
        }
    }
}

/// Begins to connect, from the address `bind` if given. Does not block: await `Op::Writable`, then
/// call [`connect_result`].
///
/// # Errors
/// What `socket`, `bind` or `connect` say at once, such as "network is unreachable".
pub fn connect_start(address: SocketAddr, bind: Option<IpAddr>) -> io::Result<Fd> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(bind) = bind {
        socket.bind(&SocketAddr::new(bind, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Err(error) if !matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => {
            Err(error)
        }
        _ => Fd::new(OwnedFd::from(socket)),
    }
}

/// How a connect that was started has ended. On success the socket is made blocking, for `Io`.
///
/// # Errors
/// What the connect failed with; `WouldBlock` while it goes on.
pub fn connect_result(socket: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    let peer = match socket.peer_addr() {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        other => other?,
    };
    // TCP lets a socket connect to itself when its own port, given by the kernel, is the one it
    // dials and nobody listens there.
    if !peer.is_unix() && plain(socket.local_addr()?)? == plain(peer)? {
        return Err(io::Error::from_raw_os_error(libc::ECONNREFUSED));
    }
    socket.set_nonblocking(false)
}

/// What a link asks of its connection; what is TCP's does not matter to a Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkOptions {
    /// How long sent data may stay unacknowledged before the kernel gives the connection up, in
    /// milliseconds; 0 leaves it to the system (some 15 minutes). More than the kernel can count
    /// (24 days) is as much as it can.
    pub user_timeout_ms: u32,
    /// Bytes of send buffer; none leaves it to the kernel, which then adapts it.
    pub send_buffer_bytes: Option<usize>,
    /// Bytes of receive buffer, likewise.
    pub receive_buffer_bytes: Option<usize>,
    /// Congestion control by name, such as `cubic`.
    pub congestion: Option<String>,
    /// What the kernel hands on at most of it, in bytes a second.
    pub pacing_bytes_per_second: Option<u64>,
}

/// What a connection has in fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInForce {
    /// As the kernel counts it: twice what was asked for, its own bookkeeping included.
    pub send_buffer_bytes: usize,
    /// Likewise.
    pub receive_buffer_bytes: usize,
    /// Empty if the kernel does not say.
    pub congestion: String,
}

/// Sets a connection up for a link: over TCP no delay, keep-alive, and the options. A congestion control
/// that the kernel does not know or does not allow is passed over: compare the result.
///
/// # Errors
/// When the socket is neither TCP's nor a Unix socket, or no longer connected.
pub fn set_up_link(socket: BorrowedFd<'_>, options: &LinkOptions) -> io::Result<LinkInForce> {
    let socket = SockRef::from(&socket);
    if socket.domain()? == Domain::UNIX {
        return set_up_local(&socket, options);
    }
    socket.set_tcp_nodelay(true)?;
    let interval = Duration::from_secs(KEEPALIVE_SECONDS);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    if options.user_timeout_ms > 0 {
        // The kernel takes a signed number, and refuses what looks negative.
        let timeout_ms = options.user_timeout_ms.min(i32::MAX as u32);
        let timeout = Duration::from_millis(timeout_ms.into());
        socket.set_tcp_user_timeout(Some(timeout))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(name) = &options.congestion
        && let Err(error) = socket.set_tcp_congestion(name.as_bytes())
    {
        tracing::debug!(%name, %error, "congestion control not set");
    }
    if let Some(rate) = options.pacing_bytes_per_second {
        set_pacing(&socket, rate)?;
    }
    let name = socket.tcp_congestion().unwrap_or_default();
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(LinkInForce {
        send_buffer_bytes: socket.send_buffer_size()?,
        receive_buffer_bytes: socket.recv_buffer_size()?,
        congestion: String::from_utf8_lossy(&name[..end]).into_owned(),
    })
}

fn set_up_local(socket: &SockRef<'_>, options: &LinkOptions) -> io::Result<LinkInForce> {
    // What waits to be read counts against the sender alone.
    socket.set_send_buffer_size(options.send_buffer_bytes.unwrap_or(local::SEND_BUFFER_BYTES))?;
    Ok(LinkInForce {
        send_buffer_bytes: socket.send_buffer_size()?,
        receive_buffer_bytes: socket.recv_buffer_size()?,
        congestion: String::new(),
    })
}

/// TCP paces by itself where no `fq` queue does it (Linux 4.13).
fn set_pacing(socket: &SockRef<'_>, bytes_per_second: u64) -> io::Result<()> {
    let len = std::mem::size_of_val(&bytes_per_second) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes from a number that outlives the call.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const bytes_per_second).cast(),
            len,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Ends both directions: operations in flight on either side end, and what was sent still arrives.
/// Does not block. That the connection was gone already is no error.
///
/// # Errors
/// When this is no socket.
pub fn shutdown_both(socket: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&socket).shutdown(std::net::Shutdown::Both) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

/// Ends the sending direction: the peer reads what was sent, then the end. Does not block. That the
/// connection was gone already is no error.
///
/// # Errors
/// When this is no socket.
pub fn end_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    match SockRef::from(&socket).shutdown(std::net::Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(()),
    }
}

/// Tears a connection down at once by `connect(AF_UNSPEC)`: what was sent and not acknowledged is
/// thrown away and its pages are released, which a shutdown does not do. The peer sees a reset.
///
/// # Errors
/// When this is no connection-oriented socket.
pub fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    let nowhere =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let len = std::mem::size_of_val(&nowhere) as libc::socklen_t;
    // SAFETY: `nowhere` is a socket address of `len` bytes that outlives the call.
    match unsafe { libc::connect(socket.as_raw_fd(), &nowhere, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The address of this end of a connection, with mapped IPv4 written as IPv4.
///
/// # Errors
/// When this is no internet socket.
pub fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    plain(SockRef::from(&socket.as_fd()).local_addr()?)
}

/// The address as people write it: IPv4 that came in on an IPv6 listener is IPv4.
fn plain(address: SockAddr) -> io::Result<SocketAddr> {
    match address.as_socket() {
        Some(SocketAddr::V6(v6)) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => Ok(SocketAddr::new(v4.into(), v6.port())),
            None => Ok(SocketAddr::V6(v6)),
        },
        Some(v4) => Ok(v4),
        None => Err(io::Error::other("not an internet address")),
    }
}
