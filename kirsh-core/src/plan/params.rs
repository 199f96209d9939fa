//! What a plan is made from, and which algorithms there are for what.

use std::sync::Arc;

use super::parts::can_be_cut;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CALL_BYTES_MAX, CHANNELS_MAX, SLICE_BYTES_MAX, STRIPES_MAX, WORLD_SIZE_MAX};
use crate::types::{Algorithm, Call, Collective, DataType, Rank, ReduceOp, Wire};

/// How many elements belong to which rank, where [`Call::count`] does not say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Counts {
    /// As many to each rank as the call's count says.
    #[default]
    Even,
    /// Each rank's, in the order of ranks; all ranks know them all (allgatherv, reduce_scatterv).
    /// The call's count is their sum.
    Known(Arc<[u64]>),
    /// What this rank sends to each rank and receives from each (gatherv, scatterv, alltoallv).
    /// Other ranks have numbers of their own; frames tell where two do not fit. The call's count
    /// is 0.
    Own { send: Arc<[u64]>, recv: Arc<[u64]> },
}

/// What a plan is made from, the rank excepted: the same on every rank of a call, but for
/// [`Counts::Own`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params {
    pub call: Call,
    /// The world size.
    pub world: u32,
    /// Bytes of a slice, at most; rounded down to whole elements.
    pub slice: u32,
    /// Disjoint parts with sockets of their own: see [`Params::part`].
    pub channels: u16,
    /// Sockets within a channel between ranks of different hosts, 1 to [`STRIPES_MAX`].
    pub stripes: u16,
    pub counts: Counts,
}

impl Params {
    /// Parameters with one channel of one stripe, and as many elements for every rank.
    pub const fn new(call: Call, world: u32, slice: u32) -> Self {
        Params { call, world, slice, channels: 1, stripes: 1, counts: Counts::Even }
    }

    /// The same with counts of each rank's own.
    pub fn with_counts(self, counts: Counts) -> Self {
        Params { counts, ..self }
    }

    /// Each rank's count, where all ranks know them; else empty.
    pub fn known_counts(&self) -> &[u64] {
        match &self.counts {
            Counts::Known(counts) => counts,
            Counts::Even | Counts::Own { .. } => &[],
        }
    }

    /// Elements of the larger of this rank's two arrays: what the call moves, as its size is
    /// commonly given. `None` where 64 bits do not hold it.
    pub fn elements(&self) -> Option<u64> {
        use Collective::*;
        let Params { call: Call { collective, count, .. }, world, counts, .. } = self;
        match (collective, counts) {
            (_, Counts::Own { send, recv }) => Some(sum(send)?.max(sum(recv)?)),
            (Allgather | ReduceScatter | Gather | Scatter | Alltoall, _) => {
                count.checked_mul(u64::from(*world))
            }
            _ => Some(*count),
        }
    }

    /// Elements of this rank's Input; 0 where it has none.
    pub fn input_elements(&self, rank: Rank) -> u64 {
        use Collective::*;
        let Params { call: Call { collective, count, root, .. }, world, counts, .. } = self;
        match (collective, counts) {
            (_, Counts::Own { send, .. }) => send.iter().sum(),
            (Allgatherv, Counts::Known(counts)) => counts.get(rank as usize).copied().unwrap_or(0),
            (ReduceScatter | Alltoall, _) => count * u64::from(*world),
            (Scatter, _) if rank == *root => count * u64::from(*world),
            (Scatter | Broadcast | Barrier, _) => 0,
            _ => *count,
        }
    }

    /// Elements of this rank's Output; 0 where it has none.
    pub fn output_elements(&self, rank: Rank) -> u64 {
        use Collective::*;
        let Params { call: Call { collective, count, root, .. }, world, counts, .. } = self;
        match (collective, counts) {
            (_, Counts::Own { recv, .. }) => recv.iter().sum(),
            (ReduceScatterv, Counts::Known(counts)) => {
                counts.get(rank as usize).copied().unwrap_or(0)
            }
            (Allgather | Alltoall, _) => count * u64::from(*world),
            (Gather, _) if rank == *root => count * u64::from(*world),
            (Reduce, _) if rank == *root => *count,
            (Gather | Reduce | Barrier, _) => 0,
            _ => *count,
        }
    }

