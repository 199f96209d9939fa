//! Which algorithm, and which slices: what the model predicts to be fastest.
//!
//! Rank 0 hands its table of costs out at join, and the hash of what is built in is compared, so
//! every rank predicts, and chooses, alike. Choosing is a pure function of the table, the layout
//! of the world and the call.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::channels::ChannelRule;
use super::network::{Class, Costs, Layout, Network};
use super::predict::{Effort, Predictor};
use super::smaller::{counts_per_rank, parts};
use super::table::TABLE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::CHOICE_CACHE_MAX;
use crate::plan::{Params, algorithms, algorithms_with, can_be_cut};
use crate::types::{Algorithm, Call, Collective, DataType, ReduceOp, Wire};

/// What was chosen for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub algorithm: Algorithm,
    /// Bytes of a slice, whole elements.
    pub slice: u32,
    /// Parts that the call is cut into, each carried out by a core of its own.
    pub channels: u16,
}

const KIB: u32 = 1 << 10;

/// The slices to choose from. Smaller ones cost more processor time than they save by overlap.
const SLICES: [u32; 6] = [16 * KIB, 64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, 1024 * KIB];

/// The largest of them that is tried first: with more bytes to a slice little changes.
const MIDDLE: usize = 3;

/// What a call is cut into where nothing can be predicted: over loopback 256 KiB to 1 MiB moved
/// most, and the smallest of these leaves most to overlap.
const SLICE_DEFAULT: u32 = 256 * KIB;

/// What two ranks have to exchange in a step for it to go by several sockets: two slices of the usual size.
const STRIPED_BYTES_MIN: u64 = 2 * SLICE_DEFAULT as u64;

/// Worlds in which choosing has time for everything that could be worth it, and those in which it has to
/// hurry, in ranks.
const WORLD_SMALL: u32 = 16;
const WORLD_LARGE: u32 = 64;

/// Steps after whose walk a choice that takes long begins no other: about a millisecond. Counted and not
/// timed, so that all ranks stop at the same place.
const STEPS_LARGE: u64 = 4_000;

/// The share of a time by which an algorithm has to be faster than one that is preferred to it. What
/// the model leaves out weighs more than this.
const ALIKE: u64 = 50;

/// The version of the encoding.
const VERSION: u8 = 3;

/// Changes whenever equal tables could lead to other choices than before: ranks whose models differ
/// must not start together.
const MODEL_VERSION: u8 = 5;

/// A table of costs, with the algorithms that a user forced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    costs: Costs,
    forced: Vec<(Collective, Algorithm)>,
    channels: ChannelRule,
}

impl Selection {
    /// Chooses by these costs.
    pub const fn new(costs: Costs) -> Self {
        Selection { costs, forced: Vec::new(), channels: ChannelRule::ONE }
    }

    /// Chooses by the costs built in for a class of links and hosts of so many cores.
    pub const fn built_in(class: Class, cores: u32) -> Self {
        Selection::new(Costs::built_in(class, cores))
    }

    /// The costs that it goes by.
    pub const fn costs(&self) -> &Costs {
        &self.costs
    }

    /// The same for links between hosts on which a byte takes no longer than this, in femtoseconds.
    pub fn with_wire(mut self, wire_fs: u64) -> Self {
        self.costs.remote.wire_fs = self.costs.remote.wire_fs.min(wire_fs);
        self
    }

    /// The algorithms that are forced, in the order of collectives.
    pub fn forced(&self) -> &[(Collective, Algorithm)] {
        &self.forced
    }

