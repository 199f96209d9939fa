//! What a call gives the busiest processor or NIC to do, added up from plans without walking them.
//!
//! No prediction can be shorter, and a long pipeline is not much longer: so predictions take this
//! from the world that is asked about, and from smaller worlds only how much longer they take.

use super::evaluate::Outcome;
use super::network::{Costs, FRAME_BYTES, Layout, Network, Time};
use super::smaller::{continued, counts_per_rank};
use super::symmetry::Symmetry;
use crate::error::Result;
use crate::plan::{Map, Params, Step, build};
use crate::types::{DataType, Rank, Wire};

/// What there is to do for the busiest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// For a processor, the cores of a host, or one direction of a NIC.
    pub(super) busy_ps: Time,
    /// Bytes of payload that one rank sends.
    pub(super) bytes_sent: u64,
}

impl Load {
    /// Where two loads at the first two of these points lead to at the third.
    pub(super) fn continued(self, far: Load, at: [u64; 3]) -> Load {
        Load {
            busy_ps: continued(self.busy_ps, far.busy_ps, at),
            bytes_sent: continued(self.bytes_sent, far.bytes_sent, at),
        }
    }

    /// What comes of a call that takes so much longer than its busiest is busy.
    pub(super) fn outcome(self, beside_ps: Time) -> Outcome {
        let Load { busy_ps, bytes_sent } = self;
        Outcome { time_ps: busy_ps.saturating_add(beside_ps), bytes_sent, busy_ps }
    }

    /// So many times as much.
    pub(super) fn times(self, times: u64) -> Load {
        Load {
            busy_ps: self.busy_ps.saturating_mul(times),
            bytes_sent: self.bytes_sent.saturating_mul(times),
        }
    }
}

/// The load of a host where ranks do about as much, with peers that differ by a shift or a flip: the
/// plans of a few say what each of them does. One is enough where all do the same.
///
/// # Errors
/// What [`build`] fails with.
pub(super) fn load_of_alike(
    params: &Params,
    layout: Layout,
    network: &Network,
    alike: Symmetry,
    few: &[Rank],
) -> Result<Load> {
    let costs = &network.costs;
    let ranks = layout.ranks_per_host_max.clamp(1, params.world);
    let mut most = Load::default();
    let mut host = Sum::default();
    let mut computed = vec![0u64; ranks as usize];
    for from in few {
        computed.fill(0);
        let mut bytes_sent = 0u64;
        let plan = build(params, *from)?;
        for step in (0..plan.len()).filter_map(|index| plan.step(index)) {
            let [near, far] = [true, false].map(|local| Sum::of(step, params, costs, local));
            bytes_sent = bytes_sent.saturating_add(near.bytes_sent);
            let peer = step.peer();
            let mut near_ranks = 0u32;
            for (to, computed) in (0..).zip(&mut computed) {
                let carried = |peer| alike.carried(params.world, peer, *from, to);
                let local = peer.is_none_or(|peer| carried(peer) < ranks);
                near_ranks += u32::from(local);
                let own = if local { near.computed } else { far.computed };
                *computed = computed.saturating_add(own);
            }
            host.add(near.times(near_ranks.into()));
            host.add(far.times((ranks - near_ranks).into()));
        }
        most.busy_ps = most.busy_ps.max(computed.iter().copied().max().unwrap_or(0));
        most.bytes_sent = most.bytes_sent.max(bytes_sent);
    }
    let host_ps = host.busy_ps(cores(params, layout, costs)) / few.len().max(1) as u64;
    most.busy_ps = most.busy_ps.max(host_ps);
    Ok(most)
}

/// Cores that the ranks of a host have to share; more than there are where none has to.
fn cores(params: &Params, layout: Layout, costs: &Costs) -> u64 {
    let shared = layout.ranks_per_host_max.clamp(1, params.world) > costs.cores.max(1);
    if shared { u64::from(costs.cores.max(1)) } else { u64::MAX }
}

