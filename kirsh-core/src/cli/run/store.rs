//! The store that the ranks meet at: served here, on loopback, for as long as the world runs.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use crate::error::{Error, Result};
use crate::wire::auth::Token;

pub(super) struct Store {
    _server: TcpListener,
    address: SocketAddr,
    job_id: String,
    token: Token,
}

impl Store {
    /// Serves a store under a freshly drawn token, and under this job id or a drawn one.
    ///
    /// Its threads inherit the signal mask of the calling thread.
    pub(super) fn serve(job_id: Option<String>) -> Result<Store> {
        let token = Token::new(draw(32)?);
        let job_id = match job_id {
            Some(given) => given,
            None => format!("run-{}", draw(4)?),
        };
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .map_err(|cause| Error::system("binding the store to loopback", &cause))?;
        let address =
            server.local_addr().map_err(|cause| Error::system("asking for the port", &cause))?;
        Ok(Store { _server: server, address, job_id, token })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn job_id(&self) -> &str {
        &self.job_id
    }

    /// The token as the ranks take it from their environment.
    pub(super) fn token_text(&self) -> String {
        String::from_utf8_lossy(self.token.secret()).into_owned()
    }
}

/// Random bytes, as hexadecimal digits.
fn draw(count: usize) -> Result<String> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes)
        .map_err(|cause| Error::system("drawing random bytes", &std::io::Error::other(cause)))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