    /// The same with algorithms forced by a text such as `allreduce:ring,broadcast:chain`. Later
    /// words win over earlier ones; an empty text forces nothing.
    ///
    /// # Errors
    /// `Configuration`, quoting the word and listing what it could have been.
    pub fn with_forced(mut self, text: &str) -> Result<Self> {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (collective, algorithm) = parse_forced(word)?;
            self.forced.retain(|(other, _)| *other != collective);
            self.forced.push((collective, algorithm));
        }
        // One order for one meaning, so that equal selections have equal bytes.
        self.forced.sort_unstable();
        Ok(self)
    }

    /// The same with channels by this rule; without one every call has one.
    pub const fn with_channels(mut self, channels: ChannelRule) -> Self {
        self.channels = channels;
        self
    }

    /// What a call is carried out with. `wanted` is the algorithm that the call itself names, if it
    /// does, and goes before the forced ones; which of those the call names counts for nothing.
    ///
    /// Calls whose counts are each rank's own (gatherv, scatterv, alltoallv) are cut alike whatever
    /// their size, which no rank knows.
    pub fn choose(&self, layout: Layout, call: &Call, wanted: Option<Algorithm>) -> Choice {
        let about = rounded(call, layout.world);
        let channels = self.channels_of(layout, call.collective, &about);
        self.choose_rounded(layout, &about, self.required(call, wanted), channels)
    }

    /// The channels of a call of this collective that is about as large as this one.
    fn channels_of(&self, layout: Layout, collective: Collective, about: &Call) -> u16 {
        if can_be_cut(collective) { self.channels.choose(layout, &self.costs, about) } else { 1 }
    }

    /// The algorithm that a call must be carried out with, where it names one or one is forced.
    pub fn required(&self, call: &Call, wanted: Option<Algorithm>) -> Option<Algorithm> {
        let forced = self.forced.iter().find(|(other, _)| *other == call.collective);
        wanted.or(forced.map(|(_, algorithm)| *algorithm))
    }

    /// How many sockets carry a call between two ranks of different hosts, on each of the rails that join
    /// them; `None` where the call is too small for more than one socket in all. For what was chosen: the
    /// parameters have algorithm and slice.
    ///
    /// A frame has one socket, so several are of use only where a step has frames for each of them under
    /// way at a time; and each costs a handshake, two slabs, and a congestion window to be opened.
    pub fn stripes(&self, layout: Layout, params: &Params) -> Option<u8> {
        let size = params.call.dtype.size() as u64;
        let part = params.elements().unwrap_or(u64::MAX).saturating_mul(size);
        let part = part / parts(params).max(1) / u64::from(params.channels.max(1));
        let large = part >= STRIPED_BYTES_MIN.max(2 * u64::from(params.slice));
        (large && !layout.one_host()).then_some(self.costs.stripes)
    }

    fn choose_rounded(
        &self,
        layout: Layout,
        call: &Call,
        required: Option<Algorithm>,
        channels: u16,
    ) -> Choice {
        let mut all = algorithms_with(call.collective, call.wire);
        if all.is_empty() {
            // Whoever builds the plan refuses it, and says why.
            all = algorithms(call.collective);
        }
        let candidates = required.as_ref().map_or(all, std::slice::from_ref);
        let fallback = Choice { algorithm: candidates[0], slice: SLICE_DEFAULT, channels };
        // Nothing to send: nothing to weigh.
        if layout.world <= 1 || call.count == 0 {
            return fallback;
        }
        // What suits one part suits all: they run at the same time.
        let costs = self.costs.of_part(channels);
        let count = call.count.div_ceil(channels.into());
        let part = Call { count, ..*call };
        let mut contest = Contest::new(layout, &costs, &part);
        // Those that could be fastest go first, and leave the others little to do; of those that have
        // equally much to do, about, the one that is preferred.
        let mut firsts: Vec<(u64, Algorithm, usize)> =
            candidates.iter().filter_map(|algorithm| contest.middle(*algorithm)).collect();
        let least = firsts.iter().map(|(bound_ps, ..)| *bound_ps).min().unwrap_or(0);
        let alike = least.saturating_add(least / ALIKE);
        firsts.sort_by_key(|(bound_ps, ..)| if *bound_ps <= alike { 0 } else { *bound_ps });
        // Where a try takes long, only who leads is tried with other slices, and at once: that leaves
        // the others even less to do.
        let large = layout.world > WORLD_LARGE;
        let mut best: Option<Found> = None;
        let mut found: Vec<Found> = Vec::with_capacity(candidates.len());
        for (bound_ps, algorithm, slice) in firsts {
            if best.is_some_and(|best| bound_ps >= best.worth_looking() || contest.is_out_of_time())
            {
                continue;
            }
            let Some(mut first) = contest.at(algorithm, slice, u64::MAX) else { continue };
            if large && best.is_none_or(|best| first.time_ps < best.time_ps) {
                first = contest.improve(first);
            }
            found.push(first);
            best = Some(best.map_or(first, |best| best.or_if_much_faster(first)));
        }
        // The slice matters less than the algorithm: only those that are near the best are tried
        // with others.
        let share = if layout.world <= WORLD_SMALL { 1 } else { 3 };
        let near = best.map_or(0, |best| best.time_ps.saturating_add(best.time_ps / share));
        for first in found.into_iter().filter(|found| !large && found.time_ps <= near) {
            let improved = contest.improve(first);
            best = best.map(|best| best.or_if_much_faster(improved));
        }
        best.map_or(fallback, |best| Choice {
            algorithm: best.algorithm,
            slice: SLICES[best.slice],
            channels,
        })
    }

    /// The selection as bytes, for the hand-out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.forced.len() as u8];
        for (collective, algorithm) in &self.forced {
            bytes.extend([*collective as u8, *algorithm as u8]);
        }
        bytes.extend(self.costs.to_bytes());
        bytes
    }

    /// The selection that `to_bytes` wrote.
    ///
    /// # Errors
    /// `Protocol` for anything else, also for algorithms that do not carry out their collective
    /// and costs that no network has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed = |what: &str| {
            Error::new(ErrorKind::Protocol, format!("the table of costs from rank 0 {what}"))
        };
        let (head, rest) = bytes.split_at_checked(2).ok_or_else(|| malformed("is too short"))?;
        if head[0] != VERSION {
            let message = format!("has version {}, this is version {VERSION}", head[0]);
            return Err(malformed(&message));
        }
        let forced_len = usize::from(head[1]) * 2;
        let (forced, costs) =
            rest.split_at_checked(forced_len).ok_or_else(|| malformed("is too short"))?;
        let unknown = || malformed("names what this build does not know");
        let forced = forced.chunks_exact(2).map(|pair| fitting(pair[0], pair[1]));
        let forced: Option<Vec<_>> = forced.collect();
        let costs: &[u8; TABLE_BYTES] =
            costs.try_into().map_err(|_| malformed("has another length than it says"))?;
        let costs = Costs::from_bytes(costs).ok_or_else(|| malformed("is of no network"))?;
        Ok(Selection { costs, forced: forced.ok_or_else(unknown)?, channels: ChannelRule::ONE })
    }
}

