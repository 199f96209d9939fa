//! A lane's inside: does what the session asks, and tells it what came of it.
//!
//! Only the holder of the lane's baton is here. It brings its own `Io`; when it lets go, nothing
//! of this lane is in flight there.

mod observe;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::Arc;

use super::array::{Array, Place};
use super::choose::AnyIo;
use super::clock::now_ns;
use super::completion::Completion;
use super::counters::Counters;
use super::io::{self, Event, Io};
use super::job::Job;
use super::lane::{Lane, closed};
use super::link::{Direction, Link, split};
use super::mail::Mail;
use super::observed::Observed;
use super::rate::Gate;
use super::sending::Sending;
use super::socket;
use super::trace::Phase;
use super::zero_copy;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::{Lease, Pool, Region};
use crate::session::{Action, Operation, Session, SlabId, Slot, Target};
use crate::types::{Rank, Sequence, Span};
use crate::wire::header::Header;

/// Bytes of scratch that an idle communicator keeps: enough for the slices that plans hold back, and
/// little beside the slabs.
const SCRATCH_KEPT_MAX: usize = 16 << 20;

pub(crate) struct Core {
    pub(crate) session: Session,
    /// By peer.
    links: Vec<Option<Link>>,
    /// By the session's link number and slab index; filled on first use.
    slabs: Vec<Vec<Option<Lease>>>,
    pool: Pool,
    sending: Sending,
    gate: Gate,
    jobs: VecDeque<Job>,
    observed: Arc<Observed>,
    /// When the last operation ended, as far as that is traced.
    turn_ns: u64,
    /// What the plan of the first job keeps beside the caller's arrays; kept from job to job.
    scratch: Option<Region>,
    /// An abort waits for the kernel to give everything back.
    draining: bool,
    /// Who waits for the lane to be closed.
    closing: Option<Arc<Completion>>,
}

impl Core {
    pub(crate) fn new(
        session: Session,
        pool: Pool,
        sending: Sending,
        observed: Arc<Observed>,
    ) -> Self {
        let world = session.settings().world as usize;
        Core {
            session,
            links: std::iter::repeat_with(|| None).take(world).collect(),
            slabs: Vec::new(),
            pool,
            gate: sending.gate(),
            sending,
            jobs: VecDeque::with_capacity(64),
            observed,
            turn_ns: 0,
            scratch: None,
            draining: false,
            closing: None,
        }
    }

    /// Takes an operation in. On an error the job's completion, if any, has it too.
    pub(crate) fn enqueue(&mut self, operation: Operation, mut job: Job) -> Result<Sequence> {
        let now = now_ns();
        self.session.handle_tick(now);
        job.enqueued_ns = now;
        match self.session.enqueue(operation) {
            Ok(sequence) => {
                job.sequence = sequence;
                self.jobs.push_back(job);
                Ok(sequence)
            }
            Err(error) => {
                self.note_refusal(job.call, None, &error);
                if let Some(completion) = job.completion.take() {
                    completion.set(Err(error.clone()));
                }
                Err(error)
            }
        }
    }

    pub(crate) fn read(&mut self, mail: Mail) {
        match mail {
            Mail::Enqueue { operation, job } => {
                // The completion has the error.
                let _ = self.enqueue(operation, job);
            }
            Mail::Refuse { call, reason } => {
                // A communicator that is over announces nothing more.
                if let Ok(sequence) = self.session.refuse(call, &reason) {
                    self.note_refusal(call, Some(sequence), &reason);
                }
            }
            Mail::LinkUp { peer, fd } => {
                let slot = &mut self.links[peer as usize];
                if slot.is_none() && self.session.failure().is_none() {
                    *slot = Some(Link::lending(fd, self.sending.lending(peer)));
                    self.session.handle_link_up(peer);
                }
            }
            Mail::LinkFailed { peer, cause } => {
                // A link that came up in the meantime is none that cannot be had: a peer that has
                // sent its part and left is gone, but its bytes are here.
                if self.links[peer as usize].is_none() {
                    self.session.handle_link_down(peer, cause);
                }
            }
            Mail::Message(message) => self.session.handle_message(&message),
            Mail::PeerGone { peer, cause } => self.session.handle_peer_gone(peer, cause),
            Mail::PeerSilent { peer, cause } => self.session.handle_peer_silent(peer, cause),
            Mail::Abort(error) => self.session.abort(error),
            Mail::Close(done) => self.closing = Some(done),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.links.iter().flatten().map(|link| link.in_flight()).sum()
    }

    /// When somebody has to look again, even if nothing happens.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.session.next_deadline().min(self.gate.next_ns())
    }

