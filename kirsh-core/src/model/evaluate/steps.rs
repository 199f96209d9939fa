//! What each step does and what it costs: the arithmetic of `docs/MODEL.md`.

use super::links::Link;
use super::rank::{Kind, Live};
use super::{Frame, SOCKET_BYTES, Walk, What};
use crate::model::network::{self, FRAME_BYTES, Network, Time};
use crate::types::Rank;

impl Walk {
    /// Whether the processor could begin now with what is ready at this time. Otherwise the step
    /// is looked at again then: what is asked for ahead of time would keep others out meanwhile.
    fn in_time(&mut self, who: usize, slot: u8, ready: Time) -> bool {
        let walker = &mut self.walkers[who];
        let shared = !self.hosts[walker.host as usize].cores.is_empty();
        let until = if shared { self.now } else { self.now.max(walker.cpu_free) };
        if ready > until {
            self.foresee(ready, who, What::Wake { slot });
            return false;
        }
        // Who shares a core asks for it one step at a time, so that all get their turn.
        if shared && walker.cpu_free > self.now {
            self.put_off(who, 1 << slot);
            return false;
        }
        true
    }

    /// Leaves slots for when the processor is free.
    fn put_off(&mut self, who: usize, slots: u64) {
        let walker = &mut self.walkers[who];
        let first = walker.deferred == 0;
        walker.deferred |= slots;
        let free = walker.cpu_free;
        if first {
            self.foresee(free, who, What::Free);
        }
    }

    /// Whether a slot that waited for the processor has to go on waiting, since one before it has
    /// taken that: with all others that come back from there. What else they needed they still have.
    pub(super) fn is_put_off_again(&mut self, who: usize, slot: u8) -> bool {
        let walker = &mut self.walkers[who];
        let bit = 1 << slot;
        if walker.returning & bit == 0 {
            return false;
        }
        if walker.cpu_free <= self.now {
            walker.returning &= !bit;
            return false;
        }
        let all = std::mem::take(&mut walker.returning);
        walker.attention &= !all;
        self.put_off(who, all);
        true
    }

    /// Gives the rank's processor to something, and says from when until when.
    fn compute(&mut self, who: usize, earliest: Time, cost: Time) -> (Time, Time) {
        let walker = &mut self.walkers[who];
        let cost = slowed(&self.network, walker.rank, cost);
        let mut start = earliest.max(walker.cpu_free);
        // The core that has been idle for the shortest time, which is mostly the one that the rank was
        // on before: with any other, time that was given away ahead would leave gaps that nobody uses.
        let cores = &mut self.hosts[walker.host as usize].cores;
        let core = cores.iter_mut().min_by_key(|free| match **free <= start {
            true => start - **free,
            false => **free | BUSY,
        });
        if let Some(free) = &core {
            start = start.max(**free);
        }
        let end = start.saturating_add(cost);
        walker.cpu_free = end;
        walker.computed = walker.computed.saturating_add(cost);
        if let Some(free) = core {
            *free = end;
            self.hosts[walker.host as usize].worked += cost;
        }
        (start, end)
    }

    fn link(&self, local: bool) -> network::Link {
        if local { self.network.costs.local } else { self.network.costs.remote }
    }

    pub(super) fn send(&mut self, who: usize, slot: u8) {
        let walker = &self.walkers[who];
        let &Live { waits, link, ready, len, .. } = walker.step(slot);
        if waits != 0 || walker.links[link].sends.head != slot {
            return;
        }
        if !self.in_time(who, slot, ready) {
            return;
        }
        self.resolve(who, link);
        let local = self.walkers[who].links[link].local;
        let costs = self.link(local);
        let copy = len * costs.copy_fs / 1000;
        let (start, end) = self.compute(who, ready, costs.frame_ps + copy);
        let walker = &mut self.walkers[who];
        walker.bytes_sent += len;
        if local {
            let far = walker.links[link].far;
            walker.turn_over(slot);
            walker.end(slot, end);
            if let Some((peer, link)) = far {
                self.foresee(end + costs.latency_ps, peer as usize, What::Arrival { link });
            }
            return;
        }
        let first = start + costs.frame_ps.min(end - start);
        walker.step_mut(slot).received = end;
        // Alone on its host a rank asks for the NIC in the order in which it computes.
        if self.layout.ranks_per_host_max <= 1 {
            self.transmit(who, slot, first);
        } else {
            walker.step_mut(slot).kind = Kind::Sending;
            self.foresee(first, who, What::Transmit { slot });
        }
    }

