//! Connections before they are links: dialling through a peer's addresses, accepting, shaking
//! hands. Everything is non-blocking and within a deadline.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::loss::Loss;
use super::now;
use crate::driver::fork::Fd;
use crate::driver::lane::Key;
use crate::driver::local::{self, Address};
use crate::driver::peer::Way;
use crate::driver::socket;
use crate::error::{Error, ErrorKind};
use crate::limits::{HANDSHAKE_BYTES_MAX, HANDSHAKE_SECONDS};
use crate::types::Rank;
use crate::wire::auth::{Nonce, Token};
use crate::wire::handshake::{Acceptor, Dialer, Established, Hello, Lane, Local, State};

/// P-41
const HANDSHAKE_NS: u64 = HANDSHAKE_SECONDS * 1_000_000_000;

/// What a dial is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    pub(super) peer: Rank,
    /// The communicator whose link is wanted; `None` for the control link.
    pub(super) lane: Option<Key>,
    /// The link is for messages to the peer.
    pub(super) direct: bool,
    /// Which of the communicator's links to the peer.
    pub(super) stripe: u8,
    /// The rail that it should take.
    pub(super) way: Option<Way>,
}

impl Wish {
    /// For the control link to a peer.
    pub(super) const fn control(peer: Rank) -> Self {
        Wish { peer, lane: None, direct: false, stripe: 0, way: None }
    }
}

/// What a dial or an accepted connection needs from the kernel next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    Readable,
    Writable,
}

/// How a step of a connection ended.
pub(super) enum Step {
    /// It goes on when the kernel says so.
    Needs(Needs),
    /// The other side is who it should be.
    Done(Fd, Box<Established>),
    /// An accepted connection comes to nothing.
    Failed(Error),
    /// A dial has tried every address.
    Exhausted(Loss),
}

/// Trying a peer's addresses one after the other.
pub(super) struct Dial {
    pub(super) wish: Wish,
    hello: Hello,
    token: Token,
    addresses: Vec<Address>,
    tried: usize,
    fd: Option<Fd>,
    shaking: Option<Dialer>,
    /// When the address that is being tried has had its time.
    pub(super) deadline_ns: u64,
    /// What became of each address.
    failures: Vec<String>,
}

impl Dial {
    pub(super) fn new(wish: Wish, hello: Hello, token: Token, addresses: Vec<Address>) -> Self {
        Dial {
            wish,
            hello,
            token,
            addresses,
            tried: 0,
            fd: None,
            shaking: None,
            deadline_ns: u64::MAX,
            failures: Vec::new(),
        }
    }

    /// The address that is being tried, or was last.
    pub(super) fn address(&self) -> Option<Address> {
        self.tried.checked_sub(1).and_then(|index| self.addresses.get(index)).copied()
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, |fd| fd.as_raw_fd())
    }

    /// The connection to the address that is being tried, if there is one.
    pub(super) fn connection(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(|fd| fd.as_fd())
    }

    /// Begins with the first address, or goes on to the next. P-44
    pub(super) fn next_address(&mut self, now_ns: u64) -> Step {
        self.fd = None;
        self.shaking = None;
        while let Some(&address) = self.addresses.get(self.tried) {
            self.tried += 1;
            self.deadline_ns = now_ns.saturating_add(HANDSHAKE_NS);
            let started = match address {
                Address::Tcp(address) => socket::connect_start(address, None),
                Address::Local(process) => local::connect(process),
            };
            match started {
                Ok(fd) => {
                    self.fd = Some(fd);
                    return Step::Needs(Needs::Writable);
                }
                Err(cause) => self.failures.push(format!("{address}: {cause}")),
            }
        }
        Step::Exhausted(self.exhausted(ErrorKind::PeerLost))
    }

    /// The kernel has said what was asked of it.
    pub(super) fn advance(&mut self, now_ns: u64) -> Step {
        let Some(fd) = &self.fd else { return self.next_address(now_ns) };
        if self.shaking.is_none() {
            match socket::connect_result(fd.as_fd()) {
                Ok(()) => self.shaking = Some(Dialer::new(self.hello.clone(), self.token.clone())),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                    return Step::Needs(Needs::Writable);
                }
                Err(cause) => return self.fail_address(&cause.to_string(), now_ns),
            }
        }
        let Some(dialer) = self.shaking.as_mut() else { return Step::Needs(Needs::Readable) };
        let descriptor = fd.as_raw_fd();
        let heard = match say(descriptor, || dialer.output()) {
            Ok(()) if dialer.wants() > 0 => listen(descriptor, dialer.wants(), |bytes| {
                dialer.feed(bytes);
                dialer.wants()
            }),
            other => other,
        };
        let said = say(descriptor, || dialer.output());
        match dialer.state().clone() {
            State::Established(established) => match self.fd.take() {
                Some(fd) => Step::Done(fd, Box::new(established)),
                None => self.fail_address("the connection went away", now_ns),
            },
            // Whoever is there speaks the protocol and says no: another address of the same
            // process would say the same, unless this one leads to somebody else.
            State::Failed(error) => {
                let address = self.addresses[self.tried - 1];
                self.failures.push(format!("{address}: {}", error.message()));
                let turned_down = error.kind() == ErrorKind::Closed;
                if !turned_down && self.tried < self.addresses.len() {
                    return self.next_address(now_ns);
                }
                Step::Exhausted(self.exhausted(error.kind()))
            }
            State::InProgress | State::Offered(_) => match heard.and(said) {
                Ok(()) => Step::Needs(Needs::Readable),
                Err(cause) => self.fail_address(&cause.to_string(), now_ns),
            },
        }
    }

    /// The address being tried has had its time.
    pub(super) fn time_out(&mut self, now_ns: u64) -> Step {
        self.fail_address(&format!("no answer within {HANDSHAKE_SECONDS} s"), now_ns)
    }

    fn fail_address(&mut self, why: &str, now_ns: u64) -> Step {
        if let Some(address) = self.address() {
            self.failures.push(format!("{address}: {why}"));
        }
        self.next_address(now_ns)
    }

    fn exhausted(&self, kind: ErrorKind) -> Loss {
        let before = match self.wish.lane {
            Some(_) if self.wish.direct => "no direct connection to ",
            Some(_) => "no collective connection to ",
            None => "no control connection to ",
        };
        let tried = if self.failures.is_empty() {
            "it published no address that leads here".to_owned()
        } else {
            format!("tried {}", self.failures.join("; "))
        };
        let text = format!(
            ": {tried} (KIRSH_IFACE and KIRSH_ADVERTISE say which addresses a rank publishes)"
        );
        Loss::new(kind, before, text)
    }
}

