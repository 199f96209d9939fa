//! Ports at which groups of ranks meet.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of this host that nobody has just now, from below those that the kernel gives to whoever
/// asks for any: so no passing connection, and no listener of a rank's own, takes it before rank 0 does. Nor
/// does another group of this process, which gets another.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Two primes: what is drawn one after the other lies far apart, and nothing comes twice before
    // everything has come once.
    let first = std::process::id().wrapping_mul(104_729) % 20_000;
    loop {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed) % 20_000 * 7919;
        let port = 10_000 + ((first + step) % 20_000) as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
