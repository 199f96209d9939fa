//! Creating a communicator: who are we, where do we meet, and are we connected.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Inner;
use super::config::Config;
use super::costs;
use super::plans::Plans;
use crate::driver::choose::{self, Choice, DriverKind};
use crate::driver::fork::Fd;
use crate::driver::lane::interrupted;
use crate::driver::process::Process;
use crate::driver::socket::{self, PortRange};
use crate::driver::{Facts, Roll, interrupt};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::memory::Pool;
use crate::model::Layout;
use crate::model::choice::{Selection, built_in_hash};
use crate::rendezvous::address::{self, Listening};
use crate::rendezvous::identity::{self, Arguments, Env, process_env};
use crate::rendezvous::settings::{self, Checksum, DriverChoice};
use crate::rendezvous::{
    Identity, Joiner, Member, Opened, Patience, Source, Store, Table, await_count, host_id, join,
    open, token,
};
use crate::session::Settings;
use crate::types::Rank;
use crate::wire::auth::Token;

/// The version of the wire protocol: ranks of different versions do not start.
const PROTOCOL: u16 = 1;

/// How many slabs each link owns: one is folded from while the next fills.
const SLABS_PER_LINK: u8 = 2;

/// How long a blocking call looks before it sleeps. A sleep and a wake-up cost some 30 µs each way;
/// an exchange between spinning ranks 4 to 6 µs.
const SPIN: Duration = Duration::from_micros(60);

/// How long to wait for control links before looking for interrupts and word of failure again.
const REACH_STEP: Duration = Duration::from_millis(100);

/// Where a rank that cannot reach another says so, for those that wait.
const UNREACHABLE: &str = "unreachable";

