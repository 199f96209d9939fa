//! The process's one progress thread: drives started operations, keeps the control links, opens
//! and accepts connections.
//!
//! Here are its queue of requests and its turn. The lanes it drives are in `lanes`; how
//! connections become links is in `links`, one connection's handshake in `connect`; what is said
//! over the control links in `talk`, one such link in `control`; what is due when in `due`.
//!
//! It never waits for a lock that a caller holds for long, for a store, or for the host
//! language's own lock. Callers reach it through a [`Handle`]: a queue and a bell.

mod connect;
mod control;
mod direct;
mod due;
mod facts;
mod failing;
mod lanes;
mod links;
mod loss;
mod now;
mod roll;
mod talk;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use connect::{Dial, Inbound, Needs};
use control::ControlLink;
use crossbeam_channel::{Receiver, Sender};
use direct::Directs;
pub(crate) use facts::Facts;
use lanes::Lanes;
use loss::Loss;
pub(crate) use roll::Roll;
use talk::{Departed, Passed};

use super::baton::Bell;
use super::choose::{AnyIo, Choice};
use super::clock::now_ns;
use super::direct::Ask;
use super::doorbell::Doorbell;
use super::fork::{self, Fd};
use super::io::{Completion, Io, Op, Wait};
use super::lane::{Key, Lane};
use super::link::Port;
use super::members::Members;
use super::peer::Way;
use super::socket;
use super::thread::{Happening, ThreadIo};
use crate::error::{Error, ErrorKind, Result};
use crate::session::Audience;
use crate::types::{Rank, Sequence};
use crate::wire::control::Message;

