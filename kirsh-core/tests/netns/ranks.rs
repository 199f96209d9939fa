//! What the ranks of the tests with several hosts do.

use std::os::fd::RawFd;
use std::process::Command;

use kirsh_core::{Algorithm, Communicator, Options, ReduceOp, Source, Tag};

use super::common::{comm, config, failed, said};

pub(crate) fn play(scenario: &str, detail: &str) {
    match scenario {
        "works" => works(),
        "limited" => limited(),
        "joins" => joins(),
        "rails" => rails(),
        "unplugged" => unplugged(detail),
        other => panic!("no scenario {other}"),
    }
}

fn reduce(comm: &Communicator, count: usize, options: &Options<'_>) -> kirsh_core::Result<()> {
    let rank = comm.rank() as f32 + 1.0;
    let mut data: Vec<f32> = (0..count).map(|at| rank * (at % 1000) as f32).collect();
    comm.allreduce(&mut data, ReduceOp::Sum, options)?;
    let sum = (1..=comm.size()).sum::<u32>() as f32;
    assert!(data.iter().enumerate().all(|(at, value)| *value == sum * (at % 1000) as f32));
    Ok(())
}

/// Says whether payloads are followed by checksums, as the bytes on the sockets tell: a frame is 64
/// bytes and its payload, and four more with a checksum.
fn count_trailers(comm: &Communicator) {
    let (stats, bytes) = (comm.stats(), tcp_bytes_received());
    for _ in 0..400 {
        reduce(comm, 3, &Options::default()).unwrap();
    }
    let bytes = tcp_bytes_received() - bytes;
    let frames = comm.stats().frames_received - stats.frames_received;
    let payload = comm.stats().bytes_received - stats.bytes_received;
    assert!(frames >= 400, "{frames} frames");
    // Not to the byte: a frame may have come before its turn, and a heartbeat or two besides.
    let trailers = (bytes as f64 - (payload + 64 * frames) as f64) / (4 * frames) as f64;
    said("trailers", format_args!("{trailers:.3}"));
}

fn works() {
    let begun = std::time::Instant::now();
    let comm = comm();
    reduce(&comm, 1000, &Options::default()).unwrap();
    said("ready", begun.elapsed().as_millis());
    assert_eq!((comm.local_rank(), comm.local_size()), (0, 1), "the hosts are taken for one");
    for algorithm in [Algorithm::Ring, Algorithm::RecursiveDoubling, Algorithm::Tree] {
        let options = Options { algorithm: Some(algorithm), ..Options::default() };
        for count in [1, 1000, 700_001] {
            reduce(&comm, count, &options).unwrap();
        }
    }
    for root in 0..comm.size() {
        for count in [1, 3_000_000] {
            let value = if comm.rank() == root { root as u8 + 1 } else { 0 };
            let mut data = vec![value; count];
            comm.broadcast(&mut data, root, &Options::default()).unwrap();
            assert!(data.iter().all(|value| *value == root as u8 + 1), "root {root}");
        }
    }
    let work = comm.start_allreduce(vec![1.0f64; 100_000], ReduceOp::Sum, &Options::default());
    let sums = work.unwrap().wait().map_err(|(error, _)| error).unwrap();
    assert!(sums.iter().all(|sum| *sum == f64::from(comm.size())));
    let asked = comm.stats().bytes_sent_copied_anyway;
    let mut data = vec![1u8; 3_000_000];
    (0..3).for_each(|_| comm.broadcast(&mut data, 0, &Options::default()).unwrap());
    assert_eq!(comm.stats().bytes_sent_zero_copy, 0, "no cable here reads memory");
    assert_eq!(comm.stats().bytes_sent_copied_anyway, asked, "it is still asked for");
    said("asked", u8::from(asked > 0));
    count_trailers(&comm);
    comm.barrier(&Options::default()).unwrap();
    comm.close().unwrap();
    said("done", "");
}

