//! `kirsh info`: what Kirsh would do here, and why, without joining any world.
//!
//! [`host`] asks the kernel, [`facts`] the library, [`show`] writes it for people.

mod facts;
pub(super) mod host;
mod show;

use std::io::Write;

use self::facts::Facts;
use super::FAILED;
use crate::error::{Error, ErrorKind, Result};

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

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints what there is to know, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    let facts = Facts::gather(args.env);
    match print(&facts, args.json) {
        Ok(()) if facts.problems.is_empty() => 0,
        Ok(()) => FAILED,
        Err(error) => {
            eprintln!("kirsh info: {error}");
            FAILED
        }
    }
}

fn print(facts: &Facts, json: bool) -> Result<()> {
    let text = if json {
        let text = serde_json::to_string_pretty(facts).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("the facts make no JSON: {cause}"))
        })?;
        text + "\n"
    } else {
        show::text(facts)
    };
    std::io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|cause| Error::system("writing the facts", &cause))
}
