//! What the driver does in processes that fork, and in those that may not use io_uring.
//!
//! Each test starts this program again with the name of a helper below and a variable that the
//! helper looks for; run without it, a helper does nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use kirsh_core::ErrorKind;
use kirsh_core::driver::choose::{AnyIo, Choice, DriverKind, choose, open};
use kirsh_core::driver::clock::now_ns;
use kirsh_core::driver::doorbell::Doorbell;
use kirsh_core::driver::fork::{self, Fd};
use kirsh_core::driver::io::{Completion, Io, Op, Wait};
use kirsh_core::driver::uring::UringIo;

/// What the helper is to do.
const ROLE: &str = "KIRSH_TEST_ROLE";
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Wait = Wait { until_ns: 0, spin_ns: 0 };

fn helper(name: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(ROLE, role);
    command
}

fn succeed(mut command: Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Forks; the child runs `child` and ends well if that is true. Gives the child's id.
fn in_child(child: impl FnOnce() -> bool) -> libc::pid_t {
    // SAFETY: nobody else in a helper, which runs one test in one thread, holds a lock that the
    // child could need, and the child leaves by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            let fine = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
            // SAFETY: ends the process.
            unsafe { libc::_exit(if matches!(fine, Ok(true)) { 0 } else { 1 }) }
        }
        pid => {
            assert!(pid > 0);
            pid
        }
    }
}

fn is_open(descriptor: i32) -> bool {
    // SAFETY: asks for the flags of a number, whatever it is.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) >= 0 }
}

fn readable(io: &mut AnyIo, token: u64, descriptor: i32) {
    // SAFETY: no memory is named.
    unsafe { io.submit(token, descriptor, Op::Readable) };
}

/// A ring, where io_uring is allowed. Waits for locked memory if it must: the kernel gives back that
/// of a closed ring a little later, and a plain user may have little.
fn ring() -> Option<UringIo> {
    let until_ns = now_ns() + PATIENCE.as_nanos() as u64;
    loop {
        match UringIo::new() {
            Ok(io) => return Some(io),
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && now_ns() < until_ns => {
                std::thread::yield_now();
            }
            Err(_) => return None,
        }
    }
}

