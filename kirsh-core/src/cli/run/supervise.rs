//! Starts the ranks, waits for them, and stops the others when one fails or somebody says so.

use std::ffi::OsString;
use std::io;
use std::time::{Duration, Instant};

use super::children::{Children, GONE_AFTER};
use super::environment::Environment;
use super::group;
use super::others::{Others, Outcome};
use super::pump::Pump;
use super::sys::{self, Exit, SignalName, Signals};
use crate::cli::FAILED;

/// Exit code when the time for the whole run is over, as timeout(1) has it.
pub(super) const TIMED_OUT: i32 = 124;
/// Exit codes of a shell for a program that cannot be started or found.
const NOT_STARTED: i32 = 126;
const NOT_FOUND: i32 = 127;

/// How often to look for what ranks have left behind: nobody tells of the death of a grandchild.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long helpers of a rank (a pipeline's other end, a language's resource tracker) may take to
/// notice that it has ended, before they count as left behind.
const FOLLOWERS_END_AFTER: Duration = Duration::from_secs(2);

/// How often to look for ended ranks although no signal says so. In an interpreter another thread,
/// one that does not block signals, may have swallowed it.
const LOOK_ANYWAY: Duration = Duration::from_secs(1);

/// What the user asked for.
pub(super) struct Options {
    /// Ranks to start here.
    pub(super) ranks: u32,
    /// The first of them.
    pub(super) first_rank: u32,
    /// Behind a rank's name in messages, where there are several nodes: " on node 1 (host b)".
    pub(super) on_node: String,
    /// The program and its arguments; not empty.
    pub(super) command: Vec<OsString>,
    pub(super) prefix: bool,
    pub(super) stdout_color: bool,
    pub(super) stderr_color: bool,
    /// How long the whole run may take.
    pub(super) timeout: Option<Duration>,
    /// How long ranks may take to stop before they are killed.
    pub(super) kill_after: Duration,
}

/// Runs the ranks to their end and returns the launcher's exit code. When this returns, no process
/// of their groups is left, except one that even SIGKILL did not remove, which has been said.
///
/// # Errors
/// What the system refuses to the launcher itself. Ranks that had been started are killed.
pub(super) fn supervise(
    options: &Options,
    environment: &Environment,
    signals: &mut Signals,
    others: Option<&Others>,
) -> io::Result<i32> {
    let mut children = Children::new(options.first_rank);
    let mut sources = Vec::new();
    for rank in options.first_rank..options.first_rank + options.ranks {
        if let Err(error) = children.spawn(rank, options, environment, signals, &mut sources) {
            let program = options.command[0].to_string_lossy();
            let text =
                format!("cannot start {program:?} as rank {rank}{}: {error}", options.on_node);
            eprintln!("kirsh run: {text}");
            let code = match error.raw_os_error() {
                Some(libc::ENOENT) => NOT_FOUND,
                Some(libc::EACCES | libc::ENOEXEC) => NOT_STARTED,
                _ => FAILED,
            };
            if let Some(others) = others {
                others.report_failure(code, &text);
            }
            return Ok(code);
        }
    }
    let pump = Pump::start(sources)?;
    if environment.limits_threads() {
        pump.say(
            "OMP_NUM_THREADS is not set: it is 1 for every rank, so that their threads do not \
             crowd the cores; set it to choose",
        );
    }
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut world = World {
        options,
        children: &mut children,
        pump: &pump,
        stop: Stop::None,
        code: None,
        last_word: None,
        interrupted: false,
        deadline,
        others,
        ended: None,
    };
    world.watch(signals)?;
    world.hear_of_the_end(signals)?;
    let code = world.code.unwrap_or(0);
    let interrupted = world.interrupted;
    if let Some(word) = world.last_word {
        pump.say(word);
    }
    drop(children);
    finish_output(&pump, signals, interrupted, options.kill_after)?;
    Ok(code)
}

