//! The system calls of this layer that neither `std` nor `socket2` has: the interfaces of the host,
//! poll(2), what TCP knows of a connection, and threads that take no signals. All `unsafe` of the layer is here.

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr;
use std::thread::JoinHandle;
use std::time::Duration;

/// One address of one interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) ip: IpAddr,
    /// How many leading bits are its network's; 0 where the kernel does not say.
    pub(super) prefix: u8,
    /// Up and with a carrier.
    pub(super) running: bool,
    pub(super) loopback: bool,
    /// A tunnel rather than a network.
    pub(super) point_to_point: bool,
}

/// Every IP address of every interface of this host, in the kernel's order.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut head: *mut libc::ifaddrs = ptr::null_mut();
    // SAFETY: `head` is a valid place for the list's head; it is freed below, once.
    if unsafe { libc::getifaddrs(&mut head) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut found = Vec::new();
    let mut at = head;
    while !at.is_null() {
        // SAFETY: `at` is not null and came from the list, whose entries live until freeifaddrs.
        let entry = unsafe { &*at };
        at = entry.ifa_next;
        if entry.ifa_addr.is_null() {
            continue;
        }
        // SAFETY: `ifa_addr` is not null, so it points to a socket address of the list.
        let family = unsafe { (*entry.ifa_addr).sa_family };
        let ip = match i32::from(family) {
            libc::AF_INET => {
                // SAFETY: the family says that this is a sockaddr_in, and malloc aligned it.
                let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
                IpAddr::from(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)))
            }
            libc::AF_INET6 => {
                // SAFETY: the family says that this is a sockaddr_in6, and malloc aligned it.
                let address = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
                IpAddr::from(Ipv6Addr::from(address.sin6_addr.s6_addr))
            }
            _ => continue,
        };
        // SAFETY: getifaddrs gives every entry a name, a C string of the list.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        let has = |flag: i32| entry.ifa_flags & flag as u32 != 0;
        found.push(Interface {
            name: name.to_string_lossy().into_owned(),
            ip,
            prefix: prefix(entry),
            running: has(libc::IFF_UP) && has(libc::IFF_RUNNING),
            loopback: has(libc::IFF_LOOPBACK),
            point_to_point: has(libc::IFF_POINTOPOINT),
        });
    }
    // SAFETY: `head` came from getifaddrs, and no reference into the list is left.
    unsafe { libc::freeifaddrs(head) };
    Ok(found)
}

/// How many bits of an address's netmask are set.
fn prefix(entry: &libc::ifaddrs) -> u8 {
    if entry.ifa_netmask.is_null() || entry.ifa_addr.is_null() {
        return 0;
    }
    // SAFETY: `ifa_addr` is not null, so it points to a socket address of the list.
    let family = unsafe { (*entry.ifa_addr).sa_family };
    // A mask's own family is not always set: it has that of its address.
    let bits = match i32::from(family) {
        libc::AF_INET => {
            // SAFETY: the mask of an IPv4 address is a sockaddr_in, and malloc aligned it.
            let mask = unsafe { &*entry.ifa_netmask.cast::<libc::sockaddr_in>() };
            mask.sin_addr.s_addr.count_ones()
        }
        libc::AF_INET6 => {
            // SAFETY: the mask of an IPv6 address is a sockaddr_in6, and malloc aligned it.
            let mask = unsafe { &*entry.ifa_netmask.cast::<libc::sockaddr_in6>() };
            mask.sin6_addr.s6_addr.iter().map(|byte| byte.count_ones()).sum()
        }
        _ => 0,
    };
    bits as u8
}

/// One descriptor to watch and what happened there.
#[repr(transparent)]
pub(super) struct Watched(libc::pollfd);

impl Watched {
    /// Watches a descriptor for input, for room to write, or only for its end.
    pub(super) fn new(descriptor: BorrowedFd<'_>, input: bool, output: bool) -> Self {
        use std::os::fd::AsRawFd;
        let events = if input { libc::POLLIN } else { 0 } | if output { libc::POLLOUT } else { 0 };
        Watched(libc::pollfd { fd: descriptor.as_raw_fd(), events, revents: 0 })
    }

    /// An entry that never reports anything, to keep a place in the list.
    pub(super) fn none() -> Self {
        const NO_DESCRIPTOR: RawFd = -1;
        Watched(libc::pollfd { fd: NO_DESCRIPTOR, events: 0, revents: 0 })
    }

    /// Whether anything happened, errors and hang-ups included.
    pub(super) fn ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Waits until something happens on a descriptor or the time has passed (`None`: no bound).
pub(super) fn poll(watched: &mut [Watched], timeout: Option<Duration>) -> io::Result<()> {
    // Rounded up, so that a wait for the last part of a millisecond does not spin.
    let timeout_ms = timeout.map_or(-1, |timeout| {
        i32::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
    });
    // SAFETY: `Watched` is a pollfd (repr(transparent)), and the slice gives a valid
    // pointer to as many of them as its length says.
    let count = unsafe {
        libc::poll(watched.as_mut_ptr().cast(), watched.len() as libc::nfds_t, timeout_ms)
    };
    match count {
        0.. => Ok(()),
        _ => match io::Error::last_os_error() {
            cause if cause.kind() == io::ErrorKind::Interrupted => Ok(()),
            cause => Err(cause),
        },
    }
}

/// Starts a thread that no signal is ever delivered to: they belong to the program's own threads.
pub(super) fn spawn_without_signals(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: `all` is a valid place for a set, which sigfillset initialises.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // The new thread inherits the mask, so there is no moment in which it could take a signal.
    // SAFETY: both sets are valid, the first initialised; the call writes the second.
    let code =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    // SAFETY: `before` was written by the successful call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    spawned
}

/// What the kernel says of a TCP connection.
pub(super) fn tcp_info(socket: BorrowedFd<'_>) -> io::Result<libc::tcp_info> {
    use std::os::fd::AsRawFd;
    // SAFETY: the structure is of numbers alone, for which all zeros are valid.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is valid for writing `len` bytes, more than which the kernel does not write,
    // and any bytes are valid for it; an older kernel writes fewer.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut len,
        )
    };
    if code == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

/// The user that this process acts as.
pub(super) fn effective_uid() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}
