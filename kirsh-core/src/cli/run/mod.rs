//! `kirsh run`: starts a program as the ranks of a world on this host, or as this node's part of a
//! world on several, and sees them to their end.
//!
//! [`nodes`] is how the launchers of several nodes agree, [`others`] what they tell each other
//! afterwards. [`store`] is what the ranks meet at, [`environment`] what they are told, [`children`] and [`group`]
//! their processes, [`supervise`] who stops them and when, [`ending`] what of that is up to others, [`pump`] and [`lines`] what becomes of
//! their output, [`sys`] the system calls.
//!
//! Each rank leads a process group of its own, and only these groups are ever signalled. Ranks
//! read from /dev/null, as a group in the background may not read the terminal. A rank dies with
//! the launcher even where that is killed outright; what the rank itself has started does not then,
//! but is stopped with its group in every other case. A process that leaves its rank's group
//! (setsid) has left the launcher's care.

mod children;
mod ending;
mod environment;
mod group;
mod lines;
mod nodes;
mod others;
mod pump;
mod store;
mod supervise;
mod sys;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::ValueEnum;

use self::environment::{Environment, free_port};
use self::nodes::{Place, Terms};
use self::others::Others;
use self::store::Store;
use self::supervise::{Options, supervise};
use self::sys::{SignalName, Signals, Subreaper};
use super::{FAILED, MISUSED};
use crate::error::{Error, ErrorKind};
use crate::limits::{JOB_ID_MAX, WORLD_SIZE_MAX};
use crate::rendezvous::address::host_name;
use crate::rendezvous::identity::process_env;
use crate::rendezvous::{Rendezvous, settings};

/// How long ranks that are told to stop may take, where nobody says: the default of `--kill-after`.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// What the options do not say.
const AFTER_HELP: &str = "\
Exit code:
  0 when every rank ended with 0, otherwise that of the first rank that failed;
  128 + N where signal N killed it, or told the launcher itself to stop;
  124 when --timeout ran out; 126 or 127 when the program cannot be started or found.
  On several nodes every launcher returns that of the first failure on any of them.

Several nodes: one launcher on each, told the same --nnodes and --rendezvous and a
--node-rank of its own. Node 0 serves the rendezvous, so it is an address of its host. -n
may differ between nodes; ranks count from node 0 on. Beyond loopback the launchers need
one token: write it with `kirsh token`, copy it to every node, set KIRSH_TOKEN_FILE there.

Ranks read from /dev/null and find in their environment:
  RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR, MASTER_PORT and
  what else torchrun sets; KIRSH_RANK, KIRSH_WORLD_SIZE, KIRSH_LOCAL_RANK, KIRSH_LOCAL_SIZE,
  KIRSH_JOB_ID, KIRSH_RENDEZVOUS, KIRSH_TOKEN; and, unless set before, PYTHONUNBUFFERED=1
  and, with more than one rank, OMP_NUM_THREADS=1.";

/// What `kirsh run` is told.
#[derive(clap::Args)]
#[command(override_usage = "kirsh run -n <N> [OPTIONS] -- <PROGRAM> [ARGUMENT]...")]
#[command(after_long_help = AFTER_HELP)]
pub(super) struct Args {
    /// How many ranks to start here.
    #[arg(short = 'n', long = "ranks", value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    ranks: u32,

    /// On how many nodes the world runs, each with a launcher of its own.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=WORLD_SIZE_MAX as i64))]
    nnodes: u32,

    /// Which of the nodes this is, from 0 on.
    #[arg(long, value_name = "R")]
    node_rank: Option<u32>,

    /// Where the launchers and ranks of several nodes meet: tcp://host:port, an address of node 0.
    /// Without it KIRSH_RENDEZVOUS counts.
    #[arg(long, value_name = "ADDRESS")]
    rendezvous: Option<String>,

    /// The job's name; a drawn one if not given, and on several nodes KIRSH_JOB_ID.
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
    let terms = match args.terms() {
        Ok(terms) => terms,
        Err(problem) => {
            eprintln!("kirsh run: {problem}");
            return MISUSED;
        }
    };
    let options = Options {
        ranks: args.ranks,
        first_rank: 0,
        on_node: String::new(),
        command: args.command,
        prefix: !args.no_prefix,
        stdout_color,
        stderr_color,
        timeout: args.timeout,
        kill_after: args.kill_after,
    };
    exit_code(match terms {
        Some(terms) => launch_one_of(options, &terms),
        None => launch(&options, args.job_id, true),
    })
}