    /// The first element of this rank's part of the larger array, in those collectives where one
    /// array holds a part for each rank and the other is one part.
    pub fn own_part(&self, rank: Rank) -> Option<u64> {
        use Collective::*;
        let before = |counts: &[u64]| counts.iter().take(rank as usize).sum();
        match (self.call.collective, &self.counts) {
            (Allgather | ReduceScatter | Gather | Scatter, _) => {
                Some(self.call.count * u64::from(rank))
            }
            (Allgatherv | ReduceScatterv, Counts::Known(counts)) => Some(before(counts)),
            (Gatherv, Counts::Own { recv, .. }) => Some(before(recv)),
            (Scatterv, Counts::Own { send, .. }) => Some(before(send)),
            _ => None,
        }
    }

    /// Whether plans can be made of this for the ranks of its world.
    ///
    /// # Errors
    /// `InvalidArgument` or `Unsupported`, naming what does not fit.
    pub fn check(&self) -> Result<()> {
        let Params { call, world, slice, channels, stripes, .. } = self;
        let (world, slice) = (*world, *slice);
        let refuse = |kind, message| {
            Err(Error::new(kind, message).with_operation(call.collective.name(), None))
        };
        let invalid = |message| refuse(ErrorKind::InvalidArgument, message);
        let unsupported = |message| refuse(ErrorKind::Unsupported, message);
        if world == 0 || world > WORLD_SIZE_MAX {
            return invalid(format!("world size {world} is not in 1..={WORLD_SIZE_MAX}"));
        }
        if call.root >= world {
            return invalid(format!("root {} is not a rank of a world of {world}", call.root));
        }
        if let Some(message) = self.counts_misfit() {
            return invalid(message);
        }
        let size = call.dtype.size() as u64;
        if self.elements().is_none_or(|elements| elements > CALL_BYTES_MAX / size) {
            return invalid(format!(
                "{call} on {world} ranks is more than the {CALL_BYTES_MAX} bytes of one call"
            ));
        }
        if u64::from(slice) < size || slice as usize > SLICE_BYTES_MAX {
            return invalid(format!(
                "slices of {slice} bytes: {} needs {size} to {SLICE_BYTES_MAX}",
                call.dtype
            ));
        }
        if *channels != 1 && !((2..=CHANNELS_MAX).contains(channels) && can_be_cut(call.collective))
        {
            return unsupported(format!(
                "{channels} channels: {} is carried out by {}",
                call.collective,
                if can_be_cut(call.collective) {
                    format!("1 to {CHANNELS_MAX}")
                } else {
                    "one alone".to_owned()
                }
            ));
        }
        if !(1..=u16::from(STRIPES_MAX)).contains(stripes) {
            return unsupported(format!("{stripes} stripes: plans have 1 to {STRIPES_MAX}"));
        }
        if *stripes > 1 && call.collective.has_own_counts() {
            return unsupported(format!(
                "{stripes} stripes in {}: its frames keep to one",
                call.collective
            ));
        }
        if !algorithms(call.collective).contains(&call.algorithm) {
            let names: Vec<_> = algorithms(call.collective).iter().map(|a| a.name()).collect();
            return unsupported(format!(
                "{} does not carry out {}; choose from {}",
                call.algorithm,
                call.collective,
                names.join(", ")
            ));
        }
        if let Some(message) = not_encoded(call) {
            return unsupported(message);
        }
        if call.collective.reduces() && !call.op.supports(call.dtype) {
            return unsupported(format!("{} is not defined on {}", call.op, call.dtype));
        }
        if call.op == ReduceOp::Avg
            && matches!(call.collective, Collective::Scan | Collective::Exscan)
        {
            return unsupported(format!(
                "avg in {}: each rank's result has another number of contributions; take sum, and divide by rank + 1 (scan) or by rank (exscan)",
                call.collective
            ));
        }
        Ok(())
    }

