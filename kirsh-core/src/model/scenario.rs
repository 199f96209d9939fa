//! "How would this do on 1,024 hosts?": one call on a network, by every algorithm.

use super::channels::ChannelRule;
use super::choice::{Choice, Selection};
use super::network::{Layout, Network};
use super::predict::{Effort, predict};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Params, algorithms, algorithms_with};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub collective: Collective,
    pub ranks: u32,
    /// Ranks on each host but the last, which may have fewer.
    pub ranks_per_host: u32,
    /// Bytes of the larger of a rank's two arrays; rounded down to whole elements, and to as many
    /// for every rank. Counts for nothing in a barrier.
    pub bytes: u64,
    pub dtype: DataType,
    /// Counts for nothing where the collective does not reduce.
    pub op: ReduceOp,
    /// How the elements travel.
    pub wire: Wire,
    /// Only this one; all that there are if `None`.
    pub algorithm: Option<Algorithm>,
    /// Parts that a call is cut into where it can be, each with a core of its own; as many as would be
    /// chosen by the costs and cores if `None`.
    pub channels: Option<u16>,
    pub network: Network,
}

/// What one algorithm would do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulated {
    pub algorithm: Algorithm,
    /// Bytes of the larger of a rank's two arrays, as it was rounded.
    pub bytes: u64,
    /// Bytes of a slice that suit this algorithm here.
    pub slice: u32,
    /// Parts that the call is cut into.
    pub channels: u16,
    /// Until the last rank is through.
    pub time_us: f64,
    /// Size by time, in bytes per nanosecond, which is GB/s.
    pub algbw: f64,
    /// What compares with a link's rate, whatever the number of ranks.
    pub busbw: f64,
    /// Bytes of payload sent by the rank that sends most.
    pub bytes_sent: u64,
    /// Steps of the rank that has most.
    pub steps: u64,
    /// Whether this is what would be chosen on this network, straggler and switches unseen.
    pub chosen: bool,
}

impl Scenario {
    /// Elements as the collective counts them; a barrier has none.
    fn count(&self) -> u64 {
        let elements = self.bytes / self.dtype.size() as u64;
        match self.collective {
            Collective::Barrier => 0,
            collective if per_rank(collective) => elements / u64::from(self.ranks.max(1)),
            _ => elements,
        }
    }

    /// Bytes of the larger array, once rounded.
    pub fn bytes_in_force(&self) -> u64 {
        let parts = if per_rank(self.collective) { u64::from(self.ranks) } else { 1 };
        self.count() * parts * self.dtype.size() as u64
    }

    fn call(&self, algorithm: Algorithm) -> Call {
        let op = if self.collective.reduces() { self.op } else { ReduceOp::Sum };
        let Scenario { collective, dtype, wire, .. } = *self;
        Call { collective, algorithm, dtype, op, root: 0, count: self.count(), wire }
    }

    fn channel_rule(&self) -> ChannelRule {
        let cores_per_rank = self.network.costs.cores / self.ranks_per_host.max(1);
        ChannelRule { forced: self.channels, cores_per_rank }
    }

    fn layout(&self) -> Layout {
        Layout { world: self.ranks, ranks_per_host_max: self.ranks_per_host }
    }
}

/// What each algorithm would take, fastest first.
///
/// # Errors
/// `InvalidArgument` or `Unsupported` for what no rank could call either.
pub fn simulate(scenario: &Scenario, effort: Effort) -> Result<Vec<Simulated>> {
    let Scenario { collective, ranks, algorithm, .. } = *scenario;
    let able = algorithms(collective);
    if let Some(wanted) = algorithm.filter(|wanted| !able.contains(wanted)) {
        let names: Vec<_> = able.iter().map(|algorithm| algorithm.name()).collect();
        let text =
            format!("{wanted} does not carry out {collective}; choose from {}", names.join(", "));
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    if needs_own_counts(collective) {
        let text = format!("{collective} has counts of each rank's own: simulate the even form");
        return Err(Error::new(ErrorKind::Unsupported, text));
    }
    let able = match algorithms_with(collective, scenario.wire) {
        // Refused below, where it is said why.
        [] => able,
        encoded => encoded,
    };
    // What no rank could call, no algorithm carries out.
    let any = Params::new(scenario.call(algorithm.unwrap_or(able[0])), ranks, SLICE_ANY);
    any.check()?;
    let layout = scenario.layout();
    let bytes = scenario.bytes_in_force();
    let selection = Selection::new(scenario.network.costs).with_channels(scenario.channel_rule());
    let chosen = selection.choose(layout, &scenario.call(able[0]), None).algorithm;
    let one = |algorithm: Algorithm| -> Result<Simulated> {
        let call = scenario.call(algorithm);
        let Choice { slice, channels, .. } = selection.choose(layout, &call, Some(algorithm));
        // All parts take as long as the first, which is never the shorter: they share links and cores.
        let part = Params { channels, ..Params::new(call, ranks, slice) }.part(0);
        let costs = scenario.network.costs.of_part(channels);
        let network = Network { costs, ..scenario.network };
        let predicted = predict(&part.params, layout, &network, effort)?;
        let of_all = |bytes: u64| match part.count {
            0 => bytes,
            count => (u128::from(bytes) * u128::from(call.count) / u128::from(count)) as u64,
        };
        let time_ns = (predicted.time_ps as f64 / 1e3).max(f64::MIN_POSITIVE);
        let algbw = if predicted.time_ps == 0 { 0.0 } else { bytes as f64 / time_ns };
        Ok(Simulated {
            algorithm,
            bytes,
            slice,
            channels,
            time_us: predicted.time_ps as f64 / 1e6,
            algbw,
            busbw: algbw * bus_factor(collective, ranks),
            bytes_sent: of_all(predicted.bytes_sent),
            steps: predicted.steps,
            chosen: algorithm == chosen,
        })
    };
    let wanted = algorithm.as_ref().map_or(able, std::slice::from_ref);
    let mut all: Vec<Simulated> = wanted.iter().map(|known| one(*known)).collect::<Result<_>>()?;
    all.sort_by(|a, b| a.time_us.total_cmp(&b.time_us));
    Ok(all)
}

/// Slices of which any plan can be made.
const SLICE_ANY: u32 = 1 << 18;

/// Whether a call's count is that of one rank's part.
const fn per_rank(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allgather | ReduceScatter | Gather | Scatter | Alltoall)
}

const fn needs_own_counts(collective: Collective) -> bool {
    use Collective::*;
    matches!(collective, Allgatherv | ReduceScatterv | Gatherv | Scatterv | Alltoallv)
}

/// What turns algbw into busbw: how many times the larger array's bytes each link has to carry.
fn bus_factor(collective: Collective, ranks: u32) -> f64 {
    use Collective::*;
    let others = f64::from(ranks.saturating_sub(1)) / f64::from(ranks.max(1));
    match collective {
        Allreduce => 2.0 * others,
        Allgather | ReduceScatter | Gather | Scatter | Alltoall => others,
        _ => 1.0,
    }
}
