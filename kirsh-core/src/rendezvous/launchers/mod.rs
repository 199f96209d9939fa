//! What the programs that start ranks leave in their environment: which rank this is, where the
//! ranks can meet without being told, and what their job is called.
//!
//! To learn another launcher, write a file here and add it to [`ALL`].

mod hydra;
mod nodelist;
mod open_mpi;
mod pmi;
mod rank;
mod slurm;
mod torchrun;

use super::identity::{Env, Identity, Rendezvous, Source, pair};
use super::settings::{self, non_empty};
use crate::error::{Error, ErrorKind, Result};

/// One launcher.
pub(super) struct Launcher {
    /// What people call it; [`Source::Launcher`] holds it.
    pub(super) name: &'static str,
    /// This process's identity; `None` where this launcher did not start it.
    pub(super) identity: fn(Env<'_>) -> Result<Option<Identity>>,
    /// Where the ranks meet, or an error that says what to set.
    pub(super) rendezvous: fn(&Identity, Env<'_>) -> Result<Rendezvous>,
    /// What tells the job from others of this launcher, where something does.
    pub(super) job: fn(Env<'_>) -> Option<String>,
}

/// The launchers known, in the order in which they are asked.
///
/// One may run inside another's allocation, and then the inner one's word counts: torchrun under
/// srun, an mpirun whose daemons srun starts. Slurm comes before bare PMI, which it also speaks.
static ALL: [&Launcher; 6] = [
    &torchrun::LAUNCHER,
    &rank::LAUNCHER,
    &open_mpi::LAUNCHER,
    &hydra::LAUNCHER,
    &slurm::LAUNCHER,
    &pmi::LAUNCHER,
];

/// Asks all launchers for this process's identity; `None` where none of them started it.
pub(super) fn identity(env: Env<'_>) -> Result<Option<Identity>> {
    for launcher in ALL {
        if let Some(identity) = (launcher.identity)(env)? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// The launcher that an identity came from.
fn of(identity: &Identity) -> Option<&'static Launcher> {
    let Source::Launcher(name) = identity.source else { return None };
    ALL.into_iter().find(|launcher| launcher.name == name)
}

/// Where the ranks of an identity that a launcher gave meet; `None` for another identity.
pub(super) fn rendezvous(identity: &Identity, env: Env<'_>) -> Result<Option<Rendezvous>> {
    of(identity).map(|launcher| (launcher.rendezvous)(identity, env)).transpose()
}

/// What tells the job from others, where its launcher says.
pub(super) fn job(identity: &Identity, env: Env<'_>) -> Option<String> {
    of(identity).and_then(|launcher| (launcher.job)(env))
}

/// Where torchrun's agent has its store, `host:port`, if that is where the ranks of this identity
/// are to meet: torchrun started them and nothing names another rendezvous. Only Python with torch
/// can meet there.
pub fn agent_store(identity: &Identity, env: Env<'_>) -> Option<String> {
    let is_torchrun = identity.source == Source::Launcher(torchrun::LAUNCHER.name);
    let is_asked =
        is_torchrun && identity.world_size > 1 && settings::RENDEZVOUS.set(env).is_none();
    is_asked.then(|| torchrun::place(env)).flatten()
}

/// An identity that these two variables give.
fn from_variables(
    launcher: &Launcher,
    rank: &str,
    world_size: &str,
    env: Env<'_>,
) -> Result<Option<Identity>> {
    pair(
        (number(env, rank)?, rank),
        (number(env, world_size)?, world_size),
        "the environment",
        Source::Launcher(launcher.name),
    )
}

/// A number that a launcher set.
fn number(env: Env<'_>, name: &str) -> Result<Option<u32>> {
    non_empty(env, name)
        .map(|text| {
            text.parse().map_err(|_| {
                Error::new(
                    ErrorKind::Configuration,
                    format!("{name} is {text:?}, which is no whole number from 0 on"),
                )
            })
        })
        .transpose()
}

/// The error where a launcher says too little for the ranks to meet: why, and what to set.
fn nowhere(identity: &Identity, why: &str, how: &str) -> Error {
    let Identity { rank, world_size, source, .. } = identity;
    Error::new(
        ErrorKind::Configuration,
        format!(
            "this is rank {rank} of {world_size} (from {source}), but nothing says where the ranks \
             meet: {why}. Set KIRSH_RENDEZVOUS=tcp://host:port on every rank, where host is rank \
             0's (rank 0 serves), or file:///path of a shared directory{how}"
        ),
    )
}
