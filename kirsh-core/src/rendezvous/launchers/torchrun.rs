//! torchrun, and whatever else starts ranks through torch's elastic agent.
//!
//! `MASTER_ADDR` and `MASTER_PORT` lead to a store of torch's own. With
//! `TORCHELASTIC_USE_AGENT_STORE` the agent serves it, otherwise torch does on rank 0; Kirsh can bind
//! neither. Python meets in that store, by torch's client; nobody else speaks its protocol.

use super::{Launcher, nowhere, rank};
use crate::error::Result;
use crate::rendezvous::identity::{Env, Identity, Rendezvous};
use crate::rendezvous::settings::non_empty;

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "torchrun",
    identity: |env| match non_empty(env, "TORCHELASTIC_RUN_ID") {
        Some(_) => rank::identity(&LAUNCHER, env),
        None => Ok(None),
    },
    rendezvous,
    // Without the number of the restart, which each node's agent counts for itself.
    job: |env| non_empty(env, "TORCHELASTIC_RUN_ID").map(|id| format!("torchrun-{id}")),
};

/// Where torch's store is, `host:port`.
pub(super) fn place(env: Env<'_>) -> Option<String> {
    Some(format!("{}:{}", non_empty(env, "MASTER_ADDR")?, non_empty(env, "MASTER_PORT")?))
}

fn rendezvous(identity: &Identity, env: Env<'_>) -> Result<Rendezvous> {
    let place = place(env).map(|place| format!(", {place},")).unwrap_or_default();
    let why = format!(
        "MASTER_ADDR and MASTER_PORT{place} lead to torch's own store, where only Python with torch \
         meets by itself"
    );
    Err(nowhere(identity, &why, "; the port must be another than MASTER_PORT"))
}