    /// The frame that this slot sends has its first byte ready, and has all of them when the
    /// processor is through with it.
    pub(super) fn transmit(&mut self, who: usize, slot: u8, first: Time) {
        let costs = self.network.costs.remote;
        let walker = &self.walkers[who];
        let (rank, host) = (walker.rank, walker.host as usize);
        let &Live { len, link, received, .. } = walker.step(slot);
        let &Link { crosses, far, .. } = &walker.links[link];
        let wire = slowed(&self.network, rank, (len + FRAME_BYTES) * costs.wire_fs / 1000);
        let nic = &mut self.hosts[host];
        nic.sent += wire;
        let mut head = first.max(nic.sending_until);
        nic.sending_until = (head + wire).max(received);
        let mut end = nic.sending_until;
        let backlog = SOCKET_BYTES * costs.wire_fs / 1000;
        let accepted = received.max(end.saturating_sub(backlog));
        if crosses && let Some(switch) = self.network.switch {
            let uplink = &mut self.uplinks[host / switch.hosts.max(1) as usize];
            head = head.max(uplink.up_until);
            uplink.up_until = head + narrowed(wire, switch.oversubscription, switch.hosts);
            end = end.max(uplink.up_until).max(head + wire);
        }
        let walker = &mut self.walkers[who];
        walker.turn_over(slot);
        walker.end(slot, accepted);
        if let Some((peer, link)) = far {
            let end = end + costs.latency_ps;
            let frame = self.frames.put(Frame { len, end });
            let what = What::Head { link, frame };
            self.foresee(head + costs.latency_ps, peer as usize, what);
        }
    }

    /// When the last byte of a frame whose first is at the NIC now has come through it.
    pub(super) fn through_receiving_nic(
        &mut self,
        who: usize,
        link: u32,
        Frame { len, end }: Frame,
    ) -> Time {
        let walker = &self.walkers[who];
        let (rank, host) = (walker.rank, walker.host as usize);
        let wire = (len + FRAME_BYTES) * self.network.costs.remote.wire_fs / 1000;
        let wire = slowed(&self.network, rank, wire);
        let mut start = self.now;
        if walker.links[link].crosses
            && let Some(switch) = self.network.switch
        {
            let uplink = &mut self.uplinks[host / switch.hosts.max(1) as usize];
            start = start.max(uplink.down_until);
            uplink.down_until = start + narrowed(wire, switch.oversubscription, switch.hosts);
        }
        let nic = &mut self.hosts[host];
        nic.received += wire;
        nic.receiving_until = (start.max(nic.receiving_until) + wire).max(end);
        nic.receiving_until
    }

    /// Receives a frame that has come, if it is this step's turn.
    pub(super) fn receive(&mut self, who: usize, slot: u8) {
        let walker = &self.walkers[who];
        let &Live { kind, link: number, len, waits, admitted, ready, .. } = walker.step(slot);
        let link = &walker.links[number];
        if link.receives.head != slot {
            return;
        }
        let Some(&arrival) = link.inbox.front() else { return };
        let folds = kind == Kind::RecvReduce;
        let slab = link.free_slab().filter(|_| folds);
        let posted = match slab {
            Some(slab) => admitted.max(link.slabs[slab]),
            // Without a slab the frame stays in the socket; what lands in place waits for others.
            None if folds || waits != 0 => return,
            None => ready,
        };
        let costs = self.link(link.local);
        if !self.in_time(who, slot, posted) {
            return;
        }
        // The kernel hands bytes over while more of them come.
        let copy = len * costs.copy_fs / 1000;
        let earliest = posted.max(arrival.saturating_sub(copy));
        let (_, end) = self.compute(who, earliest, costs.frame_ps + copy);
        let end = end.max(arrival);
        let walker = &mut self.walkers[who];
        walker.links[number].inbox.pop_front();
        walker.turn_over(slot);
        let Some(slab) = slab else {
            walker.end(slot, end);
            return;
        };
        walker.links[number].slabs_used |= 1 << slab;
        let live = walker.step_mut(slot);
        live.kind = Kind::Fold;
        live.slab = slab as u8;
        live.received = end;
        walker.attend(slot);
    }

