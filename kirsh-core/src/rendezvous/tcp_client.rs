//! One client as the store's server sees it: its greeting, its requests, what it still has to read.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::join::REFUSED;
use super::shelf::Shelf;
use super::sys::Watched;
use super::table::fill_random;
use super::tcp_wire::{
    Answer, FRONT_BYTES, HEADER_BYTES, Hello, ReplyHeader, Request, RequestHeader, Status, VERSION,
    client_is_proven,
};
use crate::limits;
use crate::wire::auth::{MAC_BYTES, NONCE_BYTES, Token};

/// Bytes taken from a socket at a time: a header and an ordinary value in one go.
const READ_BYTES: usize = 16 << 10;

/// Reads from one client before the others have their turn, so that none can keep them waiting.
const READS_PER_TURN: usize = 64;

/// How long a client that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(2);

/// The longest single wait; a client with more patience asks again.
const WAIT_MS_MAX: i64 = 60_000;

/// What all clients share.
pub(super) struct Shop {
    pub(super) addr: SocketAddr,
    pub(super) job: String,
    pub(super) token: Option<Token>,
    pub(super) shelf: Shelf,
}

/// How far a client has come.
enum Stage {
    /// Nothing is known of it yet.
    Greeting { until: Instant },
    /// It said who it is, and shall prove it.
    Proving { until: Instant, hello: Vec<u8>, who: String, answer: Vec<u8> },
    /// It asks, one request at a time.
    Asking,
    /// It waits for a key.
    Waiting { key: String, until: Instant },
    /// It is to read a last word and go.
    Leaving { until: Instant },
    /// Only to be dropped.
    Gone,
}

pub(super) struct Client {
    stream: TcpStream,
    from: SocketAddr,
    stage: Stage,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Goes out behind `output`.
    value: Option<Arc<[u8]>>,
    /// Bytes of both that are out.
    sent: usize,
}

impl Client {
    pub(super) fn new(stream: TcpStream, from: SocketAddr) -> Self {
        let until = Instant::now() + Duration::from_secs(limits::HANDSHAKE_SECONDS);
        Client {
            stream,
            from,
            stage: Stage::Greeting { until },
            input: Vec::new(),
            output: Vec::new(),
            value: None,
            sent: 0,
        }
    }

