//! Frames on their way over a lane's links: made ready, handed to the kernel, taken in as it reports.

use super::Core;
use crate::driver::array::{Array, Place};
use crate::driver::choose::AnyIo;
use crate::driver::clock::now_ns;
use crate::driver::counters::Counters;
use crate::driver::io::{self, Event};
use crate::driver::lane::Lane;
use crate::driver::link::{Direction, Port, split};
use crate::driver::zero_copy;
use crate::error::{Error, ErrorKind};
use crate::session::{Slot, Target};
use crate::types::{Rank, Span};
use crate::wire::header::Header;

impl Core {
    /// Takes in what the kernel has done on one of this lane's links.
    pub(crate) fn complete(&mut self, io: &mut AnyIo, lane: &Lane, completion: io::Completion) {
        let (port, direction, mark) = split(completion.token);
        let Some(link) = self.links.get_mut(port) else { return };
        if let Event::Released { copied } = completion.event {
            return self.released(lane, port, mark, copied);
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
                    Direction::Send => self.sent(io, lane, port),
                    Direction::Receive => self.received(io, lane, port),
                }
            }
            result if result == -libc::EINTR || result == -libc::EAGAIN => match direction {
                Direction::Send => link.submit_send(io, lane.token(port, direction)),
                Direction::Receive => link.submit_receive(io, lane.token(port, direction)),
            },
            result if transfer.zero_copy && zero_copy::is_refusal(result) => {
                transfer.zero_copy = false;
                link.lending.refused();
                link.submit_send(io, lane.token(port, direction));
            }
            result => {
                let cause = self.link_error(port.peer, direction, result);
                self.session.handle_link_down(port.peer, port.stripe, cause);
            }
        }
    }

    /// Makes a frame ready. Whether it may go at once.
    pub(super) fn begin_send(
        &mut self,
        slot: Slot,
        port: Port,
        header: &Header,
        source: Span,
        tail: bool,
    ) -> bool {
        let Some(job) = self.jobs.front() else { return false };
        let Some(link) = self.links.get_mut(port) else { return false };
        let payload = job.buffers.at(source);
        let zero_copy = link.lending.wants(payload.len(), tail);
        // What is summed only if it is to be.
        let known = if header.checksummed { self.known.take(source) } else { None };
        link.begin_send(slot, header, payload, known);
        link.sending.zero_copy = zero_copy;
        link.sending.callers = job.buffers.is_callers(source);
        let bytes = link.sending.total() as u64;
        self.sending.is_near(port.peer) || self.gate.admits(bytes, port.number(), now_ns)
    }

    pub(super) fn submit_send(&mut self, io: &mut AnyIo, lane: &Lane, port: Port) {
        if let Some(link) = self.links.get_mut(port) {
            link.submit_send(io, lane.token(port, Direction::Send));
        }
    }

    /// Sends the frames whose time has come, where the rate is limited.
    pub(super) fn send_due(&mut self, io: &mut AnyIo, lane: &Lane) {
        while let Some(number) = self.gate.due(now_ns) {
            self.submit_send(io, lane, Port::of_number(number));
        }
    }

    pub(super) fn receive(
        &mut self,
        io: &mut AnyIo,
        lane: &Lane,
        slot: Slot,
        port: Port,
        expected: Header,
        target: Target,
    ) {
        let (payload, slab, callers) = match target {
            Target::Span(span) => {
                let Some(job) = self.jobs.front() else { return };
                self.known.forget(span);
                (job.buffers.at(span), None, job.buffers.is_callers(span))
            }
            Target::Slab(slab) => match self.slabs.lease(slab) {
                Ok(payload) => {
                    let len = u64::from(expected.length);
                    (Place::new(Array::One(payload), 0, len), Some(slab), false)
                }
                Err(error) => return self.session.abort(error),
            },
        };
        let Some(link) = self.links.get_mut(port) else { return };
        link.begin_receive(slot, expected, payload, slab);
        link.receiving.callers = callers;
        link.submit_receive(io, lane.token(port, Direction::Receive));
    }

    fn sent(&mut self, io: &mut AnyIo, lane: &Lane, port: Port) {
        let Some(link) = self.links.get_mut(port) else { return };
        if !link.sending.is_whole() {
            return link.submit_send(io, lane.token(port, Direction::Send));
        }
        let bytes = link.sending.payload_len() as u64;
        lane.counters.collective.of(port.peer).sent(bytes);
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
    fn released(&mut self, lane: &Lane, port: Port, mark: u8, copied: bool) {
        let Some(link) = self.links.get_mut(port) else { return };
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

    fn received(&mut self, io: &mut AnyIo, lane: &Lane, port: Port) {
        let Some(link) = self.links.get_mut(port) else { return };
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
                    let Port { peer, stripe } = port;
                    let cause = Error::new(
                        cause.kind(),
                        format!("rank {peer} sent a frame that cannot be: {cause}"),
                    );
                    return self.session.handle_link_down(peer, stripe, cause.with_peer(peer));
                }
            }
        }
        if !link.receiving.is_whole() {
            return link.submit_receive(io, lane.token(port, Direction::Receive));
        }
        let bytes = link.receiving.payload_len() as u64;
        lane.counters.collective.of(port.peer).received(bytes);
        if link.receiving.callers {
            lane.counters.collective.received_direct.add(bytes);
        }
        let claimed = link.receiving.claimed();
        if let Some(id) = link.slab {
            // Whoever folds it checks it.
            if let Some(slab) = self.slabs.get_mut(id) {
                slab.claimed = claimed;
            }
            return self.session.handle_received(slot);
        }
        let fits = link.receiving.payload_fits();
        self.session.handle_received(slot);
        if !fits {
            return self.session.handle_corrupt(slot);
        }
        if let Some(checksum) = claimed {
            let (span, sends) = self.session.forwarded(slot);
            self.known.note(span, checksum, sends);
        }
        self.session.handle_verified(slot);
    }

    fn link_error(&self, peer: Rank, direction: Direction, result: i32) -> Error {
        let text = direction.failure(peer, result);
        self.session.about_current(ErrorKind::PeerLost, text).with_peer(peer)
    }
}
