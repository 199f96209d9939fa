//! The store that the ranks meet at: served here, on loopback, or, where there are several nodes, by
//! node 0's launcher, for as long as the world runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use super::nodes::Met;
use crate::error::{Error, Result};
use crate::rendezvous::token::{self, Token};
use crate::rendezvous::{Rendezvous, TcpServer};

/// Random bytes in a drawn job id. It only tells runs apart; the token is the secret.
const JOB_ID_BYTES: usize = 4;

/// A store as the ranks are told of it.
pub(super) struct Store {
    /// Where it is served for this host alone, until this is dropped.
    server: Option<TcpServer>,
    rendezvous: String,
    job_id: String,
    token: Option<Token>,
}

impl Store {
    /// Serves a store under a freshly drawn token, and under this job id or a drawn one.
    pub(super) fn serve(job_id: Option<String>) -> Result<Store> {
        let token = token::generate()?;
        let job_id = job_id.map_or_else(draw_job_id, Ok)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = TcpServer::bind(anywhere, &job_id, Some(token.clone()))?;
        let rendezvous = format!("tcp://{}", server.addr());
        Ok(Store { server: Some(server), rendezvous, job_id, token: Some(token) })
    }

    /// The store at which the launchers have met.
    pub(super) fn of_nodes(rendezvous: &Rendezvous, met: &Met) -> Store {
        Store {
            server: None,
            rendezvous: rendezvous.to_string(),
            job_id: met.job_id.clone(),
            token: met.token.clone(),
        }
    }

    /// Whether only this host's ranks meet there.
    pub(super) fn is_for_one_host(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn rendezvous(&self) -> &str {
        &self.rendezvous
    }

    pub(super) fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The token as the ranks take it from their environment. None where the nodes have none, and
    /// so are one host.
    pub(super) fn token_text(&self) -> Option<String> {
        Some(String::from_utf8_lossy(self.token.as_ref()?.secret()).into_owned())
    }
}

fn draw_job_id() -> Result<String> {
    let mut bytes = [0; JOB_ID_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::system("drawing a job id", &io::Error::other(cause)))?;
    Ok(format!("run-{:08x}", u32::from_ne_bytes(bytes)))
}
