//! How a client comes to a connection with the built-in store: resolve, connect, shake hands, and
//! again while the server is not there yet.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::address::host_name;
use super::patience::Patience;
use super::table::fill_random;
use super::tcp_wire::{Answer, FRONT_BYTES, Hello, VERSION, client_proof};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::types::Rank;
use crate::wire::auth::{MAC_BYTES, NONCE_BYTES, Token};

/// How long one address may take to answer before the next is tried: longer than two lost SYNs.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The first and the longest pause between rounds of attempts, doubled from one to the other: a
/// server that starts with its clients is found at once, and one that is late is not flooded.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// Who a client is, and to which job it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    pub job: &'a str,
    /// `None` for a client that is no rank, such as a tool.
    pub rank: Option<Rank>,
    pub token: Option<&'a Token>,
}

/// Where a store is and as whom to greet it: what every new connection needs.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) job: String,
    pub(super) rank: Option<Rank>,
    pub(super) token: Option<Token>,
}

impl Dialer {
    pub(super) fn new(host: &str, port: u16, greeting: &Greeting<'_>) -> Self {
        Dialer {
            host: host.to_owned(),
            port,
            job: greeting.job.to_owned(),
            rank: greeting.rank,
            token: greeting.token.cloned(),
        }
    }

    /// Host and port as people write them.
    pub(super) fn place(&self) -> String {
        let Dialer { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// Opens one connection and shakes hands, again and again while nobody answers.
    pub(super) fn dial(&self, patience: Patience<'_>) -> Result<TcpStream> {
        let started = Instant::now();
        let mut failures = BTreeMap::new();
        let mut pause = PAUSE_FIRST;
        loop {
            patience.check()?;
            // Each round anew: a name may come to lead somewhere while the job starts.
            let unresolved = match (self.host.as_str(), self.port).to_socket_addrs() {
                Ok(addresses) => {
                    for address in addresses.take(limits::ADDRESSES_MAX) {
                        patience.check()?;
                        let until = patience.deadline().min(Instant::now() + ATTEMPT);
                        match self.attempt(address, until) {
                            Ok(stream) => return Ok(stream),
                            Err(Failure::Final(error)) => return Err(error),
                            Err(Failure::Passing(why)) => drop(failures.insert(address, why)),
                        }
                    }
                    None
                }
                Err(cause) => Some(cause),
            };
            if patience.is_over() {
                return Err(self.unreachable(&failures, unresolved, started.elapsed()));
            }
            std::thread::sleep(pause.min(patience.left()));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Tries one address.
    fn attempt(&self, address: SocketAddr, until: Instant) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect_timeout(&address, left(until))
            .map_err(|cause| Failure::Passing(cause.to_string()))?;
        // Where nobody listens on a port that the kernel may give to clients, a socket can come to
        // be connected to itself; and it would keep the server from binding that port.
        if stream.local_addr().ok() == stream.peer_addr().ok() {
            return Err(Failure::Passing("nobody listens there".to_owned()));
        }
        // It can only make the exchange slower.
        let _ = stream.set_nodelay(true);
        self.greet(&mut Timed { stream: &stream, until }, address)?;
        Ok(stream)
    }

    /// Shakes hands on a fresh connection.
    fn greet(&self, wire: &mut Timed<'_>, address: SocketAddr) -> Result<(), Failure> {
        let mut nonce = [0; NONCE_BYTES];
        fill_random(&mut nonce).map_err(Failure::Final)?;
        let hello = Hello {
            rank: self.rank,
            pid: std::process::id(),
            host_name: host_name(),
            has_token: self.token.is_some(),
            job: self.job.clone(),
            nonce,
        };
        let said = hello.encode();
        wire.write_all(&said)?;
        let (answer, heard) = self.read_answer(wire, address)?;
        let Some(token) = &self.token else { return Ok(()) };
        let server_knows = answer.is_proven(token, &said);
        // A server that does not know the token gets no proof of it, but is told.
        let proof = match server_knows {
            true => client_proof(token, &said, &heard),
            false => [0; MAC_BYTES],
        };
        wire.write_all(&proof)?;
        let outcome = self.read_answer(wire, address).map(|_| ());
        if server_knows {
            return outcome;
        }
        Err(Failure::Final(Error::new(
            ErrorKind::Authentication,
            format!(
                "the store at {address} does not know this job's token: {} has one (KIRSH_TOKEN, \
                 KIRSH_TOKEN_FILE), the store has another",
                hello.who()
            ),
        )))
    }

    /// Reads an answer that lets this client in, and its bytes.
    fn read_answer(
        &self,
        wire: &mut Timed<'_>,
        address: SocketAddr,
    ) -> Result<(Answer, Vec<u8>), Failure> {
        let not_kirsh = || {
            Failure::Final(Error::new(
                ErrorKind::Protocol,
                format!(
                    "what answers at {address} is not a Kirsh store: another program has port {}",
                    self.port
                ),
            ))
        };
        let mut front = [0; FRONT_BYTES];
        wire.read_exact(&mut front)?;
        let (version, len) = Answer::read_front(&front).map_err(|_| not_kirsh())?;
        let mut bytes = front.to_vec();
        bytes.resize(FRONT_BYTES + len, 0);
        wire.read_exact(&mut bytes[FRONT_BYTES..])?;
        let answer = Answer::decode(&bytes[FRONT_BYTES..], version).ok_or_else(|| {
            if version == VERSION {
                return not_kirsh();
            }
            let why = format!("it speaks store version {version}, this rank {VERSION}");
            Failure::Final(self.turned_away(address, &why))
        })?;
        if answer.refusal.is_empty() {
            return Ok((answer, bytes));
        }
        Err(Failure::Final(self.turned_away(address, &answer.refusal)))
    }

    fn turned_away(&self, address: SocketAddr, why: &str) -> Error {
        Error::new(
            ErrorKind::Authentication,
            format!("the store at {address} turned this client away: {why}"),
        )
    }

    /// What to say when nobody answered.
    fn unreachable(
        &self,
        failures: &BTreeMap<SocketAddr, String>,
        unresolved: Option<io::Error>,
        waited: Duration,
    ) -> Error {
        let place = self.place();
        let mut text = format!("no store at {place} within {:.1} s", waited.as_secs_f64());
        if let Some(cause) = unresolved {
            text += &format!("; the name {} could not be resolved: {cause}", self.host);
        }
        let tried: Vec<String> =
            failures.iter().map(|(address, why)| format!("{address} ({why})")).collect();
        if !tried.is_empty() {
            text += &format!("; tried {}", tried.join(", "));
        }
        let literal = self.host == "localhost" || self.host.parse::<IpAddr>().is_ok();
        if !literal && failures.keys().any(|address| address.ip().is_loopback()) {
            text += &format!(
                "; on this host the name {} leads to a loopback address (see /etc/hosts), which \
                 reaches no other host: put rank 0's IP address into KIRSH_RENDEZVOUS",
                self.host
            );
        }
        text += "; rank 0 serves the store if the address is its own (KIRSH_RENDEZVOUS, \
                 KIRSH_JOIN_TIMEOUT)";
        Error::new(ErrorKind::Rendezvous, text)
    }
}

/// Why an attempt to connect failed: for now, or for good.
enum Failure {
    Passing(String),
    Final(Error),
}

impl From<io::Error> for Failure {
    fn from(cause: io::Error) -> Self {
        Failure::Passing(match cause.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".to_owned(),
            io::ErrorKind::WouldBlock => "it accepted but said nothing in time".to_owned(),
            _ => cause.to_string(),
        })
    }
}

/// A socket read and written under a deadline.
pub(super) struct Timed<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) until: Instant,
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.until)))?;
        self.stream.read(into)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.until)))?;
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is left until then, but never nothing: a socket takes zero for "no bound".
fn left(until: Instant) -> Duration {
    left_or_zero(until).max(Duration::from_millis(1))
}

pub(super) fn left_or_zero(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}
