//! `kirsh info`: what Kirsh would do here, and why, without joining any world.
//!
//! [`host`] asks the kernel, [`facts`] the library, [`show`] writes it for people;
//! [`algorithms`] asks the model.

mod algorithms;
mod facts;
mod host;
mod show;

use std::io::Write;

use self::facts::Facts;
use super::FAILED;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::WORLD_SIZE_MAX;

/// What the options do not say.
const AFTER_HELP: &str = "\
Exit code: 0, or 1 where something shown under \"problems\" would keep a communicator from
being created in this environment. Secrets are never shown.";

/// What `kirsh info` is told.
#[derive(clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// Shows every environment variable: its value, its default, and what it does.
    #[arg(long)]
    env: bool,

    /// Shows instead which algorithms would be chosen, by size, if this process were rank 0.
    #[arg(long, conflicts_with = "env")]
    algorithms: bool,

    /// In a world of so many ranks.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 4, requires = "algorithms",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: u32,

    /// With so many ranks on each host.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "algorithms",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks_per_host: u32,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints what there is to know, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    let failed = |error: Error| {
        eprintln!("kirsh info: {error}");
        FAILED
    };
    if args.algorithms {
        return show_algorithms(&args).map_or_else(failed, |()| 0);
    }
    let facts = Facts::gather(args.env);
    let text = if args.json { json(&facts) } else { Ok(show::text(&facts)) };
    match text.and_then(|text| print(&text)) {
        Ok(()) if facts.problems.is_empty() => 0,
        Ok(()) => FAILED,
        Err(error) => failed(error),
    }
}

fn show_algorithms(args: &Args) -> Result<()> {
    let chosen = algorithms::gather(args.ranks, args.ranks_per_host)?;
    print(&if args.json { json(&chosen)? } else { algorithms::text(&chosen) })
}

fn json(facts: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(facts).map_err(|cause| {
        Error::new(ErrorKind::Internal, format!("the facts make no JSON: {cause}"))
    })?;
    Ok(text + "\n")
}

fn print(text: &str) -> Result<()> {
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|cause| Error::system("writing the facts", &cause))
}
