//! The messages of one communicator, as the progress thread drives them: does what the deciding part
//! asks, and tells it what came of it.

mod memory;
mod observe;

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::{Ask, Outcome, Post, TOKEN_CLASS};
use crate::driver::array::{Array, Place};
use crate::driver::choose::AnyIo;
use crate::driver::clock::now_ns;
use crate::driver::completion::Completion;
use crate::driver::fork::Fd;
use crate::driver::io::Io;
use crate::driver::lane::Lane;
use crate::driver::link::{Direction, Link, NOWHERE};
use crate::driver::rate::Gate;
use crate::driver::socket;
use crate::error::{Error, ErrorKind};
use crate::limits::{EAGER_BYTES_MAX, EAGER_WINDOW_MESSAGES};
use crate::memory::{Lease, Pool};
use crate::session::direct::{Action, Direct, HeldSlab, Landing, Request, Settings, Side, Ticket};
use crate::types::Rank;
use crate::wire::DirectFrame;

/// How long links are read on when the communicator is closed, for their peers to close them: within
/// the second that leaving may take.
const LINGER_NS: u64 = 800_000_000;

/// One connection, and whose it is.
struct Wire {
    link: Link,
    peer: Rank,
    side: Side,
    /// A frame has come over it.
    heard: bool,
    /// What comes just now is for nobody.
    drops: bool,
    /// It is over, for this reason, once the kernel has given everything back.
    ending: Option<Error>,
    /// Another has taken its place, and its end means nothing.
    replaced: bool,
}

/// An operation's memory, and where its outcome goes.
struct Entry {
    memory: Array,
    outcome: Outcome,
    request: Request,
    posted_ns: u64,
}

pub(crate) struct DirectCore {
    pub(crate) lane: Arc<Lane>,
    session: Direct,
    wires: HashMap<u32, Wire>,
    next_wire: u32,
    entries: HashMap<Ticket, Entry>,
    slabs: HashMap<HeldSlab, Lease>,
    pool: Pool,
    /// Where what nobody takes is received, over and over.
    sink: Option<Lease>,
    /// Numbers of connections.
    gate: Gate,
    draining: bool,
    closing: Option<Arc<Completion>>,
    /// The links are only read to their end, until then.
    lingers_until_ns: Option<u64>,
    /// The communicator is closed; to be forgotten when the links are.
    pub(crate) retired: bool,
}

impl DirectCore {
    pub(crate) fn new(lane: Arc<Lane>) -> Self {
        let settings = &lane.settings;
        let lane_gate = lane.sending.gate();
        let session = Direct::new(Settings {
            rank: settings.rank,
            world: settings.world,
            communicator: settings.communicator,
            epoch: settings.epoch,
            checksums: settings.checksums,
            warn_after_ns: settings.warn_after_ns,
        });
        // Every peer's window and this rank's own, and the sink.
        let slabs_max =
            (settings.world as usize).saturating_mul(EAGER_WINDOW_MESSAGES as usize) + 1;
        DirectCore {
            session,
            lane,
            wires: HashMap::new(),
            next_wire: 0,
            entries: HashMap::new(),
            slabs: HashMap::new(),
            pool: Pool::new(EAGER_BYTES_MAX, slabs_max),
            sink: None,
            draining: false,
            gate: lane_gate,
            closing: None,
            lingers_until_ns: None,
            retired: false,
        }
    }

    /// What callers, and the communicator's lane, have to say.
    pub(crate) fn hear(&mut self, ask: Ask, io: &mut AnyIo) {
        let now = now_ns();
        self.session.handle_tick(now);
        match ask {
            Ask::Post(post) => {
                let Post { request, memory, outcome } = post;
                let entry = Entry { memory, outcome, request, posted_ns: now };
                self.entries.insert(self.session.next_ticket(), entry);
                self.session.start(request);
            }
            Ask::Over(error) => {
                self.session.handle_over(error.clone());
                self.draining = true;
                self.end_all(io, &error);
            }
            Ask::Close(done) => {
                self.session.close();
                self.closing = Some(done);
            }
            Ask::Dial { .. } | Ask::Watch { .. } => {}
        }
        self.pump(io);
    }

