//! `kirsh simulate`: what a collective would take on a network that need not exist.
//!
//! [`report`] shows what the model says, [`plot`] draws it.

mod canvas;
mod plot;
mod report;

use std::path::PathBuf;

use self::report::Report;
use super::{FAILED, MISUSED, named};
use crate::comm::Simulation;
use crate::error::{ErrorKind, Result};
use crate::limits::{CHANNELS_MAX, WORLD_SIZE_MAX};
use crate::model::scenario::{Scenario, simulate};
use crate::model::{Effort, units};
use crate::types::{Algorithm, Collective, DataType, Rank, ReduceOp, Wire};

/// What the options do not say.
const AFTER_HELP: &str = "\
The plans are those that ranks would run; the model adds up what each of their steps costs.
docs/MODEL.md says how, and what is left out (TCP's slow start and losses, for instance).

Columns:
  slice  bytes that the array is cut into; for each algorithm the size that suits it
  time   until the last rank is through, in microseconds
  algbw  size / time, in GB/s (1 GB = 1e9 bytes)
  busbw  algbw x 2(n-1)/n for allreduce, x (n-1)/n where each rank has its own part: what
         compares with a link's rate, whatever the number of ranks
  sent   bytes sent by the rank that sends most
  steps  of the plan of the rank that has most
The line with a * is what Kirsh would choose there by itself. It does not know of switches
and stragglers when it chooses.

Sizes are powers of 1024 (100M), rates powers of 1000 (10Gbit). Costs that are not given are
those built in for the nearest class of links, or those of --table.";

/// What `kirsh simulate` is told.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// What to simulate.
    #[arg(value_parser = parse_collective)]
    collective: Collective,

    /// How many ranks.
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: u32,

    /// Bytes of the larger of a rank's two arrays, or with K, M or G (powers of 1024).
    #[arg(short = 's', long, value_name = "SIZE", default_value = "1M",
          value_parser = units::bytes)]
    size: u64,

    /// The rate of a host's link, as in 10Gbit or 940Mbit.
    #[arg(long, value_name = "RATE", value_parser = units::bits_per_second)]
    bandwidth: Option<u64>,

    /// From the first byte's leaving a rank until the other can see it, as in 50us.
    #[arg(long, value_name = "TIME", value_parser = units::picoseconds)]
    latency: Option<u64>,

    /// Ranks of one host, which share its link and its cores.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks_per_host: u32,

    /// Cores of a host.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    cores: Option<u32>,

    /// Hosts below one switch; every host reaches every other at full rate if not given.
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    hosts_per_switch: Option<u32>,

    /// How many times as much as its uplink the hosts below a switch could send.
    #[arg(long, value_name = "FACTOR", default_value_t = Simulation::OVERSUBSCRIPTION,
          requires = "hosts_per_switch",
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    oversubscription: u32,

    /// One rank takes this many times as long over everything.
    #[arg(long, value_name = "FACTOR", value_parser = units::thousandths)]
    straggler: Option<u32>,

    /// Which one that is.
    #[arg(long, value_name = "RANK", default_value_t = 0, requires = "straggler")]
    straggler_rank: Rank,

    /// One algorithm, or all.
    #[arg(long, value_name = "NAME", default_value = "all", value_parser = parse_algorithm)]
    algorithm: Which,

    /// Parts that the array is cut into, each carried out by a core of its own; as many as would be
    /// chosen by the link, the size and --cores if not given.
    #[arg(long, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=i64::from(CHANNELS_MAX)))]
    channels: Option<u16>,

    /// How two elements become one.
    #[arg(long, value_name = "OP", default_value = "sum", value_parser = parse_op)]
    op: ReduceOp,

    /// The type of the elements.
    #[arg(long, value_name = "TYPE", default_value = "float32", value_parser = parse_dtype)]
    dtype: DataType,

    /// How float32 travels: none, bf16, f16 or int8.
    #[arg(long, value_name = "FORMAT", default_value = "none", value_parser = parse_wire)]
    wire: Wire,

    /// A table that `kirsh tune` wrote, for all costs that are not given here.
    #[arg(long, value_name = "PATH")]
    table: Option<PathBuf>,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,

    /// Also draws time against size, up to this size and beyond, into a PNG file.
    #[arg(long, value_name = "PATH")]
    plot: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Which {
    All,
    One(Algorithm),
}

/// Predicts, prints, draws, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    let scenario = match args.scenario() {
        Ok(scenario) => scenario,
        Err(error) => {
            eprintln!("kirsh simulate: {}", error.message());
            return MISUSED;
        }
    };
    match show(&args, &scenario) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("kirsh simulate: {error}");
            let misused = [ErrorKind::InvalidArgument, ErrorKind::Unsupported];
            if misused.contains(&error.kind()) { MISUSED } else { FAILED }
        }
    }
}

fn show(args: &Args, scenario: &Scenario) -> Result<()> {
    let results = simulate(scenario, Effort::ANSWER)?;
    let report = Report { scenario, results: &results };
    report.print(args.json)?;
    args.plot.as_ref().map_or(Ok(()), |path| plot::draw(scenario, path))
}

impl Args {
    fn scenario(&self) -> Result<Scenario> {
        let simulation = Simulation {
            dtype: self.dtype,
            op: self.op,
            wire: self.wire,
            algorithm: match self.algorithm {
                Which::All => None,
                Which::One(algorithm) => Some(algorithm),
            },
            channels: self.channels,
            bandwidth: self.bandwidth,
            latency_ps: self.latency,
            ranks_per_host: self.ranks_per_host,
            cores: self.cores,
            hosts_per_switch: self.hosts_per_switch,
            oversubscription: self.hosts_per_switch.map(|_| self.oversubscription),
            straggler_milli: self.straggler,
            straggler_rank: self.straggler.map(|_| self.straggler_rank),
            table: self.table.clone(),
            ..Simulation::new(self.collective, self.ranks, self.size)
        };
        simulation.scenario()
    }
}

fn parse_collective(text: &str) -> Result<Collective, String> {
    named(text, Collective::ALL.iter().copied(), Collective::name)
}

fn parse_algorithm(text: &str) -> Result<Which, String> {
    if text == "all" {
        return Ok(Which::All);
    }
    named(text, Algorithm::ALL.iter().copied(), Algorithm::name)
        .map(Which::One)
        .map_err(|names| format!("{names}, all"))
}

fn parse_op(text: &str) -> Result<ReduceOp, String> {
    named(text, ReduceOp::ALL.iter().copied(), ReduceOp::name)
}

fn parse_dtype(text: &str) -> Result<DataType, String> {
    named(text, DataType::ALL.iter().copied(), DataType::name)
}

fn parse_wire(text: &str) -> Result<Wire, String> {
    named(text, Wire::ALL.iter().copied(), Wire::name)
}
