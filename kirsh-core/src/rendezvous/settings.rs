//! Every environment variable of Kirsh: its name, its default, what it does, and what it may be.
//!
//! A variable that is empty counts as unset. A malformed one is an error that names the variable,
//! its value and what is allowed, raised by whoever needs the setting, never ignored.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::address::InterfaceFilter;
use super::identity::Env;
pub use super::values::{Advertised, DriverChoice, LinkChoice, Switch};
use super::values::{
    parse_advertised, parse_algorithms, parse_channels, parse_ip, parse_job_id, parse_level,
    parse_local, parse_number, parse_path, parse_ports, parse_rails, parse_rate, parse_rendezvous,
    parse_seconds, parse_slice, parse_spin, parse_stripes, parse_switch, parse_text,
    parse_world_size,
};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Collective, Wire};

/// One environment variable.
#[derive(Debug)]
pub struct Setting {
    pub name: &'static str,
    /// What stands where the variable is unset; empty where that means nothing at all.
    pub default: &'static str,
    /// What it does, in one sentence for people.
    pub meaning: &'static str,
    /// What may be written, for people.
    pub allowed: &'static str,
    /// Its value must not be shown.
    pub secret: bool,
    is_allowed: fn(&str) -> bool,
    /// What says which part of a text is wrong, where the text has parts: at most one.
    explain: &'static [fn(&str) -> Option<String>],
}

impl Setting {
    /// The text in the environment, where there is one.
    pub fn set(&self, env: Env<'_>) -> Option<String> {
        non_empty(env, self.name)
    }

    /// Whether a text is one of those allowed.
    pub fn allows(&self, text: &str) -> bool {
        (self.is_allowed)(text)
    }

    /// Whether the variable is well-formed or unset.
    ///
    /// # Errors
    /// `Configuration`, as whoever needs the setting would raise it.
    pub fn check(&self, env: Env<'_>) -> Result<()> {
        match self.set(env) {
            Some(text) if !self.allows(&text) => Err(self.refuse(&text)),
            _ => Ok(()),
        }
    }

    /// The value in force, parsed; the default where the variable is unset.
    fn read<T>(&self, env: Env<'_>, parse: fn(&str) -> Option<T>) -> Result<T> {
        let text = self.set(env).unwrap_or_else(|| self.default.to_owned());
        parse(&text).ok_or_else(|| self.refuse(&text))
    }

    /// As `read`, where being unset is a value of its own.
    fn read_if_set<T>(&self, env: Env<'_>, parse: fn(&str) -> Option<T>) -> Result<Option<T>> {
        match self.set(env) {
            Some(text) => parse(&text).map(Some).ok_or_else(|| self.refuse(&text)),
            None => Ok(None),
        }
    }

    fn refuse(&self, text: &str) -> Error {
        let shown = if self.secret { "(not shown)" } else { text };
        let why = self.explain.iter().find_map(|explain| explain(text));
        let why = why.map(|why| format!(", where {why}")).unwrap_or_default();
        let Setting { name, allowed, .. } = self;
        Error::new(
            ErrorKind::Configuration,
            format!("{name} is {shown:?}{why}; what it may be: {allowed}"),
        )
    }
}

/// What a variable says; nothing where it is unset or empty.
pub(super) fn non_empty(env: Env<'_>, name: &str) -> Option<String> {
    env(name).filter(|text| !text.is_empty())
}

macro_rules! settings {
    ($($constant:ident = $name:literal, default $default:literal, parser $parse:expr,
        allowed $allowed:literal, $meaning:literal $(, secret $secret:literal)? $(, explain $explain:path)?;)+) => {
        $(#[doc = concat!("`", $name, "`: ", $meaning)]
        pub static $constant: Setting = Setting {
            name: $name,
            default: $default,
            meaning: $meaning,
            allowed: $allowed,
            secret: false $(|| $secret)?,
            explain: &[$($explain)?],
            is_allowed: |text| $parse(text).is_some(),
        };)+

        static ALL: &[&Setting] = &[$(&$constant),+];
    };
}

