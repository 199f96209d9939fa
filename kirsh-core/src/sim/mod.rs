//! The simulator: the sessions of all ranks over a virtual network, in one thread, by seed.
//!
//! It runs the session type that the drivers run, and gives it a harder world than theirs. No byte
//! is buffered between ranks: a frame moves only while its send and its receive are both there,
//! one at a time on each link. Every completion comes at a random moment, some kinds of them only
//! when nothing else can happen, so that a send's *released* may lie far behind its *accepted*.
//! A payload is a list of [`Element`](memory::Element)s, which remember whose contributions they
//! hold and in which order they were folded.
//!
//! What is watched, without asking the session: see [`Violation`]. A run is a pure function of its
//! [`Scenario`], the seed included.

#![forbid(unsafe_code)]

mod act;
mod check;
mod memory;
mod network;
mod queue;
mod rank;
mod straight;
mod world;

use std::fmt;
use std::sync::Arc;

pub use straight::walk;

use crate::error::Error;
use crate::plan::{Counts, Params, Pattern, Plan};
use crate::types::{Collective, Rank};

/// Makes another plan of a rank's own.
pub type Replace = fn(Rank, Arc<dyn Plan>) -> Arc<dyn Plan>;

/// How many elements go from one rank to another (from, to), in a world of this many.
pub type Pairs = fn(world: u32, from: Rank, to: Rank) -> u64;

/// One call, as every rank makes it.
#[derive(Clone, Debug)]
pub struct Calling {
    pub params: Params,
    /// Whether the smaller of each rank's arrays lies in the larger, where it belongs. A
    /// broadcast's always does, those of an alltoall never do.
    pub in_place: bool,
    /// What each rank knows of the counts of gatherv, scatterv and alltoallv.
    pub pairs: Option<Pairs>,
    /// Keeps from the session that the call is in place: a defect that must be found.
    pub alias_hidden: bool,
    /// Puts something in a plan's place, to see it found.
    pub replace: Option<Replace>,
    /// What a rank calls instead: a mistake of its user.
    pub mistake: Option<fn(Rank, Params) -> Params>,
    /// Whether a rank refuses the call before it touches anything.
    pub refused: Option<fn(Rank) -> bool>,
}

impl Calling {
    /// A call with the plan that belongs to it.
    pub const fn new(params: Params, in_place: bool) -> Self {
        Calling {
            params,
            in_place,
            pairs: None,
            alias_hidden: false,
            replace: None,
            mistake: None,
            refused: None,
        }
    }

    /// A gatherv, scatterv or alltoallv with these counts.
    pub fn with_pairs(params: Params, in_place: bool, pairs: Pairs) -> Self {
        Calling { pairs: Some(pairs), ..Calling::new(params, in_place) }
    }

    /// How many elements go from one rank to another in a gatherv, scatterv or alltoallv.
    fn pair(&self, from: Rank, to: Rank) -> u64 {
        let (root, world) = (self.params.call.root, self.params.world);
        let counts = match self.params.call.collective {
            Collective::Gatherv if to != root => None,
            Collective::Scatterv if from != root => None,
            _ => self.pairs,
        };
        counts.map_or(0, |count| count(world, from, to))
    }

    /// What this rank calls.
    fn params_of(&self, rank: Rank) -> Params {
        let mut params = self.params.clone();
        if self.pairs.is_some() {
            let world = 0..params.world;
            params.counts = Counts::Own {
                send: world.clone().map(|to| self.pair(rank, to)).collect(),
                recv: world.map(|from| self.pair(from, rank)).collect(),
            };
        }
        match self.mistake {
            Some(mistake) => mistake(rank, params),
            None => params,
        }
    }
}

/// Everything that a run depends on.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The world size.
    pub world: u32,
    /// What every rank calls, one after the other.
    pub calls: Vec<Calling>,
    /// Where all chance comes from.
    pub seed: u64,
    pub look_ahead: usize,
    pub slabs_per_link: u8,
    /// Which of a call's stripes each frame travels on.
    pub pattern: Pattern,
    /// What goes wrong, and after how many events.
    pub fault: Option<(u64, Fault)>,
    /// How long a call may take on a clock that goes on whenever nothing else can happen. 0 stops
    /// that clock, so that a deadlock is found as one.
    pub timeout_ns: u64,
}

/// Something that goes wrong on purpose.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// A link that is up, taken at random, breaks.
    Cut,
    /// The process of a rank ends: its links close, and everybody hears of it.
    Crash(Rank),
    /// A rank stands still, its links open.
    Freeze(Rank),
    /// A rank's user gives up.
    Abort(Rank),
}

impl Scenario {
    /// A run without faults, with the longest look-ahead and one slab per link.
    pub fn new(world: u32, calls: Vec<Calling>, seed: u64) -> Self {
        let look_ahead = crate::limits::LOOK_AHEAD_MAX;
        Scenario {
            world,
            calls,
            seed,
            look_ahead,
            slabs_per_link: 1,
            pattern: Pattern::EVEN,
            fault: None,
            timeout_ns: 0,
        }
    }
}

/// What a rule of the simulator was broken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An element of a result lacks a rank's contribution.
    Missing,
    /// An element of a result holds a contribution more than once.
    Doubled,
    /// An element of a result holds contributions of another element.
    Misplaced,
    /// The input of a call that is not in place was written to.
    Input,
    /// The ranks' results of an allreduce or allgather were folded, or encoded, in different orders.
    Order,
    /// An average was divided other than once and last, or an input was not scaled once.
    Finish,
    /// Memory was to be written while it was lent: to a send not yet released, to a fold, or to
    /// a receive.
    LentWrite,
    /// Memory was to be read while it was being written.
    TornRead,
    /// Nothing can happen any more, and somebody is not through.
    Deadlock,
    /// A slab was used for two things at once.
    Slab,
    /// A rank left a barrier before all had come.
    Barrier,
    /// Two ranks did not mean the same frame, or an action made no sense.
    Frame,
    /// A call failed although nothing had gone wrong.
    Failed,
}

/// A run that broke a rule.
#[derive(Clone)]
pub struct Failure {
    pub violation: Violation,
    /// Where, in words.
    pub text: String,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.violation, self.text)
    }
}

/// A run in which every rule held.
#[derive(Clone, Debug)]
pub struct Report {
    /// For each call, a number that stands for the order of folds of every element on every rank;
    /// `None` where no rank got a result.
    pub orders: Vec<Option<u64>>,
    /// For each call, what every rank got out of it; `None` for one that crashed or froze before.
    pub outcomes: Vec<Vec<Option<Result<(), Error>>>>,
    /// How many events there were.
    pub events: u64,
    /// Where the clock stood in the end.
    pub now_ns: u64,
    /// Bytes of payload that each rank sent, over all calls.
    pub bytes_sent: Vec<u64>,
}

/// Runs a scenario to its end.
///
/// # Errors
/// The first rule that was broken.
///
/// # Panics
/// Where the parameters of a call make no plan: the scenario is at fault.
pub fn run(scenario: &Scenario) -> Result<Report, Failure> {
    world::World::new(scenario).run()
}