/// A connection that somebody else opened.
pub(super) struct Inbound {
    fd: Fd,
    /// None within this host.
    from: Option<SocketAddr>,
    acceptor: Acceptor,
    pub(super) deadline_ns: u64,
}

impl AsFd for Inbound {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Inbound {
    pub(super) fn new(fd: Fd, from: Option<SocketAddr>, nonce: Nonce, now_ns: u64) -> Self {
        let deadline_ns = now_ns.saturating_add(HANDSHAKE_NS);
        Inbound { fd, from, acceptor: Acceptor::new(nonce), deadline_ns }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Who it comes from, for people.
    pub(super) fn from(&self) -> String {
        self.from.map_or_else(|| "this host".to_owned(), |from| from.to_string())
    }

    /// Bytes have come, or the stream has ended. `judge` decides about the offer.
    pub(super) fn advance(
        mut self,
        judge: impl FnOnce(&Hello) -> Result<(Local, Token), Error>,
    ) -> Result<Inbound, Step> {
        let descriptor = self.descriptor();
        let acceptor = &mut self.acceptor;
        let heard = listen(descriptor, acceptor.wants(), |bytes| {
            acceptor.feed(bytes);
            acceptor.wants()
        });
        if let State::Offered(hello) = acceptor.state() {
            match judge(hello) {
                Ok((local, token)) => acceptor.accept(local, token),
                Err(error) => acceptor.refuse(error),
            }
        }
        let said = say(descriptor, || acceptor.output());
        match acceptor.state().clone() {
            State::Established(established) => Err(Step::Done(self.fd, Box::new(established))),
            State::Failed(error) => Err(Step::Failed(error)),
            State::InProgress | State::Offered(_) => match heard.and(said) {
                Ok(()) => Ok(self),
                Err(cause) => Err(Step::Failed(Error::system("shaking hands", &cause))),
            },
        }
    }
}

/// Reads no more than the handshake wants, as long as there is something. P-40
fn listen(
    descriptor: RawFd,
    mut wants: usize,
    mut feed: impl FnMut(&[u8]) -> usize,
) -> io::Result<()> {
    let mut buffer = [0u8; HANDSHAKE_BYTES_MAX];
    while wants > 0 {
        let room = wants.min(buffer.len());
        match now::receive(descriptor, &mut buffer[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => wants = feed(&buffer[..bytes]),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(())
}

/// Sends what the handshake has to say. Its few hundred bytes always fit a fresh socket's buffer.
fn say(descriptor: RawFd, mut output: impl FnMut() -> Option<Vec<u8>>) -> io::Result<()> {
    while let Some(bytes) = output() {
        if now::send(descriptor, &bytes)? != bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    Ok(())
}

/// The lane class of a wish.
pub(super) fn class(wish: Wish) -> Lane {
    match (wish.lane, wish.direct) {
        (None, _) => Lane::Control,
        (Some(_), false) => Lane::Collective,
        (Some(_), true) => Lane::Direct,
    }
}
