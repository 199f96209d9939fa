//! Which call is made, with what in its arrays: drawn by chance, equal on every rank.

use std::sync::Arc;

use kirsh_core::comm::RawCounts;
use kirsh_core::model::choice::Selection;
use kirsh_core::model::{Class, Layout};
use kirsh_core::plan::{Counts, Params, algorithms_with, build, bytes_sent};
use kirsh_core::{Call, Collective, DataType, ReduceOp, Wire};

use super::common::Random;
use super::{SLICE, WORLD, oracle};

/// One call, as chance has drawn it: equal on every rank.
pub(crate) struct Drawn {
    /// By rank; they differ only in counts of each rank's own.
    pub(crate) params: Vec<Params>,
    pub(crate) seed: u64,
}

impl Drawn {
    pub(crate) fn new(seed: u64, index: u64) -> Self {
        let mut random = Random(seed.wrapping_add(index.wrapping_mul(0x1_0000_0001)));
        // Half of the calls are the one that most programs make.
        let collective = match random.below(2) {
            0 => Collective::Allreduce,
            _ => Collective::ALL[random.below(Collective::ALL.len() as u64) as usize],
        };
        let takes_op = |op: &&ReduceOp| {
            !matches!(collective, Collective::Scan | Collective::Exscan) || **op != ReduceOp::Avg
        };
        let reducing = |dtype: &&DataType| ReduceOp::ALL.iter().any(|op| op.supports(**dtype));
        let dtypes: Vec<_> = DataType::ALL.iter().filter(reducing).collect();
        let mut dtype = *dtypes[random.below(dtypes.len() as u64) as usize];
        let ops: Vec<_> =
            ReduceOp::ALL.iter().filter(|op| op.supports(dtype)).filter(takes_op).collect();
        let mut op = *ops[random.below(ops.len() as u64) as usize];
        let mut count = match random.below(16) {
            0..=5 => random.below(16),
            6..=11 => random.below(2_000),
            12..=14 => random.below(20_000),
            _ => random.below(100_000),
        };
        let mut root = 0;
        if collective == Collective::Barrier {
            (count, dtype) = (0, DataType::Byte);
        }
        if collective.has_root() {
            root = random.below(WORLD.into()) as u32;
        }
        if !collective.reduces() {
            op = ReduceOp::Sum;
        }
        // Of what can travel encoded half does.
        let mut wire = Wire::Plain;
        if !algorithms_with(collective, Wire::Int8).is_empty() && random.below(2) == 0 {
            wire = Wire::ALL[1 + random.below(3) as usize];
            dtype = DataType::Float32;
            let able = [ReduceOp::Sum, ReduceOp::Avg, ReduceOp::PremulSum, ReduceOp::Min];
            op = if collective.reduces() { able[random.below(4) as usize] } else { ReduceOp::Sum };
        }
        // Every algorithm in turn.
        let able = algorithms_with(collective, wire);
        let algorithm = able[index as usize % able.len()];
        let counts = counts(&mut random, collective, root, count);
        let count = match &counts[0] {
            Counts::Even => count,
            Counts::Known(counts) => counts.iter().sum(),
            Counts::Own { .. } => 0,
        };
        let call = Call { collective, algorithm, dtype, op, root, count, wire };
        let layout = Layout { world: WORLD, ranks_per_host_max: WORLD };
        let choice = Selection::built_in(Class::Gbit1, 2).choose(layout, &call, Some(algorithm));
        assert_eq!(choice.algorithm, algorithm);
        let params = counts.into_iter();
        let params = params.map(|counts| Params::new(call, WORLD, SLICE).with_counts(counts));
        Drawn { params: params.collect(), seed: random.next() }
    }

    pub(crate) fn call(&self) -> Call {
        self.params[0].call
    }

    pub(crate) fn params(&self, rank: u32) -> &Params {
        &self.params[rank as usize]
    }

    /// Bytes of a rank's input; of a broadcast its one array counts as such.
    pub(crate) fn input_len(&self, rank: u32) -> usize {
        let params = self.params(rank);
        let elements = match params.call.collective {
            Collective::Broadcast => params.call.count,
            _ => params.input_elements(rank),
        };
        elements as usize * params.call.dtype.size()
    }

