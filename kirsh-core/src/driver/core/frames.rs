//! Frames on their way over a lane's links: made ready, handed to the kernel, taken in as it reports.

use super::Core;
use crate::driver::array::{Array, Place};
use crate::driver::choose::AnyIo;
use crate::driver::clock::now_ns;
use crate::driver::counters::Counters;
use crate::driver::io::{self, Event};
use crate::driver::lane::Lane;
use crate::driver::link::{Direction, split};
use crate::driver::zero_copy;
use crate::error::{Error, ErrorKind, Result};
use crate::memory::Lease;
use crate::session::{SlabId, Slot, Target};
use crate::types::{Rank, Span};
use crate::wire::header::Header;

impl Core {
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
    pub(super) fn begin_send(
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

    pub(super) fn submit_send(&mut self, io: &mut AnyIo, lane: &Lane, peer: Rank) {
        if let Some(link) = self.links[peer as usize].as_mut() {
            link.submit_send(io, lane.token(peer, Direction::Send));
        }
    }

    /// Sends the frames whose time has come, where the rate is limited.
    pub(super) fn send_due(&mut self, io: &mut AnyIo, lane: &Lane) {
        while let Some(peer) = self.gate.due(now_ns) {
            self.submit_send(io, lane, peer);
        }
    }

    pub(super) fn receive(
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
    pub(super) fn slab(&self, id: SlabId) -> Option<*const u8> {
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
}