    pub(crate) fn next_deadline(&self) -> u64 {
        let lingers_until_ns = self.lingers_until_ns.unwrap_or(u64::MAX);
        self.session.next_deadline().min(lingers_until_ns).min(self.gate.next_ns())
    }

    pub(crate) fn look_at_clock(&mut self, now: u64, io: &mut AnyIo) {
        if self.next_deadline() > now {
            return;
        }
        self.session.handle_tick(now);
        if self.lingers_until_ns.is_some_and(|until_ns| until_ns <= now) {
            self.lingers_until_ns = None;
            self.end_all(io, &crate::driver::lane::closed());
        }
        self.pump(io);
    }

    /// Whether no connection is left.
    pub(crate) fn is_quiet(&self) -> bool {
        self.wires.is_empty()
    }

    pub(crate) fn peer_lost(&mut self, peer: Rank, cause: Error, silent: bool, io: &mut AnyIo) {
        self.session.handle_tick(now_ns());
        self.session.handle_peer_lost(peer, cause, silent);
        self.pump(io);
    }

    /// The outward link to a peer cannot be had.
    pub(crate) fn link_failed(&mut self, peer: Rank, cause: Error, io: &mut AnyIo) {
        self.session.handle_tick(now_ns());
        self.session.handle_link_down(peer, Side::Outward, cause);
        self.pump(io);
    }

    /// A connection is ready. Of two that a peer has opened the later one counts, unless it has used
    /// the other already: it knows of no more than one. P-50
    pub(crate) fn link_up(&mut self, peer: Rank, side: Side, fd: Fd, io: &mut AnyIo) {
        if self.draining || self.lingers_until_ns.is_some() {
            return;
        }
        if let Some(id) = self.wire_of(peer, side) {
            if self.wires[&id].heard || side == Side::Outward {
                return;
            }
            if let Some(wire) = self.wires.get_mut(&id) {
                wire.replaced = true;
            }
            self.end(id, crate::driver::lane::closed(), io);
        }
        let id = self.next_wire;
        self.next_wire = (self.next_wire + 1) & (u32::MAX >> 1);
        let mut link = Link::new(fd);
        link.begin_receive_any();
        link.submit_receive(io, self.token(id, Direction::Receive));
        let wire =
            Wire { link, peer, side, heard: false, drops: false, ending: None, replaced: false };
        self.wires.insert(id, wire);
        self.session.handle_tick(now_ns());
        self.session.handle_link_up(peer, side);
        self.pump(io);
    }

    fn wire_of(&self, peer: Rank, side: Side) -> Option<u32> {
        let is_it = |wire: &Wire| (wire.peer, wire.side) == (peer, side) && wire.ending.is_none();
        self.wires.iter().find(|(_, wire)| is_it(wire)).map(|(id, _)| *id)
    }

    fn token(&self, id: u32, direction: Direction) -> u64 {
        let class = TOKEN_CLASS | self.lane.number;
        u64::from(class) << 32 | u64::from(id) << 1 | direction as u64
    }

