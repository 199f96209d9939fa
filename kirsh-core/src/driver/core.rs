//! A lane's inside: does what the session asks, and tells it what came of it.
//!
//! Only the holder of the lane's baton is here. It brings its own `Io`; when it lets go, nothing
//! of this lane is in flight there.

mod ending;
mod frames;
mod links;
mod observe;
mod slabs;
mod working;

use std::collections::VecDeque;
use std::sync::Arc;

use links::Links;

use super::choose::AnyIo;
use super::clock::now_ns;
use super::completion::Completion;
use super::counters::Counters;
use super::job::Job;
use super::lane::{Key, Lane, closed};
use super::link::{Link, Port};
use super::mail::Mail;
use super::observed::Observed;
use super::rate::Gate;
use super::sending::Sending;
use super::sums::Known;
use crate::error::Result;
use crate::memory::{Pool, Region};
use crate::session::{Action, Operation, Session};
use crate::types::Sequence;
use slabs::Slabs;

/// Bytes of scratch that an idle communicator keeps: enough for the slices that plans hold back, and
/// little beside the slabs.
const SCRATCH_KEPT_MAX: usize = 16 << 20;

pub(crate) struct Core {
    pub(crate) session: Session,
    links: Links,
    slabs: Slabs,
    /// Checksums of what the running operation sends on as it came or was folded.
    known: Known,
    sending: Sending,
    gate: Gate,
    jobs: VecDeque<Job>,
    observed: Arc<Observed>,
    /// What a trace calls the communicator: its first channel's number, for all of them.
    traced_as: Key,
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
        traced_as: Key,
    ) -> Self {
        let world = session.settings().world as usize;
        Core {
            session,
            links: Links::new(world),
            slabs: Slabs::new(pool),
            known: Known::new(),
            gate: sending.gate(),
            sending,
            jobs: VecDeque::with_capacity(64),
            observed,
            traced_as,
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
        // Of a part that has its number already.
        self.session.skip_to(job.sequence);
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
            Mail::LinkUp { port, fd } => {
                if self.links.get_mut(port).is_none() && self.session.failure().is_none() {
                    let Port { peer, stripe } = port;
                    self.links.put(port, Link::lending(fd, self.sending.lending(peer)));
                    self.session.handle_link_up(peer, stripe);
                }
            }
            Mail::LinkFailed { port, cause } => {
                // A link that came up in the meantime is none that cannot be had: a peer that has
                // sent its part and left is gone, but its bytes are here.
                if self.links.get_mut(port).is_none() {
                    self.session.handle_link_down(port.peer, port.stripe, cause);
                }
            }
            Mail::Message(message) => self.session.handle_message(&message),
            Mail::PeerGone { peer, cause } => self.session.handle_peer_gone(peer, cause),
            Mail::PeerSilent { peer, cause } => self.session.handle_peer_silent(peer, cause),
            Mail::Abort(error) => self.session.abort(error),
            Mail::ChannelFailed(cause) => self.session.handle_channel_failed(cause),
            #[cfg(test)]
            Mail::Panic => panic!("asked to"),
            Mail::Close(done) => self.closing = Some(done),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.links.iter().map(Link::in_flight).sum()
    }

    /// When somebody has to look again, even if nothing happens.
    pub(crate) fn next_deadline(&self) -> u64 {
        self.session.next_deadline().min(self.gate.next_ns())
    }

    /// Whether somebody has to drive on.
    pub(crate) fn needs_driver(&self) -> bool {
        !self.session.is_idle() || self.closing.is_some()
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
                Action::Send { slot, peer, stripe, header, source, tail } => {
                    let port = Port { peer, stripe };
                    if self.begin_send(slot, port, &header, source, tail) {
                        self.submit_send(io, lane, port);
                    }
                }
                Action::Receive { slot, peer, stripe, expected, target } => {
                    self.receive(io, lane, slot, Port { peer, stripe }, expected, target);
                }
                Action::Fold { slot, slab, with, into, finish, wire } => {
                    self.fold(slot, slab, (with, into), finish, wire);
                }
                Action::Reduce { slot, with, into, finish } => {
                    self.reduce(slot, with, into, finish);
                }
                Action::Map { slot, source, target, map } => {
                    self.map(slot, (source, target), map, &lane.counters);
                }
                Action::Dial { peer, stripe } => lane.dial(Port { peer, stripe }),
                Action::Control { to, message } => lane.tell(to, message),
                Action::Warn { text } => {
                    let (rank, name) = lane.log_name(self.session.settings().rank);
                    tracing::warn!(rank, "{name}{text}");
                }
                Action::Abort { error } => {
                    self.begin_drain(io, &error);
                    lane.failed(error);
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
        self.links.clear();
        if let Some(done) = self.closing.take() {
            done.set(Ok(()));
        }
    }

    /// Gives the first job its scratch. Only one operation runs at a time, and when its turn comes
    /// the one before is over, so that they may share it.
    fn seat_first(&mut self, counters: &Counters) {
        self.known.clear();
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
