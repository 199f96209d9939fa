//! What the library finds in this environment, each part asked as a communicator would ask it.

use std::net::IpAddr;

use serde::Serialize;

use super::host::Host;
use crate::comm::driver_in_force;
use crate::error::Result;
use crate::rendezvous::address::{self, Listening};
use crate::rendezvous::identity::{self, Arguments, Env, process_env};
use crate::rendezvous::launchers::agent_store;
use crate::rendezvous::settings::{self, Setting};
use crate::rendezvous::token;

/// Everything that `kirsh info` shows. What could not be found out is `None`, and the reason stands
/// among the problems.
#[derive(Debug, Serialize)]
pub(super) struct Facts {
    pub(super) version: &'static str,
    pub(super) driver: Option<Driver>,
    pub(super) host: Host,
    /// Best first; those that are left out at the end.
    pub(super) addresses: Vec<Address>,
    /// What this rank would tell the others, best first; a port only where it is another one than
    /// that of the listener.
    pub(super) published: Vec<String>,
    pub(super) identity: Option<Identity>,
    /// `None` also where there is nobody to meet.
    pub(super) rendezvous: Option<Rendezvous>,
    pub(super) token: Token,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) variables: Option<Vec<Variable>>,
    /// What would keep a communicator from being created.
    pub(super) problems: Vec<String>,
    /// What is probably not meant.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Driver {
    pub(super) name: &'static str,
    pub(super) why: String,
    pub(super) forced: bool,
    pub(super) features: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Address {
    pub(super) interface: String,
    pub(super) ip: IpAddr,
    /// The network in which it could be a rail.
    pub(super) network: Option<String>,
    /// As the interface says; virtual ones say nothing.
    pub(super) mbit: Option<u32>,
    pub(super) left_out: Option<&'static str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Identity {
    pub(super) rank: u32,
    pub(super) world_size: u32,
    pub(super) source: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Rendezvous {
    pub(super) place: String,
    pub(super) source: String,
}

/// Where the job's token comes from; its value never leaves this process.
#[derive(Debug, Serialize)]
pub(super) struct Token {
    pub(super) found: bool,
    /// The variable that counts, where one is set.
    pub(super) variable: Option<&'static str>,
    pub(super) file: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Variable {
    pub(super) name: &'static str,
    /// What is in force; `None` where nothing is, or where it must not be shown.
    pub(super) value: Option<String>,
    pub(super) default: Option<&'static str>,
    /// `environment` or `default`.
    pub(super) source: &'static str,
    pub(super) secret: bool,
    pub(super) allowed: &'static str,
    pub(super) meaning: &'static str,
}

/// Collects what went wrong on the way, each thing once.
#[derive(Default)]
struct Problems(Vec<String>);

impl Problems {
    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error.to_string(),
        };
        // Two parts may trip over the same variable.
        if !self.0.contains(&error) {
            self.0.push(error);
        }
        None
    }
}

impl Facts {
    /// Looks at this process's environment and host.
    pub(super) fn gather(with_variables: bool) -> Facts {
        let env: Env<'_> = &process_env;
        let mut problems = Problems::default();
        for setting in settings::all() {
            problems.take(setting.check(env));
        }
        let driver = problems.take(driver_in_force(env)).map(|choice| Driver {
            name: choice.kind.name(),
            why: choice.why,
            forced: choice.forced,
            features: choice.features,
        });
        let token = find_token(env, &mut problems);
        let (identity, rendezvous) = find_world(env, &mut problems);
        let (addresses, published) = find_addresses(env, token.found, &mut problems);
        Facts {
            version: env!("CARGO_PKG_VERSION"),
            driver,
            host: Host::look(),
            addresses,
            published,
            identity,
            rendezvous,
            token,
            variables: with_variables
                .then(|| settings::all().iter().map(|setting| variable(setting, env)).collect()),
            problems: problems.0,
            warnings: unknown_variables(),
        }
    }
}

