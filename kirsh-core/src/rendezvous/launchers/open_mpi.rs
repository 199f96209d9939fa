//! Open MPI's mpirun.
//!
//! It gives no address. On one host its ranks share a directory that only their user may enter and
//! that mpirun removes when the job ends.

use std::path::Path;

use super::{Launcher, from_variables, nowhere, number};
use crate::error::Result;
use crate::rendezvous::identity::{Env, Identity, Rendezvous};
use crate::rendezvous::settings::non_empty;

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "Open MPI",
    identity,
    rendezvous,
    job: |env| non_empty(env, "PMIX_NAMESPACE").map(|name| format!("openmpi-{name}")),
};

fn identity(env: Env<'_>) -> Result<Option<Identity>> {
    let found = from_variables(&LAUNCHER, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", env)?;
    let Some(mut identity) = found else { return Ok(None) };
    identity.local_rank = number(env, "OMPI_COMM_WORLD_LOCAL_RANK")?;
    identity.local_size = number(env, "OMPI_COMM_WORLD_LOCAL_SIZE")?;
    Ok(Some(identity))
}

fn rendezvous(identity: &Identity, env: Env<'_>) -> Result<Rendezvous> {
    let how = ", as in `mpirun -x KIRSH_RENDEZVOUS=tcp://host:port -x KIRSH_TOKEN_FILE ...`";
    if identity.local_size != Some(identity.world_size) {
        let why = "Open MPI tells its ranks no address, and they are on several hosts";
        return Err(nowhere(identity, why, how));
    }
    let session = non_empty(env, "PMIX_SERVER_TMPDIR").filter(|path| Path::new(path).is_absolute());
    let (Some(session), Some(name)) = (session, non_empty(env, "PMIX_NAMESPACE")) else {
        let why = "PMIX_SERVER_TMPDIR and PMIX_NAMESPACE, which Open MPI sets, are not both there";
        return Err(nowhere(identity, why, how));
    };
    // One mpirun may start several jobs, whose names differ; names may hold anything.
    let name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '@', "_");
    Ok(Rendezvous::File(Path::new(&session).join(format!("kirsh-{name}"))))
}
