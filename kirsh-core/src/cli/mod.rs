//! The `kirsh` command, written once and reached from the Python wheel and from the program alike.
//!
//! A subcommand is one variant of [`Command`] and one module with its `Args` and its `run`, which
//! returns the exit code. Nothing in here ends the process, so that an interpreter
//! that calls [`main`] can still clean up.

mod doctor;
mod info;
mod perf;
mod run;
mod simulate;
mod token;
mod trace;
mod tune;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

/// Exit code of a command that could not do what it was asked.
const FAILED: i32 = 1;

/// Exit code for arguments that make no sense, as clap has it.
const MISUSED: i32 = 2;

/// Collectives between ordinary Linux machines.
#[derive(Parser)]
#[command(name = "kirsh", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a program as the ranks of a world, on this host or as one of several nodes.
    Run(run::Args),
    /// Show what Kirsh would do here, and why: driver, addresses, identity, settings.
    Info(info::Args),
    /// Time a collective, in the columns of nccl-tests.
    Perf(perf::Args),
    /// Examine the network between ranks: who reaches whom, by which address, and how fast.
    Doctor(doctor::Args),
    /// Predict what a collective would take on a network that need not exist.
    Simulate(simulate::Args),
    /// Measure what things cost here, and write the table that algorithms are chosen by.
    Tune(tune::Args),
    /// Work with the traces that KIRSH_TRACE has had written.
    Trace(trace::Args),
    /// Draw a token for starting ranks by hand across hosts.
    Token(token::Args),
}

/// Runs the command with these arguments, of which the first is the name of the program, and
/// returns its exit code: 2 for arguments that make no sense, otherwise what the subcommand says.
///
/// Blocks until the subcommand is done. `run` changes the signal mask and the child subreaper
/// setting of the calling thread and process while it works, and puts them back.
pub fn main(args: Vec<OsString>) -> i32 {
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version arrive here too, with code 0. A closed output is no reason to fail.
            let _ = answer.print();
            return answer.exit_code();
        }
    };
    match cli.command {
        Command::Run(options) => run::run(options),
        Command::Info(options) => info::run(options),
        Command::Perf(options) => perf::run(options, &args),
        Command::Doctor(options) => doctor::run(options, &args),
        Command::Simulate(options) => simulate::run(options),
        Command::Tune(options) => tune::run(options, &args),
        Command::Token(options) => token::run(options),
        Command::Trace(options) => trace::run(options),
    }
}

/// The one of these that has this name.
///
/// # Errors
/// The names that there are.
fn named<T: Copy>(
    text: &str,
    all: impl Iterator<Item = T>,
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    let all: Vec<T> = all.collect();
    all.iter().copied().find(|value| name(*value) == text).ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|value| name(*value)).collect();
        format!("what it may be: {}", names.join(", "))
    })
}