    pub(super) fn fold(&mut self, who: usize, slot: u8) {
        let &Live { waits, ready, received, work, encoded, link, slab, .. } =
            self.walkers[who].step(slot);
        let ready = ready.max(received);
        if waits != 0 || !self.in_time(who, slot, ready) {
            return;
        }
        let decode_fs = if encoded { self.network.costs.encode_fs() } else { 0 };
        let (_, end) = self.compute(who, ready, work * (self.fold_fs + decode_fs) / 1000);
        let walker = &mut self.walkers[who];
        let link = &mut walker.links[link];
        link.slabs_used &= !(1 << slab);
        link.slabs[slab as usize] = end;
        let head = link.receives.head;
        walker.attend(head);
        walker.end(slot, end);
    }

    pub(super) fn work_locally(&mut self, who: usize, slot: u8, moves: bool) {
        let &Live { waits, ready, work, encoded, .. } = self.walkers[who].step(slot);
        if waits != 0 || !self.in_time(who, slot, ready) {
            return;
        }
        let costs = &self.network.costs;
        let per_byte = match (moves, encoded) {
            (_, true) => costs.encode_fs(),
            (true, _) => costs.move_fs,
            (false, _) => self.fold_fs,
        };
        let (_, end) = self.compute(who, ready, work * per_byte / 1000);
        self.walkers[who].end(slot, end);
    }

    /// Finds the other end of a link at its first frame.
    fn resolve(&mut self, who: usize, link: u32) {
        let walker = &self.walkers[who];
        let (from, (to, stripe)) = (walker.rank, walker.links[link].key());
        if walker.links[link].far.is_some() {
            return;
        }
        let (local, crosses) = self.between(from, to);
        let (receiver, seen) = self.symmetry.image(self.world, from, to);
        let far = self.walkers[receiver as usize].links.to(seen, stripe);
        let back = &mut self.walkers[receiver as usize].links[far];
        (back.local, back.crosses) = (local, crosses);
        let link = &mut self.walkers[who].links[link];
        link.far = Some((receiver, far));
        (link.local, link.crosses) = (local, crosses);
    }

    /// Whether two ranks share a host, and whether they have different switches.
    fn between(&self, from: Rank, to: Rank) -> (bool, bool) {
        let per_host = self.layout.ranks_per_host_max.max(1);
        let (from, to) = (from / per_host, to / per_host);
        let per_switch = self.network.switch.map_or(u32::MAX, |switch| switch.hosts.max(1));
        (from == to, from / per_switch != to / per_switch)
    }
}

/// Sets cores that are busy behind all that are idle: no time is as long.
const BUSY: Time = 1 << (Time::BITS - 1);

/// What something takes on this rank, where it may be the slow one.
fn slowed(network: &Network, rank: Rank, cost: Time) -> Time {
    match network.straggler {
        Some(slow) if slow.rank == rank => {
            (u128::from(cost) * u128::from(slow.factor_milli) / 1000) as Time
        }
        _ => cost,
    }
}

/// What takes so long on a host's NIC takes less on the uplink of many hosts, if it is not narrow.
const fn narrowed(wire: Time, oversubscription: u32, hosts: u32) -> Time {
    let hosts = if hosts == 0 { 1 } else { hosts };
    wire * oversubscription as u64 / hosts as u64
}
