//! The process's one progress thread: drives started operations, keeps the control links, opens
//! and accepts connections.
//!
//! It never waits for a lock that a caller holds for long, for a store, or for the host
//! language's own lock. Callers reach it through a [`Handle`]: a queue and a bell.

mod connect;
mod control;
mod facts;
mod failing;
mod now;
mod roll;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;

use connect::{Dial, Inbound, Needs, Step, Wish, class};
use control::{ControlLink, Reading};
use crossbeam_channel::{Receiver, Sender};
pub(crate) use facts::Facts;
use facts::judge;
pub(crate) use roll::Roll;

use super::baton::Bell;
use super::choose::Choice;
use super::clock::now_ns;
use super::doorbell::Doorbell;
use super::fork::{self, Fd};
use super::io::{Completion, Io, Op, Wait};
use super::lane::{Key, Lane};
use super::mail::Mail;
use super::socket;
use super::thread::ThreadIo;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CALL_HISTORY, HANDSHAKES_PENDING_MAX};
use crate::session::Audience;
use crate::types::Rank;
use crate::wire::auth::Nonce;
use crate::wire::control::Message;
use crate::wire::handshake::{self, Established, Hello};

/// How long a goodbye may take before the process leaves without an answer.
const LEAVE_NS: u64 = 1_000_000_000;

/// How long a listener is left alone when no more connections can be taken.
const ACCEPT_PAUSE_NS: u64 = 100_000_000;

/// How long the side that is to be dialled waits before it looks whether the other is there. P-43
const PROBE_NS: u64 = 1_000_000_000;

/// How long after a peer's goodbye what it sent before may still be on its way: over a link that
/// it opened, used and closed, and that has not even been accepted here.
const DEPART_NS: u64 = 300_000_000;

/// Something asked of the progress thread.
pub(crate) enum Request {
    /// A lane to drive and to deliver to.
    Register { lane: Arc<Lane> },
    /// There is something to do on a lane, and nobody drives it.
    Drive { lane: u32 },
    /// A plan needs the collective link to a peer.
    Dial { lane: Key, peer: Rank },
    /// A control message is to go out.
    Tell { to: Audience, message: Message },
    /// A lane is closed; forget it.
    Retire { lane: u32 },
    /// Say goodbye and end.
    Leave { finished: Vec<(u64, u32, u64)>, done: Sender<()> },
    /// Panic, to see what becomes of the callers.
    #[cfg(test)]
    Panic,
}

/// How others reach the progress thread.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: Sender<Request>,
    bell: Arc<Doorbell>,
}

impl Handle {
    pub(crate) fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }

    pub(crate) fn ask(&self, request: Request) {
        // A progress thread that is gone has said goodbye: nobody listens any more.
        let _ = self.requests.send(request);
        Bell::ring(&*self.bell);
    }
}

struct Tracked {
    lane: Arc<Lane>,
    held: bool,
    /// To be forgotten once it is let go.
    retired: bool,
    deadline_ns: u64,
}

impl Tracked {
    fn new(lane: Arc<Lane>) -> Self {
        Tracked { lane, held: false, retired: false, deadline_ns: u64::MAX }
    }
}

pub(crate) struct Progress {
    own: ThreadIo,
    requests: Receiver<Request>,
    facts: Arc<Facts>,
    listeners: Vec<Fd>,
    lanes: HashMap<u32, Tracked>,
    numbers: HashMap<Key, u32>,
    controls: HashMap<Rank, ControlLink>,
    dials: HashMap<u32, Dial>,
    /// Where peers were reached: an address that leads nowhere is found out once, not per link.
    reached: HashMap<Rank, SocketAddr>,
    inbound: HashMap<u32, Inbound>,
    next_id: u32,
    /// Peers that are to dial, and when to look whether they are there at all.
    probes: Vec<(u64, Rank)>,
    /// Peers that have said goodbye and closed, and when to believe that nothing more of theirs
    /// comes.
    departed: Vec<(u64, Rank, Error)>,
    /// Listeners that are left alone for now, and when to look again.
    paused: Vec<(u64, u32)>,
    /// Peers that are gone, and why.
    gone: HashMap<Rank, Error>,
    /// Links and messages for communicators that this process has not registered yet.
    early_links: VecDeque<(Key, (Rank, Fd))>,
    early_messages: VecDeque<(Key, Message)>,
    events: Vec<Completion>,
    frame: Vec<u8>,
    leaving: Option<(u64, Sender<()>)>,
}

