//! Slurm's srun.
//!
//! A step's ranks meet at its first node, where srun puts rank 0 unless told otherwise, at a port that
//! job and step give. Names of variables as in srun(1), "OUTPUT ENVIRONMENT VARIABLES".

use super::nodelist;
use super::{Launcher, from_variables, nowhere, number};
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::identity::{Env, Identity, Rendezvous};
use crate::rendezvous::settings::non_empty;

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "Slurm",
    identity,
    rendezvous,
    job: |env| {
        let step = non_empty(env, "SLURM_STEP_ID")?;
        Some(format!("slurm-{}.{step}", non_empty(env, "SLURM_JOB_ID")?))
    },
};

/// The first port and how many there are: below those that the kernel gives to connections.
const PORTS: (u64, u64) = (20_000, 10_000);

/// How far apart the ports of two steps of a job are: a prime, so that neighbouring steps and
/// neighbouring jobs do not meet.
const STEP_APART: u64 = 4099;

fn identity(env: Env<'_>) -> Result<Option<Identity>> {
    // A batch script and a shell inside an allocation have a SLURM_PROCID of 0 as well, but are no
    // task of a step that srun started.
    if non_empty(env, "SLURM_STEP_ID").is_none() {
        return Ok(None);
    }
    let step = non_empty(env, "SLURM_STEP_NUM_TASKS");
    let size = if step.is_some() { "SLURM_STEP_NUM_TASKS" } else { "SLURM_NTASKS" };
    // Nor is somebody at a terminal (`srun --pty bash`, salloc), whose programs may start worlds.
    if number(env, size)? == Some(1) && non_empty(env, "SLURM_PTY_PORT").is_some() {
        return Ok(None);
    }
    let Some(mut identity) = from_variables(&LAUNCHER, "SLURM_PROCID", size, env)? else {
        return Ok(None);
    };
    identity.local_rank = number(env, "SLURM_LOCALID")?;
    Ok(Some(identity))
}

fn rendezvous(identity: &Identity, env: Env<'_>) -> Result<Rendezvous> {
    let (Some(job), Some(step)) = (number(env, "SLURM_JOB_ID")?, number(env, "SLURM_STEP_ID")?)
    else {
        return Err(nowhere(identity, "SLURM_JOB_ID is not set", ""));
    };
    let (first, ports) = PORTS;
    let port = first + (u64::from(job) + STEP_APART * u64::from(step)) % ports;
    let port = u16::try_from(port).map_err(|_| Error::new(ErrorKind::Internal, "no such port"))?;
    let nodes = match number(env, "SLURM_STEP_NUM_NODES")? {
        Some(nodes) => Some(nodes),
        None => number(env, "SLURM_NNODES")?,
    };
    // Loopback asks for no token.
    if nodes == Some(1) {
        return Ok(Rendezvous::Tcp { host: "127.0.0.1".to_owned(), port });
    }
    let lists = ["SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST"];
    let Some((name, list)) = lists.iter().find_map(|name| Some((name, non_empty(env, name)?)))
    else {
        return Err(nowhere(identity, "Slurm names no nodes in SLURM_STEP_NODELIST", ""));
    };
    match nodelist::first(&list) {
        Some(host) => Ok(Rendezvous::Tcp { host, port }),
        None => Err(nowhere(identity, &format!("{name} is {list:?}, which is no node list"), "")),
    }
}