settings! {
    RANK = "KIRSH_RANK", default "", parser parse_number,
        allowed "a whole number below KIRSH_WORLD_SIZE",
        "the rank of this process; goes together with KIRSH_WORLD_SIZE";
    WORLD_SIZE = "KIRSH_WORLD_SIZE", default "", parser parse_world_size,
        allowed "a whole number from 1 to 65536",
        "how many ranks there are; goes together with KIRSH_RANK";
    LOCAL_RANK = "KIRSH_LOCAL_RANK", default "", parser parse_number,
        allowed "a whole number",
        "the place of this rank among those of its host; counted at join where it is unset";
    LOCAL_SIZE = "KIRSH_LOCAL_SIZE", default "", parser parse_world_size,
        allowed "a whole number from 1 to 65536",
        "how many ranks this host has; counted at join where it is unset";
    RENDEZVOUS = "KIRSH_RENDEZVOUS", default "", parser parse_rendezvous,
        allowed "tcp://host:port, or file:///absolute/path of a directory that all ranks share",
        "where the ranks find together; with tcp:// rank 0 serves";
    RENDEZVOUS_SERVED = "KIRSH_RENDEZVOUS_SERVED", default "0", parser parse_switch,
        allowed "1 or 0",
        "1 where a launcher serves the rendezvous, so that rank 0 only connects";
    JOB_ID = "KIRSH_JOB_ID", default "kirsh", parser parse_job_id,
        allowed "text of 1 to 128 bytes without control characters",
        "the name of the job, equal on all its ranks; ranks of other jobs are turned away";
    TOKEN = "KIRSH_TOKEN", default "", parser super::token::parse,
        allowed "16 to 256 printable ASCII characters without spaces",
        "the secret that the ranks of a job share; needed to leave one host; goes before \
         KIRSH_TOKEN_FILE", secret true;
    TOKEN_FILE = "KIRSH_TOKEN_FILE", default "", parser parse_path,
        allowed "the path of a file that only its owner may read (chmod 600)",
        "a file that holds the token, as `kirsh token` writes it";
    INTERFACES = "KIRSH_IFACE", default "", parser InterfaceFilter::parse,
        allowed "interface names such as eth0 or eth*, and networks such as 10.0.0.0/8 or fd00::/8, \
                 comma separated; ! excludes one of them, ^ in front the whole list",
        "which network interfaces this rank listens on and publishes", explain InterfaceFilter::problem;
    BIND = "KIRSH_BIND", default "", parser parse_ip,
        allowed "one IP address of this host",
        "the address that this rank listens on; where it is unset, those that KIRSH_IFACE admits";
    ADVERTISE = "KIRSH_ADVERTISE", default "", parser parse_advertised,
        allowed "up to 16 IP addresses, each with a port if it differs, comma separated",
        "the addresses published instead of this host's own, where others see it elsewhere";
    PORTS = "KIRSH_PORTS", default "", parser parse_ports,
        allowed "lo-hi, or one port, from 1 to 65535",
        "the range that this rank's port is taken from; any free one where it is unset";
    DRIVER = "KIRSH_DRIVER", default "auto", parser DriverChoice::parse,
        allowed "auto, uring or poll",
        "what moves the bytes; a driver named here is used or the start fails";
    LOCAL = "KIRSH_LOCAL", default "unix", parser parse_local,
        allowed "unix or tcp",
        "what carries data between ranks of one host; unix: Unix sockets, and TCP to ranks that listen \
         on none";
    TIMEOUT = "KIRSH_TIMEOUT", default "600", parser parse_seconds,
        allowed "seconds, fractions allowed, or inf",
        "how long an operation may take";
    JOIN_TIMEOUT = "KIRSH_JOIN_TIMEOUT", default "300", parser parse_seconds,
        allowed "seconds, fractions allowed, or inf",
        "how long the ranks may take to find together";
    WARN_AFTER = "KIRSH_WARN_AFTER", default "30", parser parse_seconds,
        allowed "seconds, fractions allowed, or inf",
        "after how long a warning names the ranks that an operation waits for";
    LIVENESS_TIMEOUT = "KIRSH_LIVENESS_TIMEOUT", default "30", parser parse_seconds,
        allowed "seconds, fractions allowed, or inf",
        "after how long without any sign a peer counts as lost";
    CHECKSUM = "KIRSH_CHECKSUM", default "auto", parser Switch::parse,
        allowed "auto, on or off",
        "whether payloads carry a checksum; auto: between hosts only; rank 0 decides for all";
    ZERO_COPY = "KIRSH_ZERO_COPY", default "auto", parser Switch::parse,
        allowed "auto, on or off",
        "whether large frames are sent without the kernel's copy, by io_uring; auto: between hosts, and while the kernel does not copy all the same";
    RATE_LIMIT = "KIRSH_RATE_LIMIT", default "inf", parser parse_rate,
        allowed "bits a second from 64kbit to 1tbit, as in 50mbit or 2.5gbit, or inf",
        "what this rank sends to other hosts at most, control messages apart";
    SPIN_US = "KIRSH_SPIN_US", default "auto", parser parse_spin,
        allowed "microseconds from 0 to 1000000, or auto",
        "how long a blocking call looks before it sleeps; auto: 100, and 0 with over 8 ranks to a core";
    SLICE = "KIRSH_SLICE", default "auto", parser parse_slice,
        allowed "bytes from 4K to 1M, with K or M, or auto",
        "the size of the slices that large arrays are cut into; rank 0 decides for all";
    STRIPES = "KIRSH_STRIPES", default "auto", parser parse_stripes,
        allowed "a whole number from 1 to 8, or auto",
        "how many sockets carry a collective between two ranks; auto: 1 within a host and for small \
         calls, otherwise what the class of links or the table says; a number holds within a host, too; \
         rank 0 decides for all";
    RAILS = "KIRSH_RAILS", default "auto", parser parse_rails,
        allowed "auto or off",
        "whether several networks that join all hosts are used together, by their measured speed; \
         rank 0 decides for all";
    WIRE = "KIRSH_WIRE", default "none", parser Wire::from_name,
        allowed "none, bf16, f16 or int8",
        "how float32 travels in calls that can be encoded and say nothing else; rank 0 decides for \
         all";
    CHANNELS = "KIRSH_CHANNELS", default "auto", parser parse_channels,
        allowed "1 to 8, or auto",
        "how many cores and sets of sockets carry out a large collective; auto: as many as its link, \
         its size and the cores suggest; rank 0 decides for all";
    ALGORITHM = "KIRSH_ALGORITHM", default "", parser parse_algorithms,
        allowed "collective:algorithm pairs, comma separated, as in allreduce:ring,broadcast:chain",
        "forces algorithms; rank 0 decides for all";
    TABLE = "KIRSH_TABLE", default "", parser parse_path,
        allowed "the path of a file that `kirsh tune` wrote",
        "the costs that algorithms are chosen by, in place of those built in; rank 0 decides for \
         all";
    LINK = "KIRSH_LINK", default "auto", parser LinkChoice::parse,
        allowed "auto, 1gbit, 10gbit, 25gbit or 100gbit",
        "the class of links between hosts whose built-in costs are used; auto: by the rate of the \
         NIC; rank 0 decides for all";
    TRACE = "KIRSH_TRACE", default "", parser parse_text,
        allowed "the name of a file to be made, with %r for the rank and %p for the process's number",
        "a file that tells Perfetto what this rank does and waits for; without %r a dot and the rank \
         are added to the name";
    LOG = "KIRSH_LOG", default "warn", parser parse_level,
        allowed "error, warn, info, debug or trace",
        "the least important messages that are printed";
}

