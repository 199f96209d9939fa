//! Creating a communicator: who are we, where do we meet, and are we connected.

mod reach;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU8;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::config::Config;
use super::costs;
use super::group::{SLABS_PER_LINK, layout_of, pool};
use super::handout::Handout;
use super::listen::listen;
use super::plans::{Forced, Plans};
use super::{Birth, Inner};
use crate::driver::choose::{self, Choice, DriverKind};
use crate::driver::fork::Fd;
use crate::driver::lane::{Makings, interrupted};
use crate::driver::local;
use crate::driver::members::Members;
use crate::driver::process::Process;
use crate::driver::{Facts, OBSERVE, ONE_RAIL, Observed, Peer, Roll, Trace, ZeroCopy, interrupt};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::choice::built_in_hash;
use crate::model::{ChannelRule, Layout};
use crate::rendezvous::address;
use crate::rendezvous::identity::{self, Arguments, Env};
use crate::rendezvous::join::is_lost;
use crate::rendezvous::rails::{self, Rail};
use crate::rendezvous::settings::{self, DriverChoice, Switch};
use crate::rendezvous::{
    Identity, Joiner, Member, Opened, Patience, Source, Store, Table, host_id, join, open, token,
};
use crate::session::{Dealing, Settings};
use crate::types::Rank;
use crate::wire::auth::Token;

/// The version of the wire protocol: ranks of different versions do not start.
const PROTOCOL: u16 = 1;

/// How long a blocking call looks before it sleeps. A sleep and a wake-up cost some 30 µs each way;
/// an exchange between spinning ranks 4 to 6 µs.
const SPIN: Duration = Duration::from_micros(100);

/// Ranks to a core up to which they look at all. Who looks gives way to the others between two
/// looks, so four ranks on two cores take 30 µs over an all-reduce of 4 bytes instead of 50, eight 70
/// instead of 125; of sixteen so many could run that it gains little, and beyond nothing.
const SPINNERS_PER_CORE: usize = 8;

pub(super) fn create(config: &Config, env: Env<'_>) -> Result<Inner> {
    crate::log::install()?;
    let arguments = Arguments {
        rank: config.rank,
        world_size: config.world_size,
        rendezvous: config.rendezvous.clone(),
        has_store: config.store.is_some(),
    };
    let identity = identity::identity(&arguments, env)?;
    Creation::prepare(config, arguments, identity, env)?.run()
}

/// The driver that a communicator of this process gets, and why.
///
/// # Errors
/// `Configuration` where `KIRSH_DRIVER` is malformed; `Unsupported` where it names io_uring and
/// that cannot be had.
pub fn driver_in_force(env: Env<'_>) -> Result<Choice> {
    choose::choose(match settings::driver(env)? {
        DriverChoice::Auto => None,
        DriverChoice::Uring => Some(DriverKind::Uring),
        DriverChoice::Poll => Some(DriverKind::Poll),
    })
}

/// Everything known before the ranks meet.
struct Creation<'a> {
    config: &'a Config,
    env: Env<'a>,
    arguments: Arguments,
    identity: Identity,
    job: String,
    token: Option<Token>,
    driver: Choice,
    generation: u64,
    deadline: Instant,
}

impl<'a> Creation<'a> {
    fn prepare(
        config: &'a Config,
        arguments: Arguments,
        identity: Identity,
        env: Env<'a>,
    ) -> Result<Self> {
        let job = match &config.job_id {
            Some(job) if job.is_empty() || job.len() > limits::JOB_ID_MAX => {
                let text = format!("a job id has 1 to {} bytes", limits::JOB_ID_MAX);
                return Err(Error::new(ErrorKind::Configuration, text));
            }
            Some(job) => job.clone(),
            None => identity::job_id(&identity, env)?,
        };
        let limit = config.join_timeout.or(settings::join_timeout(env)?);
        // Ten years is as good as for ever, and can be added to a clock.
        let limit = limit.unwrap_or(Duration::from_secs(10 * 365 * 86_400));
        Ok(Creation {
            generation: match &config.store {
                Some(store) if identity.world_size > 1 => {
                    generation_in(&**store, identity.rank, identity.world_size)?
                }
                _ => next_generation(&job, identity.rank, identity.world_size),
            },
            config,
            arguments,
            token: token::find(env)?,
            driver: driver_in_force(env)?,
            deadline: Instant::now() + limit,
            identity,
            job,
            env,
        })
    }