    /// What is wrong with the counts, if anything is.
    fn counts_misfit(&self) -> Option<String> {
        use Collective::*;
        let Params { call, world, counts, .. } = self;
        let ranks = *world as usize;
        let of_ranks = |counts: &[u64]| {
            let given = counts.len();
            (given != ranks).then(|| format!("{given} counts for the {ranks} ranks of the world"))
        };
        match (call.collective, counts) {
            (Allgatherv | ReduceScatterv, Counts::Known(counts)) => {
                of_ranks(counts).or_else(|| {
                    (sum(counts) != Some(call.count))
                        .then(|| format!("counts that do not sum up to the call's {}", call.count))
                })
            }
            (Gatherv | Scatterv | Alltoallv, Counts::Own { send, recv }) => {
                of_ranks(send).or_else(|| of_ranks(recv)).or_else(|| {
                    (call.count != 0).then(|| "a count beside those for each rank".to_owned())
                })
            }
            (Allgatherv | ReduceScatterv | Gatherv | Scatterv | Alltoallv, _) => {
                Some("no counts for each rank".to_owned())
            }
            (_, Counts::Even) => None,
            (other, _) => Some(format!("counts for each rank, which {other} does not take")),
        }
    }
}

/// Whether a call's elements can travel in the wire format that it asks for, by its algorithm.
pub fn can_encode(call: &Call) -> bool {
    let Call { collective, algorithm, dtype, op, wire, .. } = *call;
    let fits = dtype == DataType::Float32 && !(collective.reduces() && op == ReduceOp::Prod);
    wire == Wire::Plain || fits && algorithms_with(collective, wire).contains(&algorithm)
}

/// Why they cannot, if they cannot.
pub fn not_encoded(call: &Call) -> Option<String> {
    if can_encode(call) {
        return None;
    }
    let Call { collective, algorithm, dtype, wire, .. } = *call;
    let able = algorithms_with(collective, wire);
    Some(if able.is_empty() {
        format!(
            "wire={wire} in {collective}: elements travel encoded in allreduce, reduce_scatter(v) and allgather(v) alone"
        )
    } else if dtype != DataType::Float32 {
        format!("wire={wire} of {dtype}: float32 alone travels encoded")
    } else if able.contains(&algorithm) {
        format!(
            "wire={wire} with prod, in which every factor enlarges the errors of all others; it goes with sum, avg, premul_sum, min and max"
        )
    } else {
        let names: Vec<_> = able.iter().map(|algorithm| algorithm.name()).collect();
        format!(
            "wire={wire} with {algorithm}, of which there is no encoded form; choose from {}",
            names.join(", ")
        )
    })
}

fn sum(counts: &[u64]) -> Option<u64> {
    counts.iter().try_fold(0u64, |sum, count| sum.checked_add(*count))
}

/// The algorithms that carry out a collective. Of those that a prediction cannot tell apart the
/// earlier is taken.
pub const fn algorithms(collective: Collective) -> &'static [Algorithm] {
    use Algorithm::*;
    match collective {
        Collective::Barrier => &[Dissemination],
        Collective::Broadcast => &[Binomial, Chain, ScatterAllgather, DoubleTree],
        Collective::Allreduce => &[Ring, RecursiveDoubling, Tree, HalvingDoubling, DoubleTree],
        Collective::Reduce => &[Binomial, Chain, ReduceScatterGather, DoubleTree],
        Collective::Allgather | Collective::Allgatherv => &[Ring, RecursiveDoubling, Bruck],
        Collective::ReduceScatter | Collective::ReduceScatterv => {
            &[Ring, RecursiveHalving, Pairwise]
        }
        Collective::Gather | Collective::Scatter => &[Linear, Binomial],
        Collective::Gatherv | Collective::Scatterv => &[Linear],
        Collective::Alltoall => &[Pairwise, Bruck],
        Collective::Alltoallv => &[Pairwise],
        Collective::Scan | Collective::Exscan => &[RecursiveDoubling, Chain],
    }
}

/// Those of them whose elements can travel in a wire format.
pub const fn algorithms_with(collective: Collective, wire: Wire) -> &'static [Algorithm] {
    use Algorithm::*;
    match (wire, collective) {
        (Wire::Plain, _) => algorithms(collective),
        (_, Collective::Allreduce) => &[Ring, HalvingDoubling],
        (
            _,
            Collective::Allgather
            | Collective::Allgatherv
            | Collective::ReduceScatter
            | Collective::ReduceScatterv,
        ) => algorithms(collective),
        _ => &[],
    }
}
