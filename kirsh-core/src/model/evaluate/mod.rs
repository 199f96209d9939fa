//! Walks the plans of a world and adds up what each step costs.
//!
//! Each rank has one processor, each host one NIC for each direction. What wants one of them gets
//! it in the order of asking, and events go in the order of time, so no two runs differ. A step is
//! begun as early as the session would begin it: in its turn on its link, after the steps it
//! conflicts with, with a bounded view ahead. `docs/MODEL.md` says what each step costs, and what
//! is left out.

mod events;
mod links;
mod rank;
mod steps;

use events::{Event, Events, Frame, Frames, What};
use rank::{Kind, Walker};

use super::network::{Costs, Layout, Network, Time};
use super::symmetry::Symmetry;
use crate::error::{Error, ErrorKind, Result};
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
    events: Events,
    frames: Frames,
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
            events: Events::default(),
            frames: Frames::default(),
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
        while let Some(event) = self.events.next() {
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
        self.now = 0;
        while self.walkers.len() < self.walked {
            self.walkers.push(Walker::new());
        }
        for (rank, walker) in (0..).zip(&mut self.walkers[..self.walked]) {
            let plan = build(params, rank)?;
            self.steps = self.steps.saturating_add(plan.len());
            walker.begin(rank, per_host, plan, params);
        }
        Ok(())
    }

    fn foresee(&mut self, time: Time, walker: usize, what: What) {
        self.events.foresee(time, walker as u32, what);
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
                if self.events.is_any_before(arrival) {
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
        let link = &mut walker.links[link];
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