/// The load of a few hosts, of which one is likely to have most; of one where they are alike.
///
/// # Errors
/// What [`build`] fails with.
pub(super) fn load(
    params: &Params,
    layout: Layout,
    network: &Network,
    alike: bool,
) -> Result<Load> {
    let costs = &network.costs;
    let per_host = layout.ranks_per_host_max.max(1);
    let cores = cores(params, layout, costs);
    let mut most = Load::default();
    let hosts = if alike { 1 } else { params.world.div_ceil(per_host) };
    // In trees neighbours have other parts.
    let wide = per_host < 4 && !counts_per_rank(params.call.collective);
    for host in sampled(hosts, wide) {
        let first = host * per_host;
        let end = first.saturating_add(per_host).min(params.world);
        let mut all = Sum::default();
        for rank in first..end {
            let mut own = Sum::default();
            let plan = build(params, rank)?;
            for step in (0..plan.len()).filter_map(|index| plan.step(index)) {
                let local = step.peer().is_none_or(|peer| (first..end).contains(&peer));
                own.add(Sum::of(step, params, costs, local));
            }
            most.busy_ps = most.busy_ps.max(own.computed);
            most.bytes_sent = most.bytes_sent.max(own.bytes_sent);
            all.add(own);
        }
        most.busy_ps = most.busy_ps.max(all.busy_ps(cores));
    }
    Ok(most)
}

/// The first hosts, the last, and one between; their neighbours and more, if wanted.
fn sampled(hosts: u32, wide: bool) -> impl Iterator<Item = u32> {
    let (middle, third, last) = (hosts / 2, hosts / 3, hosts.saturating_sub(1));
    let near = [0, 1, middle, last];
    let far = [2, 3, third, third + 1, middle + 1, middle + 2, last.saturating_sub(1)];
    let far = far.into_iter().take(if wide { far.len() } else { 0 });
    let mut all: Vec<u32> = near.into_iter().chain(far).filter(|host| *host < hosts).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

/// Times of a step, a rank, or all ranks of a host.
#[derive(Clone, Copy, Default)]
struct Sum {
    computed: Time,
    sent: Time,
    received: Time,
    bytes_sent: u64,
}

impl Sum {
    /// What a step takes, with a peer on the same host or not.
    fn of(step: Step, params: &Params, costs: &Costs, local: bool) -> Self {
        let half = matches!(params.call.dtype, DataType::Float16 | DataType::Bfloat16);
        let fold = if half { costs.fold_half_fs } else { costs.fold_fs };
        let link = if local { &costs.local } else { &costs.remote };
        let moved = |len: u64| {
            let wire = if local { 0 } else { (len + FRAME_BYTES) * link.wire_fs / 1000 };
            (link.frame_ps + len * link.copy_fs / 1000, wire)
        };
        let mut sum = Sum::default();
        match step {
            Step::Send { source, .. } => {
                sum.bytes_sent = source.len;
                (sum.computed, sum.sent) = moved(source.len);
            }
            Step::Recv { target, .. } => (sum.computed, sum.received) = moved(target.len),
            Step::RecvReduce { into, wire, .. } => {
                let decode = if wire == Wire::Plain { 0 } else { costs.encode_fs() };
                (sum.computed, sum.received) = moved(step.frame_len());
                sum.computed += into.len * (fold + decode) / 1000;
            }
            Step::Reduce { into, .. } => sum.computed = into.len * fold / 1000,
            Step::Map { source, target, map } => {
                let per_byte = match map {
                    Map::Copy | Map::Scale => costs.move_fs,
                    Map::Encode(_) | Map::Decode(_) => costs.encode_fs(),
                };
                sum.computed = source.len.max(target.len) * per_byte / 1000;
            }
        }
        sum
    }

    fn times(self, times: u64) -> Self {
        Sum {
            computed: self.computed.saturating_mul(times),
            sent: self.sent.saturating_mul(times),
            received: self.received.saturating_mul(times),
            bytes_sent: self.bytes_sent.saturating_mul(times),
        }
    }

    fn add(&mut self, other: Sum) {
        self.computed = self.computed.saturating_add(other.computed);
        self.sent = self.sent.saturating_add(other.sent);
        self.received = self.received.saturating_add(other.received);
        self.bytes_sent = self.bytes_sent.saturating_add(other.bytes_sent);
    }

    /// How long a host is busy that has this to do, with so many cores.
    fn busy_ps(&self, cores: u64) -> Time {
        self.sent.max(self.received).max(self.computed / cores)
    }
}