    /// What to watch its socket for: room for what it has to read first, else what it says.
    pub(super) fn watch(&self) -> Watched {
        let behind = self.is_behind();
        Watched::new(self.stream.as_fd(), !behind, behind)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Greeting { until }
            | Stage::Proving { until, .. }
            | Stage::Waiting { until, .. }
            | Stage::Leaving { until } => Some(*until),
            Stage::Asking | Stage::Gone => None,
        }
    }

    /// Whether it has not yet shown that it belongs here.
    pub(super) fn is_stranger(&self) -> bool {
        !matches!(self.stage, Stage::Asking | Stage::Waiting { .. })
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    /// Bytes set aside for a request that is not yet complete.
    pub(super) fn unfinished_bytes(&self) -> usize {
        self.input.capacity()
    }

    /// Writes and reads as much as the socket gives, and does what was asked.
    pub(super) fn advance(&mut self, shop: &mut Shop) {
        if self.drive(shop).is_err() {
            self.stage = Stage::Gone;
        }
    }

    /// Answers a wait that is over, because its key has come or its time has, and ends what takes
    /// too long.
    pub(super) fn look_again(&mut self, shop: &Shop, now: Instant) {
        match &self.stage {
            Stage::Waiting { key, until } => {
                let value = match shop.shelf.has_changed(key) {
                    true => shop.shelf.get(key),
                    false => None,
                };
                if value.is_none() && now < *until {
                    return;
                }
                self.stage = Stage::Asking;
                self.reply(if value.is_some() { Status::Done } else { Status::Absent }, 0, value);
                // Only written, not read: what it asks next could change a key that others, looked
                // at before it in this round, wait for.
                if self.flush().is_err() {
                    self.stage = Stage::Gone;
                }
            }
            Stage::Greeting { until } | Stage::Proving { until, .. } | Stage::Leaving { until }
                if *until <= now =>
            {
                self.stage = Stage::Gone;
            }
            _ => {}
        }
    }

    fn is_behind(&self) -> bool {
        self.sent < self.output.len() + self.value.as_ref().map_or(0, |value| value.len())
    }

    fn drive(&mut self, shop: &mut Shop) -> io::Result<()> {
        let mut chunk = [0; READ_BYTES];
        for _ in 0..READS_PER_TURN {
            // Everything that has come is dealt with before more is read, and before others have
            // their turn: poll would not report it again.
            loop {
                if !self.flush()? {
                    return Ok(());
                }
                if !self.understand(shop)? {
                    break;
                }
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                // Whatever is still under way when a client has to go is let pass by, since
                // closing over unread bytes would take the last word from it.
                Ok(_) if matches!(self.stage, Stage::Leaving { .. }) => {}
                // It asked and has no answer yet.
                Ok(_) if matches!(self.stage, Stage::Waiting { .. }) => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        // The last chunk is dealt with as well; what is still in the socket comes next turn.
        while self.flush()? && self.understand(shop)? {}
        Ok(())
    }

    /// Sends what is there to send; whether all of it is out.
    fn flush(&mut self) -> io::Result<bool> {
        while self.is_behind() {
            let rest = match (self.output.get(self.sent..), &self.value) {
                (Some(rest), _) if !rest.is_empty() => rest,
                (_, Some(value)) => &value[self.sent - self.output.len()..],
                (_, None) => break,
            };
            match self.stream.write(rest) {
                Ok(count) => self.sent += count,
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        if self.sent > 0 {
            self.output.clear();
            self.value = None;
            self.sent = 0;
            if matches!(self.stage, Stage::Leaving { .. }) {
                self.stream.shutdown(Shutdown::Write)?;
            }
        }
        Ok(true)
    }

    /// Takes one complete message off the input and acts on it; whether there was one.
    fn understand(&mut self, shop: &mut Shop) -> io::Result<bool> {
        match &self.stage {
            Stage::Greeting { .. } => self.understand_hello(shop),
            Stage::Proving { .. } => self.understand_proof(shop),
            Stage::Asking => self.understand_request(shop),
            Stage::Waiting { .. } | Stage::Leaving { .. } | Stage::Gone => Ok(false),
        }
    }

    fn understand_hello(&mut self, shop: &mut Shop) -> io::Result<bool> {
        let Some(front) = self.input.first_chunk::<FRONT_BYTES>() else { return Ok(false) };
        let (version, len) =
            Hello::read_front(front).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        if self.input.len() < FRONT_BYTES + len {
            return Ok(false);
        }
        let bytes: Vec<u8> = self.input.drain(..FRONT_BYTES + len).collect();
        if version != VERSION {
            let who = format!("a client of store version {version}");
            let why = format!("the store speaks version {VERSION} and the client {version}");
            self.refuse(shop, &who, &why);
            return Ok(true);
        }
        let hello = Hello::decode(&bytes[FRONT_BYTES..])
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let who = hello.who();
        if hello.job != shop.job {
            let why = format!("the store's job id is {:?}, its own is {:?}", shop.job, hello.job);
            self.refuse(shop, &who, &why);
            return Ok(true);
        }
        if hello.has_token != shop.token.is_some() {
            let tell = |has| if has { "has a token" } else { "has none" };
            let why = format!(
                "the store {}, the client {} (KIRSH_TOKEN, KIRSH_TOKEN_FILE)",
                tell(shop.token.is_some()),
                tell(hello.has_token)
            );
            self.refuse(shop, &who, &why);
            return Ok(true);
        }
        let mut answer = welcome(shop)?;
        match &shop.token {
            Some(token) => {
                answer.prove(token, &bytes);
                self.output = answer.encode();
                let until = Instant::now() + Duration::from_secs(limits::HANDSHAKE_SECONDS);
                let answer = self.output.clone();
                self.stage = Stage::Proving { until, hello: bytes, who, answer };
            }
            None => {
                self.output = answer.encode();
                self.stage = Stage::Asking;
            }
        }
        Ok(true)
    }

    fn understand_proof(&mut self, shop: &mut Shop) -> io::Result<bool> {
        let Stage::Proving { hello, who, answer, .. } = &self.stage else { return Ok(false) };
        let Some(proof) = self.input.first_chunk::<MAC_BYTES>() else { return Ok(false) };
        let knows =
            shop.token.as_ref().is_some_and(|token| client_is_proven(token, hello, answer, proof));
        let who = who.clone();
        self.input.drain(..MAC_BYTES);
        if knows {
            self.output = welcome(shop)?.encode();
            self.stage = Stage::Asking;
        } else {
            let why = "its token is not the store's (KIRSH_TOKEN, KIRSH_TOKEN_FILE)";
            self.refuse(shop, &who, why);
        }
        Ok(true)
    }

    fn understand_request(&mut self, shop: &mut Shop) -> io::Result<bool> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let Some(header) = self.input.first_chunk::<HEADER_BYTES>() else { return Ok(false) };
        let header = RequestHeader::decode(header).ok_or_else(invalid)?;
        let value_at = HEADER_BYTES + header.key_len;
        let end = value_at + header.value_len;
        if self.input.len() < end {
            return Ok(false);
        }
        let key =
            std::str::from_utf8(&self.input[HEADER_BYTES..value_at]).map_err(|_| invalid())?;
        let key = key.to_owned();
        match header.request {
            Request::Set => {
                let done = shop.shelf.set(&key, &self.input[value_at..end]);
                self.reply_to(done.map(|()| 0));
            }
            Request::Add => {
                let done = shop.shelf.add(&key, header.argument);
                self.reply_to(done);
            }
            Request::Get | Request::Wait => match shop.shelf.get(&key) {
                Some(value) => self.reply(Status::Done, 0, Some(value)),
                None if header.request == Request::Wait && header.argument > 0 => {
                    let wait = Duration::from_millis(header.argument.min(WAIT_MS_MAX) as u64);
                    self.stage = Stage::Waiting { key, until: Instant::now() + wait };
                }
                None => self.reply(Status::Absent, 0, None),
            },
        }
        // A large value's memory goes with it.
        if self.input.len() == end {
            self.input = Vec::new()
        } else {
            drop(self.input.drain(..end))
        }
        Ok(true)
    }

    fn reply_to(&mut self, done: Result<i64, String>) {
        match done {
            Ok(number) => self.reply(Status::Done, number, None),
            Err(why) => self.reply(Status::Failed, 0, Some(why.into_bytes().into())),
        }
    }

    fn reply(&mut self, status: Status, number: i64, value: Option<Arc<[u8]>>) {
        let value_len = value.as_ref().map_or(0, |value| value.len());
        self.output = ReplyHeader { status, value_len, number }.encode();
        self.value = value;
    }

    /// Turns the client away with a reason, and notes it for the ranks that wait.
    fn refuse(&mut self, shop: &mut Shop, who: &str, why: &str) {
        let text = format!(
            "{who} from {} was turned away by the store at {}: {why}",
            self.from, shop.addr
        );
        tracing::warn!("{text}");
        // Where the store is full nobody can be told, and the client still goes.
        let _ = shop.shelf.set(REFUSED, text.as_bytes());
        let (nonce, proof) = ([0; NONCE_BYTES], [0; MAC_BYTES]);
        let answer = Answer { refusal: text, job: shop.job.clone(), nonce, proof };
        self.output = answer.encode();
        self.input = Vec::new();
        self.stage = Stage::Leaving { until: Instant::now() + FAREWELL };
    }
}

/// An answer that lets the client in, with a fresh nonce.
fn welcome(shop: &Shop) -> io::Result<Answer> {
    let mut nonce = [0; NONCE_BYTES];
    fill_random(&mut nonce).map_err(io::Error::other)?;
    Ok(Answer { refusal: String::new(), job: shop.job.clone(), nonce, proof: [0; MAC_BYTES] })
}