pub(super) fn create(config: &Config) -> Result<Inner> {
    crate::log::install()?;
    let env: Env<'_> = &process_env;
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
            None => settings::job_id(env)?,
        };
        let limit = config.join_timeout.or(settings::join_timeout(env)?);
        // Ten years is as good as for ever, and can be added to a clock.
        let limit = limit.unwrap_or(Duration::from_secs(10 * 365 * 86_400));
        Ok(Creation {
            generation: next_generation(&job, identity.rank, identity.world_size),
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
        let (listeners, addresses) = if alone { Default::default() } else { self.listen()? };
        let joiner = self.joiner(addresses)?;
        if alone {
            return self.connect(Table::alone(&joiner)?, listeners);
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
            if !self.met_the_past(&outcome) {
                break (opened, store, outcome);
            }
        };
        let joined = outcome.clone().and_then(|table| {
            let inner = self
                .connect(table, listeners)
                .inspect_err(|error| self.tell_failure(&*store, error))?;
            self.reach_all(&inner, &*store)?;
            Ok(inner)
        });
        // Whoever serves the store lets the others read the end of it, good or bad.
        if let Some(opened) = opened.filter(|_| self.identity.rank == 0) {
            opened.linger(&joiner, &outcome);
        }
        joined
    }

    /// Whether this rank was so early that it met the store of the communicator before, which rank
    /// 0 was about to take down. It then looks for the next one.
    fn met_the_past(&self, outcome: &Result<Table>) -> bool {
        self.config.store.is_none()
            && self.identity.rank != 0
            && self.generation > 0
            && outcome.as_ref().is_err_and(crate::rendezvous::join::is_lost)
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
        open(&rendezvous, &self.identity, &self.job, self.token.as_ref(), served, patience)
    }

    /// Opens the listener, and says under which addresses others find it.
    fn listen(&self) -> Result<(Vec<Fd>, Vec<SocketAddr>)> {
        let ports = match settings::ports(self.env)? {
            Some(range) => PortRange::new(*range.start(), *range.end()).unwrap_or(PortRange::ANY),
            None => PortRange::ANY,
        };
        let bind = settings::bind(self.env)?;
        let loopback_only = self.token.is_none();
        let address = match bind {
            Some(address) => address,
            None if loopback_only => IpAddr::V4(Ipv4Addr::LOCALHOST),
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let (listener, at) = socket::listen(address, ports)?;
        let filter = settings::interfaces(self.env)?;
        let advertise = settings::advertise(self.env)?;
        let listening = Listening {
            port: at.port(),
            bind,
            advertise: &advertise,
            filter: &filter,
            loopback_only,
        };
        Ok((vec![listener], address::published(&listening)?))
    }

    fn joiner(&self, addresses: Vec<SocketAddr>) -> Result<Joiner> {
        // Rank 0's table is everybody's: what others find in their environment does not matter.
        let selection = match self.identity.rank {
            0 => costs::tables_in_force(self.env)?.selection,
            _ => costs::assumed(self.env)?,
        };
        let handout = Handout {
            checksum: settings::checksum(self.env)?,
            slice: settings::slice(self.env)?.map(|bytes| bytes as u32),
            liveness_ns: nanoseconds(settings::liveness_timeout(self.env)?),
            selection,
        };
        Ok(Joiner {
            rank: self.identity.rank,
            world_size: self.identity.world_size,
            job_id: self.job.clone(),
            protocol: PROTOCOL,
            generation: self.generation,
            // P-32: for now a process is what creates one communicator.
            process_id: random_u64()?,
            host_id: host_id(),
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
    fn connect(&self, table: Table, listeners: Vec<Fd>) -> Result<Inner> {
        let (rank, world) = (self.identity.rank, self.identity.world_size);
        let handout = Handout::from_bytes(&table.handout)?;
        let layout = layout_of(&table.ranks);
        let checksums = match handout.checksum {
            Checksum::On => true,
            Checksum::Off => false,
            Checksum::Auto => !layout.one_host(),
        };
        let placed = table.local(rank).ok_or_else(|| {
            Error::new(ErrorKind::Internal, "this rank is missing from the table of its world")
        })?;
        let local = match (self.identity.local_rank, self.identity.local_size) {
            (Some(rank), Some(size)) => (rank, size),
            _ => placed,
        };
        let facts = Facts {
            rank,
            job: self.job.clone(),
            secret: table.secret.clone(),
            members: table.ranks,
            checksums,
            liveness_ns: handout.liveness_ns,
            user_timeout_ms: u32::try_from(handout.liveness_ns / 1_000_000).unwrap_or(0),
            roll: Roll::new(world),
        };
        tracing::info!(rank, "the driver is {}: {}", self.driver.kind.name(), self.driver.why);
        let process = Process::start(facts, listeners, self.driver.clone())?;
        let settings = Settings {
            rank,
            world,
            communicator: table.communicator_id,
            epoch: table.epoch,
            look_ahead: limits::LOOK_AHEAD_MAX,
            slabs_per_link: SLABS_PER_LINK,
            checksums,
            warn_after_ns: nanoseconds(settings::warn_after(self.env)?),
        };
        let slabs_max = world as usize * usize::from(SLABS_PER_LINK);
        let pool = Pool::new(limits::SLICE_BYTES_MAX, slabs_max);
        let lane = process.open_lane(settings, pool, self.spin_ns(placed.1)?)?;
        Ok(Inner {
            rank,
            size: world,
            local,
            launched: self.identity.source != Source::Alone,
            timeout: self.config.timeout.or(settings::timeout(self.env)?),
            plans: Plans::new(layout, handout.selection, handout.slice),
            lane,
            process,
            closed: AtomicBool::new(false),
        })
    }

    /// Waits for the control links between rank 0 and everybody, so that a rank that cannot be
    /// reached shows now, on every rank, and not in the middle of the work.
    fn reach_all(&self, inner: &Inner, store: &dyn Store) -> Result<()> {
        let key = self.unreachable_key();
        self.await_links(inner, store).inspect_err(|error| {
            // The others wait for links that will not come. Where the store itself is gone there
            // is no way left to tell them.
            let heard = format!("{key}/heard");
            if store.add(&heard, 1).is_ok_and(|count| count == 1) {
                self.tell_failure(store, error);
            }
            // Rank 0 may be who serves the store: it stays until all have looked.
            if inner.rank == 0 {
                let bound = Duration::from_secs(limits::LINGER_SECONDS);
                await_count(store, &heard, inner.size, bound);
            }
        })
    }

    fn await_links(&self, inner: &Inner, store: &dyn Store) -> Result<()> {
        let world = self.identity.world_size;
        let awaited: Vec<Rank> = if inner.rank == 0 { (1..world).collect() } else { vec![0] };
        let mut missing = awaited.clone();
        let mut look = Instant::now() + 5 * REACH_STEP;
        while !missing.is_empty() {
            missing = inner
                .process
                .reach(&awaited, REACH_STEP)
                .map_err(|error| error.with_rank(inner.rank).with_operation("create", None))?;
            if interrupt::check() {
                return Err(interrupted());
            }
            if Instant::now() >= look {
                look = Instant::now() + 5 * REACH_STEP;
                self.hear_of_failure(store, &missing)?;
            }
        }
        Ok(())
    }

    /// Says why this rank will not be reached, to those that wait for a link to it.
    fn tell_failure(&self, store: &dyn Store, error: &Error) {
        let text = format!("rank {}: {}", self.identity.rank, error.message());
        // Without the store the others' deadline remains.
        let _ = store.set(&self.unreachable_key(), text.as_bytes());
    }

    fn unreachable_key(&self) -> String {
        format!("kirsh/{}/{UNREACHABLE}", self.generation)
    }

    fn hear_of_failure(&self, store: &dyn Store, missing: &[Rank]) -> Result<()> {
        let rank = self.identity.rank;
        let failed = |kind, text: String| {
            Err(Error::new(kind, text).with_rank(rank).with_operation("create", None))
        };
        // A store that is gone tells nothing; the deadline remains.
        if let Ok(Some(text)) = store.get(&self.unreachable_key()) {
            return failed(ErrorKind::PeerLost, String::from_utf8_lossy(&text).into_owned());
        }
        if Instant::now() >= self.deadline {
            let text = format!(
                "no connection with rank {missing:?} (KIRSH_JOIN_TIMEOUT sets how long to try)"
            );
            return failed(ErrorKind::Timeout, text);
        }
        Ok(())
    }

    /// How long blocking calls spin. Never where this host's ranks outnumber its cores: then
    /// whoever spins keeps another from running.
    fn spin_ns(&self, local_size: u32) -> Result<u64> {
        if let Some(spin) = settings::spin(self.env)? {
            return Ok(nanoseconds(Some(spin)));
        }
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Ok(if local_size as usize > cores { 0 } else { nanoseconds(Some(SPIN)) })
    }
}

/// What rank 0's settings decide for everybody.
struct Handout {
    checksum: Checksum,
    slice: Option<u32>,
    /// Heartbeats must come more often than anybody's patience ends, so it is one for all.
    liveness_ns: u64,
    selection: Selection,
}

impl Handout {
    fn to_bytes(&self) -> Vec<u8> {
        let checksum = match self.checksum {
            Checksum::Auto => 0,
            Checksum::On => 1,
            Checksum::Off => 2,
        };
        let mut bytes = vec![checksum];
        bytes.extend(self.slice.unwrap_or(0).to_le_bytes());
        bytes.extend(self.liveness_ns.to_le_bytes());
        bytes.extend(self.selection.to_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let malformed =
            || Error::new(ErrorKind::Protocol, "rank 0 handed out settings that cannot be read");
        let (&[checksum, a, b, c, d], rest) = bytes.split_first_chunk().ok_or_else(malformed)?;
        let checksum = match checksum {
            0 => Checksum::Auto,
            1 => Checksum::On,
            2 => Checksum::Off,
            _ => return Err(malformed()),
        };
        let slice = Some(u32::from_le_bytes([a, b, c, d])).filter(|slice| *slice != 0);
        let (liveness, selection) = rest.split_first_chunk().ok_or_else(malformed)?;
        let liveness_ns = u64::from_le_bytes(*liveness);
        Ok(Handout { checksum, slice, liveness_ns, selection: Selection::from_bytes(selection)? })
    }
}

fn layout_of(members: &[Member]) -> Layout {
    let mut hosts: HashMap<u64, u32> = HashMap::new();
    for member in members {
        *hosts.entry(member.host_id).or_default() += 1;
    }
    let ranks_per_host_max = hosts.values().copied().max().unwrap_or(1);
    Layout { world: members.len() as u32, ranks_per_host_max }
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

fn nanoseconds(limit: Option<Duration>) -> u64 {
    limit.map_or(u64::MAX, |limit| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
}

fn random_u64() -> Result<u64> {
    getrandom::u64()
        .map_err(|cause| Error::system("drawing random numbers", &io::Error::other(cause)))
}
