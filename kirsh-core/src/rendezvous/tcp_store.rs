//! The built-in store as its clients see it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::address::host_name;
use super::patience::Patience;
use super::store::Store;
use super::table::fill_random;
use super::tcp_wire::{
    Answer, FRONT_BYTES, HEADER_BYTES, Hello, ReplyHeader, Request, RequestHeader, Status, VERSION,
    client_proof,
};
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

/// The longest wait that is asked for at once; between two the client learns whether the server
/// still lives.
const WAIT_SLICE: Duration = Duration::from_secs(10);

/// Connections that are kept for later use; more are only open while threads call at one time.
const IDLE_MAX: usize = 4;

/// Who a client is, and to which job it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Greeting<'a> {
    pub job: &'a str,
    /// `None` for a client that is no rank, such as a tool.
    pub rank: Option<Rank>,
    pub token: Option<&'a Token>,
}

/// A client of the built-in store, [`TcpServer`](super::TcpServer). Any thread may call; each call
/// under way has a connection of its own, so one that waits keeps out nobody.
#[derive(Debug)]
pub struct TcpStore {
    host: String,
    port: u16,
    job: String,
    rank: Option<Rank>,
    token: Option<Token>,
    idle: Mutex<Vec<TcpStream>>,
    pid: u32,
}

impl TcpStore {
    /// Connects to the store at `host:port` and shakes hands, retrying while the server is not
    /// there yet. Blocks until then, or until the deadline (or the interrupt) of `patience`;
    /// looking the host's name up can take a few seconds longer than that.
    ///
    /// # Errors
    /// - `Rendezvous`: nobody answered in time; the text lists each address tried and why it failed;
    /// - `Authentication`: the server turned this client away, or does not know the token;
    /// - `Protocol`: something else than a Kirsh store answers there.
    pub fn connect<'p>(
        host: &str,
        port: u16,
        greeting: &Greeting<'_>,
        patience: impl Into<Patience<'p>>,
    ) -> Result<TcpStore> {
        let store = TcpStore {
            host: host.to_owned(),
            port,
            job: greeting.job.to_owned(),
            rank: greeting.rank,
            token: greeting.token.cloned(),
            idle: Mutex::new(Vec::new()),
            pid: std::process::id(),
        };
        let stream = store.dial(patience.into())?;
        store.put_back(stream);
        Ok(store)
    }

    /// Opens one connection.
    fn dial(&self, patience: Patience<'_>) -> Result<TcpStream> {
        let started = Instant::now();
        let mut failures = BTreeMap::new();
        let mut pause = PAUSE_FIRST;
        loop {
            patience.check()?;
            // Each round anew: a name may come to lead somewhere while the job starts.
            let unresolved = match (self.host.as_str(), self.port).to_socket_addrs() {
                Ok(addresses) => {
                    for address in addresses.take(limits::ADDRESSES_MAX) {
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
            pid: self.pid,
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
        let place = place(&self.host, self.port);
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

    /// Asks the server one thing and returns what it said.
    fn ask(
        &self,
        header: RequestHeader,
        key: &str,
        value: &[u8],
        may_take: Duration,
    ) -> Result<(ReplyHeader, Vec<u8>)> {
        if self.pid != std::process::id() {
            return Err(Error::new(
                ErrorKind::Forked,
                "this store was opened before a fork; the child has to open its own",
            ));
        }
        let idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop();
        let until = Instant::now() + may_take;
        let stream = match idle {
            Some(stream) => stream,
            None => self.dial(until.into())?,
        };
        let mut wire = Timed { stream: &stream, until };
        let reply = exchange(&mut wire, header, key, value).map_err(|cause| {
            Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "the store at {} did not answer: {cause}; whoever serves it (rank 0, or the \
                     launcher) may be gone",
                    place(&self.host, self.port)
                ),
            )
        })?;
        // Only after a whole exchange: what is left of a broken one would answer the next.
        self.put_back(stream);
        if reply.0.status == Status::Failed {
            return Err(Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "the store at {} refused: {}",
                    place(&self.host, self.port),
                    String::from_utf8_lossy(&reply.1)
                ),
            ));
        }
        Ok(reply)
    }

    fn put_back(&self, stream: TcpStream) {
        let mut idle = self.idle.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if idle.len() < IDLE_MAX {
            idle.push(stream);
        }
    }
}

impl Store for TcpStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        let header = header(Request::Set, key, value.len(), 0)?;
        self.ask(header, key, value, REQUEST).map(|_| ())
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let header = header(Request::Get, key, 0, 0)?;
        let (reply, value) = self.ask(header, key, b"", REQUEST)?;
        Ok((reply.status == Status::Done).then_some(value))
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        loop {
            let wait = left_or_zero(deadline).min(WAIT_SLICE);
            // Rounded up, so that the last part of a millisecond is not asked for again and again.
            let wait_ms = wait.as_nanos().div_ceil(1_000_000) as i64;
            let header = header(Request::Wait, key, 0, wait_ms)?;
            let (reply, value) = self.ask(header, key, b"", wait + REQUEST)?;
            if reply.status == Status::Done {
                return Ok(Some(value));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        let header = header(Request::Add, key, 0, delta)?;
        Ok(self.ask(header, key, b"", REQUEST)?.0.number)
    }

    fn describe(&self) -> String {
        format!("the store at {}", place(&self.host, self.port))
    }
}

const REQUEST: Duration = Duration::from_secs(limits::STORE_REQUEST_SECONDS);

/// The header of a request, if key and value are within the limits.
fn header(request: Request, key: &str, value_len: usize, argument: i64) -> Result<RequestHeader> {
    check_lengths(key, value_len)?;
    Ok(RequestHeader { request, key_len: key.len(), value_len, argument })
}

/// Whether a key and a value are within what stores take.
pub(super) fn check_lengths(key: &str, value_len: usize) -> Result<()> {
    let wrong = |what: &str, len: usize, max: usize| {
        Error::new(
            ErrorKind::InvalidArgument,
            format!("a {what} of {len} bytes; a store takes 1 to {max}"),
        )
    };
    if key.is_empty() || key.len() > limits::STORE_KEY_MAX {
        return Err(wrong("key", key.len(), limits::STORE_KEY_MAX));
    }
    if value_len > limits::STORE_VALUE_MAX {
        return Err(wrong("value", value_len, limits::STORE_VALUE_MAX));
    }
    Ok(())
}

fn exchange(
    wire: &mut Timed<'_>,
    header: RequestHeader,
    key: &str,
    value: &[u8],
) -> io::Result<(ReplyHeader, Vec<u8>)> {
    let mut request = header.encode();
    request.extend_from_slice(key.as_bytes());
    request.extend_from_slice(value);
    wire.write_all(&request)?;
    let mut bytes = [0; HEADER_BYTES];
    wire.read_exact(&mut bytes)?;
    let reply = ReplyHeader::decode(&bytes)
        .ok_or_else(|| io::Error::other("the reply is not a Kirsh store's"))?;
    // Grows with what comes, not with the length claimed.
    let mut value = Vec::new();
    wire.take(reply.value_len as u64).read_to_end(&mut value)?;
    if value.len() < reply.value_len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((reply, value))
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
struct Timed<'a> {
    stream: &'a TcpStream,
    until: Instant,
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

fn left_or_zero(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Host and port as people write them.
pub(super) fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
