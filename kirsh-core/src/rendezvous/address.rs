//! Under which addresses others can reach this process, and which host it runs on.
//!
//! A rank publishes all that could work and lets the dialler find out, but in a good order: real
//! interfaces first, then bridges, containers and tunnels, which often carry an address that leads
//! nowhere from outside, then loopback, which leads here only from this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;

use sha2::{Digest, Sha256};

pub use super::filter::InterfaceFilter;
use super::rails::{Place, Rail};
use super::settings::{self, Advertised};
use super::sys::{self, Interface};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// Names that bridges, containers, virtual machines and tunnels give their interfaces.
const VIRTUAL_PREFIXES: &[&str] = &[
    "docker",
    "br-",
    "veth",
    "virbr",
    "vnet",
    "tun",
    "tap",
    "wg",
    "tailscale",
    "zt",
    "ppp",
    "cni",
    "flannel",
    "cali",
    "lxc",
    "lxdbr",
    "podman",
    "utun",
    "dummy",
    "ifb",
    "nordlynx",
    "vmnet",
];

/// What the settings say of where this process listens, and what it publishes of that.
#[derive(Clone, Debug)]
pub struct Listening<'a> {
    pub port: u16,
    /// The one address to listen on, if one is named (`KIRSH_BIND`).
    pub bind: Option<IpAddr>,
    /// What others see instead, if anything (`KIRSH_ADVERTISE`).
    pub advertise: &'a [Advertised],
    /// Which interfaces may be used (`KIRSH_IFACE`).
    pub filter: &'a InterfaceFilter,
    /// The job has no token and stays on this host.
    pub loopback_only: bool,
}

/// What to listen on: the one address named; without a token 127.0.0.1 alone; the addresses that
/// the filter admits, where there is one, at most [`ADDRESSES_MAX`](limits::ADDRESSES_MAX); and else
/// all there are, `::`. Empty where the filter leaves nothing.
///
/// # Errors
/// `System` where the kernel does not say what the host has.
pub fn to_bind(listening: &Listening<'_>) -> Result<Vec<IpAddr>> {
    Ok(binds(listening, &interfaces()?))
}

/// The addresses to publish for a process that listens on these, best first, at most
/// [`ADDRESSES_MAX`](limits::ADDRESSES_MAX).
///
/// # Errors
/// `Configuration` where nothing is left, listing what the host has and why it was left out.
pub fn published(listening: &Listening<'_>, bound: &[IpAddr]) -> Result<Vec<SocketAddr>> {
    choose(listening, bound, &interfaces()?)
}

fn interfaces() -> Result<Vec<Interface>> {
    sys::interfaces().map_err(|cause| Error::system("asking for this host's interfaces", &cause))
}

/// What others should know of each of these addresses to find rails. P-61
///
/// # Errors
/// `System` where the kernel does not say what the host has.
pub fn places(published: &[SocketAddr]) -> Result<Vec<Place>> {
    Ok(places_of(published, &interfaces()?))
}

/// [`places`], for a host that has these interfaces.
pub(super) fn places_of(published: &[SocketAddr], host: &[Interface]) -> Vec<Place> {
    let place = |address: &SocketAddr| {
        let usable = |interface: &&Interface| {
            interface.ip == address.ip() && !interface.loopback && !is_virtual(interface)
        };
        let interface = host.iter().find(usable)?;
        // The kernel lists all addresses of one family before those of another.
        let number = host.iter().position(|other| other.name == interface.name)?;
        Some(Place { prefix: interface.prefix, interface: u8::try_from(number).ok()? })
    };
    published.iter().map(|address| place(address).unwrap_or_default()).collect()
}

/// One address of this host, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub interface: String,
    pub ip: IpAddr,
    /// The network that it would be used in as a rail, where it would.
    pub network: Option<Rail>,
    /// Why it is not used; `None` where it is.
    pub left_out: Option<&'static str>,
}

/// The addresses of this host, best first, with those that are left out at the end: for
/// `kirsh info`.
///
/// # Errors
/// `System` where the kernel does not say.
pub fn survey(filter: &InterfaceFilter) -> Result<Vec<Seen>> {
    let host = interfaces()?;
    let seen = |interface: &Interface| Seen {
        interface: interface.name.clone(),
        ip: interface.ip,
        network: (interface.prefix > 0 && !interface.loopback && !is_virtual(interface))
            .then(|| Rail::around(interface.ip, interface.prefix)),
        left_out: why_not(filter, interface),
    };
    let left_out = host.iter().map(seen).filter(|address| address.left_out.is_some());
    Ok(ordered(filter, &host).into_iter().map(seen).chain(left_out).collect())
}

/// Whether an address is one of this host's own.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
        || sys::interfaces().is_ok_and(|host| host.iter().any(|interface| interface.ip == ip))
}

/// Whether every address leads only to the host itself.
pub(super) fn all_loopback(addresses: &[SocketAddr]) -> bool {
    addresses.iter().all(|address| address.ip().is_loopback())
}

/// [`to_bind`], for a host that has these interfaces.
pub(super) fn binds(listening: &Listening<'_>, host: &[Interface]) -> Vec<IpAddr> {
    if let Some(ip) = listening.bind {
        return vec![ip];
    }
    if listening.loopback_only {
        return vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    }
    if listening.filter.is_open() {
        return vec![ANY_V6];
    }
    let mut own: Vec<IpAddr> =
        ordered(listening.filter, host).into_iter().map(|interface| interface.ip).collect();
    shorten(&mut own, IpAddr::is_loopback);
    own
}

