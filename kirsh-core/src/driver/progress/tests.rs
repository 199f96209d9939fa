//! The progress thread's own steps, one at a time, without the thread.

mod corrupt;
mod ending;
mod groups;
mod rails;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ending::look;

use super::connect::Wish;
use super::*;
use crate::driver::ZeroCopy;
use crate::driver::channel;
use crate::driver::choose::{DriverKind, choose};
use crate::driver::job::{Buffers, Job};
use crate::driver::lane::Makings;
use crate::driver::observed::Observed;
use crate::driver::peer::{ONE_RAIL, Peer};
use crate::driver::sending::Sending;
use crate::limits::EARLY_LINKS_MAX;
use crate::memory::Pool;
use crate::plan::{Params, build};
use crate::session::{Dealing, Operation, Settings};
use crate::types::{Call, Collective, DataType, ReduceOp, Wire};
use crate::wire::auth::Token;

/// The first link with rank 0.
const FROM_0: Port = Port { peer: 0, stripe: 0 };

fn peer(rank: Rank) -> Peer {
    Peer { process_id: u64::from(rank), host_id: 1, addresses: Vec::new(), rail_of: Vec::new() }
}

/// A progress thread of rank 1 of 2, which rank 0 is to dial, and a lane of it.
fn progress() -> (Progress, Arc<Lane>) {
    progress_on(DriverKind::Poll)
}

fn progress_on(driver: DriverKind) -> (Progress, Arc<Lane>) {
    progress_of(1, driver, vec![peer(0), peer(1)], Vec::new())
}

fn progress_of(
    rank: Rank,
    driver: DriverKind,
    peers: Vec<Peer>,
    listeners: Vec<Fd>,
) -> (Progress, Arc<Lane>) {
    progress_with(rank, driver, peers, listeners, false)
}

fn progress_with(
    rank: Rank,
    driver: DriverKind,
    peers: Vec<Peer>,
    listeners: Vec<Fd>,
    local_links: bool,
) -> (Progress, Arc<Lane>) {
    let driver = choose(Some(driver)).unwrap();
    let observed = Arc::new(Observed::new(peers.len() as u32, None));
    let facts = Facts {
        rank,
        job: "test".to_owned(),
        secret: Token::new(b"0123456789abcdef".to_vec()),
        authenticated: true,
        peers,
        checksums: false,
        liveness_ns: u64::MAX,
        user_timeout_ms: 0,
        rate_limit: None,
        rail: std::sync::atomic::AtomicU8::new(ONE_RAIL),
        local_links,
        roll: Roll::new(2),
        observed,
    };
    let own = ThreadIo::new(&driver).unwrap();
    let (requests, queue) = crossbeam_channel::unbounded();
    let handle = Handle { requests, bell: Arc::clone(&own.bell) };
    let mut progress = Progress::new(own, queue, Arc::new(facts), listeners);
    let lane = lane(rank, (7, 0), 0, Members::everyone(2), 0, handle);
    progress.lanes.register(Arc::clone(&lane));
    (progress, lane)
}

fn lane(
    rank: Rank,
    (communicator, epoch): Key,
    number: u32,
    members: Members,
    priority: i32,
    handle: Handle,
) -> Arc<Lane> {
    let settings = Settings {
        rank: members.rank_of(rank).unwrap_or(0),
        world: members.world_ranks().len() as u32,
        communicator,
        epoch,
        look_ahead: 8,
        slabs_per_link: 1,
        checksums: false,
        warn_after_ns: u64::MAX,
        dealing: Dealing::even(),
    };
    let zero_copy = ZeroCopy::Off;
    let near = vec![true; members.world_ranks().len()].into();
    let sending = Sending { near, zero_copy, limiter: None };
    let (pool, stripes_near, further) = (Pool::new(64, 2), false, None);
    let (rails, spin_ns) = (None, 0);
    let makings =
        Makings { members, pool, priority, stripes_near, rails, spin_ns, zero_copy, further };
    let driver = Arc::new(choose(Some(DriverKind::Poll)).unwrap());
    let observed = Arc::new(Observed::new(settings.world, None));
    Arc::new(Lane::new(settings, number, makings, sending, observed, handle, driver))
}

fn barrier() -> (Operation, Job) {
    let call = Call {
        collective: Collective::Barrier,
        algorithm: crate::plan::algorithms(Collective::Barrier)[0],
        dtype: DataType::Byte,
        op: ReduceOp::Sum,
        root: 0,
        count: 0,
        wire: Wire::Plain,
    };
    let plan = build(&Params::new(call, 2, 64), 1).unwrap();
    let alias = crate::session::Alias::None;
    let operation = Operation { call, plan, key: 1, stripes: 1, alias, deadline_ns: u64::MAX };
    let nowhere = crate::driver::array::Array::One(std::ptr::null_mut());
    // SAFETY: a barrier has no memory.
    let buffers = unsafe { Buffers::new(nowhere.clone(), nowhere, None) };
    let job = Job {
        call,
        label: None,
        enqueued_ns: 0,
        sequence: 0,
        buffers,
        scratch_len: 0,
        encoded_len: 0,
        seated: false,
        kernel: None,
        dtype: DataType::Byte,
        scale: 1.0,
        contributions: 2,
        completion: None,
    };
    (operation, job)
}

