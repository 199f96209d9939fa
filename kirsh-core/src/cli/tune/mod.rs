//! `kirsh tune`: measures what things cost here, and writes the table that choices go by.
//!
//! [`measure`] times collectives, each forced to an algorithm, and [`fit`] finds the costs with
//! which the model predicts these times best. So whatever a call meets on its way is in the
//! figures, in the model's own terms. Other sizes, which the fit has not seen, check it.

mod fit;
mod measure;
mod stripes;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use self::measure::{Sample, Timed};
use super::perf::again;
use super::{FAILED, MISUSED};
use crate::comm::{Communicator, Config, Options, tables_in_force};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::WORLD_SIZE_MAX;
use crate::model::choice::Selection;
use crate::model::{Costs, Layout, units};
use crate::rendezvous::identity::{Arguments, identity, process_env};
use crate::rendezvous::{host_id, settings};

/// What the options do not say.
const AFTER_HELP: &str = "\
Times barriers, broadcasts and all-reduces by several algorithms and sizes, and fits the costs
that the model of docs/MODEL.md has: latency, wire, processor time of a frame and of a byte,
folds. Between hosts it times a large all-reduce by 1, 2 and 4 sockets as well, and takes the
fewest that no larger number beats by 5 %. What it cannot see keeps the built-in figures: with all ranks on one host those between
hosts, with one rank on each host those within.

Started by any launcher (RANK and WORLD_SIZE, or KIRSH_*) this process is one rank of that
world. Otherwise -n starts so many ranks on this host. Rank 0 prints, and writes the table;
KIRSH_TABLE=PATH makes later worlds go by it, where rank 0 has it set. Run it while nothing
else keeps the machines and the network busy.

Exit code: 0, or 1 where a call failed or the table could not be written.";

/// What `kirsh tune` is told.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// How many ranks to start on this host, unless a launcher has started this one.
    #[arg(short = 'n', long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(2..=WORLD_SIZE_MAX as i64))]
    ranks: Option<u32>,

    /// The file to write. One that is there is replaced.
    #[arg(short = 'o', long, value_name = "PATH", default_value = "kirsh.table")]
    output: PathBuf,

    /// The largest array, in bytes or with K, M or G (powers of 1024).
    #[arg(long, value_name = "SIZE", default_value = "16M",
          value_parser = units::bytes)]
    maxbytes: u64,

    /// How long each size is timed, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=60_000))]
    budget_ms: u64,
}

/// Measures, fits and writes as `invocation`, the command line as [`super::main`] got it, asks for
/// it, and returns the exit code.
pub(super) fn run(args: Args, invocation: &[OsString]) -> i32 {
    let failed = |error: Error| {
        eprintln!("kirsh tune: {error}");
        FAILED
    };
    let started = check_peers(args.ranks).and_then(|()| again::start_ranks(args.ranks, invocation));
    match started {
        Ok(Some(code)) => code,
        Ok(None) => tune(&args).map_or_else(failed, |()| 0),
        Err(error) if error.kind() == ErrorKind::InvalidArgument => {
            failed(error);
            MISUSED
        }
        Err(error) => failed(error),
    }
}

/// Refuses to measure a rank without peers.
fn check_peers(ranks: Option<u32>) -> Result<()> {
    if ranks.is_none() && identity(&Arguments::default(), &process_env)?.world_size < 2 {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "costs lie between ranks: start two or more with -n or a launcher",
        ));
    }
    Ok(())
}