/// Every environment variable of Kirsh, in the order in which people should read them.
pub fn all() -> &'static [&'static Setting] {
    ALL
}

/// The name of the job.
pub fn job_id(env: Env<'_>) -> Result<String> {
    JOB_ID.read(env, parse_job_id)
}

/// Whether a launcher serves the rendezvous, so that rank 0 must not.
pub fn rendezvous_served(env: Env<'_>) -> Result<bool> {
    RENDEZVOUS_SERVED.read(env, parse_switch)
}

/// Which interfaces are used; all where nothing is said.
pub fn interfaces(env: Env<'_>) -> Result<InterfaceFilter> {
    INTERFACES.read_if_set(env, InterfaceFilter::parse).map(Option::unwrap_or_default)
}

/// The one address to listen on, where one is named.
pub fn bind(env: Env<'_>) -> Result<Option<IpAddr>> {
    BIND.read_if_set(env, parse_ip)
}

/// The addresses to publish instead of this host's own; empty where nothing is said.
pub fn advertise(env: Env<'_>) -> Result<Vec<Advertised>> {
    ADVERTISE.read_if_set(env, parse_advertised).map(Option::unwrap_or_default)
}

/// The range that the listening port is taken from, where one is named.
pub fn ports(env: Env<'_>) -> Result<Option<RangeInclusive<u16>>> {
    PORTS.read_if_set(env, parse_ports)
}

/// Which driver moves the bytes.
pub fn driver(env: Env<'_>) -> Result<DriverChoice> {
    DRIVER.read(env, DriverChoice::parse)
}

/// Whether ranks of one host are linked by Unix sockets.
pub fn local_links(env: Env<'_>) -> Result<bool> {
    LOCAL.read(env, parse_local)
}

/// How long an operation may take; `None` is for ever.
pub fn timeout(env: Env<'_>) -> Result<Option<Duration>> {
    TIMEOUT.read(env, parse_seconds)
}

