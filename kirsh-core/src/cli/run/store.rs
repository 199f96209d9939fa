//! The store that the ranks meet at: served here, on loopback, for as long as the world runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use crate::error::{Error, Result};
use crate::rendezvous::TcpServer;
use crate::rendezvous::token::{self, Token};

/// Random bytes in a drawn job id. It only tells runs apart; the token is the secret.
const JOB_ID_BYTES: usize = 4;

/// A store that runs until it is dropped.
pub(super) struct Store {
    server: TcpServer,
    job_id: String,
    token: Token,
}

impl Store {
    /// Serves a store under a freshly drawn token, and under this job id or a drawn one.
    pub(super) fn serve(job_id: Option<String>) -> Result<Store> {
        let token = token::generate()?;
        let job_id = job_id.map_or_else(draw_job_id, Ok)?;
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = TcpServer::bind(anywhere, &job_id, Some(token.clone()))?;
        Ok(Store { server, job_id, token })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.addr()
    }

    pub(super) fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The token as the ranks take it from their environment.
    pub(super) fn token_text(&self) -> String {
        String::from_utf8_lossy(self.token.secret()).into_owned()
    }
}

fn draw_job_id() -> Result<String> {
    let mut bytes = [0; JOB_ID_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::system("drawing a job id", &io::Error::other(cause)))?;
    Ok(format!("run-{:08x}", u32::from_ne_bytes(bytes)))
}