#[test]
fn a_request_to_drive_that_comes_while_the_lane_is_held_does_not_swallow_the_next() {
    let (mut progress, lane) = progress();
    let (operation, job) = barrier();
    let (_, first) = lane.start(operation, job, None);
    progress.read_requests();
    assert!(progress.lanes.any_held(), "the barrier waits for rank 0");
    // Somebody who found the lane free just before, and says so only now.
    lane.call_progress();
    progress.read_requests();
    lane.abort(Error::new(ErrorKind::Aborted, "for the test"));
    progress.lanes.drive_due(&mut progress.own);
    progress.lanes.drive_due(&mut progress.own);
    assert!(first.get().is_some_and(|outcome| outcome.is_err()));
    assert!(!progress.lanes.any_held());
    progress.read_requests();

    let (operation, job) = barrier();
    let (_, second) = lane.start(operation, job, None);
    progress.read_requests();
    assert!(second.get().is_some(), "nobody has come for it");
}

/// A control link to rank 0, and rank 0's end of it.
fn controlled(progress: &mut Progress) -> UnixStream {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    progress.control_up(0, Fd::new(OwnedFd::from(near)).unwrap(), false);
    far
}

#[test]
fn a_goodbye_goes_out_whole_before_the_end_although_the_peer_reads_late() {
    let (mut progress, _lane) = progress();
    let mut far = controlled(&mut progress);
    // Until the socket takes no more and some wait here.
    let mut said = 1;
    while !progress.controls[&0].awaits_writable {
        progress.tell_directly(0, &Message::Heartbeat);
        said += 1;
    }
    let (done, _gone) = crossbeam_channel::bounded(1);
    progress.retire(0, 3);
    progress.leave(done);
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        far.read_to_end(&mut bytes).unwrap();
        bytes
    });
    while !reading.is_finished() {
        progress.flush_control(0);
    }
    let mut reader = crate::wire::control::ControlReader::default();
    reader.feed(&reading.join().unwrap());
    for _ in 0..said {
        assert_eq!(reader.next().unwrap(), Some(Message::Heartbeat));
    }
    for finished in [vec![(7, 0, 3)], vec![]] {
        let goodbye = Message::Goodbye { origin: 1, finished };
        assert_eq!(reader.next().unwrap(), Some(goodbye));
    }
    assert_eq!(reader.pending(), 0);
}

#[test]
fn a_peer_that_never_stops_talking_does_not_keep_the_thread() {
    let (mut progress, _lane) = progress();
    let mut far = controlled(&mut progress);
    let mut words = Vec::new();
    while words.len() < 8192 {
        Message::Goodbye { origin: 0, finished: vec![(1, 1, 1)] }.encode(&mut words);
    }
    // It talks until nobody listens any more.
    let talking = std::thread::spawn(move || while far.write_all(&words).is_ok() {});
    for _ in 0..100 {
        progress.read_control(0);
        assert!(progress.controls.contains_key(&0));
    }
    drop(progress);
    talking.join().unwrap();
}