/// A number that is equal on two builds only where they choose alike from equal tables: the first
/// 64 bits of a SHA-256, little-endian, over the model's version and everything built in.
pub fn built_in_hash() -> u64 {
    let mut digest = Sha256::new();
    digest.update([MODEL_VERSION]);
    for class in Class::ALL {
        digest.update(Costs::built_in(class, 1).to_bytes());
    }
    for slice in SLICES {
        digest.update(slice.to_le_bytes());
    }
    let digest = digest.finalize();
    let first: [u8; 8] = std::array::from_fn(|at| digest[at]);
    u64::from_le_bytes(first)
}

/// A call, about as large as it is, with the algorithm that it must have, if any, and its channels.
type Question = (Call, Option<Algorithm>, u16);

/// Chooses for one world, and remembers what it chose.
pub struct Chooser {
    layout: Layout,
    selection: Selection,
    known: Mutex<HashMap<Question, Choice>>,
}

impl Chooser {
    pub fn new(layout: Layout, selection: Selection) -> Self {
        let known = Mutex::new(HashMap::with_capacity(CHOICE_CACHE_MAX));
        Chooser { layout, selection, known }
    }

    /// The layout that it chooses for.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What it chooses by.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// As [`Selection::choose`], which is asked once for each size, about.
    pub fn choose(&self, call: &Call, wanted: Option<Algorithm>) -> Choice {
        let required = self.selection.required(call, wanted);
        let about = rounded(call, self.layout.world);
        let channels = self.selection.channels_of(self.layout, call.collective, &about);
        let key = (about, required, channels);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(choice) = known.get(&key) {
            return *choice;
        }
        let choice = self.selection.choose_rounded(self.layout, &about, required, channels);
        if known.len() == CHOICE_CACHE_MAX {
            known.clear();
        }
        known.insert(key, choice);
        choice
    }
}

