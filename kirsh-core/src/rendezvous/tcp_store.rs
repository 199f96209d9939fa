//! The built-in store as its clients see it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::patience::Patience;
use super::store::Store;
pub use super::tcp_dial::Greeting;
use super::tcp_dial::{Dialer, Timed, left_or_zero};
use super::tcp_wire::{HEADER_BYTES, ReplyHeader, Request, RequestHeader, Status};
use crate::error::{Error, ErrorKind, Result, Scope};
use crate::limits;

/// The longest wait that is asked for at once; between two the client learns whether the server
/// still lives.
const WAIT_SLICE: Duration = Duration::from_secs(10);

/// Connections that are kept for later use; more are only open while threads call at one time.
const IDLE_MAX: usize = 4;

/// A client of the built-in store, [`TcpServer`](super::TcpServer). Any thread may call; each call
/// under way has a connection of its own, so one that waits keeps out nobody.
#[derive(Debug)]
pub struct TcpStore {
    dialer: Dialer,
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
            dialer: Dialer::new(host, port, greeting),
            idle: Mutex::new(Vec::new()),
            pid: std::process::id(),
        };
        let stream = store.dialer.dial(patience.into())?;
        store.put_back(stream);
        Ok(store)
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
            None => self.dialer.dial(until.into())?,
        };
        let mut wire = Timed { stream: &stream, until };
        let reply = exchange(&mut wire, header, key, value).map_err(|cause| {
            Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "the store at {} did not answer: {cause}; whoever serves it (rank 0, or the \
                     launcher) may be gone",
                    self.dialer.place()
                ),
            )
            .with_scope(Scope::Link)
        })?;
        // Only after a whole exchange: what is left of a broken one would answer the next.
        self.put_back(stream);
        if reply.0.status == Status::Failed {
            return Err(Error::new(
                ErrorKind::Rendezvous,
                format!(
                    "the store at {} refused: {}",
                    self.dialer.place(),
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
        format!("the store at {}", self.dialer.place())
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