impl Args {
    /// What is said of several nodes; `None` where there is but one.
    fn terms(&self) -> Result<Option<Terms>, String> {
        let nodes = self.nnodes;
        if nodes == 1 {
            return match (self.node_rank, &self.rendezvous) {
                (None | Some(0), None) => Ok(None),
                (Some(node), _) if node > 0 => Err(format!(
                    "--node-rank {node} is out of range: --nnodes is 1, and nodes count from 0"
                )),
                _ => Err("--rendezvous is for several nodes: say how many with --nnodes".into()),
            };
        }
        let node = self.node_rank.ok_or_else(|| {
            format!("--nnodes {nodes} needs --node-rank, from 0 to {}, on each node", nodes - 1)
        })?;
        if node >= nodes {
            let last = nodes - 1;
            return Err(format!(
                "--node-rank {node} is out of range: nodes count from 0 to {last}"
            ));
        }
        let set = settings::RENDEZVOUS.set(&process_env);
        let Some(text) = self.rendezvous.clone().or(set) else {
            return Err(format!(
                "--nnodes {nodes} needs --rendezvous tcp://host:port, an address of node 0's host, \
                 the same on every node"
            ));
        };
        let rendezvous = Rendezvous::parse(&text).map_err(|error| error.message().to_owned())?;
        if matches!(rendezvous, Rendezvous::File(_)) {
            return Err(
                "launchers of several nodes meet at tcp://host:port, not in a directory".into()
            );
        }
        let job_id = self.job_id.clone();
        Ok(Some(Terms { nodes, node, ranks: self.ranks, rendezvous, job_id }))
    }
}

/// Starts a command of Kirsh's own as so many ranks, whose output is shown as it is, waits for them,
/// and returns the exit code.
pub(super) fn start(ranks: u32, command: Vec<OsString>) -> i32 {
    let options = Options {
        ranks,
        first_rank: 0,
        on_node: String::new(),
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
    let (mut signals, _subreaper) = take_over()?;
    let store = Store::serve(job_id)?;
    let port = free_port().map_err(|cause| Error::system("looking for a free port", &cause))?;
    let place = Place {
        node: 0,
        nodes: 1,
        first_rank: 0,
        ranks: options.ranks,
        world_size: options.ranks,
        master: (Ipv4Addr::LOCALHOST.to_string(), port),
    };
    let environment = Environment::new(place, &store, limit_threads);
    supervise(options, &environment, &mut signals, None).map_err(watching)
}

/// Launches this node's part of a world on several.
fn launch_one_of(mut options: Options, terms: &Terms) -> Result<i32, Error> {
    let (signals, _subreaper) = take_over()?;
    let signals = RefCell::new(signals);
    let stopped_by = Cell::new(None);
    let interrupt = || match signals.borrow_mut().next() {
        Some(signal) if !matches!(signal, libc::SIGCHLD | libc::SIGTSTP) => {
            stopped_by.set(Some(signal));
            Err(Error::new(ErrorKind::Interrupted, format!("it got {}", SignalName(signal))))
        }
        _ => Ok(()),
    };
    let met = match nodes::meet(terms, &interrupt) {
        Ok(met) => met,
        Err(error) => {
            return match stopped_by.get() {
                Some(signal) => {
                    eprintln!("kirsh run: {error}");
                    Ok(128 + signal)
                }
                None => Err(error),
            };
        }
    };
    options.first_rank = met.place.first_rank;
    options.on_node = format!(" on node {} (host {})", terms.node, host_name());
    let liveness = settings::liveness_timeout(&process_env)?;
    let others = Others::watch(&met, liveness)
        .map_err(|cause| Error::system("watching the other nodes", &cause))?;
    let store = Store::of_nodes(&terms.rendezvous, &met);
    let environment = Environment::new(met.place.clone(), &store, true);
    supervise(&options, &environment, &mut signals.borrow_mut(), Some(&others)).map_err(watching)
}

fn take_over() -> Result<(Signals, Subreaper), Error> {
    let signals = Signals::take_over().map_err(|cause| Error::system("taking signals", &cause))?;
    let subreaper =
        Subreaper::turn_on().map_err(|cause| Error::system("becoming a subreaper", &cause))?;
    Ok((signals, subreaper))
}

fn watching(cause: io::Error) -> Error {
    Error::system("watching the ranks", &cause)
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
