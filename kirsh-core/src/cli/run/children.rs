//! The ranks' processes: started, looked at, signalled by group, and at last let go.

use std::io;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::environment::Environment;
use super::group;
use super::pump::{Source, Target};
use super::supervise::Options;
use super::sys::{self, Exit, Signals};

/// How long a killed process may take to be gone. Only one that sleeps in the kernel, on a dead
/// disk or network file system, takes longer, and nothing more can be done about it.
pub(super) const GONE_AFTER: Duration = Duration::from_secs(10);

/// The prefixes' colours, told apart on light and dark ground alike.
const COLORS: [&str; 6] = ["36", "33", "35", "32", "34", "31"];

struct Child {
    pid: i32,
    exit: Option<Exit>,
}

/// The ranks' processes, in order of rank. They stay zombies until this is dropped, which kills
/// what is left of their groups; so a group's number is theirs for as long as it may be signalled.
pub(super) struct Children {
    first_rank: u32,
    list: Vec<Child>,
}

impl Children {
    /// Nobody yet; the first to be started is this rank.
    pub(super) fn new(first_rank: u32) -> Self {
        Children { first_rank, list: Vec::new() }
    }

    /// Starts one rank and adds its output to `sources`.
    pub(super) fn spawn(
        &mut self,
        rank: u32,
        options: &Options,
        environment: &Environment,
        signals: &Signals,
        sources: &mut Vec<Source>,
    ) -> io::Result<()> {
        let mut command = Command::new(&options.command[0]);
        command.args(&options.command[1..]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        environment.apply(rank, &mut command);
        signals.prepare(&mut command);
        let mut process = command.spawn()?;
        // Linux keeps process ids far below what an i32 holds.
        self.list.push(Child { pid: process.id() as i32, exit: None });
        let label = |color| match options.prefix {
            true => label(rank, color),
            false => Vec::new(),
        };
        let stdout = process.stdout.take().map(|pipe| Source {
            pipe: pipe.into(),
            target: Target::Stdout,
            label: label(options.stdout_color),
        });
        let stderr = process.stderr.take().map(|pipe| Source {
            pipe: pipe.into(),
            target: Target::Stderr,
            label: label(options.stderr_color),
        });
        sources.extend(stdout.into_iter().chain(stderr));
        Ok(())
    }

    /// The processes that lead the ranks' groups.
    pub(super) fn leaders(&self) -> impl Iterator<Item = i32> {
        self.list.iter().map(|child| child.pid)
    }

    /// Sends a signal to every rank's group.
    pub(super) fn signal(&self, signal: i32) {
        self.leaders().for_each(|leader| sys::signal_group(leader, signal));
    }

    /// The ranks that have not ended.
    pub(super) fn running(&self) -> Vec<u32> {
        let ranks = (self.first_rank..).zip(&self.list);
        ranks.filter(|(_, child)| child.exit.is_none()).map(|(rank, _)| rank).collect()
    }

    /// Looks who has ended since the last time.
    pub(super) fn look(&mut self) -> io::Result<Vec<(u32, Exit)>> {
        let mut news = Vec::new();
        let ranks = (self.first_rank..).zip(&mut self.list);
        for (rank, child) in ranks.filter(|(_, child)| child.exit.is_none()) {
            child.exit = sys::exit_of(child.pid)?;
            news.extend(child.exit.map(|exit| (rank, exit)));
        }
        Ok(news)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // After an orderly end there is nobody left; this is for the other ways out.
        self.signal(libc::SIGKILL);
        let give_up = Instant::now() + GONE_AFTER;
        while group::any_alive(self.leaders()) && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.leaders().for_each(sys::reap_group);
    }
}

fn label(rank: u32, color: bool) -> Vec<u8> {
    match COLORS[rank as usize % COLORS.len()] {
        code if color => format!("\x1b[{code}m[{rank}]\x1b[0m "),
        _ => format!("[{rank}] "),
    }
    .into_bytes()
}