fn find_token(env: Env<'_>, problems: &mut Problems) -> Token {
    let found = problems.take(token::find(env)).flatten().is_some();
    let counting = [&settings::TOKEN, &settings::TOKEN_FILE];
    let variable = counting.into_iter().find(|setting| setting.set(env).is_some());
    Token {
        found,
        variable: variable.map(|setting| setting.name),
        file: variable
            .filter(|setting| setting.name == settings::TOKEN_FILE.name)
            .and_then(|setting| setting.set(env)),
    }
}

fn find_world(env: Env<'_>, problems: &mut Problems) -> (Option<Identity>, Option<Rendezvous>) {
    let arguments = Arguments::default();
    let Some(me) = problems.take(identity::identity(&arguments, env)) else {
        return (None, None);
    };
    let source = me.source.to_string();
    let rendezvous = match agent_store(&me, env) {
        Some(at) => Some(Rendezvous {
            place: format!("torch's store at {at}"),
            source: format!("{source}; for Python with torch alone, others need KIRSH_RENDEZVOUS"),
        }),
        None => {
            let meeting = problems.take(identity::rendezvous(&arguments, &me, env)).flatten();
            meeting.map(|(at, from)| Rendezvous { place: at.to_string(), source: from.to_string() })
        }
    };
    let (rank, world_size) = (me.rank, me.world_size);
    (Some(Identity { rank, world_size, source }), rendezvous)
}

fn find_addresses(
    env: Env<'_>,
    has_token: bool,
    problems: &mut Problems,
) -> (Vec<Address>, Vec<String>) {
    let filter = problems.take(settings::interfaces(env)).unwrap_or_default();
    let seen = problems.take(address::survey(&filter)).unwrap_or_default();
    let bind = problems.take(settings::bind(env)).flatten();
    let advertise = problems.take(settings::advertise(env)).unwrap_or_default();
    // Nothing listens here; 0 stands for the port that would be.
    let listening = Listening {
        port: 0,
        bind,
        advertise: &advertise,
        filter: &filter,
        loopback_only: !has_token,
    };
    let bound = problems.take(address::to_bind(&listening)).unwrap_or_default();
    let published = problems.take(address::published(&listening, &bound)).unwrap_or_default();
    let published = published.iter().map(|address| match address.port() {
        0 => address.ip().to_string(),
        _ => address.to_string(),
    });
    let addresses = seen.into_iter().map(|address| Address {
        mbit: mbit(&address.interface),
        interface: address.interface,
        ip: address.ip,
        network: address.network.map(|rail| rail.to_string()),
        left_out: address.left_out,
    });
    (addresses.collect(), published.collect())
}

/// What an interface says of its rate.
fn mbit(interface: &str) -> Option<u32> {
    // Names come from the kernel, and none with a slash in it. Virtual interfaces answer -1, or not at all.
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed")).ok()?;
    text.trim().parse().ok().filter(|mbit| *mbit > 0)
}

fn variable(setting: &'static Setting, env: Env<'_>) -> Variable {
    let set = setting.set(env);
    let default = Some(setting.default).filter(|default| !default.is_empty());
    let source = if set.is_some() { "environment" } else { "default" };
    let value = set.or_else(|| default.map(str::to_owned)).filter(|_| !setting.secret);
    Variable {
        name: setting.name,
        value,
        default,
        source,
        secret: setting.secret,
        allowed: setting.allowed,
        meaning: setting.meaning,
    }
}

/// Variables that look like Kirsh's own but are none: a typing error, mostly.
fn unknown_variables() -> Vec<String> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut unknown: Vec<String> = names
        .filter(|name| name.starts_with("KIRSH_"))
        .filter(|name| settings::all().iter().all(|setting| setting.name != name))
        .map(|name| format!("{name} is set, but Kirsh has no such variable"))
        .collect();
    unknown.sort();
    unknown
}
