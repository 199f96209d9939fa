//! How the ranks of a test move their bytes: every driver, and what else must change nothing.

use std::fmt;

use kirsh_core::driver::choose::{DriverKind, choose};

use super::Group;

/// Tells a rank that the kernel refuses it io_uring.
const DENIED: &str = "KIRSH_TEST_DENIED";

/// Runs the test for every driver that this machine has.
pub(crate) fn for_each_driver(test: impl Fn(&str)) {
    for driver in [DriverKind::Poll, DriverKind::Uring] {
        match choose(Some(driver)) {
            Ok(_) => test(driver.name()),
            Err(error) => eprintln!("not tested with {driver}: {error}"),
        }
    }
}

/// One of the ways in which bytes move.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// `None` where io_uring is denied, and what is left has to be found.
    driver: Option<DriverKind>,
    checksums: bool,
    /// What carries data between ranks of one host.
    local: &'static str,
    /// Whether every large frame is sent without a copy, though the kernel makes one on loopback.
    zero_copy: bool,
    /// Sockets between two ranks.
    stripes: u8,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.driver.map_or("io_uring denied", DriverKind::name))?;
        f.write_str(if self.checksums { " with checksums" } else { "" })?;
        f.write_str(if self.zero_copy { " without copies" } else { "" })?;
        write!(f, " by {} {} sockets", self.stripes, self.local)
    }
}

/// The ways that this machine has: over each driver; under a filter that denies io_uring, as
/// containers have it; with checksums, and by several sockets, both over io_uring and over poll; by
/// sockets of either kind with each; and without copies.
fn ways() -> Vec<Way> {
    let plain = Way { driver: None, checksums: false, local: "tcp", zero_copy: false, stripes: 1 };
    let checked = Way { checksums: true, stripes: 3, ..plain };
    let mut ways = vec![
        Way { driver: Some(DriverKind::Poll), ..plain },
        Way { driver: Some(DriverKind::Uring), local: "unix", ..plain },
        Way { driver: Some(DriverKind::Uring), zero_copy: true, ..checked },
        Way { local: "unix", ..checked },
    ];
    ways.retain(|way| match way.driver.map(|driver| choose(Some(driver))) {
        Some(Err(error)) => {
            eprintln!("not tested with {way}: {error}");
            false
        }
        _ => true,
    });
    ways
}

/// Runs the test in every way that this machine has, one after the other.
pub(crate) fn for_each_way(test: impl Fn(Way)) {
    ways().into_iter().for_each(test);
}

/// The same, all at once: for tests that mostly wait.
pub(crate) fn for_each_way_at_once(test: impl Fn(Way) + Sync) {
    std::thread::scope(|scope| {
        for way in ways() {
            let test = &test;
            scope.spawn(move || test(way));
        }
    });
}

impl Group {
    pub(crate) fn driver(self, driver: &str) -> Self {
        self.env("KIRSH_DRIVER", driver)
    }

    pub(crate) fn way(self, way: Way) -> Self {
        let group = match way.driver {
            Some(driver) => self.driver(driver.name()),
            None => self.denied(),
        };
        let switch = |on| if on { "on" } else { "off" };
        group
            .env("KIRSH_CHECKSUM", switch(way.checksums))
            .env("KIRSH_LOCAL", way.local)
            .env("KIRSH_ZERO_COPY", switch(way.zero_copy))
            .env("KIRSH_STRIPES", way.stripes)
    }

    /// Lets the kernel refuse io_uring to every rank.
    pub(crate) fn denied(self) -> Self {
        self.env(DENIED, 1)
    }
}

/// Whether this rank has to do without io_uring.
pub(super) fn is_denied() -> bool {
    std::env::var_os(DENIED).is_some()
}

/// Lets every `io_uring_setup` of this thread, and of those it starts, fail with this errno.
pub(super) fn deny_io_uring(errno: libc::c_int) {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let mut filter = [
        // The number of the system call stands first in what the filter sees.
        step(LOAD, 0, 0),
        step(IF_EQUAL, 1, libc::SYS_io_uring_setup as u32),
        step(RETURN, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: `program` names the filter above, and both outlive the calls.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program), 0);
    }
}
