//! Walks the plans of a world and adds up what each step costs.
//!
//! Each rank has one processor, each host one NIC for each direction. What wants one of them gets
//! it in the order of asking, and events go in the order of time, so no two runs differ. A step is
//! begun as early as the session would begin it: in its turn on its link, after the steps it
//! conflicts with, with a bounded view ahead. `docs/MODEL.md` says what each step costs, and what
//! is left out.

mod rank;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rank::{Kind, Walker};

use super::network::{Costs, FRAME_BYTES, Layout, Link, Network, Time};
use super::symmetry::Symmetry;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SLICE_BYTES_MAX;
use crate::plan::{Params, build};
use crate::types::{DataType, Rank};

/// Bytes that a socket takes before a send has to wait for the wire: about what Linux lets its
/// send buffers grow to.
const SOCKET_BYTES: u64 = 2 << 20;

/// What came of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When the last rank is through.
    pub time_ps: Time,
    /// Bytes of payload sent by the rank that sends most.
    pub bytes_sent: u64,
    /// How long what is busiest, a processor or one direction of a NIC, is busy in all.
    pub busy_ps: Time,
}

/// What is to happen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A live step may go on.
    Wake { slot: u8 },
    /// A frame's first byte is ready for the NIC that the ranks of its host share.
    Transmit { slot: u8 },
    /// A frame's first byte is at the receiver's NIC; its last cannot be before `end`.
    Head { link: u32, len: u64, end: Time },
    /// A frame is in the receiver's socket.
    Arrival { link: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    time: Time,
    /// Of two at one time the one that was foreseen first goes first.
    order: u64,
    walker: u32,
    what: What,
}

#[derive(Clone, Default)]
struct Host {
    sending_until: Time,
    receiving_until: Time,
    /// How long the NIC has been busy so far, in either direction.
    sent: Time,
    received: Time,
    /// When each core is free; empty where no rank has to share one.
    cores: Vec<Time>,
}

#[derive(Clone, Copy, Default)]
struct Uplink {
    up_until: Time,
    down_until: Time,
}

/// A walk over plans. Keeps its memory from one run to the next.
pub struct Walk {
    world: u32,
    layout: Layout,
    network: Network,
    symmetry: Symmetry,
    /// Per byte, for the type at hand.
    fold_fs: u64,
    walkers: Vec<Walker>,
    walked: usize,
    hosts: Vec<Host>,
    uplinks: Vec<Uplink>,
    events: BinaryHeap<Reverse<Event>>,
    order: u64,
    now: Time,
}

impl Walk {
    pub fn new(layout: Layout, network: &Network) -> Self {
        Walk {
            world: 0,
            layout,
            network: *network,
            symmetry: Symmetry::None,
            fold_fs: 0,
            walkers: Vec::new(),
            walked: 0,
            hosts: Vec::new(),
            uplinks: Vec::new(),
            events: BinaryHeap::new(),
            order: 0,
            now: 0,
        }
    }

    /// Walks every step of the plans of all ranks, or of those that stand for all. The world is
    /// that of the parameters; the layout only says how many ranks a host has.
    ///
    /// # Errors
    /// What [`build`] fails with; `Internal` where the plans wait for each other for ever.
    pub fn run(&mut self, params: &Params, symmetry: Symmetry) -> Result<Outcome> {
        self.begin(params, symmetry)?;
        for who in 0..self.walked {
            self.progress(who);
        }
        while let Some(Reverse(event)) = self.events.pop() {
            self.now = event.time;
            self.happen(event);
        }
        let walkers = &self.walkers[..self.walked];
        if let Some(stuck) = walkers.iter().find(|walker| !walker.is_over()) {
            let (cursor, len) = stuck.position();
            let text = format!(
                "the plan of rank {} by {} stands still at step {cursor} of {len}",
                stuck.rank, params.call.algorithm
            );
            return Err(Error::new(ErrorKind::Internal, text));
        }
        let computing = walkers.iter().map(|walker| walker.computed);
        let moving = self.hosts.iter().map(|host| host.sent.max(host.received));
        Ok(Outcome {
            time_ps: walkers.iter().map(|walker| walker.finish).max().unwrap_or(0),
            bytes_sent: walkers.iter().map(|walker| walker.bytes_sent).max().unwrap_or(0),
            busy_ps: computing.chain(moving).max().unwrap_or(0),
        })
    }

