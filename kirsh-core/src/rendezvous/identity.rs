//! Which rank this process is, of how many, and where they meet.
//!
//! These are two groups: the identity and the rendezvous. Each is taken whole from one source, so
//! that no launcher's rank is ever read beside another's world size. Sources are asked in order:
//! what the program says, Kirsh's own variables, then what [`launchers`] set.
//!
//! `RANK`, `WORLD_SIZE` and `KIRSH_RENDEZVOUS` are enough to start ranks by hand: rank 0 serves.

use std::fmt;
use std::path::PathBuf;

use super::launchers;
use super::settings;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::types::Rank;

/// How the environment is read: the value of a variable, if it is set. Injected, so that nothing
/// here depends on the process it runs in.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads the environment of this process. A value that is not UTF-8 counts as its lossy reading,
/// which the setting's own check then refuses.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// What the program itself says; what it leaves open is looked up.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    pub rank: Option<Rank>,
    pub world_size: Option<u32>,
    /// `tcp://host:port` or `file://path`.
    pub rendezvous: Option<String>,
    /// The program brings a store of its own, so that no rendezvous is needed.
    pub has_store: bool,
}

/// Where a group of answers came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The program's own arguments.
    Arguments,
    /// Kirsh's own variables.
    Kirsh,
    /// A launcher's variables; the text names them.
    Launcher(&'static str),
    /// Nobody said anything: a world of one. The faces warn of it once.
    Alone,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Arguments => "arguments",
            Source::Kirsh => "KIRSH_* variables",
            Source::Launcher(name) => name,
            Source::Alone => "nothing set: a world of one",
        })
    }
}

/// Which rank this process is, of how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub rank: Rank,
    pub world_size: u32,
    /// The place among the ranks of this host, where the source says;
    /// [`Table::local`](super::Table::local) always knows.
    pub local_rank: Option<u32>,
    pub local_size: Option<u32>,
    pub source: Source,
}

/// Where the ranks find together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rendezvous {
    /// A store served over TCP.
    Tcp { host: String, port: u16 },
    /// A directory that all ranks share.
    File(PathBuf),
}