    fn run(self) -> Result<Inner> {
        let alone = self.identity.world_size == 1;
        // P-32: a process of the protocol is what one `create` makes, with all communicators that
        // stem from it.
        let process_id = random_u64()?;
        let (listeners, addresses) =
            if alone { Default::default() } else { self.listen(process_id)? };
        let joiner = self.joiner(process_id, addresses)?;
        if alone {
            return self.connect(Table::alone(&joiner)?, listeners, &[]);
        }
        let (opened, store, outcome) = loop {
            let opened = self.config.store.is_none().then(|| self.meet()).transpose()?;
            let store = match (&self.config.store, &opened) {
                (Some(store), _) => Arc::clone(store),
                (None, Some(opened)) => Arc::clone(&opened.store),
                (None, None) => return Err(Error::new(ErrorKind::Internal, "no store to meet in")),
            };
            let check = || if interrupt::check() { Err(interrupted()) } else { Ok(()) };
            let outcome = join(&*store, &joiner, Patience::new(self.deadline, &check));
            if !self.met_the_past(opened.as_ref(), &outcome) {
                break (opened, store, outcome);
            }
        };
        let joined = outcome.clone().and_then(|table| {
            let (rails, layout) = self.rails_of(&table)?;
            let mut inner = self
                .connect(table, listeners, &rails)
                .inspect_err(|error| self.tell_failure(&*store, error))?;
            let by_rank_0 = opened.as_ref().is_some_and(|opened| opened.is_for(self.generation));
            self.reach_all(&inner, &*store, by_rank_0)?;
            if rails.len() > 1 {
                inner.choose_rails(layout, &rails)?;
            }
            Ok(inner)
        });
        // Whoever serves the store lets the others read the end of it, good or bad.
        if let Some(opened) = opened.filter(|_| self.identity.rank == 0) {
            opened.linger(&joiner, &outcome);
        }
        joined
    }

    /// Whether this rank was so early that it met the store of the communicator before, which rank
    /// 0 was about to take down. It then looks for the next one. A store that rank 0 serves for this
    /// one, and that is gone, is rank 0 gone.
    fn met_the_past(&self, opened: Option<&Opened>, outcome: &Result<Table>) -> bool {
        self.identity.rank != 0
            && self.generation > 0
            && opened.is_some_and(|opened| !opened.is_for(self.generation))
            && outcome.as_ref().is_err_and(is_lost)
            && Instant::now() < self.deadline
    }

    /// Opens the store of the rendezvous.
    fn meet(&self) -> Result<Opened> {
        let found = identity::rendezvous(&self.arguments, &self.identity, self.env)?;
        let Some((rendezvous, _)) = found else {
            let text = "several ranks need a rendezvous: set KIRSH_RENDEZVOUS";
            return Err(Error::new(ErrorKind::Configuration, text));
        };
        let served = settings::rendezvous_served(self.env)?;
        let check = || if interrupt::check() { Err(interrupted()) } else { Ok(()) };
        let patience = Patience::new(self.deadline, &check);
        let (job, token) = (&self.job, self.token.as_ref());
        open(&rendezvous, &self.identity, job, token, served, self.generation, patience)
    }

