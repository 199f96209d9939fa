//! `RANK` and `WORLD_SIZE`, which many launchers set and people set by hand.

use super::{Launcher, from_variables, nowhere, number};
use crate::error::Result;
use crate::rendezvous::identity::{Env, Identity};

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "RANK and WORLD_SIZE",
    identity: |env| identity(&LAUNCHER, env),
    rendezvous: |identity, _| {
        let why =
            "MASTER_ADDR and MASTER_PORT are not read, since that port belongs to whoever set it";
        Err(nowhere(identity, why, "; or start the program with `kirsh run`"))
    },
    job: |_| None,
};

/// The identity that these variables give, with `LOCAL_RANK` and `LOCAL_WORLD_SIZE`.
pub(super) fn identity(launcher: &Launcher, env: Env<'_>) -> Result<Option<Identity>> {
    let Some(mut identity) = from_variables(launcher, "RANK", "WORLD_SIZE", env)? else {
        return Ok(None);
    };
    identity.local_rank = number(env, "LOCAL_RANK")?;
    identity.local_size = number(env, "LOCAL_WORLD_SIZE")?;
    Ok(Some(identity))
}