/// The upper halves of tokens that are no lane's.
mod token {
    pub(super) const LISTENER: u32 = 0xff00_0001;
    pub(super) const CONTROL: u32 = 0xff00_0002;
    pub(super) const CONTROL_WRITABLE: u32 = 0xff00_0003;
    pub(super) const DIAL: u32 = 0xff00_0004;
    pub(super) const INBOUND: u32 = 0xff00_0005;

    pub(super) const fn of(class: u32, id: u32) -> u64 {
        (class as u64) << 32 | id as u64
    }
}

/// Starts the progress thread. It ends after [`Request::Leave`].
pub(crate) fn start(facts: Arc<Facts>, listeners: Vec<Fd>, driver: Arc<Choice>) -> Result<Handle> {
    let (requests, queue) = crossbeam_channel::unbounded();
    let (born, ready) = crossbeam_channel::bounded(1);
    let name = format!("kirsh-{}", facts.rank);
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            fork::block_all_signals_in_this_thread();
            match ThreadIo::new(&driver) {
                Ok(own) => {
                    let _ = born.send(Ok(Arc::clone(&own.bell)));
                    Progress::new(own, queue, facts, listeners).run_or_fail();
                }
                Err(error) => drop(born.send(Err(error))),
            }
        })
        .map_err(|cause| Error::system("cannot start the progress thread", &cause))?;
    let bell = ready
        .recv()
        .map_err(|_| Error::new(ErrorKind::Internal, "the progress thread ended at its start"))??;
    Ok(Handle { requests, bell })
}

impl Progress {
    fn new(
        own: ThreadIo,
        requests: Receiver<Request>,
        facts: Arc<Facts>,
        listeners: Vec<Fd>,
    ) -> Self {
        Progress {
            own,
            requests,
            facts,
            listeners,
            lanes: HashMap::new(),
            numbers: HashMap::new(),
            controls: HashMap::new(),
            dials: HashMap::new(),
            reached: HashMap::new(),
            inbound: HashMap::new(),
            next_id: 0,
            probes: Vec::new(),
            departed: Vec::new(),
            paused: Vec::new(),
            gone: HashMap::new(),
            early_links: VecDeque::new(),
            early_messages: VecDeque::new(),
            events: Vec::with_capacity(256),
            frame: Vec::with_capacity(1024),
            leaving: None,
        }
    }

    fn run(&mut self) {
        for index in 0..self.listeners.len() {
            self.watch(
                self.listeners[index].as_raw_fd(),
                token::of(token::LISTENER, index as u32),
                Needs::Readable,
            );
        }
        self.call_home();
        loop {
            self.read_requests();
            self.drive_all();
            if self.has_left() {
                break;
            }
            let wait = Wait { until_ns: self.next_deadline(), spin_ns: 0 };
            let mut events = std::mem::take(&mut self.events);
            // Signals are blocked in this thread, and a failing wait shows in the next one.
            let _ = self.own.wait(wait, |_, completion| events.push(completion));
            for event in events.drain(..) {
                self.handle(event);
            }
            self.events = events;
            self.look_at_clock();
        }
    }

    /// Rank 0 and every other rank keep a control link, over which news reaches everybody. P-43
    fn call_home(&mut self) {
        let peers = if self.facts.rank == 0 { 1..self.facts.members.len() as Rank } else { 0..1 };
        for peer in peers {
            self.want_control(peer);
        }
    }

