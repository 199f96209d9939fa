//! `kirsh doctor`: whether every rank can reach every other, by which address, how fast, and what
//! looks wrong about it.
//!
//! [`visit`] brings the ranks together and gives each its turn, one at a time, so that no
//! measurement disturbs another; [`listen`] is the end that is looked at, [`probe`] the one that
//! looks, [`record`] what is found, [`findings`] says in words what of it a person should know, and
//! [`report`] prints it. No communicator is made: one that cannot be is what people come here with.

mod findings;
mod listen;
mod probe;
mod record;
mod report;
mod visit;

use std::ffi::OsString;
use std::time::Duration;

use self::findings::Severity;
use super::{FAILED, perf};
use crate::error::Result;
use crate::limits::WORLD_SIZE_MAX;
use crate::model::units;

/// What the options do not say.
const AFTER_HELP: &str = "\
Every rank tries every address that each other rank publishes. Between the first ranks of
each two hosts, and between two ranks of each host, it also measures, one pair at a time:
latency as the median of some round trips, bandwidth by a transfer that ends after --time
or --size, and what the kernel says of the connection.

Started by any launcher (RANK and WORLD_SIZE, or KIRSH_*) this process is one rank of that
world. Otherwise -n starts so many ranks on this host. Rank 0 prints.

Exit code: 0, or 1 where some rank cannot reach another or the ranks did not meet.";

/// What `kirsh doctor` is told.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// How many ranks to start on this host, unless a launcher has started this one.
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: Option<u32>,

    /// How long to measure the bandwidth of a pair.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_time)]
    time: Duration,

    /// At most so many bytes are sent for that, with K, M or G for powers of 1024.
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = units::bytes)]
    size: u64,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Examines the world as `invocation`, the command line as [`super::main`] got it, asks for it, and
/// returns the exit code.
pub(super) fn run(args: Args, invocation: &[OsString]) -> i32 {
    let outcome = perf::start_ranks(args.ranks, invocation)
        .and_then(|started| started.map_or_else(|| examine_as_a_rank(&args), Ok));
    outcome.unwrap_or_else(|error| {
        eprintln!("kirsh doctor: {error}");
        FAILED
    })
}

fn examine_as_a_rank(args: &Args) -> Result<i32> {
    let effort = probe::Effort { time: args.time, bytes: args.size };
    let mut visit = visit::Visit::begin()?;
    let Some(examined) = visit.examine(&effort)? else {
        return Ok(visit.verdict());
    };
    let findings = findings::of(&examined);
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    let code = if failed { FAILED } else { 0 };
    // The others leave with the same code, also where nobody reads what is printed here.
    visit.end(code);
    report::print(&examined, &findings, args.json)?;
    Ok(code)
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.01..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give seconds from 0.01 to 60".to_owned()),
    }
}
