//! What a call gives the busiest processor or NIC to do, added up from plans without walking them.
//!
//! No prediction can be shorter, and a long pipeline is not much longer: so predictions take this
//! from the world that is asked about, and from smaller worlds only how much longer they take.

use super::evaluate::Outcome;
use super::network::{Costs, FRAME_BYTES, Layout, Network, Time};
use super::smaller::{continued, counts_per_rank};
use crate::error::Result;
use crate::plan::{Map, Params, Step, build};
use crate::types::{Collective, DataType, Rank, Wire};

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
    let shared = per_host.min(params.world) > costs.cores.max(1);
    let cores = if shared { u64::from(costs.cores.max(1)) } else { u64::MAX };
    let mut most = Load::default();
    let hosts = if alike { 1 } else { params.world.div_ceil(per_host) };
    let spread = match params.call.collective {
        // Nobody leads: ranks differ in where the array's end cuts a run in two, and nothing else.
        Collective::Alltoall if per_host >= 4 => Spread::Ends,
        // In trees neighbours have other parts.
        collective if per_host < 4 && !counts_per_rank(collective) => Spread::Wide,
        _ => Spread::Few,
    };
    for host in sampled(hosts, spread) {
        let first = host * per_host;
        let end = first.saturating_add(per_host).min(params.world);
        let (mut sent, mut received, mut computed) = (0u64, 0u64, 0u64);
        for rank in first..end {
            let mut own = Sum::default();
            let plan = build(params, rank)?;
            for step in (0..plan.len()).filter_map(|index| plan.step(index)) {
                own.add(step, params, costs, first..end);
            }
            most.busy_ps = most.busy_ps.max(own.computed);
            most.bytes_sent = most.bytes_sent.max(own.bytes_sent);
            sent = sent.saturating_add(own.sent);
            received = received.saturating_add(own.received);
            computed = computed.saturating_add(own.computed);
        }
        most.busy_ps = most.busy_ps.max(sent).max(received).max(computed / cores);
    }
    Ok(most)
}

/// Which hosts are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spread {
    /// The first and the last.
    Ends,
    /// Their neighbours, too, and one between.
    Few,
    /// And more.
    Wide,
}

fn sampled(hosts: u32, spread: Spread) -> impl Iterator<Item = u32> {
    let (middle, third, last) = (hosts / 2, hosts / 3, hosts.saturating_sub(1));
    let mut all = vec![0, last];
    if spread != Spread::Ends {
        all.extend([1, middle]);
    }
    if spread == Spread::Wide {
        all.extend([2, 3, third, third + 1, middle + 1, middle + 2, last.saturating_sub(1)]);
    }
    all.retain(|host| *host < hosts);
    all.sort_unstable();
    all.dedup();
    all.into_iter()
}

/// Times of one rank.
#[derive(Default)]
struct Sum {
    computed: Time,
    sent: Time,
    received: Time,
    bytes_sent: u64,
}

impl Sum {
    fn add(&mut self, step: Step, params: &Params, costs: &Costs, host: std::ops::Range<Rank>) {
        let half = matches!(params.call.dtype, DataType::Float16 | DataType::Bfloat16);
        let fold = if half { costs.fold_half_fs } else { costs.fold_fs };
        let moved = |peer, len: u64| {
            let local = host.contains(&peer);
            let link = if local { &costs.local } else { &costs.remote };
            let wire = if local { 0 } else { (len + FRAME_BYTES) * link.wire_fs / 1000 };
            (link.frame_ps + len * link.copy_fs / 1000, wire)
        };
        let (computed, sent, received) = match step {
            Step::Send { peer, source } => {
                self.bytes_sent += source.len;
                let (computed, wire) = moved(peer, source.len);
                (computed, wire, 0)
            }
            Step::Recv { peer, target } => {
                let (computed, wire) = moved(peer, target.len);
                (computed, 0, wire)
            }
            Step::RecvReduce { peer, into, wire, .. } => {
                let (computed, on_wire) = moved(peer, step.frame_len());
                let decode = if wire == Wire::Plain { 0 } else { costs.encode_fs() };
                (computed + into.len * (fold + decode) / 1000, 0, on_wire)
            }
            Step::Reduce { into, .. } => (into.len * fold / 1000, 0, 0),
            Step::Map { source, target, map } => {
                let per_byte = match map {
                    Map::Copy | Map::Scale => costs.move_fs,
                    Map::Encode(_) | Map::Decode(_) => costs.encode_fs(),
                };
                (source.len.max(target.len) * per_byte / 1000, 0, 0)
            }
        };
        self.computed = self.computed.saturating_add(computed);
        self.sent = self.sent.saturating_add(sent);
        self.received = self.received.saturating_add(received);
    }
}