impl Rendezvous {
    /// Reads `tcp://host:port` (IPv6 addresses in brackets) or `file://path`.
    ///
    /// # Errors
    /// `Configuration`, saying what is wrong with the text.
    pub fn parse(text: &str) -> Result<Rendezvous> {
        let wrong = |why: &str| {
            Error::new(
                ErrorKind::Configuration,
                format!(
                    "the rendezvous {text:?} {why}; what it may be: {}",
                    settings::RENDEZVOUS.allowed
                ),
            )
        };
        if let Some(path) = text.strip_prefix("file://") {
            let path = PathBuf::from(path);
            return match path.is_absolute() {
                true => Ok(Rendezvous::File(path)),
                false => Err(wrong("has no absolute path, with three slashes in a row")),
            };
        }
        let place = text.strip_prefix("tcp://").ok_or_else(|| wrong("is of no known kind"))?;
        let (host, port) = place.rsplit_once(':').ok_or_else(|| wrong("names no port"))?;
        let port = match port.parse::<u16>() {
            Ok(port) if port != 0 => port,
            _ => return Err(wrong("has no port from 1 to 65535")),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inner) => inner,
            None if host.contains(':') => {
                return Err(wrong("has an IPv6 address outside brackets"));
            }
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c == '/' || c.is_whitespace()) {
            return Err(wrong("names no host"));
        }
        Ok(Rendezvous::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Rendezvous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rendezvous::Tcp { host, port } if host.contains(':') => {
                write!(f, "tcp://[{host}]:{port}")
            }
            Rendezvous::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
            Rendezvous::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}

/// Finds out which rank this process is: from the arguments, else from `KIRSH_RANK` and
/// `KIRSH_WORLD_SIZE`, else from a launcher; a world of one where nobody says anything.
///
/// # Errors
/// `Configuration` where a source gives half an answer or one that cannot be, naming what is
/// missing and the source.
pub fn identity(arguments: &Arguments, env: Env<'_>) -> Result<Identity> {
    let given = pair(
        (arguments.rank, "rank"),
        (arguments.world_size, "world_size"),
        "the arguments",
        Source::Arguments,
    )?;
    if let Some(identity) = given {
        return Ok(identity);
    }
    let own = pair(
        (settings::rank(env)?, settings::RANK.name),
        (settings::world_size(env)?, settings::WORLD_SIZE.name),
        "the environment",
        Source::Kirsh,
    )?;
    if let Some(mut identity) = own {
        (identity.local_rank, identity.local_size) = settings::local(env)?;
        return Ok(identity);
    }
    if let Some(identity) = launchers::identity(env)? {
        return Ok(identity);
    }
    Ok(Identity {
        rank: 0,
        world_size: 1,
        local_rank: Some(0),
        local_size: Some(1),
        source: Source::Alone,
    })
}

/// Finds out where the ranks meet: from the arguments, else from `KIRSH_RENDEZVOUS`, else from the
/// launcher that the identity came from. `None` where none is needed, because the world is one rank
/// or the program brings a store.
///
/// # Errors
/// `Configuration` where the text is malformed, or where there are several ranks and no rendezvous.
pub fn rendezvous(
    arguments: &Arguments,
    identity: &Identity,
    env: Env<'_>,
) -> Result<Option<(Rendezvous, Source)>> {
    if arguments.has_store && arguments.rendezvous.is_some() {
        return Err(Error::new(
            ErrorKind::Configuration,
            "both a store and a rendezvous are given as arguments; give one of them",
        ));
    }
    if arguments.has_store || identity.world_size == 1 {
        return Ok(None);
    }
    if let Some(text) = &arguments.rendezvous {
        return Ok(Some((Rendezvous::parse(text)?, Source::Arguments)));
    }
    if let Some(text) = settings::RENDEZVOUS.set(env) {
        return Ok(Some((Rendezvous::parse(&text)?, Source::Kirsh)));
    }
    if let Some(place) = launchers::rendezvous(identity, env)? {
        return Ok(Some((place, identity.source)));
    }
    Err(Error::new(
        ErrorKind::Configuration,
        format!(
            "this is rank {} of {} (from {}), but nothing says where the ranks meet: set \
             KIRSH_RENDEZVOUS=tcp://host:port on every rank, where host is rank 0's (rank 0 \
             serves), or file:///path of a shared directory, or start the program with `kirsh run`",
            identity.rank, identity.world_size, identity.source
        ),
    ))
}

/// What the job is called: as `KIRSH_JOB_ID` says, else what its launcher knows it by.
///
/// # Errors
/// `Configuration` where `KIRSH_JOB_ID` is malformed.
pub fn job_id(identity: &Identity, env: Env<'_>) -> Result<String> {
    let named = settings::JOB_ID.set(env).is_some();
    match launchers::job(identity, env) {
        Some(job) if !named && settings::JOB_ID.allows(&job) => Ok(job),
        _ => settings::job_id(env),
    }
}

/// A rank and a world size from one source: both, neither, or an error.
pub(super) fn pair(
    (rank, rank_name): (Option<u32>, &str),
    (world_size, size_name): (Option<u32>, &str),
    place: &str,
    source: Source,
) -> Result<Option<Identity>> {
    let half = |has: &str, value: u32, lacks: &str| {
        Error::new(
            ErrorKind::Configuration,
            format!(
                "{place} says {has} = {value} but no {lacks}; the two belong together and are \
                 taken from one source: give both, or neither"
            ),
        )
    };
    let (rank, world_size) = match (rank, world_size) {
        (None, None) => return Ok(None),
        (Some(rank), None) => return Err(half(rank_name, rank, size_name)),
        (None, Some(size)) => return Err(half(size_name, size, rank_name)),
        (Some(rank), Some(size)) => (rank, size),
    };
    if world_size == 0 || world_size > limits::WORLD_SIZE_MAX || rank >= world_size {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{place} says {rank_name} = {rank} and {size_name} = {world_size}; a world has 1 \
                 to {} ranks, and they count from 0",
                limits::WORLD_SIZE_MAX
            ),
        ));
    }
    Ok(Some(Identity { rank, world_size, local_rank: None, local_size: None, source }))
}
