//! The end of a pair that looks: which of the other's addresses lead to it, and what the way is like.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::listen::{CHUNK_BYTES, Hello, PING, PING_BYTES, SILENCE, SINK};
use super::record::{Pair, Tried};
use crate::rendezvous::path::path_of;
use crate::rendezvous::token::Token;
use crate::rendezvous::{Member, Table};

/// How long an address may take to answer. A communicator waits longer; what takes longer than this
/// on a network for collectives is as good as dead.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// Round trips of which the median counts.
const ROUND_TRIPS: usize = 31;

/// With what a transfer begins: its time says how much fills the time there is.
const FIRST_BYTES: u64 = 64 << 10;

/// Other addresses of the same rank whose bandwidth is compared with that of the chosen one.
const COMPARED_MAX: usize = 3;

/// How much to send.
pub(super) struct Effort {
    pub(super) time: Duration,
    pub(super) bytes: u64,
}

/// Looks for `to` from `from`, and measures the way if `effort` is given. Takes a bounded time,
/// whatever the other side does.
pub(super) fn look(table: &Table, from: u32, to: u32, effort: Option<&Effort>) -> Pair {
    let (me, other) = (&table.ranks[from as usize], &table.ranks[to as usize]);
    let same_host = me.host_id == other.host_id;
    let hello = Hello { from, to, process_id: other.process_id };
    let addresses = in_order(other, same_host);
    let reached = reach_all(&addresses, &hello, &table.secret);
    let mut pair = Pair { from, to, same_host, ..Pair::default() };
    let mut streams = Vec::new();
    for (address, outcome) in addresses.iter().zip(reached) {
        let problem = outcome.as_ref().err().cloned();
        pair.tried.push(Tried { address: address.to_string(), problem, bandwidth_mbit: None });
        streams.push(outcome.ok());
    }
    let Some(first) = streams.iter().position(Option::is_some) else {
        pair.problem = Some(match addresses.is_empty() {
            true => "it publishes no address that another host could use".to_owned(),
            false => "none of its addresses answers".to_owned(),
        });
        return pair;
    };
    pair.chosen = Some(pair.tried[first].address.clone());
    pair.why = match (first, same_host && addresses[first].ip().is_loopback()) {
        (0, true) => "loopback, on one host".to_owned(),
        (0, false) => "the first that it publishes".to_owned(),
        (skipped, _) => format!("the first that answers; {skipped} before it do not"),
    };
    let Some(effort) = effort else { return pair };
    if let Some(stream) = &mut streams[first]
        && let Err(cause) = measure(stream, effort, &mut pair)
    {
        pair.problem = Some(format!("the connection failed while it was measured: {cause}"));
    }
    pair.tried[first].bandwidth_mbit = pair.bandwidth_mbit;
    // On one host all addresses lead through memory.
    let others = (0..streams.len()).filter(|at| *at != first && !same_host);
    for at in others.filter(|at| streams[*at].is_some()).take(COMPARED_MAX).collect::<Vec<_>>() {
        let less = Effort { time: effort.time / 4, bytes: effort.bytes / 4 };
        if let Some(stream) = &mut streams[at] {
            pair.tried[at].bandwidth_mbit = bandwidth(stream, &less).ok();
        }
    }
    pair
}

/// The addresses in the order in which a communicator tries them: loopback first on one host, and
/// never between two.
fn in_order(other: &Member, same_host: bool) -> Vec<SocketAddr> {
    let all = other.addresses.iter().copied();
    let (loopback, others): (Vec<_>, Vec<_>) = all.partition(|at| at.ip().is_loopback());
    if same_host { loopback.into_iter().chain(others).collect() } else { others }
}

/// Tries all addresses at once, since one that leads nowhere takes its time.
fn reach_all(
    addresses: &[SocketAddr],
    hello: &Hello,
    secret: &Token,
) -> Vec<Result<TcpStream, String>> {
    std::thread::scope(|scope| {
        let tries: Vec<_> = addresses
            .iter()
            .map(|address| scope.spawn(move || reach(*address, hello, secret)))
            .collect();
        let ended = |tried: std::thread::ScopedJoinHandle<'_, _>| {
            tried.join().unwrap_or_else(|_| Err("the attempt panicked".to_owned()))
        };
        tries.into_iter().map(ended).collect()
    })
}

fn reach(address: SocketAddr, hello: &Hello, secret: &Token) -> Result<TcpStream, String> {
    let silent = || format!("no answer within {} s", ANSWERS_WITHIN.as_secs());
    let said = |cause: io::Error| match cause.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => silent(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "something else than that rank answers".to_owned()
        }
        _ => cause.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&address, ANSWERS_WITHIN).map_err(said)?;
    let mut greet = || {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        stream.set_write_timeout(Some(ANSWERS_WITHIN))?;
        stream.write_all(&hello.encode(secret))?;
        let mut answer = hello.answer(secret);
        stream.read_exact(&mut answer)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        Ok(answer == hello.answer(secret))
    };
    match greet().map_err(said)? {
        true => Ok(stream),
        false => Err("something else than that rank answers".to_owned()),
    }
}

/// Measures a connection and asks the kernel about it.
fn measure(stream: &mut TcpStream, effort: &Effort, pair: &mut Pair) -> io::Result<()> {
    pair.latency_us = Some(latency_us(stream)?);
    pair.bandwidth_mbit = Some(bandwidth(stream, effort)?);
    let path = path_of(stream)?;
    pair.path_mtu = Some(path.mtu);
    pair.mss = Some(path.mss);
    pair.retransmits = Some(path.retransmits);
    pair.congestion_control = path.congestion_control;
    Ok(())
}

/// The median round trip of some small messages.
fn latency_us(stream: &mut TcpStream) -> io::Result<f64> {
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    let mut message = [PING; 1 + PING_BYTES];
    for _ in 0..ROUND_TRIPS {
        let start = Instant::now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message[1..])?;
        times.push(start.elapsed().as_nanos() as f64 / 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[ROUND_TRIPS / 2])
}

/// Sends more and more until it takes long enough to say how fast that is.
fn bandwidth(stream: &mut TcpStream, effort: &Effort) -> io::Result<f64> {
    let mut bytes = FIRST_BYTES.min(effort.bytes.max(1));
    loop {
        let start = Instant::now();
        transfer(stream, bytes)?;
        let took = start.elapsed().as_secs_f64().max(1e-9);
        let fills = effort.time.as_secs_f64() / took;
        if fills <= 2.0 || bytes >= effort.bytes {
            return Ok(bytes as f64 * 8.0 / 1e6 / took);
        }
        bytes = ((bytes as f64 * fills.clamp(2.0, 16.0)) as u64).min(effort.bytes);
    }
}

/// Sends so many bytes and waits until the other side has them.
fn transfer(stream: &mut TcpStream, bytes: u64) -> io::Result<()> {
    let mut chunk = vec![0x5a; 4 + CHUNK_BYTES];
    stream.write_all(&[SINK])?;
    let mut left = bytes;
    while left > 0 {
        let len = left.min(CHUNK_BYTES as u64) as usize;
        chunk.splice(..4, (len as u32).to_le_bytes());
        stream.write_all(&chunk[..4 + len])?;
        left -= len as u64;
    }
    stream.write_all(&[0; 4])?;
    stream.read_exact(&mut [0])
}
