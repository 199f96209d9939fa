//! What the kernel's sockets carry at all: the bytes of a collective between neighbours of a ring,
//! both ways at once, with nothing done to them. `benches/peers` runs it beside the contestants.
//!
//! Each rank sends to the next and receives from the one before, as many bytes as an algorithm
//! without a detour moves per rank, out of an array of the call's size and into it, half of it apart.
//! One thread does both and sleeps in poll(2) when neither goes on. No rank sends more than [`AHEAD_MAX`] beyond what
//! it has received: what waits in sockets for longer than that has left the processor's cache.
//!
//! The other end of the socket named by `KIRSH_BENCH_CONTROL` says in lines of text what to do;
//! `worker.py` speaks the same words.

use std::env;
use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes that a rank may have sent beyond what it has received. Of 64 KiB, 128 KiB, 256 KiB, 1 MiB,
/// 4 MiB and no bound this was the fastest over all sizes, two threads with a direction each included.
const AHEAD_MAX: usize = 128 << 10;

/// How long the ranks may take to find each other.
const MEETING: Duration = Duration::from_secs(60);

fn main() -> Outcome<()> {
    let rank: usize = env::var("RANK")?.parse()?;
    let addresses = env::var("KIRSH_BENCH_ADDRESSES")?;
    let addresses: Vec<&str> = addresses.split(',').collect();
    let mut control = UnixStream::connect(env::var("KIRSH_BENCH_CONTROL")?)?;
    let mut ring = Ring::join(rank, &addresses)?;
    writeln!(control, "{rank} {} sockets of the kernel", std::process::id())?;
    let mut lines = BufReader::new(control.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["prepare", collective, bytes] => {
                ring.prepare(Exchange::of(collective, bytes.parse()?, rank, addresses.len())?);
                writeln!(control, "ready")?;
            }
            ["turn", count] => {
                let count: usize = count.parse()?;
                ring.barrier()?;
                let start = Instant::now();
                for _ in 0..count {
                    ring.exchange()?;
                }
                let seconds = start.elapsed().as_secs_f64();
                // As slow as the slowest: nobody leaves while bytes are on their way.
                ring.barrier()?;
                writeln!(control, "{seconds:.9}")?;
            }
            ["end"] => break,
            _ => return Err(format!("not understood: {line}").into()),
        }
    }
    Ok(())
}

/// What one rank moves in one operation.
#[derive(Clone, Copy, Default)]
struct Exchange {
    array_len: usize,
    send: usize,
    receive: usize,
}

impl Exchange {
    fn of(collective: &str, bytes: usize, rank: usize, ranks: usize) -> Outcome<Exchange> {
        let share = bytes * (ranks - 1) / ranks;
        let (send, receive) = match collective {
            "allreduce" => (2 * share, 2 * share),
            "allgather" | "reduce_scatter" | "alltoall" => (share, share),
            // A chain from rank 0 to the last.
            "broadcast" => {
                (if rank + 1 < ranks { bytes } else { 0 }, if rank > 0 { bytes } else { 0 })
            }
            _ => return Err(format!("no collective: {collective}").into()),
        };
        Ok(Exchange { array_len: bytes, send, receive })
    }
}

/// One rank's two sockets.
struct Ring {
    right: TcpStream,
    left: TcpStream,
    rank: usize,
    exchange: Exchange,
    array: Vec<u8>,
}

impl Ring {
    fn join(rank: usize, addresses: &[&str]) -> Outcome<Ring> {
        let listener = TcpListener::bind(addresses[rank])?;
        let next = addresses[(rank + 1) % addresses.len()];
        let until = Instant::now() + MEETING;
        let right = loop {
            match TcpStream::connect(next) {
                Ok(stream) => break stream,
                Err(cause) if Instant::now() > until => return Err(cause.into()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        };
        let (left, _) = listener.accept()?;
        for socket in [&right, &left] {
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
        }
        let exchange = Exchange::default();
        Ok(Ring { right, left, rank, exchange, array: Vec::new() })
    }

    fn prepare(&mut self, exchange: Exchange) {
        self.exchange = exchange;
        // Written once, so that the pages are there.
        self.array = vec![1; exchange.array_len];
    }

    /// Moves the bytes of one operation. The array is walked again from its start where it ends.
    fn exchange(&mut self) -> io::Result<()> {
        let Exchange { array_len, send, receive } = self.exchange;
        let (mut sent, mut received) = (0, 0);
        while sent < send || received < receive {
            // One that receives nothing, the first of a chain, is held back by nothing.
            let may_send = if receive == 0 { send } else { send.min(received + AHEAD_MAX) };
            let mut moved = false;
            if sent < may_send {
                let at = sent % array_len;
                let end = array_len.min(at + may_send - sent);
                if let Some(bytes) = unless_blocked((&self.right).write(&self.array[at..end]))? {
                    sent += bytes;
                    moved = true;
                }
            }
            if received < receive {
                let at = (array_len / 2 + received) % array_len;
                let end = array_len.min(at + receive - received);
                if let Some(bytes) = unless_blocked((&self.left).read(&mut self.array[at..end]))? {
                    received += bytes;
                    moved = true;
                }
            }
            if !moved {
                self.wait(sent < may_send, received < receive)?;
            }
        }
        Ok(())
    }

    /// A token goes around twice: nobody leaves before all have come.
    fn barrier(&mut self) -> io::Result<()> {
        for turn in 0..4 {
            if (turn % 2 == 0) == (self.rank == 0) {
                (&self.right).write_all(&[0])?;
            } else {
                let mut token = [0];
                while unless_blocked((&self.left).read(&mut token))?.is_none() {
                    self.wait(false, true)?;
                }
            }
        }
        Ok(())
    }

    /// Sleeps until a socket that is needed goes on.
    fn wait(&self, to_send: bool, to_receive: bool) -> io::Result<()> {
        let watch = |socket: &TcpStream, wanted, events| libc::pollfd {
            // Poll passes over negative descriptors.
            fd: if wanted { socket.as_raw_fd() } else { -1 },
            events,
            revents: 0,
        };
        let mut sockets = [
            watch(&self.right, to_send, libc::POLLOUT),
            watch(&self.left, to_receive, libc::POLLIN),
        ];
        // SAFETY: the array has two entries, and the kernel writes to them alone during the call.
        if unsafe { libc::poll(sockets.as_mut_ptr(), 2, -1) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// What was moved, or None where the socket would block. An end of the stream is an error.
fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(cause) => Err(cause),
    }
}
