//! Where this process listens, and under which addresses others find it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use crate::driver::fork::Fd;
use crate::driver::socket::{self, PortRange};
use crate::error::Result;
use crate::rendezvous::address::{self, Listening};
use crate::rendezvous::identity::Env;
use crate::rendezvous::settings;

/// How many ports are tried to listen on several addresses with one. Few are taken on one address
/// and free on another.
const PORT_TRIES: u32 = 64;

/// Opens the listeners that the settings ask for, and says under which addresses others find them.
pub(super) fn listen(env: Env<'_>, has_token: bool) -> Result<(Vec<Fd>, Vec<SocketAddr>)> {
    let ports = settings::ports(env)?;
    let filter = settings::interfaces(env)?;
    let advertise = settings::advertise(env)?;
    let mut listening = Listening {
        port: 0,
        bind: settings::bind(env)?,
        advertise: &advertise,
        filter: &filter,
        loopback_only: !has_token,
    };
    let mut listeners = Vec::new();
    let mut bound = Vec::new();
    for (listener, at) in listen_on_each(&address::to_bind(&listening)?, ports)? {
        listening.port = at.port();
        bound.push(at.ip());
        listeners.push(listener);
    }
    Ok((listeners, address::published(&listening, &bound)?))
}

/// Listens on all of these addresses, on one port of the range: it is what `KIRSH_ADVERTISE` adds to
/// an address that comes without one. A port that one of them cannot have, since another
/// program has it there, is given up for the next.
fn listen_on_each(
    addresses: &[IpAddr],
    ports: Option<RangeInclusive<u16>>,
) -> Result<Vec<(Fd, SocketAddr)>> {
    let Some((first, others)) = addresses.split_first() else { return Ok(Vec::new()) };
    let any = ports.is_none();
    let (mut low, high) = ports.map_or((0, 0), RangeInclusive::into_inner);
    let mut tries = PORT_TRIES;
    loop {
        let range = PortRange::new(low, high).unwrap_or(PortRange::ANY);
        let found = socket::listen(*first, range)?;
        let port = found.1.port();
        let same = PortRange::new(port, port).unwrap_or(PortRange::ANY);
        let mut listeners = vec![found];
        let rest: Result<Vec<_>> = others.iter().map(|ip| socket::listen(*ip, same)).collect();
        tries -= 1;
        match rest {
            Ok(rest) => {
                listeners.extend(rest);
                return Ok(listeners);
            }
            Err(error) if tries == 0 || (!any && port >= high) => return Err(error),
            Err(_) if any => {}
            Err(_) => low = port + 1,
        }
    }
}
