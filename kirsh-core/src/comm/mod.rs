//! Communicators: what a program calls.
//!
//! Every call becomes a [`RawCall`], whichever way it is made: `blocking` has the safe calls that
//! wait, `started` those that give a [`Work`], `persistent` those that are prepared once and run
//! often. `call` and `arrays` validate it, `plans` has the plan, and it goes to the communicator's
//! lane. Blocking calls drive the sockets from the calling thread; started ones are driven by the
//! progress thread.

mod arrays;
mod blocking;
mod buffer;
mod call;
mod channels;
mod config;
mod costs;
mod create;
mod direct;
mod group;
mod handout;
mod listen;
mod numbers;
mod persistent;
mod plans;
mod rails;
mod raw;
mod simulation;
mod started;
mod stats;
#[cfg(test)]
mod tests;
mod weight;
mod work;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use buffer::{Buffer, Element};
use call::Prepared;
pub use config::{Config, Options, Timeout};
pub use costs::{Tables, channels_in_force, read_table, tables_in_force};
pub use create::driver_in_force;
pub use direct::{RawRecv, RawSend, Received, RecvOutcome, RecvWork, Source, Tag};
pub use numbers::{Complex, Float8E4m3fn, Float8E5m2};
pub use persistent::{Persistent, RawPlan};
use plans::Plans;
pub use raw::{RawArray, RawCall, RawCounts};
pub use simulation::Simulation;
use stats::Preparations;
pub use stats::{LaneStats, PeerStats, Stats};
pub use work::{RawWork, Work};

use crate::driver::channel::Channels;
use crate::driver::completion::Completion;
use crate::driver::fork;
pub use crate::driver::interrupt::set_interrupt_check;
use crate::driver::lane::{Lane, Makings, closed};
use crate::driver::process::Process;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::QUEUE_MAX;
pub use crate::model::scenario::Simulated;
pub use crate::model::units;
pub use crate::reduce::Codec;
use crate::rendezvous::identity::{Env, process_env};
use crate::session::Settings;
use crate::types::{Call, Collective, Rank};

/// How long closing waits for operations that still run before it aborts them.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// A group of ranks that call collectives together.
///
/// Any thread may call. Calls on one communicator are ordered by its lock, and every rank must make
/// the same calls in the same order; `abort` may overlap anything. Clones share one communicator,
/// and the last one to be dropped leaves it.
///
/// [`Communicator::create`] makes the first, of all ranks of the job; [`Communicator::split`],
/// [`Communicator::dup`] and [`Communicator::subgroup`] make further ones from it. These share its
/// listener, its thread and its control connections, and run independently of one another:
/// each has its own order of calls, its own connections for data, and ends or fails alone. They may
/// outlive the one they were made from. The process says goodbye when the last of them closes.
///
/// When a call fails, [`Error::scope`] says whether the communicator goes on; if it does not, every
/// later call returns the same first cause, and the contents of the failed call's buffers are
/// undefined.
#[derive(Clone)]
pub struct Communicator(Arc<Inner>);

struct Inner {
    rank: Rank,
    size: u32,
    local: (u32, u32),
    launched: bool,
    timeout: Option<Duration>,
    plans: Plans,
    preparations: Preparations,
    /// What its session was made with.
    settings: Settings,
    // Before the process, which the lane's links must not outlive.
    lane: Arc<Lane>,
    channels: Channels,
    /// Shared by all communicators that stem from one `create`.
    process: Arc<Process>,
    closed: AtomicBool,
}

/// What a communicator begins with, created or made from another.
struct Birth {
    process: Arc<Process>,
    settings: Settings,
    makings: Makings,
    local: (u32, u32),
    launched: bool,
    timeout: Option<Duration>,
    plans: Plans,
}

impl Communicator {
    /// Creates a communicator of all ranks of the job.
    ///
    /// Collective: every rank of the world calls it, equally often. Blocks until all have come and
    /// rank 0 is connected with each of them, within [`Config::join_timeout`].
    ///
    /// # Errors
    /// `Configuration` for settings that are missing or malformed; `Rendezvous`, `Mismatch`,
    /// `Authentication`, `PeerLost` and `Timeout` when the ranks do not find together, on every
    /// rank that waits; `System` and `Unsupported` for what this machine cannot do.
    pub fn create(config: &Config) -> Result<Communicator> {
        Communicator::create_in(config, &process_env)
    }