/// A process connects, forks and is killed while its child lives on. What its peer then reads.
fn read_from_a_dead_parent(role: &str) -> std::io::Result<usize> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut dying = helper("helper_dies_and_leaves_a_child", &format!("{role}:{port}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // The child waits for the end of this, so it lives until we drop it.
    let leash = dying.stdin.take().unwrap();
    let (mut connection, _) = listener.accept().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = [0; 4];
    connection.read_exact(&mut child).unwrap();
    assert_eq!(dying.wait().unwrap().signal(), Some(libc::SIGKILL));

    let child = libc::pid_t::from_ne_bytes(child);
    // SAFETY: signal 0 only asks whether the process is there.
    let alive = || unsafe { libc::kill(child, 0) } == 0;
    assert!(alive());
    // If nothing is to come, we need not wait to see it: the parent has gone already.
    connection.set_nonblocking(role == "unnoted").unwrap();
    // A thread that has had a ring may be interrupted without a signal while the kernel tidies up.
    let read = loop {
        match connection.read(&mut [0; 1]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            other => break other,
        }
    };
    assert!(alive(), "the child must outlive the parent for this to prove anything");

    drop(leash);
    connection.set_nonblocking(false).unwrap();
    assert_eq!(connection.read(&mut [0; 1]).unwrap(), 0, "now every copy is closed");
    read
}

#[test]
fn helper_dies_and_leaves_a_child() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (role, port) = role.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let stream: OwnedFd = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap().into();
    let socket = stream.as_raw_fd();
    let mut keep: (Option<OwnedFd>, Option<Fd>, Option<UringIo>) = (None, None, None);
    match role {
        "unnoted" => keep.0 = Some(stream),
        "noted" => keep.1 = Some(Fd::new(stream).unwrap()),
        "in-flight" => {
            keep.1 = Some(Fd::new(stream).unwrap());
            // What is in flight holds the socket, too, and the ring holds what is in flight.
            let io = keep.2.insert(ring().expect("io_uring was usable a moment ago"));
            // SAFETY: no memory is named.
            unsafe { io.submit(1, socket, Op::Readable) };
            io.wait(LOOK, &mut Vec::new()).unwrap();
        }
        other => panic!("{other}"),
    }
    let child = in_child(|| std::io::stdin().read_to_end(&mut Vec::new()).is_ok());
    let child = child.to_ne_bytes();
    // SAFETY: sends four bytes that live on the stack, then ends this process without tidying up.
    unsafe {
        assert_eq!(libc::send(socket, child.as_ptr().cast(), child.len(), 0), 4);
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
    unreachable!("killed with {} in hand", keep.1.is_some());
}

#[test]
fn peers_see_the_end_of_a_killed_process_although_its_child_lives() {
    assert_eq!(read_from_a_dead_parent("noted").unwrap(), 0);
    // Without the note the child holds the connection open: the test can tell the difference.
    let held_open = read_from_a_dead_parent("unnoted").unwrap_err();
    assert_eq!(held_open.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn peers_see_the_end_also_when_a_ring_was_at_work() {
    if ring().is_some() {
        assert_eq!(read_from_a_dead_parent("in-flight").unwrap(), 0);
    }
}

#[test]
fn a_forked_child_can_use_nothing_of_its_parent_but_make_its_own() {
    succeed(helper("helper_forks", "forks"));
}

/// One of each kind that can be had here.
fn drivers() -> Vec<AnyIo> {
    ring().map(AnyIo::Uring).into_iter().chain([open(DriverKind::Poll).unwrap()]).collect()
}

struct Handles {
    near: Fd,
    bell: Doorbell,
    drivers: Vec<AnyIo>,
}

#[test]
fn helper_forks() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let (near, mut far) = UnixStream::pair().unwrap();
    let mut handles = Some(Handles {
        near: Fd::new(near.into()).unwrap(),
        bell: Doorbell::new().unwrap(),
        drivers: drivers(),
    });
    let made_in = fork::generation();
    let parents = handles.as_mut().unwrap();
    for io in &mut parents.drivers {
        readable(io, 1, parents.near.as_raw_fd());
        io.wait(LOOK, &mut Vec::new()).unwrap();
    }
    let taken = &mut handles;
    let child = in_child(move || {
        let mut handles = taken.take().unwrap();
        let error = fork::check(made_in).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Forked);
        assert!(error.message().contains("in the child"), "{error}");
        let numbers = [handles.near.as_raw_fd(), handles.bell.fd()];
        assert!(!numbers.iter().any(|&number| is_open(number)));

        // The numbers go to others now, and none of what follows may touch those.
        let files: Vec<_> = (0..16).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        assert!(numbers.iter().all(|&number| is_open(number)));
        assert!(handles.near.into_owned().is_err());
        handles.bell.ring();
        assert!(!handles.bell.clear());
        for io in &mut handles.drivers {
            readable(io, 2, numbers[0]);
            io.cancel(numbers[0]);
            assert!(io.wait(LOOK, &mut Vec::new()).is_err());
        }
        drop((handles.bell, handles.drivers));
        assert!(files.iter().all(|file| is_open(file.as_raw_fd())));

        // What the child makes for itself works.
        fork::check(fork::generation()).unwrap();
        let own = Doorbell::new().unwrap();
        own.ring();
        drivers().iter_mut().all(|io| wakes(io, own.fd()))
    });
    let mut status = 0;
    // SAFETY: writes the status of our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);

    // The parent goes on as if nothing had been.
    let mut parents = handles.expect("taken in the child alone");
    fork::check(made_in).unwrap();
    far.write_all(b"x").unwrap();
    for io in &mut parents.drivers {
        let until_ns = now_ns() + PATIENCE.as_nanos() as u64;
        let mut done = Vec::new();
        io.wait(Wait { until_ns, spin_ns: 0 }, &mut done).unwrap();
        assert_eq!(done, [Completion::done(1, libc::POLLIN.into())]);
    }
    parents.bell.ring();
    assert!(parents.bell.clear());
}

/// Whether the driver sees that this descriptor is readable.
fn wakes(io: &mut AnyIo, descriptor: i32) -> bool {
    readable(io, 3, descriptor);
    let until_ns = now_ns() + PATIENCE.as_nanos() as u64;
    let mut done = Vec::new();
    io.wait(Wait { until_ns, spin_ns: 0 }, &mut done).unwrap();
    done == [Completion::done(3, libc::POLLIN.into())]
}

/// Lets every `io_uring_setup` of the calling thread fail with this errno.
fn deny_io_uring(errno: libc::c_int) {
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
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &program), 0);
    }
}