    fn begin(&mut self, params: &Params, symmetry: Symmetry) -> Result<()> {
        let Costs { fold_fs, fold_half_fs, cores, .. } = self.network.costs;
        let half = matches!(params.call.dtype, DataType::Float16 | DataType::Bfloat16);
        self.fold_fs = if half { fold_half_fs } else { fold_fs };
        self.world = params.world;
        self.symmetry = symmetry;
        self.walked = symmetry.walked(params.world) as usize;
        let per_host = self.layout.ranks_per_host_max.max(1);
        let shared = per_host.min(params.world) > cores.max(1);
        let cores = if shared { cores.max(1) as usize } else { 0 };
        let hosts = (self.walked as u32).div_ceil(per_host) as usize;
        self.hosts.clear();
        self.hosts.resize(hosts, Host { cores: vec![0; cores], ..Host::default() });
        self.uplinks.clear();
        if let Some(switch) = self.network.switch {
            let switches = hosts.div_ceil(switch.hosts.max(1) as usize);
            self.uplinks.resize(switches, Uplink::default());
        }
        self.events.clear();
        self.order = 0;
        self.now = 0;
        while self.walkers.len() < self.walked {
            self.walkers.push(Walker::new());
        }
        let slice = u64::from(params.slice).min(SLICE_BYTES_MAX as u64);
        for (rank, walker) in (0..).zip(&mut self.walkers[..self.walked]) {
            walker.begin(rank, rank / per_host, build(params, rank)?, slice);
        }
        Ok(())
    }

    fn foresee(&mut self, time: Time, walker: usize, what: What) {
        self.order += 1;
        let event = Event { time, order: self.order, walker: walker as u32, what };
        self.events.push(Reverse(event));
    }

    fn happen(&mut self, event: Event) {
        let who = event.walker as usize;
        match event.what {
            What::Wake { slot } => self.walkers[who].attend(slot),
            What::Transmit { slot } => self.transmit(who, slot, event.time),
            What::Head { link, len, end } => {
                let arrival = self.through_receiving_nic(who, link, len, end);
                if self.events.peek().is_some_and(|Reverse(next)| next.time < arrival) {
                    self.foresee(arrival, who, What::Arrival { link });
                    return;
                }
                self.now = arrival;
                self.arrive(who, link, arrival);
            }
            What::Arrival { link } => self.arrive(who, link, event.time),
        }
        self.progress(who);
    }

    fn arrive(&mut self, who: usize, link: u32, at: Time) {
        let walker = &mut self.walkers[who];
        let link = &mut walker.links[link as usize];
        link.inbox.push_back(at);
        let head = link.receives.head;
        walker.attend(head);
    }

    /// Does all that a rank can do now.
    fn progress(&mut self, who: usize) {
        loop {
            while self.walkers[who].attention != 0 {
                let slot = self.walkers[who].attention.trailing_zeros() as u8;
                self.walkers[who].attention &= !(1 << slot);
                self.go_on(who, slot);
            }
            if !self.walkers[who].admit() {
                return;
            }
        }
    }

    fn go_on(&mut self, who: usize, slot: u8) {
        match self.walkers[who].step(slot).kind {
            Kind::Send => self.send(who, slot),
            Kind::Recv | Kind::RecvReduce => self.receive(who, slot),
            Kind::Fold => self.fold(who, slot),
            Kind::Local { moves } => self.work_locally(who, slot, moves),
            Kind::Sending => {}
        }
    }

    /// Whether the processor could begin now with what is ready at this time. Otherwise the step
    /// is looked at again then: what is asked for ahead of time would keep others out meanwhile.
    fn in_time(&mut self, who: usize, slot: u8, ready: Time) -> bool {
        let in_time = ready <= self.now.max(self.walkers[who].cpu_free);
        if !in_time {
            self.foresee(ready, who, What::Wake { slot });
        }
        in_time
    }

    /// Gives the rank's processor to something, and says from when until when.
    fn compute(&mut self, who: usize, earliest: Time, cost: Time) -> (Time, Time) {
        let walker = &mut self.walkers[who];
        let cost = slowed(&self.network, walker.rank, cost);
        let mut start = earliest.max(walker.cpu_free);
        let core = self.hosts[walker.host as usize].cores.iter_mut().min_by_key(|free| **free);
        if let Some(free) = &core {
            start = start.max(**free);
        }
        let end = start + cost;
        walker.cpu_free = end;
        walker.computed += cost;
        if let Some(free) = core {
            *free = end;
        }
        (start, end)
    }

    fn link(&self, local: bool) -> Link {
        if local { self.network.costs.local } else { self.network.costs.remote }
    }