/// How long joining may take; `None` is for ever.
pub fn join_timeout(env: Env<'_>) -> Result<Option<Duration>> {
    JOIN_TIMEOUT.read(env, parse_seconds)
}

/// After how long late ranks are warned of; `None` is never.
pub fn warn_after(env: Env<'_>) -> Result<Option<Duration>> {
    WARN_AFTER.read(env, parse_seconds)
}

/// After how long without a sign a peer counts as lost; `None` is never.
pub fn liveness_timeout(env: Env<'_>) -> Result<Option<Duration>> {
    LIVENESS_TIMEOUT.read(env, parse_seconds)
}

/// Whether payloads carry a checksum.
pub fn checksum(env: Env<'_>) -> Result<Switch> {
    CHECKSUM.read(env, Switch::parse)
}

/// Whether large frames are sent without a copy.
pub fn zero_copy(env: Env<'_>) -> Result<Switch> {
    ZERO_COPY.read(env, Switch::parse)
}

/// Bytes a second that this rank may send to other hosts; `None` is as many as go.
pub fn rate_limit(env: Env<'_>) -> Result<Option<u64>> {
    RATE_LIMIT.read(env, parse_rate)
}

/// How long a blocking call looks before it sleeps; `None` leaves it to the library.
pub fn spin(env: Env<'_>) -> Result<Option<Duration>> {
    SPIN_US.read(env, parse_spin)
}

/// The size of a slice in bytes; `None` leaves it to the library.
pub fn slice(env: Env<'_>) -> Result<Option<usize>> {
    SLICE.read(env, parse_slice)
}

/// How many sockets carry a collective between two ranks; `None` leaves it to the library.
pub fn stripes(env: Env<'_>) -> Result<Option<u8>> {
    STRIPES.read(env, parse_stripes)
}

/// Whether several networks between the hosts are used together.
pub fn rails(env: Env<'_>) -> Result<bool> {
    RAILS.read(env, parse_rails)
}

/// How many channels carry out a collective; `None` leaves it to the library.
pub fn channels(env: Env<'_>) -> Result<Option<u16>> {
    CHANNELS.read(env, parse_channels)
}

/// How float32 travels where a call says nothing else.
pub fn wire(env: Env<'_>) -> Result<Wire> {
    WIRE.read(env, Wire::from_name)
}

/// The file that holds a measured table of costs, where one is named.
pub fn table(env: Env<'_>) -> Result<Option<std::path::PathBuf>> {
    TABLE.read_if_set(env, parse_path)
}

/// The class of the links between hosts.
pub fn link(env: Env<'_>) -> Result<LinkChoice> {
    LINK.read(env, LinkChoice::parse)
}

/// The algorithms that are forced, at most one for each collective.
pub fn algorithms(env: Env<'_>) -> Result<Vec<(Collective, Algorithm)>> {
    ALGORITHM.read_if_set(env, parse_algorithms).map(Option::unwrap_or_default)
}

/// The name of the file that a trace is written to, where one is.
pub fn trace(env: Env<'_>) -> Result<Option<String>> {
    TRACE.read_if_set(env, parse_text)
}

/// The least important level of messages to print.
pub fn log_level(env: Env<'_>) -> Result<tracing::Level> {
    LOG.read(env, parse_level)
}

/// The rank of this process as `KIRSH_RANK` says, where it does.
pub(super) fn rank(env: Env<'_>) -> Result<Option<u32>> {
    RANK.read_if_set(env, parse_number)
}

/// The world size as `KIRSH_WORLD_SIZE` says, where it does.
pub(super) fn world_size(env: Env<'_>) -> Result<Option<u32>> {
    WORLD_SIZE.read_if_set(env, parse_world_size)
}

/// The place among the ranks of this host and their number, as far as the variables say.
pub(super) fn local(env: Env<'_>) -> Result<(Option<u32>, Option<u32>)> {
    let rank = LOCAL_RANK.read_if_set(env, parse_number)?;
    Ok((rank, LOCAL_SIZE.read_if_set(env, parse_world_size)?))
}

/// The job's token as `KIRSH_TOKEN` says, where it does.
pub(super) fn token(env: Env<'_>) -> Result<Option<crate::wire::auth::Token>> {
    TOKEN.read_if_set(env, super::token::parse)
}

/// The file that holds the job's token, where one is named.
pub(super) fn token_file(env: Env<'_>) -> Result<Option<std::path::PathBuf>> {
    TOKEN_FILE.read_if_set(env, parse_path)
}
