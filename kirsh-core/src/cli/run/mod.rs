//! `kirsh run`: starts a program as the ranks of a world on this host, and sees them to their end.
//!
//! [`store`] is what they meet at, [`environment`] what they are told, [`children`] and [`group`]
//! their processes, [`supervise`] who stops them and when, [`pump`] and [`lines`] what becomes of
//! their output, [`sys`] the system calls.
//!
//! Each rank leads a process group of its own, and only these groups are ever signalled. Ranks
//! read from /dev/null, as a group in the background may not read the terminal. A rank dies with
//! the launcher even where that is killed outright; what the rank itself has started does not then,
//! but is stopped with its group in every other case. A process that leaves its rank's group
//! (setsid) has left the launcher's care.

mod children;
mod environment;
mod group;
mod lines;
mod pump;
mod store;
mod supervise;
mod sys;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::time::Duration;

use clap::ValueEnum;

use self::environment::Environment;
use self::store::Store;
use self::supervise::{Options, supervise};
use self::sys::{Signals, Subreaper};
use super::FAILED;
use crate::error::Error;
use crate::limits::{JOB_ID_MAX, WORLD_SIZE_MAX};

/// How long ranks that are told to stop may take, where nobody says: the default of `--kill-after`.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// What the options do not say.
const AFTER_HELP: &str = "\
Exit code:
  0 when every rank ended with 0, otherwise that of the first rank that failed;
  128 + N where signal N killed it, or told the launcher itself to stop;
  124 when --timeout ran out; 126 or 127 when the program cannot be started or found.

Ranks read from /dev/null and find in their environment:
  RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and what
  else torchrun sets; KIRSH_RANK, KIRSH_WORLD_SIZE, KIRSH_LOCAL_RANK, KIRSH_LOCAL_SIZE,
  KIRSH_JOB_ID, KIRSH_RENDEZVOUS, KIRSH_TOKEN; and, unless set before, PYTHONUNBUFFERED=1
  and, with more than one rank, OMP_NUM_THREADS=1.";

/// What `kirsh run` is told.
#[derive(clap::Args)]
#[command(override_usage = "kirsh run -n <N> [OPTIONS] -- <PROGRAM> [ARGUMENT]...")]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// How many ranks to start.
    #[arg(short = 'n', long = "ranks", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: u32,

    /// The job's name; a drawn one if not given.
    #[arg(long, value_name = "ID", value_parser = parse_job_id)]
    job_id: Option<String>,

    /// Pass output on without the rank in front of each line.
    #[arg(long)]
    no_prefix: bool,

    /// Whether the rank in front of each line has a colour; auto: on a terminal, unless NO_COLOR
    /// is set.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,

    /// Stop the ranks after this time.
    #[arg(long, value_name = "SECONDS", value_parser = parse_timeout)]
    timeout: Option<Duration>,

    /// How long ranks that are told to stop may take before they are killed.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    kill_after: Duration,

    /// The program and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "PROGRAM"
    )]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

/// Starts the ranks, waits for them, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    let [stdout_color, stderr_color] =
        [std::io::stdout().is_terminal(), std::io::stderr().is_terminal()].map(|is_terminal| {
            match args.color {
                Color::Auto => is_terminal && colors_welcome(),
                Color::Always => true,
                Color::Never => false,
            }
        });
    let options = Options {
        ranks: args.ranks,
        command: args.command,
        prefix: !args.no_prefix,
        stdout_color,
        stderr_color,
        timeout: args.timeout,
        kill_after: args.kill_after,
    };
    exit_code(launch(&options, args.job_id, true))
}

/// Starts a command of Kirsh's own as so many ranks, whose output is shown as it is, waits for them,
/// and returns the exit code.
pub(super) fn start(ranks: u32, command: Vec<OsString>) -> i32 {
    let options = Options {
        ranks,
        command,
        prefix: false,
        stdout_color: false,
        stderr_color: false,
        timeout: None,
        kill_after: KILL_AFTER,
    };
    // It has no threads for OpenMP to limit.
    exit_code(launch(&options, None, false))
}

fn exit_code(launched: Result<i32, Error>) -> i32 {
    launched.unwrap_or_else(|error| {
        eprintln!("kirsh run: {error}");
        FAILED
    })
}

fn launch(options: &Options, job_id: Option<String>, limit_threads: bool) -> Result<i32, Error> {
    // Before any thread exists, so that all of them leave the signals to this one.
    let signals = Signals::take_over().map_err(|cause| Error::system("taking signals", &cause))?;
    let _subreaper =
        Subreaper::turn_on().map_err(|cause| Error::system("becoming a subreaper", &cause))?;
    let store = Store::serve(job_id)?;
    let environment = Environment::new(options.ranks, &store, limit_threads)
        .map_err(|cause| Error::system("looking for a free port", &cause))?;
    supervise(options, &environment, signals)
        .map_err(|cause| Error::system("watching the ranks", &cause))
}

/// What the user's environment says of colours: see <https://no-color.org>.
fn colors_welcome() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    // Above some thirty years sums with the clock could overflow; nobody means it.
    if !(0.0..=1e9).contains(&seconds) {
        return Err("seconds go from 0 to 1e9".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    let timeout = parse_seconds(text)?;
    if timeout.is_zero() {
        return Err("no program can end in no time; leave --timeout out for no limit".to_owned());
    }
    Ok(timeout)
}

fn parse_job_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > JOB_ID_MAX || text.chars().any(char::is_control) {
        return Err(format!("a job id is text of 1 to {JOB_ID_MAX} bytes on one line"));
    }
    Ok(text.to_owned())
}
