//! The end of a pair that is looked at: listens as a communicator would, and answers those who prove
//! that they are of this job.
//!
//! On a connection the other side speaks first: [`Hello`], which is answered by a proof. Then it
//! sends [`PING`] and eight bytes, which come back, or [`SINK`] and chunks, each behind its length
//! in four bytes, of which one of no length ends them and is answered by a byte.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::address::{self, Listening};
use crate::rendezvous::identity::process_env;
use crate::rendezvous::settings;
use crate::rendezvous::token::Token;

pub(super) const PING: u8 = b'p';
pub(super) const SINK: u8 = b's';
pub(super) const PING_BYTES: usize = 8;

/// The largest chunk of a transfer.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// How long a connection may be silent before it is given up.
pub(super) const SILENCE: Duration = Duration::from_secs(20);

/// How often to look for connections and for the end.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Connections served at once; each is of another rank's turn or a stranger's.
const CONNECTIONS_MAX: usize = 64;

/// How many ports are tried to listen on several addresses with one.
const PORT_TRIES: u32 = 64;

const MAGIC: [u8; 8] = *b"kirshDR1";
const PROOF_BYTES: usize = 32;
pub(super) const HELLO_BYTES: usize = 16 + PROOF_BYTES;

/// Who looks for whom.
#[derive(Clone, Copy)]
pub(super) struct Hello {
    pub(super) from: u32,
    pub(super) to: u32,
    /// The process looked for, so that a proof is good for nobody else.
    pub(super) process_id: u64,
}

impl Hello {
    /// What the one who looks sends.
    pub(super) fn encode(&self, secret: &Token) -> Vec<u8> {
        let proof = self.prove("kirsh doctor hello", secret);
        [&MAGIC[..], &self.from.to_le_bytes(), &self.to.to_le_bytes(), &proof].concat()
    }

    /// What the one looked for answers.
    pub(super) fn answer(&self, secret: &Token) -> [u8; PROOF_BYTES] {
        self.prove("kirsh doctor answer", secret)
    }

    fn prove(&self, label: &str, secret: &Token) -> [u8; PROOF_BYTES] {
        let Hello { from, to, process_id } = self;
        let parts = [&from.to_le_bytes()[..], &to.to_le_bytes(), &process_id.to_le_bytes()];
        secret.prove(label, &parts)
    }

    /// Whether these bytes are a greeting for this process from a rank of this job.
    fn accept(
        bytes: &[u8; HELLO_BYTES],
        to: u32,
        process_id: u64,
        secret: &Token,
    ) -> Option<Hello> {
        let from = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let hello = Hello { from, to, process_id };
        let proof: [u8; PROOF_BYTES] = bytes[16..].try_into().ok()?;
        let parts = [&from.to_le_bytes()[..], &to.to_le_bytes(), &process_id.to_le_bytes()];
        let proven = secret.verify("kirsh doctor hello", &parts, &proof);
        (bytes[..8] == MAGIC && proven).then_some(hello)
    }
}

/// Opens the listeners that the settings ask for, and says under which addresses others find them.
pub(super) fn open(has_token: bool) -> Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let env = &process_env;
    let (ports, filter) = (settings::ports(env)?, settings::interfaces(env)?);
    let advertise = settings::advertise(env)?;
    let mut listening = Listening {
        port: 0,
        bind: settings::bind(env)?,
        advertise: &advertise,
        filter: &filter,
        loopback_only: !has_token,
    };
    let (listeners, bound) = bind_all(&address::to_bind(&listening)?, ports)?;
    listening.port = bound.first().map_or(0, SocketAddr::port);
    let ips: Vec<IpAddr> = bound.iter().map(SocketAddr::ip).collect();
    Ok((listeners, address::published(&listening, &ips)?))
}

/// Listens on all of these addresses on one port.
fn bind_all(
    ips: &[IpAddr],
    ports: Option<RangeInclusive<u16>>,
) -> Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let candidates: Vec<u16> = match ports {
        Some(range) => range.collect(),
        None => vec![0; PORT_TRIES as usize],
    };
    let mut last = None;
    for port in candidates {
        match bind_at(ips, port) {
            Ok(bound) => return Ok(bound),
            Err(cause) => last = Some(cause),
        }
    }
    let cause = last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into());
    let text = format!("listening on {ips:?}: {cause}; KIRSH_PORTS and KIRSH_BIND say where");
    Err(Error::new(ErrorKind::System, text))
}

fn bind_at(ips: &[IpAddr], port: u16) -> io::Result<(Vec<TcpListener>, Vec<SocketAddr>)> {
    let (mut listeners, mut bound) = (Vec::new(), Vec::<SocketAddr>::new());
    for &ip in ips {
        let port = bound.first().map_or(port, SocketAddr::port);
        let listener = match TcpListener::bind((ip, port)) {
            // A host without IPv6.
            Err(_) if ip == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
            }
            other => other,
        }?;
        listener.set_nonblocking(true)?;
        bound.push(listener.local_addr()?);
        listeners.push(listener);
    }
    Ok((listeners, bound))
}

/// Answers from threads of its own until it is dropped.
pub(super) struct Answerer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// Begins to answer as this rank and process.
    pub(super) fn start(
        listeners: Vec<TcpListener>,
        rank: u32,
        process_id: u64,
        secret: Token,
    ) -> io::Result<Answerer> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serving = Arc::new(AtomicUsize::new(0));
        let accept = move || {
            while !stopped.load(Ordering::Acquire) {
                for listener in &listeners {
                    let Ok((stream, _)) = listener.accept() else { continue };
                    if serving.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
                        serving.fetch_sub(1, Ordering::AcqRel);
                        continue;
                    }
                    let (secret, leaving) = (secret.clone(), Arc::clone(&serving));
                    let serve = move || {
                        // A connection that ends in any way is a matter of the one who looks.
                        let _ = answer(stream, rank, process_id, &secret);
                        leaving.fetch_sub(1, Ordering::AcqRel);
                    };
                    let named = std::thread::Builder::new().name("kirsh-doctor-peer".into());
                    if named.spawn(serve).is_err() {
                        serving.fetch_sub(1, Ordering::AcqRel);
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("kirsh-doctor".into()).spawn(accept)?;
        Ok(Answerer { stop, thread: Some(thread) })
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves one connection until the other side ends it or is silent too long.
fn answer(mut stream: TcpStream, rank: u32, process_id: u64, secret: &Token) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_write_timeout(Some(SILENCE))?;
    let mut greeting = [0; HELLO_BYTES];
    stream.read_exact(&mut greeting)?;
    let Some(hello) = Hello::accept(&greeting, rank, process_id, secret) else { return Ok(()) };
    stream.write_all(&hello.answer(secret))?;
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let mut word = [0];
        stream.read_exact(&mut word)?;
        match word[0] {
            PING => {
                stream.read_exact(&mut chunk[..PING_BYTES])?;
                stream.write_all(&chunk[..PING_BYTES])?;
            }
            SINK => {
                loop {
                    let mut len = [0; 4];
                    stream.read_exact(&mut len)?;
                    let len = u32::from_le_bytes(len) as usize;
                    if len == 0 {
                        break;
                    }
                    let Some(place) = chunk.get_mut(..len) else { return Ok(()) };
                    stream.read_exact(place)?;
                }
                stream.write_all(&[SINK])?;
            }
            _ => return Ok(()),
        }
    }
}