/// Leaves the first [`ADDRESSES_MAX`](limits::ADDRESSES_MAX). A loopback address stands last and
/// stays: ranks of this host need it.
fn shorten<T: Copy>(addresses: &mut Vec<T>, is_loopback: impl Fn(&T) -> bool) {
    if addresses.len() > limits::ADDRESSES_MAX {
        let loopback = addresses.iter().position(is_loopback);
        let last = addresses[loopback.unwrap_or(0).max(limits::ADDRESSES_MAX - 1)];
        addresses.truncate(limits::ADDRESSES_MAX - 1);
        addresses.push(last);
    }
}

/// [`published`], for a host that has these interfaces.
pub(super) fn choose(
    listening: &Listening<'_>,
    bound: &[IpAddr],
    host: &[Interface],
) -> Result<Vec<SocketAddr>> {
    // An IPv4 wildcard does not take IPv6 connections.
    let reached = |ip: &IpAddr| {
        bound.contains(ip) || bound.contains(&ANY_V6) || (ip.is_ipv4() && bound.contains(&ANY_V4))
    };
    let mut own: Vec<IpAddr> = ordered(listening.filter, host)
        .into_iter()
        .map(|interface| interface.ip)
        .filter(reached)
        .collect();
    // Loopback addresses beyond the one that the interface has (127.0.0.2) are not listed.
    let unlisted = |ip: &&IpAddr| ip.is_loopback() && !own.contains(ip);
    let unlisted: Vec<IpAddr> = bound.iter().filter(unlisted).copied().collect();
    own.extend(unlisted);
    let advertised: Vec<SocketAddr> = match listening.loopback_only {
        true => Vec::new(),
        false => listening
            .advertise
            .iter()
            .map(|seen| SocketAddr::new(seen.ip, seen.port.unwrap_or(listening.port)))
            .collect(),
    };
    // Advertised addresses replace those that others would use; ranks of this host keep theirs.
    let keep = |ip: &IpAddr| {
        ip.is_loopback() || (!listening.loopback_only && listening.advertise.is_empty())
    };
    let mut addresses = advertised;
    for ip in own.into_iter().filter(keep) {
        addresses.push(SocketAddr::new(ip, listening.port));
    }
    shorten(&mut addresses, |address| address.ip().is_loopback());
    if addresses.is_empty() {
        return Err(nothing_left(listening, host));
    }
    Ok(addresses)
}

/// The interfaces that can be used, best first.
fn ordered<'a>(filter: &InterfaceFilter, host: &'a [Interface]) -> Vec<&'a Interface> {
    let mut usable: Vec<&Interface> =
        host.iter().filter(|interface| why_not(filter, interface).is_none()).collect();
    usable.sort_by_key(|interface| {
        (interface.loopback, is_virtual(interface), interface.ip.is_ipv6())
    });
    usable
}

/// Why an address is left out, if it is.
fn why_not(filter: &InterfaceFilter, interface: &Interface) -> Option<&'static str> {
    if !interface.running {
        return Some("down");
    }
    if let IpAddr::V6(ip) = interface.ip
        && ip.is_unicast_link_local()
    {
        // It needs a scope, which is another number on every host.
        return Some("link-local");
    }
    // Loopback is not a choice of network: ranks of one host need it whatever KIRSH_IFACE says.
    (!interface.loopback && !filter.admits(&interface.name, interface.ip))
        .then_some("left out by KIRSH_IFACE")
}

/// Whether an address probably leads to containers, virtual machines or through a tunnel, or was
/// taken for want of a better one (169.254/16).
fn is_virtual(interface: &Interface) -> bool {
    let self_assigned = matches!(interface.ip, IpAddr::V4(ip) if ip.is_link_local());
    let named = VIRTUAL_PREFIXES.iter().any(|prefix| interface.name.starts_with(prefix));
    self_assigned || named || (interface.point_to_point && !interface.loopback)
}

fn nothing_left(listening: &Listening<'_>, host: &[Interface]) -> Error {
    let found: Vec<String> = host
        .iter()
        .map(|interface| {
            let why = match why_not(listening.filter, interface) {
                Some(why) => why,
                None if listening.loopback_only => "not loopback, and the job has no token",
                None => "not the address of KIRSH_BIND",
            };
            format!("{} {} ({why})", interface.name, interface.ip)
        })
        .collect();
    let found = if found.is_empty() { "no address at all".to_owned() } else { found.join(", ") };
    let bound = listening.bind.map(|ip| format!("; KIRSH_BIND is {ip}")).unwrap_or_default();
    Error::new(
        ErrorKind::Configuration,
        format!(
            "no address is left under which other ranks could reach this one; the host has {found}\
             {bound}; see {}, {} and {}",
            settings::INTERFACES.name,
            settings::BIND.name,
            settings::ADVERTISE.name
        ),
    )
}

/// A number for the host that this process runs on: equal for two processes if they share kernel,
/// network namespace and host name, and so can reach each other by loopback.
pub fn host_id() -> u64 {
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::metadata("/proc/self/ns/net").map_or(0, |facts| facts.ino());
    let mut hash = Sha256::new();
    hash.update(&boot);
    hash.update(namespace.to_le_bytes());
    hash.update(host_name().as_bytes());
    let digest = hash.finalize();
    u64::from_le_bytes(std::array::from_fn(|i| digest[i]))
}

/// The name of this host, for messages.
pub fn host_name() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => "unnamed".to_owned(),
    }
}

/// The wildcard that takes IPv4 too, where the kernel has IPv6.
pub(super) const ANY_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// The wildcard where it has not.
pub(super) const ANY_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