    /// Whether somebody has to drive on.
    pub(crate) fn needs_driver(&self) -> bool {
        !self.session.is_idle() || self.closing.is_some()
    }

    /// Ends everything at once, for want of anybody who could drive, and has the others told. Nothing
    /// is in flight, and the thread that drove may have left anything half done.
    pub(crate) fn collapse(&mut self, cause: &Error, lane: &Lane) {
        self.gate.clear();
        self.links.iter_mut().for_each(|link| *link = None);
        self.draining = false;
        self.session.abort(cause.clone());
        self.session.handle_drained();
        while let Some(action) = self.session.poll() {
            match action {
                Action::Finish { sequence, result } => {
                    self.deliver(sequence, result, lane);
                }
                Action::Control { to, message } => lane.tell(to, message),
                Action::Abort { error } => lane.end_messages(error),
                _ => {}
            }
        }
        for job in self.jobs.drain(..) {
            if let Some(completion) = job.completion {
                completion.set(Err(cause.clone()));
            }
        }
        if let Some(done) = self.closing.take() {
            done.set(Ok(()));
        }
    }

    /// Does what there is to do. Ends early, with its outcome, when the operation `until` is over.
    pub(crate) fn pump(
        &mut self,
        io: &mut AnyIo,
        lane: &Lane,
        until: Option<Sequence>,
    ) -> Option<Result<()>> {
        if self.jobs.front().is_some_and(|job| !job.seated) {
            self.seat_first(&lane.counters);
        }
        self.send_due(io, lane);
        while let Some(action) = self.session.poll() {
            match action {
                Action::Send { slot, peer, header, source, tail } => {
                    if self.begin_send(slot, peer, &header, source, tail) {
                        self.submit_send(io, lane, peer);
                    }
                }
                Action::Receive { slot, peer, expected, target } => {
                    self.receive(io, lane, slot, peer, expected, target);
                }
                Action::Fold { slot, slab, with, into, finish, wire } => {
                    if let Some(received) = self.slab(slab) {
                        self.work(Phase::Folding, into.len, |job| {
                            job.fold(received, with, into, finish, wire);
                        });
                    }
                    self.session.handle_folded(slot);
                }
                Action::Reduce { slot, with, into, finish } => {
                    self.work(Phase::Folding, into.len, |job| job.reduce(with, into, finish));
                    self.session.handle_folded(slot);
                }
                Action::Map { slot, source, target, map } => {
                    self.work(Phase::of(map), target.len, |job| {
                        job.map(source, target, map, &lane.counters.copied);
                    });
                    self.session.handle_folded(slot);
                }
                Action::Dial { peer } => lane.dial(peer),
                Action::Control { to, message } => lane.tell(to, message),
                Action::Warn { text } => {
                    let (rank, name) = lane.log_name(self.session.settings().rank);
                    tracing::warn!(rank, "{name}{text}");
                }
                Action::Abort { error } => {
                    self.begin_drain(io, &error);
                    lane.end_messages(error);
                }
                Action::Finish { sequence, result } => {
                    self.deliver(sequence, result.clone(), lane);
                    if until == Some(sequence) {
                        return Some(result);
                    }
                }
            }
        }
        self.close_if_asked();
        None
    }

    /// Closes the links once nothing runs or waits any more, if somebody waits for that.
    fn close_if_asked(&mut self) {
        if self.closing.is_none() || !self.session.is_idle() {
            return;
        }
        self.session.close(closed());
        self.links.iter_mut().for_each(|link| *link = None);
        if let Some(done) = self.closing.take() {
            done.set(Ok(()));
        }
    }