    pub(crate) fn output_len(&self, rank: u32) -> usize {
        self.params(rank).output_elements(rank) as usize * self.call().dtype.size()
    }

    pub(crate) fn input(&self, rank: u32) -> Vec<u8> {
        let mut random = Random(self.seed ^ u64::from(rank) << 48);
        let bytes = self.input_len(rank);
        let mut input: Vec<u8> = std::iter::repeat_with(|| random.next().to_ne_bytes())
            .take(bytes.div_ceil(8))
            .flatten()
            .collect();
        input.truncate(bytes);
        input
    }

    pub(crate) fn factors(&self) -> Vec<f64> {
        (0..WORLD).map(|rank| (self.seed % 7) as f64 - 3.25 + f64::from(rank)).collect()
    }

    pub(crate) fn result(&self, rank: u32) -> Vec<u8> {
        let inputs = (0..WORLD).map(|rank| self.input(rank)).collect();
        oracle::results(&self.params, inputs, &self.factors()).swap_remove(rank as usize)
    }

    pub(crate) fn bytes_sent(&self, rank: u32) -> u64 {
        bytes_sent(&*build(self.params(rank), rank).unwrap()).values().sum()
    }
}

/// Each rank's counts of a call whose ranks have some hundred or thousand elements.
fn counts(random: &mut Random, collective: Collective, root: u32, count: u64) -> Vec<Counts> {
    use Collective::*;
    let world = WORLD as usize;
    // Some ranks have nothing.
    let mut some = || if random.below(4) == 0 { 0 } else { random.below(count / 4 + 2) };
    let own = |pairs: &dyn Fn(usize, usize) -> u64| {
        let of = |rank: usize| Counts::Own {
            send: (0..world).map(|to| pairs(rank, to)).collect(),
            recv: (0..world).map(|from| pairs(from, rank)).collect(),
        };
        (0..world).map(of).collect()
    };
    let root = root as usize;
    match collective {
        Allgatherv | ReduceScatterv => {
            let counts: Arc<[u64]> = (0..world).map(|_| some()).collect();
            vec![Counts::Known(counts); world]
        }
        Gatherv => {
            let counts: Vec<u64> = (0..world).map(|_| some()).collect();
            own(&|from, to| if to == root { counts[from] } else { 0 })
        }
        Scatterv => {
            let counts: Vec<u64> = (0..world).map(|_| some()).collect();
            own(&|from, to| if from == root { counts[to] } else { 0 })
        }
        Alltoallv => {
            let counts: Vec<u64> = (0..world * world).map(|_| some()).collect();
            own(&|from, to| counts[from * world + to])
        }
        _ => vec![Counts::Even; world],
    }
}

/// A rank's counts as a caller gives them.
pub(crate) struct Given {
    params: Params,
    own: usize,
    send: Vec<usize>,
    recv: Vec<usize>,
}

impl Given {
    pub(crate) fn new(params: &Params, rank: u32) -> Self {
        let whole = |counts: &[u64]| counts.iter().map(|count| *count as usize).collect();
        let (send, recv): (Vec<_>, Vec<_>) = match &params.counts {
            Counts::Even => Default::default(),
            Counts::Known(counts) => (whole(counts), Vec::new()),
            Counts::Own { send, recv } => (whole(send), whole(recv)),
        };
        let root = params.call.root as usize;
        let own = match params.call.collective {
            Collective::Gatherv => send[root],
            Collective::Scatterv if rank as usize == root => send[root],
            Collective::Scatterv => recv[root],
            _ => 0,
        };
        Given { params: params.clone(), own, send, recv }
    }

    pub(crate) fn raw(&self) -> RawCounts<'_> {
        let Given { own, send, recv, .. } = self;
        match self.params.call.collective {
            Collective::Allgatherv | Collective::ReduceScatterv => RawCounts::Known(send),
            Collective::Gatherv => RawCounts::Rooted { own: *own, each: recv },
            Collective::Scatterv => RawCounts::Rooted { own: *own, each: send },
            Collective::Alltoallv => RawCounts::Pairs { send, recv },
            _ => RawCounts::Even,
        }
    }
}
