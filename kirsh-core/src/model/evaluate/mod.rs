//! Walks the plans of a world and adds up what each step costs.
//!
//! Each rank has one processor, each host one NIC for each direction. What wants one of them gets
//! it in the order of asking, and events go in the order of time, so no two runs differ. A step is
//! begun as early as the session would begin it: in its turn on its link, after the steps it
//! conflicts with, with a bounded view ahead. `docs/MODEL.md` says what each step costs, and what
//! is left out.

mod rank;
mod steps;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use rank::{Kind, Walker};

use super::network::{Costs, Layout, Network, Time};
use super::symmetry::Symmetry;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::SLICE_BYTES_MAX;
use crate::plan::{Params, build};
use crate::types::DataType;

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

impl Outcome {
    /// How much longer the call takes than its busiest is busy.
    pub(super) const fn beside(&self) -> Time {
        self.time_ps.saturating_sub(self.busy_ps)
    }
}

/// What is to happen at some time.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A live step may go on.
    Wake { slot: u8 },
    /// The rank's processor is free for the next of the steps that were put off.
    Free,
    /// A frame's first byte is ready for the NIC that the ranks of its host share.
    Transmit { slot: u8 },
    /// A frame's first byte is at the receiver's NIC.
    Head { link: u32, frame: u32 },
    /// A frame is in the receiver's socket.
    Arrival { link: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Event {
    time: Time,
    /// Of two at one time the one that was foreseen first goes first.
    order: u64,
    walker: u32,
    what: What,
}

impl Event {
    /// One number, which is compared without a branch.
    const fn key(&self) -> u128 {
        (self.time as u128) << 64 | self.order as u128
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A frame on its way between two NICs.
#[derive(Clone, Copy)]
struct Frame {
    len: u64,
    /// Its last byte cannot be there before.
    end: Time,
}

/// The frames on their way: beside the events, so that those are short.
#[derive(Default)]
struct Frames {
    all: Vec<Frame>,
    free: Vec<u32>,
}

impl Frames {
    fn clear(&mut self) {
        self.all.clear();
        self.free.clear();
    }

    fn put(&mut self, frame: Frame) -> u32 {
        let Some(index) = self.free.pop() else {
            self.all.push(frame);
            return (self.all.len() - 1) as u32;
        };
        self.all[index as usize] = frame;
        index
    }

    fn take(&mut self, index: u32) -> Frame {
        self.free.push(index);
        self.all[index as usize]
    }
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
    /// How long all of them together have been busy.
    worked: Time,
}

impl Host {
    /// How long its cores have been busy, on average; 0 where no rank has to share one.
    fn computed(&self) -> Time {
        self.worked.checked_div(self.cores.len() as u64).unwrap_or(0)
    }
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
    frames: Frames,
    order: u64,
    now: Time,
    /// Places of the plans begun so far, in all runs.
    steps: u64,
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
            frames: Frames::default(),
            order: 0,
            now: 0,
            steps: 0,
        }
    }

    /// Places of the plans that all runs so far have walked.
    pub(super) fn steps(&self) -> u64 {
        self.steps
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
        let moving =
            self.hosts.iter().map(|host| host.sent.max(host.received).max(host.computed()));
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
        self.frames.clear();
        self.order = 0;
        self.now = 0;
        while self.walkers.len() < self.walked {
            self.walkers.push(Walker::new());
        }
        let slice = u64::from(params.slice).min(SLICE_BYTES_MAX as u64);
        for (rank, walker) in (0..).zip(&mut self.walkers[..self.walked]) {
            let plan = build(params, rank)?;
            self.steps = self.steps.saturating_add(plan.len());
            walker.begin(rank, rank / per_host, plan, slice);
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
            What::Free => {
                let walker = &mut self.walkers[who];
                walker.returning = std::mem::take(&mut walker.deferred);
                walker.attention |= walker.returning;
            }
            What::Transmit { slot } => self.transmit(who, slot, event.time),
            What::Head { link, frame } => {
                let frame = self.frames.take(frame);
                let arrival = self.through_receiving_nic(who, link, frame);
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
            while let Some(slot) = self.walkers[who].next_to_attend() {
                if !self.is_put_off_again(who, slot) {
                    self.go_on(who, slot);
                }
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
}