/// Sends what 40 Mbit/s take half a second and more for, over collective and direct links at a time.
fn limited() {
    const BYTES_PER_SECOND: f64 = 5e6;
    let comm = comm();
    comm.barrier(&Options::default()).unwrap();
    let (before, begun) = (comm.stats(), std::time::Instant::now());
    let (right, left) = ((comm.rank() + 1) % comm.size(), (comm.rank() + 2) % comm.size());
    let message = comm.start_send(vec![7u8; 1 << 20], right, 0, &Options::default()).unwrap();
    let into = vec![0u8; 1 << 20];
    let options = Options::default();
    let received = comm.start_recv(into, Source::Rank(left), Tag::Is(0), &options).unwrap();
    reduce(&comm, 700_000, &options).unwrap();
    assert!(received.wait().map_err(|(error, _)| error).unwrap().0.iter().all(|byte| *byte == 7));
    message.wait().map_err(|(error, _)| error).unwrap();
    let took = begun.elapsed().as_secs_f64();
    let sent = comm.stats().bytes_sent - before.bytes_sent;
    // One frame is ahead of its time.
    let least = (sent as f64 - f64::from(1 << 20)) / BYTES_PER_SECOND;
    assert!(sent > 3 << 20 && took > least, "{sent} bytes in {took} s instead of {least}");
    comm.barrier(&Options::default()).unwrap();
    said("done", "");
}

/// Bytes that the host's two interfaces have sent.
fn sent() -> [f64; 2] {
    ["eth0", "eth1"].map(|interface| {
        let path = format!("/sys/class/net/{interface}/statistics/tx_bytes");
        std::fs::read_to_string(path).unwrap().trim().parse().unwrap()
    })
}

/// The first interface's share of what both send meanwhile.
fn first_share(act: impl FnOnce()) -> f64 {
    let before = sent();
    act();
    let [first, second] = sent();
    let [first, second] = [first - before[0], second - before[1]];
    first / (first + second)
}

fn rails() {
    let comm = comm();
    let options = Options::default();
    comm.barrier(&options).unwrap();
    let large = |comm: &Communicator| reduce(comm, 4 << 20, &options).unwrap();
    said("large", first_share(|| (0..3).for_each(|_| large(&comm))));
    // What is made from it inherits the rails.
    let dup = comm.dup(0, &options).unwrap();
    dup.barrier(&options).unwrap();
    said("inherited", first_share(|| (0..3).for_each(|_| large(&dup))));
    // One frame after the other, each alone: by the rail that carries most.
    said("small", first_share(|| (0..300).for_each(|_| reduce(&comm, 1000, &options).unwrap())));
    comm.barrier(&options).unwrap();
    said("done", "");
}

fn joins() {
    said("begins", "");
    match Communicator::create(&config()) {
        Ok(_) => said("joined", ""),
        Err(error) => failed(&error),
    }
}

/// Detail: the rank whose host loses its cable, and the command that pulls it.
fn unplugged(detail: &str) {
    let (victim, command) = detail.split_once(' ').unwrap();
    let comm = comm();
    let ring = Options { algorithm: Some(Algorithm::Ring), ..Options::default() };
    for _ in 0..3 {
        reduce(&comm, 1 << 20, &ring).unwrap();
    }
    let pulled = (comm.rank().to_string() == victim).then(|| {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        std::thread::spawn(move || {
            said("unplugs", "");
            let status = Command::new(&words[0]).args(&words[1..]).status().unwrap();
            assert!(status.success(), "{words:?}: {status}");
        })
    });
    let error = loop {
        if let Err(error) = reduce(&comm, 1 << 20, &ring) {
            break error;
        }
    };
    failed(&error);
    pulled.into_iter().for_each(|thread| thread.join().unwrap());
}

/// Bytes that this process's TCP sockets have received, as the kernel counts them.
fn tcp_bytes_received() -> u64 {
    let held = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let sockets = held.filter(|entry| {
        std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().starts_with("socket:"))
    });
    let fds = sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    fds.filter_map(bytes_received).sum()
}

/// `tcpi_bytes_received` of a TCP socket; `None` for another.
fn bytes_received(fd: RawFd) -> Option<u64> {
    /// Where it lies in `struct tcp_info` of linux/tcp.h: behind 8 bytes, 24 numbers of 32 bits and
    /// three of 64.
    const AT: usize = 8 + 24 * 4 + 3 * 8;
    let mut info = [0u8; AT + 8];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: `info` has room for the `len` bytes that are asked for; the kernel checks `fd`.
    let code = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &mut len)
    };
    if code != 0 || (len as usize) < info.len() {
        return None;
    }
    info[AT..].try_into().ok().map(u64::from_ne_bytes)
}