fn tune(args: &Args) -> Result<()> {
    let comm = Communicator::create(&Config::default())?;
    let layout = layout(&comm)?;
    let mut timed = measure::run(&comm, &measure::samples(layout.world, args.maxbytes), args)?;
    let mut checks = measure::run(&comm, &measure::checks(layout.world, args.maxbytes), args)?;
    let (_, remote) = fit::visible(layout);
    let striped = if remote { stripes::run(&comm, args)? } else { Vec::new() };
    if comm.rank() == 0 {
        let tables = tables_in_force(&process_env)?;
        let slice = settings::slice(&process_env)?.map(|bytes| bytes as u32);
        cut(&mut timed, layout, &tables.selection, slice);
        cut(&mut checks, layout, &tables.selection, slice);
        let mut costs = fit::fit(layout, *tables.selection.costs(), &timed);
        costs.stripes = stripes::fastest(&striped).unwrap_or(costs.stripes);
        write(&args.output, &costs, &text_about(&comm, layout, &costs, &timed))?;
        show(layout, &costs, &timed, &checks, &striped);
        println!("# Wrote {0}; KIRSH_TABLE={0} makes Kirsh go by it.", args.output.display());
    }
    comm.close()
}

/// How the ranks of this world lie on hosts.
fn layout(comm: &Communicator) -> Result<Layout> {
    let mut hosts = vec![0u64; comm.size() as usize];
    comm.allgather(&[host_id()], &mut hosts, &Options::default())?;
    let most = hosts.iter().map(|host| hosts.iter().filter(|other| *other == host).count()).max();
    Ok(Layout { world: comm.size(), ranks_per_host_max: most.unwrap_or(1) as u32 })
}

/// Notes the slice that each call was cut into: what the table in force says, unless a setting
/// does.
fn cut(timed: &mut [Timed], layout: Layout, selection: &Selection, slice: Option<u32>) {
    for one in timed {
        let call = one.sample.call();
        one.slice = slice
            .unwrap_or_else(|| selection.choose(layout, &call, Some(one.sample.algorithm)).slice);
    }
}

fn write(path: &Path, costs: &Costs, about: &str) -> Result<()> {
    std::fs::write(path, costs.to_text(about))
        .map_err(|cause| Error::system(format!("writing {}", path.display()), &cause))
}

fn text_about(comm: &Communicator, layout: Layout, costs: &Costs, timed: &[Timed]) -> String {
    let hosts = layout.world.div_ceil(layout.ranks_per_host_max);
    let (local, remote) = fit::visible(layout);
    let left = match (local, remote) {
        (true, false) => "\nWhat is said of links between hosts was not measured.",
        (false, true) => "\nWhat is said of links within a host was not measured.",
        _ => "",
    };
    format!(
        "What links, processors and folds cost: KIRSH_TABLE=PATH makes Kirsh go by it.\n\
         Written by kirsh tune {}: {} ranks on {hosts} hosts, driver {}.\n\
         Predictions with it are {:.0} % off the times it was fitted to, on average.{left}",
        env!("CARGO_PKG_VERSION"),
        layout.world,
        comm.driver(),
        100.0 * fit::error(layout, costs, timed),
    )
}

fn show(
    layout: Layout,
    costs: &Costs,
    timed: &[Timed],
    checks: &[Timed],
    striped: &[stripes::Timed],
) {
    println!("# {:<10} {:<20} {:>10} {:>12} {:>12} {:>7}", "", "", "size", "time", "predicted", "");
    println!("# {:<10} {:<20} {:>10} {:>12} {:>12} {:>7}", "", "", "(B)", "(us)", "(us)", "off");
    for (title, all) in [("fitted to", timed), ("not seen by the fit", checks)] {
        println!("# {title}");
        for one in all {
            let Some(predicted) = fit::predicted_us(layout, costs, one) else { continue };
            let Sample { collective, algorithm, .. } = one.sample;
            println!(
                "  {collective:<10} {algorithm:<20} {:>10} {:>12.1} {predicted:>12.1} {:>+6.0}%",
                one.sample.bytes(),
                one.time_us,
                100.0 * (predicted / one.time_us - 1.0)
            );
        }
    }
    for (number, time_us) in striped {
        let taken = if *number == costs.stripes { "   taken" } else { "" };
        println!("# sockets between two ranks: {number}, {time_us:.1} us{taken}");
    }
}