/// The call that stands for all that are about as large: with the count's four highest bits, and
/// without what makes no difference to its time.
fn rounded(call: &Call, world: u32) -> Call {
    use Collective::*;
    let (collective, count) = match call.collective {
        // Of counts that differ the model knows the sum.
        Allgatherv => (Allgather, call.count.div_ceil(world.max(1).into())),
        ReduceScatterv => (ReduceScatter, call.count.div_ceil(world.max(1).into())),
        other => (other, call.count),
    };
    // No type of another kind has 16 bytes; two numbers of 8 are as large.
    let count = if call.dtype.size() == 16 { count.saturating_mul(2) } else { count };
    let below = count.checked_ilog2().unwrap_or(0).saturating_sub(3);
    Call {
        collective,
        algorithm: algorithms(collective)[0],
        dtype: match call.dtype {
            // What an encoding has to be of.
            dtype if call.wire != Wire::Plain => dtype,
            // Types of one size cost the same, but for the folds of 16-bit floats.
            DataType::Float16 | DataType::Bfloat16 if collective.reduces() => DataType::Float16,
            dtype => match dtype.size() {
                1 => DataType::Uint8,
                2 => DataType::Int16,
                4 => DataType::Int32,
                _ => DataType::Int64,
            },
        },
        op: if collective.reduces() { ReduceOp::Max } else { ReduceOp::Sum },
        root: 0,
        count: count >> below << below,
        wire: call.wire,
    }
}

/// One algorithm with one of the slices.
#[derive(Clone, Copy)]
struct Found {
    time_ps: u64,
    algorithm: Algorithm,
    slice: usize,
}

impl Found {
    /// Of two algorithms that take equally long, about, the earlier; of one with two slices the faster.
    fn or_if_much_faster(self, other: Found) -> Found {
        let alike = if other.algorithm == self.algorithm { 0 } else { self.time_ps / ALIKE };
        if other.time_ps < self.time_ps - alike { other } else { self }
    }

    /// What another could not be below would have to be below this: a twentieth is less than a
    /// prediction of a few steps can tell apart.
    fn worth_looking(&self) -> u64 {
        self.time_ps - self.time_ps / 20
    }
}

struct Contest<'a> {
    layout: Layout,
    call: &'a Call,
    predictor: Predictor,
}

impl<'a> Contest<'a> {
    fn new(layout: Layout, costs: &Costs, call: &'a Call) -> Self {
        Contest { layout, call, predictor: Predictor::new(layout, &Network::new(*costs)) }
    }

    fn params(&self, algorithm: Algorithm, slice: usize) -> Params {
        let call = Call { algorithm, ..*self.call };
        Params::new(call, self.layout.world, SLICES[slice])
    }

    /// The largest slice that makes a difference: one that holds all that a rank sends in a step.
    fn largest(&self, algorithm: Algorithm) -> usize {
        let part = self.part_bytes(algorithm);
        let step = part.saturating_mul(self.parts_at_once(algorithm));
        SLICES.iter().position(|slice| u64::from(*slice) >= step).unwrap_or(SLICES.len() - 1)
    }

    /// Parts that lie side by side and go together in the longest step. What takes `log n` steps passes on
    /// half of all ranks' parts in one of them.
    fn parts_at_once(&self, algorithm: Algorithm) -> u64 {
        use Algorithm::*;
        let doubles = matches!(algorithm, RecursiveHalving | RecursiveDoubling | Binomial | Bruck);
        if doubles && counts_per_rank(self.call.collective) {
            u64::from(self.layout.world.next_power_of_two() / 2).max(1)
        } else {
            1
        }
    }

    fn part_bytes(&self, algorithm: Algorithm) -> u64 {
        let params = self.params(algorithm, 0);
        let bytes =
            params.elements().unwrap_or(u64::MAX).saturating_mul(self.call.dtype.size() as u64);
        bytes.div_ceil(parts(&params).max(1))
    }