    fn want_control(&mut self, peer: Rank) {
        if self.controls.contains_key(&peer) || self.gone.contains_key(&peer) {
            return;
        }
        let wish = Wish { peer, lane: None };
        if self.facts.dials(peer) {
            self.dial(wish);
        } else if !self.probes.iter().any(|(_, rank)| *rank == peer) {
            self.probes.push((now_ns().saturating_add(PROBE_NS), peer));
        }
    }

    // Requests.

    fn read_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Register { lane } => self.register(lane),
                Request::Drive { lane } => self.drive(lane),
                Request::Dial { lane, peer } => self.want_link(lane, peer),
                Request::Tell { to, message } => self.tell(to, &message),
                Request::Retire { lane } => {
                    self.retire(lane);
                }
                Request::Leave { finished, done } => self.leave(finished, done),
                #[cfg(test)]
                Request::Panic => panic!("asked to"),
            }
        }
    }

    /// Forgets a lane, but not before the kernel has given back what it has of it.
    fn retire(&mut self, number: u32) {
        let Some(tracked) = self.lanes.get_mut(&number) else { return };
        self.numbers.remove(&tracked.lane.key);
        tracked.retired = true;
        if !tracked.held {
            self.lanes.remove(&number);
        }
    }

    fn register(&mut self, lane: Arc<Lane>) {
        let key = lane.key;
        for (peer, fd) in take_of(&mut self.early_links, key) {
            lane.post(Mail::LinkUp { peer, fd });
        }
        for message in take_of(&mut self.early_messages, key) {
            lane.post(Mail::Message(message));
        }
        self.numbers.insert(key, lane.number);
        let number = lane.number;
        self.lanes.insert(number, Tracked::new(lane));
        self.drive(number);
    }

    fn want_link(&mut self, lane: Key, peer: Rank) {
        if let Some(cause) = self.gone.get(&peer) {
            let cause = cause.clone();
            return self.deliver(lane, Mail::LinkFailed { peer, cause });
        }
        if self.facts.dials(peer) {
            self.dial(Wish { peer, lane: Some(lane) });
        }
        self.want_control(peer);
    }

    fn dial(&mut self, wish: Wish) {
        if self.dials.values().any(|dial| dial.wish == wish) {
            return;
        }
        let nonce = match fresh_nonce() {
            Ok(nonce) => nonce,
            Err(error) => return self.dial_failed(wish, error),
        };
        let facts = &self.facts;
        let (communicator, epoch) = wish.lane.unwrap_or((0, 0));
        let hello = Hello {
            job: facts.job.clone(),
            world: facts.members.len() as u32,
            process: facts.me().process_id,
            peer_process: facts.members[wish.peer as usize].process_id,
            rank: facts.rank,
            peer_rank: wish.peer,
            lane: class(wish),
            channel: 0,
            stripe: 0,
            communicator,
            epoch,
            byte_position: 0,
            checksums: facts.checksums,
            nonce,
        };
        let addresses = facts.addresses(wish.peer, self.reached.get(&wish.peer).copied());
        let mut dial = Dial::new(wish, hello, facts.secret.clone(), addresses);
        let step = dial.next_address(now_ns());
        let id = self.take_id();
        self.dial_went(id, dial, step);
    }

    fn dial_went(&mut self, id: u32, dial: Dial, step: Step) {
        match step {
            Step::Needs(needs) => {
                self.watch(dial.descriptor(), token::of(token::DIAL, id), needs);
                self.dials.insert(id, dial);
            }
            Step::Done(fd, established) => {
                self.reached.extend(dial.address().map(|address| (dial.wish.peer, address)));
                self.established(fd, &established);
            }
            Step::Failed(error) => self.dial_failed(dial.wish, error),
        }
    }

    fn dial_failed(&mut self, wish: Wish, error: Error) {
        // A refusal that came because the link is up by now is none.
        if wish.lane.is_none() && self.controls.contains_key(&wish.peer) {
            return;
        }
        // A probe that was turned down has found somebody alive, whose own dial will come.
        if wish.lane.is_none() && error.kind() == ErrorKind::Closed {
            return self.want_control(wish.peer);
        }
        tracing::debug!(rank = self.facts.rank, "{error}");
        let peer = wish.peer;
        match wish.lane {
            Some(lane) => self.deliver(lane, Mail::LinkFailed { peer, cause: error }),
            None => {
                self.facts.roll.fail(error.clone());
                self.lose(peer, error);
            }
        }
    }

    // Events.

    fn handle(&mut self, event: Completion) {
        let (class, id) = ((event.token >> 32) as u32, event.token as u32);
        match class {
            token::LISTENER => self.accept(id),
            token::CONTROL => self.read_control(id),
            token::CONTROL_WRITABLE => self.flush_control(id),
            token::DIAL => {
                if let Some(mut dial) = self.dials.remove(&id) {
                    let step = dial.advance(now_ns());
                    self.dial_went(id, dial, step);
                }
            }
            token::INBOUND => self.advance_inbound(id),
            lane => {
                if let Some(tracked) = self.lanes.get(&lane).filter(|tracked| tracked.held) {
                    let lane = &tracked.lane;
                    lane.core().complete(&mut self.own.io, lane, event);
                }
            }
        }
    }

    fn accept(&mut self, index: u32) {
        // None once this process is leaving.
        let Some(listener) = self.listeners.get(index as usize) else { return };
        let descriptor = listener.as_raw_fd();
        loop {
            // P-41
            if self.inbound.len() >= HANDSHAKES_PENDING_MAX {
                return self.pause_listener(index);
            }
            let Some(listener) = self.listeners.get(index as usize) else { return };
            match socket::accept(listener.as_fd()) {
                Ok(Some((fd, from))) => {
                    let Ok(nonce) = fresh_nonce() else { continue };
                    let id = self.take_id();
                    let inbound = Inbound::new(fd, from, nonce, now_ns());
                    self.watch(
                        inbound.descriptor(),
                        token::of(token::INBOUND, id),
                        Needs::Readable,
                    );
                    self.inbound.insert(id, inbound);
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(rank = self.facts.rank, %error, "cannot accept a connection");
                    return self.pause_listener(index);
                }
            }
        }
        self.watch(descriptor, token::of(token::LISTENER, index), Needs::Readable);
    }

    /// Lets connections wait in the kernel for a while: there are too many, or no descriptors.
    fn pause_listener(&mut self, index: u32) {
        self.paused.push((now_ns().saturating_add(ACCEPT_PAUSE_NS), index));
    }

    fn advance_inbound(&mut self, id: u32) {
        let Some(inbound) = self.inbound.remove(&id) else { return };
        let facts = Arc::clone(&self.facts);
        let from = inbound.from;
        let judged = |hello: &Hello| {
            let terms = judge(&facts, hello)?;
            self.refuse_crossing(hello)?;
            Ok(terms)
        };
        match inbound.advance(judged) {
            Ok(inbound) => {
                self.watch(inbound.descriptor(), token::of(token::INBOUND, id), Needs::Readable);
                self.inbound.insert(id, inbound);
            }
            Err(Step::Done(fd, established)) => self.established(fd, &established),
            Err(Step::Failed(error)) if error.kind() == ErrorKind::Closed => {}
            Err(Step::Failed(error)) => {
                tracing::warn!(rank = facts.rank, %from, "refused a connection: {error}");
            }
            Err(Step::Needs(_)) => {}
        }
    }

    /// Turns down a probe while the link that this side is to dial is on its way or up: with two
    /// control links each side could keep another one, and take the end of its own for a death. P-43
    fn refuse_crossing(&self, hello: &Hello) -> Result<()> {
        let wish = Wish { peer: hello.rank, lane: None };
        let on_its_way = self.dials.values().any(|dial| dial.wish == wish);
        let up = self.controls.contains_key(&hello.rank);
        if hello.lane == handshake::Lane::Control && (on_its_way || up) {
            let text = format!("rank {} dials this link itself", self.facts.rank);
            return Err(Error::new(ErrorKind::Closed, text));
        }
        Ok(())
    }

    /// Both sides know each other: the connection becomes a link.
    fn established(&mut self, fd: Fd, established: &Established) {
        let peer = established.peer_rank;
        let options = self.facts.link_options(peer, established.hello.lane);
        if let Err(error) = socket::set_up_link(fd.as_fd(), &options) {
            // It broke at once; whoever uses it will hear so.
            tracing::debug!(rank = self.facts.rank, %error, "setting up a link");
        }
        match established.hello.lane {
            handshake::Lane::Control => self.control_up(peer, fd),
            handshake::Lane::Collective => {
                let key = (established.hello.communicator, established.hello.epoch);
                if self.numbers.contains_key(&key) {
                    self.deliver(key, Mail::LinkUp { peer, fd });
                } else if self.early_links.len() < HANDSHAKES_PENDING_MAX {
                    self.early_links.push_back((key, (peer, fd)));
                }
            }
            handshake::Lane::Direct | handshake::Lane::Bulk => {}
        }
    }

    fn control_up(&mut self, peer: Rank, fd: Fd) {
        if self.controls.contains_key(&peer) || self.leaving.is_some() {
            return;
        }
        let link = ControlLink::new(peer, fd, now_ns());
        self.watch(link.descriptor(), token::of(token::CONTROL, peer), Needs::Readable);
        self.controls.insert(peer, link);
        self.probes.retain(|(_, rank)| *rank != peer);
        self.facts.roll.mark(peer);
    }

    fn read_control(&mut self, peer: Rank) {
        let Some(mut link) = self.controls.remove(&peer) else { return };
        let mut messages = Vec::new();
        let reading = link.read(now_ns(), &mut |message| messages.push(message));
        for message in messages {
            if let Message::Goodbye { .. } = message {
                link.goodbye = true;
            } else {
                self.hear(message);
            }
        }
        match reading {
            Reading::Open => {
                self.watch(link.descriptor(), token::of(token::CONTROL, peer), Needs::Readable);
                self.controls.insert(peer, link);
            }
            Reading::Ended(cause) => {
                if link.goodbye {
                    let text = format!("rank {peer} has left the job: its process said goodbye");
                    let cause = Error::new(ErrorKind::PeerLost, text).with_peer(peer);
                    self.departed.push((now_ns().saturating_add(DEPART_NS), peer, cause));
                } else {
                    self.lose(peer, cause);
                }
            }
        }
    }

    /// A message for this process, or one to pass on. P-23
    fn hear(&mut self, message: Message) {
        let key = match &message {
            Message::Stalled { communicator, epoch, to, .. } => {
                if *to != self.facts.rank {
                    return self.tell_directly(*to, &message);
                }
                (*communicator, *epoch)
            }
            Message::Refused { communicator, epoch, .. }
            | Message::Abort { communicator, epoch, .. } => (*communicator, *epoch),
            Message::Heartbeat | Message::Goodbye { .. } => return,
        };
        if self.numbers.contains_key(&key) {
            self.deliver(key, Mail::Message(message));
        } else {
            if self.early_messages.len() == CALL_HISTORY {
                self.early_messages.pop_front();
            }
            self.early_messages.push_back((key, message));
        }
    }

    /// A peer's process is gone: every communicator hears of it.
    fn lose(&mut self, peer: Rank, cause: Error) {
        self.gone.insert(peer, cause.clone());
        for tracked in self.lanes.values() {
            tracked.lane.post(Mail::PeerGone { peer, cause: cause.clone() });
        }
    }

    // Telling.

    fn tell(&mut self, to: Audience, message: &Message) {
        match to {
            Audience::Everyone => {
                let peers: Vec<Rank> = self.controls.keys().copied().collect();
                for peer in peers {
                    self.tell_directly(peer, message);
                }
            }
            Audience::Rank(peer) if self.controls.contains_key(&peer) => {
                self.tell_directly(peer, message);
            }
            // Rank 0 has a link to everybody, and passes it on.
            Audience::Rank(_) => self.tell_directly(0, message),
        }
    }

    fn tell_directly(&mut self, peer: Rank, message: &Message) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        self.frame.clear();
        message.encode(&mut self.frame);
        let full = link.write(&self.frame, now_ns());
        self.await_writable(peer, full);
    }

    fn flush_control(&mut self, peer: Rank) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        link.awaits_writable = false;
        let full = link.flush();
        self.await_writable(peer, full);
    }

    fn await_writable(&mut self, peer: Rank, full: bool) {
        let Some(link) = self.controls.get_mut(&peer) else { return };
        if full && !link.awaits_writable {
            link.awaits_writable = true;
            let descriptor = link.descriptor();
            self.watch(descriptor, token::of(token::CONTROL_WRITABLE, peer), Needs::Writable);
        }
    }

    fn deliver(&mut self, key: Key, mail: Mail) {
        if let Some(tracked) = self.numbers.get(&key).and_then(|number| self.lanes.get(number)) {
            tracked.lane.post(mail);
        }
    }

    // Lanes.

    fn drive(&mut self, number: u32) {
        let Some(tracked) = self.lanes.get_mut(&number) else { return };
        tracked.lane.heed();
        if !tracked.held {
            tracked.held = tracked.lane.take(&self.own.bell);
        }
        while tracked.held {
            let mut core = tracked.lane.core();
            core.session.handle_tick(now_ns());
            tracked.lane.read_mail(&mut core);
            core.pump(&mut self.own.io, &tracked.lane, None);
            tracked.deadline_ns = core.session.next_deadline();
            if !core.session.is_idle() || core.in_flight() != 0 {
                return;
            }
            drop(core);
            tracked.held = !tracked.lane.let_go();
        }
        tracked.deadline_ns = u64::MAX;
        if tracked.retired {
            self.lanes.remove(&number);
        }
    }

    fn drive_all(&mut self) {
        let held: Vec<u32> = self
            .lanes
            .iter()
            .filter(|(_, tracked)| tracked.held)
            .map(|(number, _)| *number)
            .collect();
        for number in held {
            self.drive(number);
        }
    }

    // Time.

    fn next_deadline(&self) -> u64 {
        let heartbeat = self.heartbeat_ns();
        let controls = self.controls.values().map(|link| {
            link.spoke_ns
                .saturating_add(heartbeat)
                .min(link.heard_ns.saturating_add(self.facts.liveness_ns))
        });
        let lanes = self.lanes.values().map(|tracked| tracked.deadline_ns);
        let dials = self.dials.values().map(|dial| dial.deadline_ns);
        let inbound = self.inbound.values().map(|inbound| inbound.deadline_ns);
        let probes = self.probes.iter().map(|(when_ns, _)| *when_ns);
        let departed = self.departed.iter().map(|(when_ns, ..)| *when_ns);
        let paused = self.paused.iter().map(|(when_ns, _)| *when_ns);
        let leaving = self.leaving.iter().map(|(until_ns, _)| *until_ns);
        let leaving = leaving.filter(|until_ns| *until_ns > now_ns());
        let all = controls
            .chain(lanes)
            .chain(dials)
            .chain(inbound)
            .chain(probes)
            .chain(departed)
            .chain(paused)
            .chain(leaving);
        all.min().unwrap_or(u64::MAX)
    }

    /// How long this process may be silent. P-28
    fn heartbeat_ns(&self) -> u64 {
        self.facts.liveness_ns / 4
    }

    fn look_at_clock(&mut self) {
        let now = now_ns();
        let due: Vec<u32> = self
            .dials
            .iter()
            .filter(|(_, dial)| dial.deadline_ns <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(mut dial) = self.dials.remove(&id) {
                self.own.io.cancel(dial.descriptor());
                let step = dial.time_out(now);
                let id = self.take_id();
                self.dial_went(id, dial, step);
            }
        }
        let io = &mut self.own.io;
        self.inbound.retain(|_, inbound| {
            let keep = inbound.deadline_ns > now;
            if !keep {
                io.cancel(inbound.descriptor());
            }
            keep
        });
        let (due, later): (Vec<_>, Vec<_>) =
            self.probes.drain(..).partition(|(when, _)| *when <= now);
        self.probes = later;
        for (_, peer) in due {
            if !self.controls.contains_key(&peer) {
                self.dial(Wish { peer, lane: None });
            }
        }
        for (_, peer, cause) in
            self.departed.extract_if(.., |(when, ..)| *when <= now).collect::<Vec<_>>()
        {
            self.lose(peer, cause);
        }
        let (due, later): (Vec<_>, Vec<_>) =
            self.paused.drain(..).partition(|(when, _)| *when <= now);
        self.paused = later;
        for (_, index) in due {
            self.accept(index);
        }
        self.look_at_controls(now);
    }

    /// P-28
    fn look_at_controls(&mut self, now: u64) {
        let heartbeat = self.heartbeat_ns();
        let liveness = self.facts.liveness_ns;
        let quiet: Vec<Rank> = self
            .controls
            .values()
            .filter(|link| link.spoke_ns.saturating_add(heartbeat) <= now)
            .map(|link| link.peer)
            .collect();
        for peer in quiet {
            self.tell_directly(peer, &Message::Heartbeat);
        }
        let silent: Vec<Rank> = self
            .controls
            .values()
            .filter(|link| link.heard_ns.saturating_add(liveness) <= now)
            .map(|link| link.peer)
            .collect();
        for peer in silent {
            if let Some(link) = self.controls.remove(&peer) {
                self.own.io.cancel(link.descriptor());
            }
            let seconds = liveness as f64 / 1e9;
            let cause = Error::new(
                ErrorKind::PeerLost,
                format!("rank {peer} has been silent for {seconds:.1} s: its process is stopped, or its host is unreachable (KIRSH_LIVENESS_TIMEOUT sets how long a rank may be silent)"),
            )
            .with_peer(peer);
            self.gone.insert(peer, cause.clone());
            for tracked in self.lanes.values() {
                tracked.lane.post(Mail::PeerSilent { peer, cause: cause.clone() });
            }
        }
    }

    // Leaving.

    /// P-26, P-29
    fn leave(&mut self, finished: Vec<(u64, u32, u64)>, done: Sender<()>) {
        let message = Message::Goodbye { origin: self.facts.rank, finished };
        self.tell(Audience::Everyone, &message);
        for link in self.controls.values_mut() {
            link.end_sending();
        }
        self.listeners.clear();
        self.leaving = Some((now_ns().saturating_add(LEAVE_NS), done));
    }

    /// Whether everybody has answered the goodbye by ending, or the time for it is up. Never while
    /// the kernel has memory of a lane.
    fn has_left(&self) -> bool {
        self.leaving.as_ref().is_some_and(|(until_ns, _)| {
            let answered = self.controls.is_empty() || now_ns() >= *until_ns;
            answered && !self.lanes.values().any(|tracked| tracked.held)
        })
    }

    // Small things.

    fn watch(&mut self, descriptor: RawFd, token: u64, needs: Needs) {
        let op = match needs {
            Needs::Readable => Op::Readable,
            Needs::Writable => Op::Writable,
        };
        // SAFETY: the operation names no memory. A descriptor that is closed while it is watched
        // stays open inside the kernel until its completion, which finds no owner and is ignored.
        unsafe { self.own.io.submit(token, descriptor, op) };
    }

    fn take_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

fn fresh_nonce() -> Result<Nonce> {
    let mut nonce = Nonce::default();
    getrandom::fill(&mut nonce).map_err(|cause| {
        Error::new(ErrorKind::System, format!("no random numbers to be had: {cause}"))
    })?;
    Ok(nonce)
}

/// Takes out what belongs to one communicator, in order.
fn take_of<T>(list: &mut VecDeque<(Key, T)>, key: Key) -> Vec<T> {
    let (mine, others): (VecDeque<_>, VecDeque<_>) =
        list.drain(..).partition(|(other, _)| *other == key);
    *list = others;
    mine.into_iter().map(|(_, entry)| entry).collect()
}