/// Waits until all output is written. A reader that takes nothing may keep this waiting, as it
/// would keep any program, but not against a signal, and not for long once there was one.
fn finish_output(
    pump: &Pump,
    signals: &mut Signals,
    interrupted: bool,
    patience: Duration,
) -> io::Result<()> {
    pump.finish();
    let give_up = interrupted.then(|| Instant::now() + patience);
    while !pump.is_done() {
        let left = give_up.map(|at| at.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            break;
        }
        signals.wait(Some(pump.done()), left)?;
        while let Some(signal) = signals.next() {
            match signal {
                libc::SIGCHLD => {}
                libc::SIGTSTP => sys::suspend_self(),
                _ => return Ok(()),
            }
        }
    }
    Ok(())
}

/// How far the stopping of the ranks has come.
#[derive(Clone, Copy)]
enum Stop {
    None,
    /// They were told to; those that are left at that time are killed.
    Told {
        kill_at: Instant,
    },
    /// They were killed; whoever is left at that time is given up.
    Killed {
        give_up_at: Instant,
    },
}

pub(super) struct World<'a> {
    pub(super) options: &'a Options,
    pub(super) children: &'a mut Children,
    pub(super) pump: &'a Pump,
    stop: Stop,
    /// The exit code, once something other than success is certain.
    pub(super) code: Option<i32>,
    /// What to say at the end again, since those that are stopped may say a lot.
    pub(super) last_word: Option<String>,
    /// A signal told the launcher to stop.
    pub(super) interrupted: bool,
    pub(super) deadline: Option<Instant>,
    /// The launchers of the other nodes, where there are any.
    pub(super) others: Option<&'a Others>,
    /// How the run has ended for all nodes, once that is known.
    pub(super) ended: Option<Outcome>,
}