    fn send(&mut self, who: usize, slot: u8) {
        let walker = &self.walkers[who];
        let step = *walker.step(slot);
        if step.waits != 0 || walker.links[step.link as usize].sends.head != slot {
            return;
        }
        if !self.in_time(who, slot, step.ready) {
            return;
        }
        self.resolve(who, step.link);
        let local = self.walkers[who].links[step.link as usize].local;
        let costs = self.link(local);
        let copy = step.len * costs.copy_fs / 1000;
        let (start, end) = self.compute(who, step.ready, costs.frame_ps + copy);
        let walker = &mut self.walkers[who];
        walker.bytes_sent += step.len;
        if local {
            let far = walker.links[step.link as usize].far;
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
    fn transmit(&mut self, who: usize, slot: u8, first: Time) {
        let costs = self.network.costs.remote;
        let walker = &self.walkers[who];
        let (step, rank, host) = (*walker.step(slot), walker.rank, walker.host as usize);
        let link = &walker.links[step.link as usize];
        let (crosses, far) = (link.crosses, link.far);
        let wire = slowed(&self.network, rank, (step.len + FRAME_BYTES) * costs.wire_fs / 1000);
        let nic = &mut self.hosts[host];
        nic.sent += wire;
        let mut head = first.max(nic.sending_until);
        nic.sending_until = (head + wire).max(step.received);
        let mut end = nic.sending_until;
        let backlog = SOCKET_BYTES * costs.wire_fs / 1000;
        let accepted = step.received.max(end.saturating_sub(backlog));
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
            let what = What::Head { link, len: step.len, end };
            self.foresee(head + costs.latency_ps, peer as usize, what);
        }
    }

    /// When the last byte of a frame whose first is at the NIC now has come through it.
    fn through_receiving_nic(&mut self, who: usize, link: u32, len: u64, end: Time) -> Time {
        let walker = &self.walkers[who];
        let (rank, host) = (walker.rank, walker.host as usize);
        let wire = (len + FRAME_BYTES) * self.network.costs.remote.wire_fs / 1000;
        let wire = slowed(&self.network, rank, wire);
        let mut start = self.now;
        if walker.links[link as usize].crosses
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
    fn receive(&mut self, who: usize, slot: u8) {
        let walker = &self.walkers[who];
        let step = *walker.step(slot);
        let link = &walker.links[step.link as usize];
        if link.receives.head != slot {
            return;
        }
        let Some(&arrival) = link.inbox.front() else { return };
        let folds = step.kind == Kind::RecvReduce;
        let slab = link.free_slab().filter(|_| folds);
        let posted = match slab {
            Some(slab) => step.admitted.max(link.slabs[slab]),
            // Without a slab the frame stays in the socket; what lands in place waits for others.
            None if folds || step.waits != 0 => return,
            None => step.ready,
        };
        let costs = self.link(link.local);
        if !self.in_time(who, slot, posted) {
            return;
        }
        // The kernel hands bytes over while more of them come.
        let copy = step.len * costs.copy_fs / 1000;
        let earliest = posted.max(arrival.saturating_sub(copy));
        let (_, end) = self.compute(who, earliest, costs.frame_ps + copy);
        let end = end.max(arrival);
        let walker = &mut self.walkers[who];
        walker.links[step.link as usize].inbox.pop_front();
        walker.turn_over(slot);
        let Some(slab) = slab else {
            walker.end(slot, end);
            return;
        };
        walker.links[step.link as usize].slabs_used |= 1 << slab;
        let live = walker.step_mut(slot);
        live.kind = Kind::Fold;
        live.slab = slab as u8;
        live.received = end;
        walker.attend(slot);
    }

    fn fold(&mut self, who: usize, slot: u8) {
        let step = *self.walkers[who].step(slot);
        let ready = step.ready.max(step.received);
        if step.waits != 0 || !self.in_time(who, slot, ready) {
            return;
        }
        let (_, end) = self.compute(who, ready, step.len * self.fold_fs / 1000);
        let walker = &mut self.walkers[who];
        let link = &mut walker.links[step.link as usize];
        link.slabs_used &= !(1 << step.slab);
        link.slabs[step.slab as usize] = end;
        let head = link.receives.head;
        walker.attend(head);
        walker.end(slot, end);
    }

    fn work_locally(&mut self, who: usize, slot: u8, moves: bool) {
        let step = *self.walkers[who].step(slot);
        if step.waits != 0 || !self.in_time(who, slot, step.ready) {
            return;
        }
        let per_byte = if moves { self.network.costs.move_fs } else { self.fold_fs };
        let (_, end) = self.compute(who, step.ready, step.len * per_byte / 1000);
        self.walkers[who].end(slot, end);
    }

    /// Finds the other end of a link at its first frame.
    fn resolve(&mut self, who: usize, link: u32) {
        let walker = &self.walkers[who];
        let (from, to) = (walker.rank, walker.links[link as usize].peer);
        if walker.links[link as usize].far.is_some() {
            return;
        }
        let (local, crosses) = self.between(from, to);
        let (receiver, seen) = self.symmetry.image(self.world, from, to);
        let far = self.walkers[receiver as usize].link_to(seen);
        let back = &mut self.walkers[receiver as usize].links[far as usize];
        (back.local, back.crosses) = (local, crosses);
        let link = &mut self.walkers[who].links[link as usize];
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