    /// Takes in what the kernel has done; `low` is the lower half of the token.
    pub(crate) fn complete(&mut self, low: u32, result: i32, io: &mut AnyIo) {
        let id = low >> 1;
        let direction = if low & 1 == 0 { Direction::Send } else { Direction::Receive };
        let token = self.token(id, direction);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        let transfer = match direction {
            Direction::Send => &mut wire.link.sending,
            Direction::Receive => &mut wire.link.receiving,
        };
        transfer.in_flight = false;
        if wire.ending.is_some() {
            self.settle(id);
        } else if result > 0 {
            transfer.advance(result as usize);
            self.session.handle_tick(now_ns());
            match direction {
                Direction::Send => self.sent(id, io),
                Direction::Receive => self.received(id, io),
            }
        } else if result == -libc::EINTR || result == -libc::EAGAIN {
            match direction {
                Direction::Send => wire.link.submit_send(io, token),
                Direction::Receive => wire.link.submit_receive(io, token),
            }
        } else {
            let text = direction.failure(wire.peer, result);
            let error = Error::new(ErrorKind::PeerLost, text).with_peer(wire.peer);
            self.session.handle_tick(now_ns());
            self.end(id, error, io);
        }
        self.pump(io);
    }

    fn sent(&mut self, id: u32, io: &mut AnyIo) {
        let token = self.token(id, Direction::Send);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if !wire.link.sending.is_whole() {
            return wire.link.submit_send(io, token);
        }
        let bytes = wire.link.sending.payload_len() as u64;
        let class = &self.lane.counters.direct;
        class.of(wire.peer).sent(bytes);
        // Nothing else is ever sent.
        class.sent_direct.add(bytes);
        self.session.handle_sent(wire.peer, wire.side);
    }

    fn received(&mut self, id: u32, io: &mut AnyIo) {
        let token = self.token(id, Direction::Receive);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if !wire.link.header_seen && wire.link.receiving.has_header() {
            wire.heard = true;
            let (peer, side) = (wire.peer, wire.side);
            // P-4: nothing behind the header is asked for before this.
            let frame = match DirectFrame::decode(wire.link.receiving.header()) {
                Ok(frame) => frame,
                Err(cause) => {
                    let text = format!("rank {peer} sent a frame that cannot be: {cause}");
                    let error = Error::new(cause.kind(), text).with_peer(peer);
                    return self.session.handle_failure(error);
                }
            };
            let landing = self.session.handle_frame(peer, side, &frame);
            let place = match self.place(landing, frame.length) {
                Ok(Some(place)) => place,
                // Read no further: the communicator ends.
                Ok(None) => return,
                Err(error) => return self.session.handle_failure(error),
            };
            let Some(wire) = self.wires.get_mut(&id) else { return };
            wire.drops = landing == Landing::Drop;
            if matches!(landing, Landing::Place(..)) {
                self.lane.counters.direct.received_direct.add(frame.length.into());
            }
            wire.link.go_on_receiving(place, frame.checksummed);
        }
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if !wire.link.header_seen || !wire.link.receiving.is_whole() {
            return wire.link.submit_receive(io, token);
        }
        let bytes = wire.link.receiving.payload_len() as u64;
        self.lane.counters.direct.of(wire.peer).received(bytes);
        // The sink holds only the end of what went there.
        let intact = wire.drops || wire.link.receiving.payload_fits();
        let (peer, side) = (wire.peer, wire.side);
        wire.link.begin_receive_any();
        wire.link.submit_receive(io, token);
        self.session.handle_payload(peer, side, intact);
    }

    /// Does what there is to do.
    fn pump(&mut self, io: &mut AnyIo) {
        self.send_due(io);
        while let Some(action) = self.session.poll() {
            match action {
                Action::Dial { peer } => self.lane.ask_direct(Ask::Dial { peer }),
                Action::Watch { peer } => self.lane.ask_direct(Ask::Watch { peer }),
                Action::Send { peer, side, frame, payload } => {
                    self.send(peer, side, &frame, payload, io);
                }
                Action::Hold { from, slab, len } => match self.slab(slab) {
                    Ok(to) => self.copy(self.memory(from), Some(to), len),
                    Err(error) => self.session.handle_failure(error),
                },
                Action::Deliver { slab, to, len } => {
                    let from = self.slabs.get(&slab).map(Lease::as_ptr);
                    self.copy(from, self.memory(to), len);
                }
                Action::Move { from, to, len } => {
                    self.copy(self.memory(from), self.memory(to), len);
                }
                Action::Free { slab } => drop(self.slabs.remove(&slab)),
                Action::Finish { ticket, result } => {
                    if let Some(entry) = self.entries.remove(&ticket) {
                        self.note_end(ticket, &entry, &result);
                        entry.outcome.set(result);
                    }
                }
                Action::Warn { text } => {
                    let (rank, name) = self.lane.log_name(self.lane.settings.rank);
                    tracing::warn!(rank, "{name}{text}");
                }
                Action::Fail { error } => self.lane.abort(error),
            }
        }
        self.close_if_asked();
    }