    /// Where this process listens, and under which addresses others find it.
    fn listen(&self, process_id: u64) -> Result<(Vec<Fd>, Vec<SocketAddr>)> {
        let (mut listeners, addresses) = listen(self.env, self.token.is_some())?;
        if self.local_links()? {
            match local::listen(process_id) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    let rank = self.identity.rank;
                    tracing::info!(rank, %error, "no Unix socket: ranks of this host use TCP");
                }
            }
        }
        Ok((listeners, addresses))
    }

    /// Whether data goes to ranks of this host over Unix sockets, from which the kernel always copies.
    fn local_links(&self) -> Result<bool> {
        let lends = settings::zero_copy(self.env)? == Switch::On;
        Ok(settings::local_links(self.env)? && !lends)
    }

    fn joiner(&self, process_id: u64, addresses: Vec<SocketAddr>) -> Result<Joiner> {
        // Rank 0's table is everybody's: what others find in their environment does not matter.
        let selection = match self.identity.rank {
            0 => costs::tables_in_force(self.env)?.selection,
            _ => costs::assumed(self.env)?,
        };
        let handout = Handout {
            checksum: settings::checksum(self.env)?,
            slice: settings::slice(self.env)?.map(|bytes| bytes as u32),
            stripes: settings::stripes(self.env)?,
            rails: settings::rails(self.env)?,
            wire: match self.config.wire {
                Some(wire) => wire,
                None => settings::wire(self.env)?,
            },
            liveness_ns: nanoseconds(settings::liveness_timeout(self.env)?),
            selection,
            channels: settings::channels(self.env)?,
        };
        Ok(Joiner {
            places: address::places(&addresses)?,
            rank: self.identity.rank,
            world_size: self.identity.world_size,
            job_id: self.job.clone(),
            protocol: PROTOCOL,
            generation: self.generation,
            process_id,
            host_id: host_id(),
            cores: costs::cores(),
            pid: std::process::id(),
            host_name: address::host_name(),
            addresses,
            table_hash: built_in_hash(),
            handout: handout.to_bytes(),
            token: self.token.clone(),
            warn_after: settings::warn_after(self.env)?,
        })
    }

    /// Starts this process's part of the world that the table describes.
    fn connect(&self, table: Table, listeners: Vec<Fd>, rails: &[Rail]) -> Result<Inner> {
        let (rank, world) = (self.identity.rank, self.identity.world_size);
        let handout = Handout::from_bytes(&table.handout)?;
        let hosts: Vec<u64> = table.ranks.iter().map(|member| member.host_id).collect();
        let layout = layout_of(&hosts);
        let checksums = match handout.checksum {
            Switch::On => true,
            Switch::Off => false,
            Switch::Auto => !layout.one_host(),
        };
        let placed = table.local(rank).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "this rank is missing from the table of its world")
        })?;
        let local = match (self.identity.local_rank, self.identity.local_size) {
            (Some(rank), Some(size)) => (rank, size),
            _ => placed,
        };
        let rule = ChannelRule { forced: handout.channels, cores_per_rank: table.cores_per_rank() };
        let selection = handout.selection.with_channels(rule);
        let trace = self.trace()?;
        let facts = Facts {
            rank,
            job: self.job.clone(),
            secret: table.secret.clone(),
            authenticated: self.token.is_some() || world == 1,
            peers: table.ranks.into_iter().map(|member| peer_of(member, rails)).collect(),
            rail: AtomicU8::new(ONE_RAIL),
            checksums,
            liveness_ns: handout.liveness_ns,
            user_timeout_ms: u32::try_from(handout.liveness_ns / 1_000_000).unwrap_or(0),
            rate_limit: settings::rate_limit(self.env)?,
            local_links: self.local_links()?,
            roll: Roll::new(world),
            observed: Arc::new(Observed::new(world, trace)),
        };
        tracing::info!(rank, "the driver is {}: {}", self.driver.kind.name(), self.driver.why);
        let process = Arc::new(Process::start(facts, listeners, self.driver.clone())?);
        let settings = Settings {
            rank,
            world,
            communicator: table.communicator_id,
            epoch: table.epoch,
            look_ahead: limits::LOOK_AHEAD_MAX,
            slabs_per_link: SLABS_PER_LINK,
            checksums,
            warn_after_ns: nanoseconds(settings::warn_after(self.env)?),
            dealing: Dealing::even(),
        };
        let forced = Forced { slice: handout.slice, stripes: handout.stripes, wire: handout.wire };
        let makings = Makings {
            members: Members::everyone(world),
            pool: pool(world),
            priority: 0,
            stripes_near: handout.stripes.is_some(),
            rails: None,
            spin_ns: self.spin_ns(placed.1)?,
            zero_copy: match settings::zero_copy(self.env)? {
                Switch::Auto => ZeroCopy::Auto,
                Switch::On => ZeroCopy::On,
                Switch::Off => ZeroCopy::Off,
            },
            further: None,
        };
        Inner::on(Birth {
            process,
            settings,
            makings,
            local,
            launched: self.identity.source != Source::Alone,
            timeout: self.config.timeout.or(settings::timeout(self.env)?),
            plans: Plans::new(layout, selection, forced),
        })
    }

    /// The rails of a world, where several hosts may use them, and its layout.
    fn rails_of(&self, table: &Table) -> Result<(Vec<Rail>, Layout)> {
        let hosts: Vec<u64> = table.ranks.iter().map(|member| member.host_id).collect();
        let layout = layout_of(&hosts);
        let wanted = Handout::from_bytes(&table.handout)?.rails && !layout.one_host();
        Ok((if wanted { rails::rails(&table.ranks) } else { Vec::new() }, layout))
    }

    /// The trace of this process, where one is asked for.
    fn trace(&self) -> Result<Option<Trace>> {
        let Some(name) = settings::trace(self.env)? else { return Ok(None) };
        if !OBSERVE {
            let text = "KIRSH_TRACE is set, and this library was built without its feature observe";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        Trace::open(&name, self.identity.rank, self.identity.world_size).map(Some)
    }

    /// How long blocking calls spin. Not where this host's ranks outnumber its cores many times: giving
    /// way among them all takes longer than waking the right one.
    fn spin_ns(&self, local_size: u32) -> Result<u64> {
        if let Some(spin) = settings::spin(self.env)? {
            return Ok(nanoseconds(Some(spin)));
        }
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let crowded = local_size as usize > SPINNERS_PER_CORE * cores;
        Ok(if crowded { 0 } else { nanoseconds(Some(SPIN)) })
    }
}

