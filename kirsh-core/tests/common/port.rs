//! Ports at which groups of ranks meet.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A port of this host that nobody has just now, from below those that the kernel gives to whoever
/// asks for any: so no passing connection, and no listener of a rank's own, takes it before rank 0 does. Nor
/// does another group of this process, which gets another.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(7919);
    loop {
        let place = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = 10_000 + place as u16;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