impl World<'_> {
    pub(super) fn told_to_stop(&self) -> bool {
        !matches!(self.stop, Stop::None)
    }

    /// Waits until nothing of the ranks' groups is left, or until it has to be given up.
    fn watch(&mut self, signals: &mut Signals) -> io::Result<()> {
        let mut followers_until = None;
        loop {
            let news = self.children.look()?;
            self.take_failure(&news);
            let all_ended = self.children.running().is_empty();
            if all_ended {
                if !group::any_alive(self.children.leaders()) {
                    return Ok(());
                }
                let until = followers_until.get_or_insert(Instant::now() + FOLLOWERS_END_AFTER);
                if !self.told_to_stop() && *until <= Instant::now() {
                    self.pump.say("all ranks have ended; stopping what they left running");
                    self.tell(libc::SIGTERM);
                }
            }
            let now = Instant::now();
            if !self.keep_time(now) {
                return Ok(());
            }
            let look_at = now + if all_ended { LOOK_EVERY } else { LOOK_ANYWAY };
            let wake_at = self.next_time().map_or(look_at, |at| at.min(look_at));
            let bell = self.others.filter(|_| self.ended.is_none()).map(Others::bell);
            signals.wait(bell, Some(wake_at.saturating_duration_since(now)))?;
            while let Some(signal) = signals.next() {
                self.handle(signal);
            }
            self.listen();
        }
    }

    /// Tells the launchers of the other nodes that the run fails here.
    fn report(&self, code: i32, what: &str) {
        if let Some(others) = self.others {
            others.report_failure(code, what);
        }
    }

    /// Notes the first failure among these, if there was none before, and stops the others.
    fn take_failure(&mut self, news: &[(u32, Exit)]) {
        let mut failed = news.iter().filter(|(_, exit)| *exit != Exit::Code(0));
        let Some((rank, exit)) = failed.next().filter(|_| !self.told_to_stop()) else { return };
        // The kernel does not say who of those that ended between two looks was the first.
        let also: String =
            failed.map(|(rank, exit)| format!("; at the same time rank {rank} {exit}")).collect();
        let others = self.children.running();
        let stopping = match others.len() {
            0 => String::new(),
            _ => format!("; stopping {}", list(&others)),
        };
        let on_node = &self.options.on_node;
        self.pump.say(format_args!("rank {rank}{on_node} failed first: it {exit}{also}{stopping}"));
        self.code = Some(exit.code());
        self.report(exit.code(), &format!("rank {rank}{on_node} {exit}"));
        if !others.is_empty() {
            self.last_word =
                Some(format!("the run failed with rank {rank}{on_node}, which {exit}"));
        }
        self.tell(libc::SIGTERM);
    }

    /// Does what is due by now; false when nothing more can be done.
    fn keep_time(&mut self, now: Instant) -> bool {
        match self.stop {
            Stop::None if self.deadline.is_some_and(|deadline| deadline <= now) => {
                let seconds = self.options.timeout.unwrap_or_default().as_secs_f64();
                let running = list(&self.children.running());
                self.pump
                    .say(format_args!("the {seconds} s of --timeout are over; stopping {running}"));
                self.code = Some(TIMED_OUT);
                let place = &self.options.on_node;
                self.report(TIMED_OUT, &format!("the {seconds} s of --timeout are over{place}"));
                self.tell(libc::SIGTERM);
            }
            Stop::Told { kill_at } if kill_at <= now => self.kill(),
            Stop::Killed { give_up_at } if give_up_at <= now => {
                let running = self.children.running();
                let who = match running.len() {
                    0 => "processes that ranks left behind".to_owned(),
                    _ => list(&running),
                };
                self.pump.say(format_args!(
                    "{who} cannot be killed (asleep in the kernel?); leaving without them"
                ));
                return false;
            }
            _ => {}
        }
        true
    }

    /// The next time at which something is due.
    fn next_time(&self) -> Option<Instant> {
        match self.stop {
            Stop::None => self.deadline,
            Stop::Told { kill_at } => Some(kill_at),
            Stop::Killed { give_up_at } => Some(give_up_at),
        }
    }

    fn handle(&mut self, signal: i32) {
        match signal {
            libc::SIGCHLD => {}
            libc::SIGTSTP => {
                // Ctrl-Z reached the launcher alone, the ranks being in the background.
                self.children.signal(libc::SIGSTOP);
                sys::suspend_self();
                self.children.signal(libc::SIGCONT);
            }
            _ if self.told_to_stop() => {
                self.interrupted = true;
                self.kill();
            }
            _ => {
                self.interrupted = true;
                let name = SignalName(signal);
                self.pump.say(format_args!("got {name}; passing it on to the ranks"));
                self.code = Some(128 + signal);
                self.report(
                    128 + signal,
                    &format!("the launcher{} got {name}", self.options.on_node),
                );
                self.tell(signal);
            }
        }
    }

    /// Tells the ranks to stop, also those that somebody has suspended.
    pub(super) fn tell(&mut self, signal: i32) {
        self.children.signal(signal);
        self.children.signal(libc::SIGCONT);
        self.stop = Stop::Told { kill_at: Instant::now() + self.options.kill_after };
    }

    fn kill(&mut self) {
        if matches!(self.stop, Stop::Killed { .. }) {
            return;
        }
        let running = self.children.running();
        if !running.is_empty() {
            self.pump.say(format_args!("killing {}, still running", list(&running)));
        }
        self.children.signal(libc::SIGKILL);
        self.stop = Stop::Killed { give_up_at: Instant::now() + GONE_AFTER };
    }
}

/// "rank 3", or "ranks 0, 1, 2" with an end to long lists.
pub(super) fn list(ranks: &[u32]) -> String {
    const SHOWN: usize = 16;
    let shown: Vec<_> = ranks.iter().take(SHOWN).map(u32::to_string).collect();
    let more = match ranks.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if ranks.len() == 1 { "rank" } else { "ranks" };
    format!("{noun} {}{more}", shown.join(", "))
}