/// Something asked of the progress thread.
pub(crate) enum Request {
    /// A lane to drive and to deliver to; say so here when it is known.
    Register { lane: Arc<Lane>, done: Sender<()> },
    /// There is something to do on a lane, and nobody drives it.
    Drive { lane: u32 },
    /// A plan needs the collective link to a peer, by its world rank.
    Dial { lane: Key, port: Port, way: Option<Way> },
    /// Something about the messages from rank to rank of a communicator.
    Direct { lane: u32, ask: Ask },
    /// A control message is to go out to members of a communicator. All ranks are world ranks.
    Tell { members: Arc<Members>, to: Audience, message: Message },
    /// A lane is closed, and was through with so many operations; forget it.
    Retire { lane: u32, finished: Sequence },
    /// Say goodbye and end.
    Leave { done: Sender<()> },
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

pub(crate) struct Progress {
    own: ThreadIo,
    requests: Receiver<Request>,
    facts: Arc<Facts>,
    listeners: Vec<Fd>,
    lanes: Lanes,
    directs: Directs,
    controls: HashMap<Rank, ControlLink>,
    dials: HashMap<u32, Dial>,
    /// Where peers were reached: an address that leads nowhere is found out once, not per link.
    reached: HashMap<Rank, SocketAddr>,
    inbound: HashMap<u32, Inbound>,
    next_id: u32,
    /// Control links made so far, round and round.
    next_turn: u16,
    /// Peers that are to dial, and when to look whether they are there at all.
    probes: Vec<(u64, Rank)>,
    /// Peers whose link has ended before they said anything over it: since when that goes on, and
    /// what to say of them should no other link come about. P-43
    doubts: HashMap<Rank, (u64, Loss)>,
    /// Who has said goodbye, but may have something under way.
    departed: Vec<Departed>,
    /// What has been passed on last.
    passed: VecDeque<Passed>,
    /// Listeners that are left alone for now, and when to look again.
    paused: Vec<(u64, u32)>,
    /// Peers that are gone, and why.
    gone: HashMap<Rank, Loss>,
    events: Vec<Completion>,
    frame: Vec<u8>,
    leaving: Option<(u64, Sender<()>)>,
    /// When the trace is to be written on.
    trace_due_ns: u64,
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
            lanes: Lanes::default(),
            directs: Directs::default(),
            controls: HashMap::new(),
            dials: HashMap::new(),
            reached: HashMap::new(),
            inbound: HashMap::new(),
            next_id: 0,
            next_turn: 0,
            probes: Vec::new(),
            doubts: HashMap::new(),
            departed: Vec::new(),
            passed: VecDeque::new(),
            paused: Vec::new(),
            gone: HashMap::new(),
            events: Vec::with_capacity(256),
            frame: Vec::with_capacity(1024),
            leaving: None,
            trace_due_ns: 0,
        }
    }

    /// Runs until everybody has been left in peace.
    ///
    /// # Errors
    /// When nothing can be waited for any more.
    fn run(&mut self) -> Result<()> {
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
            if self.has_left() {
                return Ok(());
            }
            let wait = Wait { until_ns: self.next_deadline(), spin_ns: 0 };
            let mut events = std::mem::take(&mut self.events);
            // Signals are blocked in this thread.
            self.own.wait(wait, |_, happening| match happening {
                Happening::Waited(stretch) => {
                    self.lanes.waited(stretch);
                    self.directs.waited(stretch);
                }
                Happening::Done(completion) => events.push(completion),
            })?;
            self.facts.observed.calls.take_from(self.own.io.account());
            for event in events.drain(..) {
                self.handle(event);
            }
            self.events = events;
            self.look_at_clock();
            self.write_trace();
        }
    }

    // Requests.

    /// Does what is asked for, and drives whatever is to be driven.
    fn read_requests(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Register { lane, done } => {
                    // Messages are the first channel's.
                    if lane.channel == 0 {
                        self.directs.register(&lane, &mut self.own.io);
                    }
                    self.lanes.register(lane);
                    let _ = done.send(());
                }
                Request::Direct { lane, ask } => self.ask_direct(lane, ask),
                Request::Drive { lane } => self.lanes.call(lane),
                Request::Dial { lane, port, way } => self.want_link(lane, port, way),
                Request::Tell { members, to, message } => self.tell(&members, to, &message),
                Request::Retire { lane, finished } => self.retire(lane, finished),
                Request::Leave { done } => self.leave(done),
                #[cfg(test)]
                Request::Panic => panic!("asked to"),
            }
        }
        self.lanes.drive_due(&mut self.own);
    }

    // Events.

    fn handle(&mut self, event: Completion) {
        let (class, id) = ((event.token >> 32) as u32, event.token as u32);
        match class {
            token::LISTENER => self.accept(id),
            token::CONTROL | token::CONTROL_WRITABLE => {
                // None if the link is gone, though another may have taken its place.
                let (peer, turn) = control::split(id);
                let link = self.controls.get(&peer).filter(|link| link.turn == turn);
                match link.map(|_| class) {
                    Some(token::CONTROL) => self.read_control(peer),
                    Some(_) => self.flush_control(peer),
                    None => {}
                }
            }
            token::DIAL => {
                if let Some(mut dial) = self.dials.remove(&id) {
                    let step = dial.advance(now_ns());
                    self.dial_went(id, dial, step);
                }
            }
            token::INBOUND => self.advance_inbound(id),
            class if Directs::is_theirs(class) => self.directs.complete(event, &mut self.own.io),
            lane => self.lanes.complete(lane, &mut self.own, event),
        }
    }

    fn watch(&mut self, descriptor: RawFd, token: u64, needs: Needs) {
        let op = match needs {
            Needs::Readable => Op::Readable,
            Needs::Writable => Op::Writable,
        };
        // SAFETY: the operation names no memory. A descriptor that is closed while it is watched
        // stays open inside the kernel until its completion, which finds no owner and is ignored.
        unsafe { self.own.io.submit(token, descriptor, op) };
    }

    /// Closes a control link, if there is one to this peer.
    fn drop_control(&mut self, peer: Rank) {
        if let Some(link) = self.controls.remove(&peer) {
            unwatch(&mut self.own.io, link.as_fd());
        }
    }

    fn take_id(&mut self) -> u32 {
        self.next_id = self.next_id.wrapping_add(1);
        self.next_id
    }
}

/// Ends a connection that the kernel may still watch, right before it is closed. A poll that was
/// left behind would find the descriptor's next owner, or keep the connection open inside the
/// kernel. The poll driver forgets it by the cancel; a ring may come to that only after the
/// descriptor is closed, and there the shutdown ends it.
fn unwatch(io: &mut AnyIo, connection: BorrowedFd<'_>) {
    io.cancel(connection.as_raw_fd());
    let _ = socket::shutdown_both(connection);
}