#[test]
fn where_io_uring_is_forbidden_poll_is_chosen_and_the_reason_told() {
    for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
        succeed(helper("helper_without_io_uring", &errno.to_string()));
    }
}

#[test]
fn helper_without_io_uring() {
    let Ok(errno) = std::env::var(ROLE) else { return };
    let errno: i32 = errno.parse().unwrap();
    deny_io_uring(errno);
    assert_eq!(UringIo::new().unwrap_err().raw_os_error(), Some(errno));
    let reason = std::io::Error::from_raw_os_error(errno).to_string();

    let chosen = choose(None).unwrap();
    assert_eq!(chosen.kind, DriverKind::Poll);
    assert!(chosen.why.contains(&reason), "{}", chosen.why);
    assert!(chosen.features.is_empty());

    let error = choose(Some(DriverKind::Uring)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains(&reason), "{error}");
    assert!(error.message().contains("KIRSH_DRIVER"), "{error}");
    assert_eq!(choose(Some(DriverKind::Poll)).unwrap().kind, DriverKind::Poll);
    let error = open(DriverKind::Uring).unwrap_err();
    assert!(error.message().contains("KIRSH_DRIVER"), "{error}");

    // And what was chosen works under the filter.
    let bell = Doorbell::new().unwrap();
    bell.ring();
    assert!(wakes(&mut chosen.open().unwrap(), bell.fd()));

    // A process that chose before its memory or its rights were gone: only force insists.
    let before = |forced| Choice { kind: DriverKind::Uring, forced, ..chosen.clone() };
    assert_eq!(before(false).open().unwrap().kind(), DriverKind::Poll);
    assert_eq!(before(true).open().unwrap_err().kind(), ErrorKind::System);
}

#[test]
fn more_operations_may_wait_than_descriptors_may_be_open() {
    succeed(helper("helper_with_few_descriptors", "few"));
}

#[test]
fn helper_with_few_descriptors() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: reads the limits.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) }, 0);
    let (bell, other) = (Doorbell::new().unwrap(), Doorbell::new().unwrap());
    let mut io = open(DriverKind::Poll).unwrap();
    for token in 0..100 {
        readable(&mut io, token, if token % 2 == 0 { bell.fd() } else { other.fd() });
    }
    bell.ring();
    let mut done = Vec::new();
    io.wait(LOOK, &mut done).unwrap();
    done.sort_by_key(|completion| completion.token);
    assert!(done.iter().map(|completion| completion.token).eq((0..100).step_by(2)));
    assert_eq!(io.in_flight(), 50);
}

#[test]
fn a_descriptor_is_closed_with_its_owner_or_given_away_open() {
    let (near, mut far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(PATIENCE)).unwrap();
    let fd = Fd::new(near.into()).unwrap();
    assert!(fd.is_ours());
    let owned = fd.into_owned().unwrap();
    far.write_all(b"still open").unwrap();
    drop(Fd::new(owned).unwrap());
    assert!(far.write_all(b"closed").is_err());
}
