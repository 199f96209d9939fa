//! Which table of costs a world goes by: the one that rank 0 finds.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::limits::TABLE_TEXT_BYTES_MAX;
use crate::model::choice::Selection;
use crate::model::{ChannelRule, Class, Costs, wire_fs};
use crate::rendezvous::address;
use crate::rendezvous::identity::Env;
use crate::rendezvous::settings::{self, LinkChoice};

/// What algorithms and slices would be chosen by if this process were rank 0, and why.
pub struct Tables {
    pub selection: Selection,
    /// Where the costs are from, for people.
    pub source: String,
}

/// Finds the table of costs: the file that `KIRSH_TABLE` names, or what is built in for the class
/// of links that `KIRSH_LINK` names, or else the NIC's rate tells.
///
/// # Errors
/// `Configuration` for a file that cannot be read or is no table, and for malformed settings.
pub fn tables_in_force(env: Env<'_>) -> Result<Tables> {
    let (costs, source) = match settings::table(env)? {
        Some(path) => {
            let costs = read_table(&path).map_err(|error| {
                let text = format!("KIRSH_TABLE: {}", error.message());
                Error::new(ErrorKind::Configuration, text)
            })?;
            (costs, format!("the table {} (KIRSH_TABLE)", path.display()))
        }
        None => {
            let (class, why) = class_in_force(env)?;
            let source = format!("what is built in for {} links: {why}", class.name());
            (Costs::built_in(class, cores()), source)
        }
    };
    let (costs, source) = match settings::rate_limit(env)? {
        Some(bytes) => {
            let mut limited = costs;
            limited.remote.wire_fs = limited.remote.wire_fs.max(wire_fs(bytes * 8));
            (limited, format!("{source}; between hosts as KIRSH_RATE_LIMIT allows"))
        }
        None => (costs, source),
    };
    Ok(Tables { selection: Selection::new(costs).with_forced(&forced(env)?)?, source })
}

/// How channels would be chosen if this process were rank 0 and all hosts were like this one.
///
/// # Errors
/// `Configuration` for a malformed setting.
pub fn channels_in_force(env: Env<'_>, ranks_per_host: u32) -> Result<ChannelRule> {
    let forced = settings::channels(env)?;
    Ok(ChannelRule { forced, cores_per_rank: cores() / ranks_per_host.max(1) })
}

/// What every rank assumes until rank 0 has said what holds.
pub(super) fn assumed(env: Env<'_>) -> Result<Selection> {
    Selection::built_in(Class::Gbit1, 1).with_forced(&forced(env)?)
}

fn forced(env: Env<'_>) -> Result<String> {
    let pairs = settings::algorithms(env)?;
    let pairs = pairs.iter().map(|(collective, algorithm)| format!("{collective}:{algorithm}"));
    Ok(pairs.collect::<Vec<_>>().join(","))
}

/// Reads a table of costs from a file.
///
/// # Errors
/// `Configuration`, naming the file, where it cannot be read or is no table.
pub fn read_table(path: &Path) -> Result<Costs> {
    let wrong = |why: &str| {
        Error::new(ErrorKind::Configuration, format!("the table {}: {why}", path.display()))
    };
    // A path may lead to anything: no more of it is read than a table may have.
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|cause| wrong(&cause.to_string()))?;
    file.take(TABLE_TEXT_BYTES_MAX as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|cause| wrong(&cause.to_string()))?;
    Costs::from_text(&text).map_err(|error| wrong(error.message()))
}

fn class_in_force(env: Env<'_>) -> Result<(Class, String)> {
    if let LinkChoice::Mbit(mbit) = settings::link(env)? {
        return Ok((Class::of_mbit(mbit), "KIRSH_LINK says so".to_owned()));
    }
    let filter = settings::interfaces(env)?;
    let outward = address::survey(&filter)?
        .into_iter()
        .find(|address| address.left_out.is_none() && !address.ip.is_loopback());
    let Some(address) = outward else {
        return Ok((Class::Gbit1, "no interface leads to another host".to_owned()));
    };
    let interface = address.interface;
    // Names come from the kernel, and none with a slash in it.
    let speed = std::fs::read_to_string(format!("/sys/class/net/{interface}/speed"));
    // Virtual interfaces answer -1, or not at all.
    let mbit = speed.ok().and_then(|text| text.trim().parse().ok()).filter(|mbit| *mbit > 0);
    Ok(match mbit {
        Some(mbit) => (Class::of_mbit(mbit), format!("{interface} runs at {mbit} Mbit/s")),
        None => (Class::Gbit1, format!("{interface} does not say its rate; KIRSH_LINK can")),
    })
}

/// That this process may use.
pub(super) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(65_536) as u32)
}