    /// The same with settings from elsewhere than the environment.
    pub(crate) fn create_in(config: &Config, env: Env<'_>) -> Result<Communicator> {
        create::create(config, env).map(|inner| Communicator(Arc::new(inner)))
    }

    /// This process's rank.
    pub fn rank(&self) -> Rank {
        self.0.rank
    }

    /// The number of ranks.
    pub fn size(&self) -> u32 {
        self.0.size
    }

    /// This process's place among the ranks of its host, counted from 0.
    pub fn local_rank(&self) -> u32 {
        self.0.local.0
    }

    /// The number of ranks on this host.
    pub fn local_size(&self) -> u32 {
        self.0.local.1
    }

    /// Whether anything named a world: `false` where this is a world of one because nobody did.
    pub fn launched(&self) -> bool {
        self.0.launched
    }

    /// Whether the peers have proven to belong to the job: it has a token, or this is a world of one.
    /// Without a token, whoever reaches this host's loopback interface may take a rank, and what
    /// comes from a peer must not be believed (a Python pickle, say, which runs code).
    pub fn authenticated(&self) -> bool {
        self.0.process.is_authenticated()
    }

    /// What moves the bytes: `uring` or `poll`.
    pub fn driver(&self) -> &'static str {
        self.0.process.driver().name()
    }

    /// Runs a call on pointers: for bindings. Collective; blocks.
    ///
    /// # Errors
    /// See [`Communicator`] for what an error leaves usable.
    ///
    /// # Safety
    /// Until it returns, the arrays of `call` are valid for as many elements as it says, nobody
    /// else writes those of `send` or touches those of `recv`.
    pub unsafe fn call_raw(&self, call: &RawCall<'_>, options: &Options<'_>) -> Result<()> {
        self.run(self.prepare(call, options)?)
    }

    /// Starts a call on pointers.
    ///
    /// # Errors
    /// When the call is refused. The peers are told.
    ///
    /// # Safety
    /// As for [`Communicator::call_raw`], but until the work is over ([`RawWork::is_over`]) or has
    /// been dropped.
    pub unsafe fn start_raw(&self, call: &RawCall<'_>, options: &Options<'_>) -> Result<RawWork> {
        self.check_room(call::nameless(call.collective))?;
        Ok(self.begin(self.prepare(call, options)?))
    }

    /// Prepares a call on pointers that is to be made many times: validated, planned and chosen for
    /// once. Not collective (but with [`Options::weight`]); what it is about is told to the peers when it runs.
    ///
    /// # Errors
    /// When the call is refused. It takes its place in the order of calls then, and the peers are
    /// told, as they wait for its first run.
    ///
    /// # Safety
    /// As for [`Communicator::start_raw`], during each run.
    pub unsafe fn plan_raw(&self, call: &RawCall<'_>, options: &Options<'_>) -> Result<RawPlan> {
        Ok(RawPlan::new(self.clone(), self.prepare(call, options)?))
    }

    /// Refuses a call that a binding could not even put into this interface. It takes its place in
    /// the order of calls and is announced, so that the peers fail at once with its reason.
    /// Returns the error to raise.
    pub fn refuse(&self, collective: Collective, error: Error) -> Error {
        self.refuse_unprepared(call::nameless(collective), error)
    }

    fn refuse_unprepared(&self, call: Call, error: Error) -> Error {
        self.0.preparations.validations.add(1);
        self.refuse_call(call, error)
    }

    /// Ends the communicator on every rank: calls that run, and later ones, fail with
    /// `ErrorKind::Aborted` and this reason. Any thread may call it at any time; it does not block.
    /// In a forked child nothing happens.
    pub fn abort(&self, reason: &str) {
        if fork::check(self.0.process.made_in()).is_err() {
            return;
        }
        let text = format!("rank {} aborted the communicator: {reason}", self.0.rank);
        self.0.lane.abort(Error::new(ErrorKind::Aborted, text).with_peer(self.0.rank));
    }

    /// Leaves this communicator, and none that it was made from or that was made from it. Not
    /// collective: the others go on, and only an operation that needs this rank fails. What still
    /// runs here is given half a second, then aborted. Blocks for at most some two seconds; later
    /// calls fail with `ErrorKind::Closed`. Closing again does nothing.
    ///
    /// # Errors
    /// `Aborted` when operations still ran and had to be aborted; `Forked` in a forked child.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }

    /// What this communicator has done so far.
    pub fn stats(&self) -> Stats {
        Stats::read(&self.0.lanes(), &self.0.preparations)
    }

    /// What it has had to do with each of its ranks, this one among them: one entry a rank, in order.
    pub fn stats_by_peer(&self) -> Vec<PeerStats> {
        PeerStats::read(&self.0.lanes())
    }

    /// Refuses to start an operation where too many wait already.
    fn check_room(&self, call: Call) -> Result<()> {
        let waiting = self.0.lane.waiting();
        if waiting < QUEUE_MAX {
            return Ok(());
        }
        let text = format!("{waiting} started operations are waiting; wait for some first");
        Err(self.refuse_unprepared(call, Error::new(ErrorKind::InvalidArgument, text)))
    }

    /// Runs a prepared call to its end.
    fn run(&self, prepared: Prepared) -> Result<()> {
        let call = prepared.call();
        let (operation, job, parts) = prepared.into_run();
        let others = parts.as_ref().map(|parts| self.0.handover(parts));
        let result = self.0.lane.run(operation, job, others);
        result.map_err(|error| self.0.name(self.0.first_cause(error), call))
    }

    fn begin(&self, prepared: Prepared) -> RawWork {
        let call = prepared.call();
        let (operation, job, parts) = prepared.into_run();
        let others = parts.as_ref().map(|parts| self.0.handover(parts));
        let (sequence, completion): (_, Arc<Completion>) =
            self.0.lane.start(operation, job, others);
        RawWork::new(Arc::clone(&self.0), sequence, completion, call)
    }
}