    /// A slice of which a part has a good many: enough to fill a pipeline as deep as the algorithm's,
    /// each long enough to be worth its frame. With what its time cannot be below, whatever the slice:
    /// the largest makes the fewest frames.
    fn middle(&mut self, algorithm: Algorithm) -> Option<(u64, Algorithm, usize)> {
        let world = self.layout.world;
        let depth = if algorithm == Algorithm::Chain { world } else { world.ilog2() };
        let wanted = self.part_bytes(algorithm) / (4 * u64::from(depth.max(2)));
        let middle = SLICES[..=MIDDLE].iter().rposition(|slice| u64::from(*slice) <= wanted);
        let slice = middle.unwrap_or(0).min(self.largest(algorithm));
        let largest = self.params(algorithm, self.largest(algorithm));
        Some((self.predictor.bound_ps(&largest).ok()?, algorithm, slice))
    }

    /// Goes on to larger slices as long as that does not hurt, or else to smaller ones as long as
    /// that helps.
    fn improve(&mut self, first: Found) -> Found {
        let mut best = first;
        let largest = self.largest(first.algorithm);
        // Fewer frames are better where nothing speaks against them, and there is time to see.
        let small = self.layout.world <= WORLD_SMALL;
        while best.slice < largest && !self.is_out_of_time() {
            let below_ps = if small { u64::MAX } else { best.worth_looking() };
            match self.at(best.algorithm, best.slice + 1, below_ps) {
                Some(next) if next.time_ps <= best.time_ps => best = next,
                _ => break,
            }
        }
        while best.slice <= first.slice && best.slice > 0 && !self.is_out_of_time() {
            match self.at(best.algorithm, best.slice - 1, best.worth_looking()) {
                Some(next) if next.time_ps < best.time_ps => best = next,
                _ => break,
            }
        }
        best
    }

    /// Whether a choice should be content with what it has found: in a large world of hosts with many
    /// ranks, where every walk takes many.
    fn is_out_of_time(&self) -> bool {
        let Layout { world, ranks_per_host_max } = self.layout;
        world > 2 * WORLD_LARGE && ranks_per_host_max > 4 && self.predictor.walked() >= STEPS_LARGE
    }

    /// What this takes, unless it is clear without a walk that it cannot take less than this.
    fn at(&mut self, algorithm: Algorithm, slice: usize, below_ps: u64) -> Option<Found> {
        let params = self.params(algorithm, slice);
        if below_ps < u64::MAX && self.predictor.bound_ps(&params).ok()? >= below_ps {
            return None;
        }
        let time_ps = self.predictor.time_ps(&params, Effort::of_choice(self.layout)).ok()?;
        Some(Found { time_ps, algorithm, slice })
    }
}

/// Both numbers as names, where the second carries out the first.
fn fitting(collective: u8, algorithm: u8) -> Option<(Collective, Algorithm)> {
    let collective = Collective::from_u8(collective)?;
    let algorithm = Algorithm::from_u8(algorithm)?;
    algorithms(collective).contains(&algorithm).then_some((collective, algorithm))
}

fn parse_forced(word: &str) -> Result<(Collective, Algorithm)> {
    let wrong = |why: String| {
        let message = format!("\"{word}\" does not choose an algorithm: {why}");
        Error::new(ErrorKind::Configuration, message)
    };
    let listed = |names: Vec<&str>| names.join(", ");
    let (collective, algorithm) = word
        .split_once(':')
        .ok_or_else(|| wrong("write collective:algorithm, as in allreduce:ring".into()))?;
    let collective = Collective::from_name(collective.trim()).ok_or_else(|| {
        let names = Collective::ALL.iter().map(|known| known.name()).collect();
        wrong(format!("the collectives are {}", listed(names)))
    })?;
    let fit = algorithms(collective);
    let algorithm = fit.iter().find(|known| known.name() == algorithm.trim()).ok_or_else(|| {
        let names = fit.iter().map(|known| known.name()).collect();
        wrong(format!("{collective} is carried out by {}", listed(names)))
    })?;
    Ok((collective, *algorithm))
}
