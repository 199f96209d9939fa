//! What the kernel's sockets carry at all: the bytes of a collective between neighbours of a ring,
//! both ways at once, with nothing done to them. `benches/peers` runs it beside the contestants.
//!
//! Each rank sends to the next and receives from the one before, a thread for each direction, as
//! many bytes as an algorithm without a detour moves per rank. The bytes come from and go to arrays
//! of the call's size. Up to [`TOGETHER_MAX`] one thread sends, then receives: these bytes fit into
//! the sockets' buffers, and waking a second thread would cost more than they do.
//!
//! The other end of the socket named by `KIRSH_BENCH_CONTROL` says in lines of text what to do;
//! `worker.py` speaks the same words.

use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Bytes that one thread sends before it receives.
const TOGETHER_MAX: usize = 64 << 10;

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
                ring.prepare(Exchange::of(collective, bytes.parse()?, rank, addresses.len())?)?;
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
    source: Vec<u8>,
    target: Vec<u8>,
    orders: Sender<Order>,
    done: Receiver<Outcome<()>>,
}

/// What the receiving thread is told.
enum Order {
    Array(usize),
    Receive(usize),
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
        right.set_nodelay(true)?;
        left.set_nodelay(true)?;
        let (orders, taken) = channel();
        let (told, done) = channel();
        let socket = left.try_clone()?;
        thread::spawn(move || {
            let mut array = Vec::new();
            for order in taken {
                let outcome = match order {
                    Order::Array(len) => {
                        array = vec![1; len];
                        Ok(())
                    }
                    Order::Receive(bytes) => receive(&socket, &mut array, bytes),
                };
                if told.send(outcome).is_err() {
                    return;
                }
            }
        });
        let (source, target) = (Vec::new(), Vec::new());
        let exchange = Exchange::default();
        Ok(Ring { right, left, rank, exchange, source, target, orders, done })
    }

    fn prepare(&mut self, exchange: Exchange) -> Outcome<()> {
        self.exchange = exchange;
        self.source = vec![1; exchange.array_len];
        let together = exchange.send.max(exchange.receive) <= TOGETHER_MAX;
        self.target = if together { vec![1; exchange.array_len] } else { Vec::new() };
        self.orders.send(Order::Array(if together { 0 } else { exchange.array_len }))?;
        self.done.recv()?
    }

    fn exchange(&mut self) -> Outcome<()> {
        let Exchange { send: out, receive: back, .. } = self.exchange;
        if out.max(back) <= TOGETHER_MAX {
            send(&self.right, &self.source, out)?;
            return receive(&self.left, &mut self.target, back);
        }
        self.orders.send(Order::Receive(back))?;
        send(&self.right, &self.source, out)?;
        self.done.recv()?
    }

    /// A token goes around twice: nobody leaves before all have come.
    fn barrier(&mut self) -> Outcome<()> {
        let mut token = [0u8];
        for _ in 0..2 {
            if self.rank == 0 {
                (&self.right).write_all(&token)?;
                (&self.left).read_exact(&mut token)?;
            } else {
                (&self.left).read_exact(&mut token)?;
                (&self.right).write_all(&token)?;
            }
        }
        Ok(())
    }
}

/// Sends this many bytes from an array, again from its start where it ends.
fn send(mut socket: &TcpStream, array: &[u8], mut bytes: usize) -> Outcome<()> {
    while bytes > 0 {
        let part = bytes.min(array.len());
        socket.write_all(&array[..part])?;
        bytes -= part;
    }
    Ok(())
}

/// Receives this many bytes into an array, again from its start where it ends.
fn receive(mut socket: &TcpStream, array: &mut [u8], mut bytes: usize) -> Outcome<()> {
    while bytes > 0 {
        let part = bytes.min(array.len());
        socket.read_exact(&mut array[..part])?;
        bytes -= part;
    }
    Ok(())
}