impl Inner {
    /// Opens the lane of a communicator.
    fn on(birth: Birth) -> Result<Inner> {
        let Birth { process, settings, makings, local, launched, timeout, plans } = birth;
        Ok(Inner {
            rank: settings.rank,
            size: settings.world,
            lane: process.open_lane(settings.clone(), makings)?,
            settings,
            local,
            launched,
            timeout,
            plans,
            preparations: Preparations::default(),
            channels: Channels::default(),
            process,
            closed: AtomicBool::new(false),
        })
    }

    /// Fills in who reports an error, and about what, where that is still open.
    fn name(&self, error: Error, call: Call) -> Error {
        self.name_as(error, call.name())
    }

    fn name_as(&self, error: Error, operation: &'static str) -> Error {
        let error = if error.rank().is_none() { error.with_rank(self.rank) } else { error };
        let error = self.name_peer(error);
        if error.operation().is_none() {
            return error.with_operation(operation, None);
        }
        error
    }

    /// Says which process the error is about, where that has another rank here than in the first
    /// communicator.
    fn name_peer(&self, error: Error) -> Error {
        let Some(peer) = error.peer() else { return error };
        match self.lane.members.world_ranks().get(peer as usize) {
            Some(world_rank) if *world_rank != peer => error.with_note(format_args!(
                " (rank {peer} of this communicator is rank {world_rank} of the first)"
            )),
            _ => error,
        }
    }

    /// Of all its channels, the first one first.
    fn lanes(&self) -> Vec<&Lane> {
        let further = self.channels.iter().map(|channel| &*channel.lane);
        std::iter::once(&*self.lane).chain(further).collect()
    }

    /// The handle is of no use in a forked child.
    fn check_usable(&self) -> Result<()> {
        fork::check(self.process.made_in())?;
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        Ok(())
    }

    fn close(&self) -> Result<()> {
        fork::check(self.process.made_in())?;
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let messages = self.lane.close_messages(CLOSE_PATIENCE);
        let (finished, collectives) = self.lane.close(CLOSE_PATIENCE);
        let outcome = messages.and(collectives).and(self.close_channels());
        self.process.close_lane(&self.lane, finished);
        outcome.map_err(|error| error.with_rank(self.rank).with_operation("close", None))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody is left to hear of operations that had to be aborted, or of being a forked child.
        let _ = self.close();
    }
}

impl fmt::Debug for Communicator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Communicator(rank {} of {})", self.0.rank, self.0.size)
    }
}