    fn send(
        &mut self,
        peer: Rank,
        side: Side,
        frame: &DirectFrame,
        payload: Option<(Ticket, u64)>,
        io: &mut AnyIo,
    ) {
        let Some(id) = self.wire_of(peer, side) else { return };
        let place = payload.and_then(|(ticket, offset)| {
            let entry = self.entries.get(&ticket)?;
            Some(Place::new(entry.memory.clone(), offset, frame.length.into()))
        });
        let token = self.token(id, Direction::Send);
        let Some(wire) = self.wires.get_mut(&id) else { return };
        wire.link.begin_send_of(frame.encode(), place.unwrap_or(NOWHERE), frame.checksummed);
        let bytes = wire.link.sending.total() as u64;
        if self.lane.sending.is_near(peer) || self.gate.admits(bytes, id, now_ns) {
            wire.link.submit_send(io, token);
        }
    }

    /// Sends the frames whose time has come, where the rate is limited.
    fn send_due(&mut self, io: &mut AnyIo) {
        while let Some(id) = self.gate.due(now_ns) {
            let token = self.token(id, Direction::Send);
            // One that has ended meanwhile sends no more.
            if let Some(wire) = self.wires.get_mut(&id).filter(|wire| wire.ending.is_none()) {
                wire.link.submit_send(io, token);
            }
        }
    }

    /// Ends a connection. The session hears of it when the kernel has given everything back.
    fn end(&mut self, id: u32, cause: Error, io: &mut AnyIo) {
        let Some(wire) = self.wires.get_mut(&id) else { return };
        if wire.ending.is_none() {
            wire.ending = Some(cause);
            if wire.link.in_flight() != 0 {
                io.cancel(wire.link.descriptor());
            }
            // Gone already is as good.
            let _ = socket::shutdown_both(wire.link.fd.as_fd());
        }
        self.settle(id);
    }

    fn end_all(&mut self, io: &mut AnyIo, cause: &Error) {
        let ids: Vec<u32> = self.wires.keys().copied().collect();
        for id in ids {
            self.end(id, cause.clone(), io);
        }
        self.drained();
    }

    fn settle(&mut self, id: u32) {
        let Some(wire) = self.wires.get(&id) else { return };
        if wire.link.in_flight() != 0 {
            return;
        }
        if let Some(Wire { peer, side, ending: Some(cause), replaced, .. }) = self.wires.remove(&id)
            && !self.draining
            && !replaced
        {
            self.session.handle_link_down(peer, side, cause);
        }
        self.drained();
    }

    /// Once the kernel holds nothing any more, lets the buffers of a failed communicator go.
    fn drained(&mut self) {
        if self.draining && self.wires.is_empty() {
            self.session.handle_drained();
        }
    }

    /// Ends the links once no message is under way any more, if somebody waits for that. P-57
    fn close_if_asked(&mut self) {
        if !self.session.is_idle() {
            return;
        }
        let Some(done) = self.closing.take() else { return };
        for wire in self.wires.values() {
            // Gone already is as good.
            let _ = socket::end_sending(wire.link.fd.as_fd());
        }
        self.lingers_until_ns = Some(now_ns().saturating_add(LINGER_NS));
        done.set(Ok(()));
    }
}