    /// Takes in what the kernel has done on one of this lane's links.
    pub(crate) fn complete(&mut self, io: &mut AnyIo, lane: &Lane, completion: io::Completion) {
        let (peer, direction, mark) = split(completion.token);
        let Some(link) = self.links.get_mut(peer as usize).and_then(Option::as_mut) else { return };
        if let Event::Released { copied } = completion.event {
            return self.released(lane, peer, mark, copied);
        }
        let transfer = match direction {
            Direction::Send => &mut link.sending,
            Direction::Receive => &mut link.receiving,
        };
        transfer.in_flight = false;
        transfer.kept += u32::from(completion.event == Event::Kept);
        if self.draining {
            link.stop_lending();
            return self.end_drain();
        }
        match completion.result {
            result if result > 0 => {
                transfer.advance(result as usize);
                match direction {
                    Direction::Send => self.sent(io, lane, peer),
                    Direction::Receive => self.received(io, lane, peer),
                }
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => match direction {
                Direction::Send => link.submit_send(io, lane.token(peer, direction)),
                Direction::Receive => link.submit_receive(io, lane.token(peer, direction)),
            },
            result if transfer.zero_copy && zero_copy::is_refusal(result) => {
                transfer.zero_copy = false;
                link.lending.refused();
                link.submit_send(io, lane.token(peer, direction));
            }
            result => {
                let cause = self.link_error(peer, direction, result);
                self.session.handle_link_down(peer, cause);
            }
        }
    }

    /// Makes a frame ready. Whether it may go at once.
    fn begin_send(
        &mut self,
        slot: Slot,
        peer: Rank,
        header: &Header,
        source: Span,
        tail: bool,
    ) -> bool {
        let Some(job) = self.jobs.front() else { return false };
        let Some(link) = self.links[peer as usize].as_mut() else { return false };
        let payload = job.buffers.at(source);
        let zero_copy = link.lending.wants(payload.len(), tail);
        link.begin_send(slot, header, payload);
        link.sending.zero_copy = zero_copy;
        link.sending.callers = job.buffers.is_callers(source);
        let bytes = link.sending.total() as u64;
        self.sending.is_near(peer) || self.gate.admits(bytes, peer, now_ns)
    }

    fn submit_send(&mut self, io: &mut AnyIo, lane: &Lane, peer: Rank) {
        if let Some(link) = self.links[peer as usize].as_mut() {
            link.submit_send(io, lane.token(peer, Direction::Send));
        }
    }

    /// Sends the frames whose time has come, where the rate is limited.
    fn send_due(&mut self, io: &mut AnyIo, lane: &Lane) {
        while let Some(peer) = self.gate.due(now_ns) {
            self.submit_send(io, lane, peer);
        }
    }

    fn receive(
        &mut self,
        io: &mut AnyIo,
        lane: &Lane,
        slot: Slot,
        peer: Rank,
        expected: Header,
        target: Target,
    ) {
        let (payload, slab, callers) = match target {
            Target::Span(span) => {
                let Some(job) = self.jobs.front() else { return };
                (job.buffers.at(span), None, job.buffers.is_callers(span))
            }
            Target::Slab(slab) => match self.lease(slab) {
                Ok(payload) => {
                    let len = u64::from(expected.length);
                    (Place::new(Array::One(payload), 0, len), Some(slab), false)
                }
                Err(error) => return self.session.abort(error),
            },
        };
        let Some(link) = self.links[peer as usize].as_mut() else { return };
        link.begin_receive(slot, expected, payload, slab);
        link.receiving.callers = callers;
        link.submit_receive(io, lane.token(peer, Direction::Receive));
    }

    fn sent(&mut self, io: &mut AnyIo, lane: &Lane, peer: Rank) {
        let Some(link) = self.links[peer as usize].as_mut() else { return };
        if !link.sending.is_whole() {
            return link.submit_send(io, lane.token(peer, Direction::Send));
        }
        let bytes = link.sending.payload_len() as u64;
        lane.counters.collective.of(peer).sent(bytes);
        if link.sending.callers {
            lane.counters.collective.sent_direct.add(bytes);
        }
        self.session.handle_accepted(link.sending.slot);
        // A plain send has copied: what is accepted is released.
        if let Some(slot) = link.settle_send() {
            self.session.handle_released(slot);
        }
    }

    /// The kernel has given back memory that it sent from.
    fn released(&mut self, lane: &Lane, peer: Rank, mark: u8, copied: bool) {
        let Some(link) = self.links[peer as usize].as_mut() else { return };
        let settled = link.give_back(mark, copied);
        if self.draining {
            return self.end_drain();
        }
        if let Some((slot, bytes)) = settled {
            let Counters { zero_copied, copied_anyway, .. } = &lane.counters;
            if copied { copied_anyway } else { zero_copied }.add(bytes as u64);
            self.session.handle_released(slot);
        }
    }

    fn received(&mut self, io: &mut AnyIo, lane: &Lane, peer: Rank) {
        let Some(link) = self.links[peer as usize].as_mut() else { return };
        let slot = link.receiving.slot;
        if !link.header_seen && link.receiving.has_header() {
            // P-4: nothing of the payload is asked for before this.
            match Header::decode(link.receiving.header()) {
                Ok(header) => {
                    if !self.session.handle_header(slot, &header) {
                        return;
                    }
                    link.header_seen = true;
                }
                Err(cause) => {
                    let cause = Error::new(
                        cause.kind(),
                        format!("rank {peer} sent a frame that cannot be: {cause}"),
                    );
                    return self.session.handle_link_down(peer, cause.with_peer(peer));
                }
            }
        }
        if !link.receiving.is_whole() {
            return link.submit_receive(io, lane.token(peer, Direction::Receive));
        }
        let bytes = link.receiving.payload_len() as u64;
        lane.counters.collective.of(peer).received(bytes);
        if link.receiving.callers {
            lane.counters.collective.received_direct.add(bytes);
        }
        let fits = link.receiving.payload_fits();
        self.session.handle_received(slot);
        if fits {
            self.session.handle_verified(slot);
        } else {
            self.session.handle_corrupt(slot);
        }
    }

    fn link_error(&self, peer: Rank, direction: Direction, result: i32) -> Error {
        let text = direction.failure(peer, result);
        self.session.about_current(ErrorKind::PeerLost, text).with_peer(peer)
    }

    /// The memory of a slab that has been leased.
    fn slab(&self, id: SlabId) -> Option<*const u8> {
        let lease = self.slabs.get(id.link as usize)?.get(id.index as usize)?.as_ref()?;
        Some(lease.as_ptr().cast_const())
    }

    fn lease(&mut self, id: SlabId) -> Result<*mut u8> {
        let (link, index) = (id.link as usize, id.index as usize);
        if self.slabs.len() <= link {
            self.slabs.resize_with(link + 1, Vec::new);
        }
        let of_link = &mut self.slabs[link];
        if of_link.len() <= index {
            of_link.resize_with(index + 1, || None);
        }
        if of_link[index].is_none() {
            of_link[index] = self.pool.lease()?;
        }
        of_link[index].as_ref().map(Lease::as_ptr).ok_or_else(|| {
            Error::new(ErrorKind::System, "the pool of receive slabs is out of memory")
        })
    }

    fn begin_drain(&mut self, io: &mut AnyIo, error: &Error) {
        tracing::debug!(rank = self.session.settings().rank, "communicator over: {error}");
        self.draining = true;
        self.gate.clear();
        for link in self.links.iter().flatten() {
            if link.in_flight() != 0 {
                io.cancel(link.descriptor());
            }
            // Gone already is as good.
            let _ = socket::shutdown_both(link.fd.as_fd());
            link.stop_lending();
        }
        self.end_drain();
    }

    /// Once the kernel holds nothing any more, closes the links and lets the buffers go.
    fn end_drain(&mut self) {
        if self.in_flight() == 0 {
            self.links.iter_mut().for_each(|link| *link = None);
            self.draining = false;
            self.session.handle_drained();
        }
    }

    /// Gives the first job its scratch. Only one operation runs at a time, and when its turn comes
    /// the one before is over, so that they may share it.
    fn seat_first(&mut self, counters: &Counters) {
        let Some(job) = self.jobs.front_mut() else {
            if self.scratch.as_ref().is_some_and(|region| region.len() > SCRATCH_KEPT_MAX) {
                self.scratch = None;
            }
            return;
        };
        let needed = job.memory_len();
        if needed > self.scratch.as_ref().map_or(0, Region::len) {
            match Region::new(needed) {
                Ok(region) => self.scratch = Some(region),
                Err(error) => return self.session.abort(error),
            }
        }
        let scratch = self.scratch.as_ref().map_or(std::ptr::null_mut(), Region::as_ptr);
        job.seat(scratch, &counters.copied);
    }

    fn deliver(&mut self, sequence: Sequence, result: Result<()>, lane: &Lane) {
        while let Some(job) = self.jobs.front() {
            if job.sequence > sequence {
                return;
            }
            let Some(job) = self.jobs.pop_front() else { return };
            self.note_end(lane, &job, &result);
            self.seat_first(&lane.counters);
            if let Some(completion) = job.completion {
                completion.set(result.clone());
            }
        }
    }
}