/// What the driver needs of what a rank published.
fn peer_of(member: Member, rails: &[Rail]) -> Peer {
    let Member { process_id, host_id, addresses, .. } = member;
    let rail_of = |address: &SocketAddr| {
        let rail = rails.iter().position(|rail| rail.holds(address.ip()));
        rail.map_or(ONE_RAIL, |rail| rail as u8)
    };
    let rail_of = addresses.iter().map(rail_of).collect();
    Peer { process_id, host_id, addresses, rail_of }
}

/// How many communicators this process has created before as this rank of this job.
fn next_generation(job: &str, rank: Rank, world: u32) -> u64 {
    type Made = HashMap<(String, Rank, u32), u64>;
    static MADE: Mutex<Option<Made>> = Mutex::new(None);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let count = made.get_or_insert_default().entry((job.to_owned(), rank, world)).or_default();
    *count += 1;
    *count - 1
}

/// How many communicators this process has created before as this rank by way of this store, counted there:
/// a process may be of many groups of ranks, each with a store (or a prefix in one) of its own. Another
/// process counts for itself, so that two who claim one rank meet, and are told.
fn generation_in(store: &dyn Store, rank: Rank, world: u32) -> Result<u64> {
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let drawn = random_u64()?;
    let (pid, process) = (std::process::id(), PROCESS.get_or_init(|| drawn));
    let count = store.add(&format!("kirsh/made/{world}/{rank}/{pid}-{process:016x}"), 1)?;
    let before = u64::try_from(count).ok().and_then(|count| count.checked_sub(1));
    before.ok_or_else(|| {
        let text = format!("{} counts {count} communicators of rank {rank}", store.describe());
        Error::new(ErrorKind::Rendezvous, text)
    })
}

fn nanoseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
}

fn random_u64() -> Result<u64> {
    getrandom::u64()
        .map_err(|cause| Error::system("drawing random numbers", &io::Error::other(cause)))
}