/// The texts of the warnings that come while it is the default.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text<'a>(&'a mut Vec<String>);
        impl tracing::field::Visit for Text<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                if field.name() == "message" {
                    self.0.push(format!("{value:?}"));
                }
            }
        }
        event.record(&mut Text(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_link_for_which_there_is_no_room_is_closed_with_a_warning() {
    let (mut progress, _lane) = progress();
    let unknown = (0xabc, 3);
    let mut fars = Vec::new();
    let warnings = Arc::new(Warnings::default());
    tracing::subscriber::with_default(Arc::clone(&warnings), || {
        for _ in 0..=EARLY_LINKS_MAX {
            let (near, far) = UnixStream::pair().unwrap();
            progress.lanes.deliver_link(1, unknown, FROM_0, Fd::new(OwnedFd::from(near)).unwrap());
            fars.push(far);
        }
    });
    let warnings = warnings.0.lock().unwrap();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    for part in ["from rank 0", "0000000000000abc, epoch 3", "at most 64"] {
        assert!(warning.contains(part), "{warning}");
    }
    let mut last = fars.pop().unwrap();
    assert_eq!(last.read(&mut [0]).unwrap(), 0, "it is closed");
}

// P-26
#[test]
fn links_for_channels_of_a_closed_communicator_are_closed_also_where_it_made_none() {
    let (mut progress, lane) = progress();
    let (first, other) = (channel::key_of(lane.key, 3), channel::key_of((0xabc, 3), 3));
    let link = |progress: &mut Progress, key| {
        let (near, far) = UnixStream::pair().unwrap();
        progress.lanes.deliver_link(1, key, FROM_0, Fd::new(OwnedFd::from(near)).unwrap());
        far
    };
    let mut early = [first, other].map(|key| link(&mut progress, key));
    progress.retire(lane.number, 0);
    let mut late = [first, other].map(|key| link(&mut progress, key));
    assert_eq!(early.each_mut().map(is_closed), [true, false]);
    assert_eq!(late.each_mut().map(is_closed), [true, false]);
}

/// A control link to rank 0 that one side has dialled, and rank 0's end of it.
fn linked(progress: &mut Progress, dialled_here: bool) -> UnixStream {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    progress.control_up(0, Fd::new(OwnedFd::from(near)).unwrap(), dialled_here);
    far
}

fn frame(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

/// Whether the other end was closed, after what it said.
fn is_closed(far: &mut UnixStream) -> bool {
    far.set_nonblocking(true).unwrap();
    far.read_to_end(&mut Vec::new()).is_ok()
}

// P-43
#[test]
fn of_two_control_links_the_one_that_the_lower_process_dialled_stays() {
    let (mut progress, lane) = progress();
    let mut probe = linked(&mut progress, true);
    // What came over it before counts.
    let (communicator, epoch) = lane.key;
    let abort = Message::Abort {
        communicator,
        epoch,
        origin: 0,
        sequence: None,
        about: None,
        kind: ErrorKind::Aborted,
        reason: "over".to_owned(),
    };
    probe.write_all(&frame(&abort)).unwrap();
    let mut first = linked(&mut progress, false);
    assert!(is_closed(&mut probe));
    assert!(!is_closed(&mut first));
    progress.read_requests();
    progress.lanes.drive_due(&mut progress.own);
    assert!(lane.core().session.failure().is_some_and(|error| error.message().contains("over")));
    // A second probe changes nothing; a second dial of the lower one's is the one it knows of.
    assert!(is_closed(&mut linked(&mut progress, true)));
    assert!(!is_closed(&mut first));
    let mut second = linked(&mut progress, false);
    assert!(is_closed(&mut first));
    assert!(!is_closed(&mut second));
    for _ in 0..10 {
        look(&mut progress);
    }
    assert!(progress.gone.is_empty() && progress.controls.contains_key(&0));
}

/// A listener of this host, and its address.
fn listener() -> (Fd, SocketAddr) {
    socket::listen(std::net::Ipv4Addr::LOCALHOST.into(), socket::PortRange::ANY).unwrap()
}

// P-43
#[test]
fn a_link_that_ends_before_a_word_came_leads_to_another_attempt_and_a_later_end_is_a_death() {
    let (there, at) = listener();
    let peers = vec![Peer { addresses: vec![at], ..peer(0) }, peer(1)];
    let (mut progress, _lane) = progress_of(1, DriverKind::Poll, peers, Vec::new());
    let until = Instant::now() + Duration::from_secs(20);
    drop(linked(&mut progress, true));
    let attempt = loop {
        look(&mut progress);
        if let Some((attempt, _)) = socket::accept(there.as_fd()).unwrap() {
            break attempt;
        }
        assert!(Instant::now() < until && progress.gone.is_empty());
    };
    assert!(progress.controls.is_empty() && progress.gone.is_empty());
    // Nobody is there any more: the first word of it is what is told.
    drop((attempt, there));
    while progress.gone.is_empty() {
        assert!(Instant::now() < until);
        look(&mut progress);
    }
    let error = progress.gone[&0].of(0);
    assert!(error.message().contains("it has died"), "{error}");

    let (there, at) = listener();
    let peers = vec![Peer { addresses: vec![at], ..peer(0) }, peer(1)];
    let (mut progress, _lane) = progress_of(1, DriverKind::Poll, peers, Vec::new());
    let mut far = linked(&mut progress, false);
    far.write_all(&frame(&Message::Heartbeat)).unwrap();
    drop(far);
    while progress.gone.is_empty() {
        assert!(Instant::now() < until);
        look(&mut progress);
    }
    assert!(socket::accept(there.as_fd()).unwrap().is_none());
}

// P-43
#[test]
fn dials_that_cross_end_in_one_link_at_whatever_moment_they_meet() {
    for driver in [DriverKind::Poll, DriverKind::Uring] {
        for head_start in 0..12 {
            let (low_listener, low_at) = listener();
            let (high_listener, high_at) = listener();
            let peers = vec![
                Peer { addresses: vec![low_at], ..peer(0) },
                Peer { addresses: vec![high_at], ..peer(1) },
            ];
            let (mut low, _lane) = progress_of(0, driver, peers.clone(), vec![low_listener]);
            let (mut high, _other) = progress_of(1, driver, peers, vec![high_listener]);
            low.accept(0);
            high.accept(0);
            let until = Instant::now() + Duration::from_secs(20);
            high.dial(Wish::control(0));
            for _ in 0..head_start {
                look(&mut low);
                look(&mut high);
            }
            low.dial(Wish::control(1));
            let heard = |progress: &Progress, peer| {
                progress.controls.get(&peer).is_some_and(|link| link.heard)
            };
            let busy = |progress: &Progress| progress.dials.len() + progress.inbound.len() > 0;
            while busy(&low) || busy(&high) || !heard(&low, 1) || !heard(&high, 0) {
                assert!(Instant::now() < until, "{driver}, after {head_start}");
                for progress in [&mut low, &mut high] {
                    look(progress);
                    progress.look_at_clock();
                }
            }
            for progress in [&low, &high] {
                assert!(progress.gone.is_empty() && progress.doubts.is_empty());
            }
            let [near, far] = [(&low, 1), (&high, 0)].map(|(progress, peer)| {
                let socket = socket2::SockRef::from(&progress.controls[&peer]);
                let ends = [socket.local_addr().unwrap(), socket.peer_addr().unwrap()];
                ends.map(|end| end.as_socket().unwrap())
            });
            assert_eq!(near, [far[1], far[0]], "{driver}, after {head_start}: one link");
            assert_eq!(near[1], high_at, "{driver}, after {head_start}: the lower one dialled it");
        }
    }
}

fn gives_up_on_the_kernel(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::System, "{error}");
    assert!(error.message().contains("ppoll failed 10 times in a row"), "{error}");
    assert!(error.message().contains("(os error 12)"), "{error}");
}

#[test]
fn a_progress_thread_that_cannot_wait_any_more_fails_its_lanes() {
    let (lanes, lane) = crossbeam_channel::bounded(1);
    // Somebody whom its probe reaches, and who does not answer.
    let (_there, at) = listener();
    let thread = std::thread::spawn(move || {
        let peers = vec![Peer { addresses: vec![at], ..peer(0) }, peer(1)];
        let (mut progress, lane) = progress_of(1, DriverKind::Poll, peers, Vec::new());
        lanes.send((Arc::clone(&lane), Arc::clone(&progress.facts))).unwrap();
        progress.own.failing = Some(libc::ENOMEM);
        progress.run_or_fail();
    });
    let patience = Duration::from_secs(20);
    let (lane, facts) = lane.recv_timeout(patience).unwrap();
    let (operation, job) = barrier();
    let (_, outcome) = lane.start(operation, job, None);
    let error = outcome.wait(Some(patience), || {}).expect("nobody has said so").unwrap_err();
    gives_up_on_the_kernel(&error);
    gives_up_on_the_kernel(&facts.roll.wait(&[0], patience).unwrap_err());
    thread.join().unwrap();
}

#[test]
fn a_caller_that_cannot_wait_any_more_fails_its_lane_and_lets_go() {
    let (called, outcome) = crossbeam_channel::bounded(1);
    let (mut progress, lane) = progress();
    let caller = Arc::clone(&lane);
    let thread = std::thread::spawn(move || {
        let driver = choose(Some(DriverKind::Poll)).unwrap();
        crate::driver::thread::with(&driver, |own| own.failing = Some(libc::ENOMEM)).unwrap();
        let (operation, job) = barrier();
        called.send(caller.run(operation, job, None)).unwrap();
        // The next call finds a way into the kernel again, and the first cause.
        let (operation, job) = barrier();
        called.send(caller.run(operation, job, None)).unwrap();
    });
    for _ in 0..2 {
        let error = outcome.recv_timeout(Duration::from_secs(20)).unwrap().unwrap_err();
        gives_up_on_the_kernel(&error);
    }
    thread.join().unwrap();
    assert!(lane.take(&progress.own.bell), "somebody holds it still");
    // The peers are told.
    let mut far = controlled(&mut progress);
    progress.read_requests();
    let mut said = vec![0; 4096];
    let mut reader = crate::wire::control::ControlReader::default();
    let told = loop {
        let bytes = far.read(&mut said).unwrap();
        reader.feed(&said[..bytes]);
        match std::iter::from_fn(|| reader.next().unwrap()).last() {
            Some(Message::Heartbeat) | None => {}
            Some(other) => break other,
        }
    };
    assert!(matches!(told, Message::Abort { origin: 1, .. }), "{told:?}");
}
