//! The test's side of a group of ranks: starting them, hearing them, and leaving nothing behind.

use std::fmt::Display;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kirsh_core::driver::clock::now_ns;

use super::{DETAIL, SCENARIO, free_port};

/// Something that a rank said.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) word: String,
    pub(crate) at_ns: u64,
    pub(crate) text: String,
}

/// What became of a rank.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) rank: u32,
    pub(crate) status: ExitStatus,
    pub(crate) events: Vec<Event>,
    /// All that it wrote.
    pub(crate) output: String,
}

impl Outcome {
    pub(crate) fn said(&self, word: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.word == word)
    }

    pub(crate) fn must_have_said(&self, word: &str) -> &Event {
        self.said(word)
            .unwrap_or_else(|| panic!("rank {} never said {word}:\n{}", self.rank, self.output))
    }

    /// The first call that failed.
    pub(crate) fn failure(&self) -> Failure {
        let event = self.must_have_said("failed");
        let mut parts = event.text.splitn(4, '|');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let (kind, peer, scope, message) = (part(), part(), part(), part());
        Failure {
            rank: self.rank,
            at_ns: event.at_ns,
            kind,
            peer: peer.parse().ok(),
            scope,
            message,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) rank: u32,
    pub(crate) at_ns: u64,
    pub(crate) kind: String,
    pub(crate) peer: Option<u32>,
    pub(crate) scope: String,
    pub(crate) message: String,
}

/// How to start a group.
pub(crate) struct Group {
    scenario: &'static str,
    world: u32,
    deadline: Duration,
    env: Vec<(String, String)>,
    /// What only one rank is told.
    env_of: Vec<(u32, String, String)>,
    /// What each rank's program is started by, such as `ip netns exec`.
    through: Vec<Vec<String>>,
    /// Ranks that do not end by themselves.
    stuck: Vec<u32>,
    /// Ranks that are never started.
    absent: Vec<u32>,
}

impl Group {
    pub(crate) fn new(scenario: &'static str, world: u32) -> Self {
        let deadline = Duration::from_secs(60);
        Group {
            scenario,
            world,
            deadline,
            env: Vec::new(),
            env_of: Vec::new(),
            through: Vec::new(),
            stuck: Vec::new(),
            absent: Vec::new(),
        }
    }

    pub(crate) fn detail(self, detail: impl Display) -> Self {
        self.env(DETAIL, detail)
    }

    pub(crate) fn env(mut self, name: &str, value: impl Display) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Tells one rank, by its number in the group, something that the others are not told.
    pub(crate) fn env_of(mut self, rank: u32, name: &str, value: impl Display) -> Self {
        self.env_of.push((rank, name.to_owned(), value.to_string()));
        self
    }

    /// Starts each rank through a command of its own, which must become the rank's process.
    pub(crate) fn through(mut self, commands: Vec<Vec<String>>) -> Self {
        self.through = commands;
        self
    }

    pub(crate) fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// This rank is not waited for, but killed when the others have ended.
    pub(crate) fn stuck(mut self, rank: u32) -> Self {
        self.stuck.push(rank);
        self
    }

    pub(crate) fn absent(mut self, rank: u32) -> Self {
        self.absent.push(rank);
        self
    }

    /// Runs the group to its end. Whether ranks end well is for the test to say.
    pub(crate) fn run(self) -> Vec<Outcome> {
        let home = fresh_directory();
        let port = free_port();
        let mut running = Running { ranks: Vec::new(), home: home.clone() };
        for rank in (0..self.world).filter(|rank| !self.absent.contains(rank)) {
            running.ranks.push(self.start(rank, port, &home));
        }
        let until = Instant::now() + self.deadline;
        let mut late = Vec::new();
        for rank in &mut running.ranks {
            if !self.stuck.contains(&rank.rank) && !rank.ended_by(until) {
                late.push(rank.rank);
            }
        }
        let outcomes = running.end();
        assert!(
            late.is_empty(),
            "{} {:?}: rank {late:?} has not ended after {:?}\n{}",
            self.scenario,
            self.env,
            self.deadline,
            outcomes.iter().map(|outcome| outcome.output.as_str()).collect::<String>()
        );
        outcomes
    }

    /// Runs the group; every rank must end well.
    pub(crate) fn succeed(self) -> Vec<Outcome> {
        let named = format!("{} {:?}", self.scenario, self.env);
        let outcomes = self.run();
        for outcome in &outcomes {
            assert!(
                outcome.status.success(),
                "{named}: rank {} ended with {}\n{}",
                outcome.rank,
                outcome.status,
                outcomes.iter().map(|outcome| outcome.output.as_str()).collect::<String>()
            );
        }
        outcomes
    }

    fn start(&self, rank: u32, port: u16, home: &PathBuf) -> RunningRank {
        let program = std::env::current_exe().expect("this program");
        let mut command = match self.through.get(rank as usize).map(Vec::as_slice) {
            Some([first, rest @ ..]) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            _ => Command::new(program),
        };
        command.args(["--exact", "a_rank", "--nocapture", "--test-threads=1"]);
        // Nothing of the tester's own settings may reach the ranks.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KIRSH_")) {
            command.env_remove(name);
        }
        command
            .env(SCENARIO, self.scenario)
            .env("RANK", rank.to_string())
            .env("WORLD_SIZE", self.world.to_string())
            .env("KIRSH_RENDEZVOUS", format!("tcp://127.0.0.1:{port}"))
            .env("KIRSH_JOIN_TIMEOUT", "30")
            .env("TMPDIR", home)
            .env("RUST_BACKTRACE", "0")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .envs(
                self.env_of
                    .iter()
                    .filter(|(of, ..)| *of == rank)
                    .map(|(_, name, value)| (name, value)),
            )
            .current_dir(home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own, by which the processes it forks can be found.
            .process_group(0);
        let mut child = command.spawn().expect("a rank");
        let pipes: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().expect("a pipe")),
            Box::new(child.stderr.take().expect("a pipe")),
        ];
        let readers = pipes.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = pipe.read_to_end(&mut text);
                String::from_utf8_lossy(&text).into_owned()
            })
        });
        RunningRank { rank, child, readers: readers.into() }
    }
}

struct RunningRank {
    rank: u32,
    child: Child,
    readers: Vec<JoinHandle<String>>,
}

impl RunningRank {
    fn ended_by(&mut self, until: Instant) -> bool {
        loop {
            if self.child.try_wait().expect("our own child").is_some() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a process of the rank's group is there.
    fn has_processes(&self) -> bool {
        // SAFETY: signal 0 only asks.
        unsafe { libc::kill(-(self.child.id() as libc::pid_t), 0) == 0 }
    }

    /// Ends what is left of it.
    fn kill(&mut self) {
        if self.has_processes() {
            // SAFETY: the group is the one made for this child, whose id is not given away before
            // all its processes have ended.
            unsafe { libc::kill(-(self.child.id() as libc::pid_t), libc::SIGKILL) };
        }
    }
}

struct Running {
    ranks: Vec<RunningRank>,
    home: PathBuf,
}

impl Running {
    /// Ends whatever still runs and makes sure that nothing is left.
    fn end(mut self) -> Vec<Outcome> {
        for rank in &mut self.ranks {
            rank.kill();
        }
        let outcomes = self.ranks.iter_mut().map(|rank| {
            let status = rank.child.wait().expect("our own child");
            let output: Vec<String> =
                rank.readers.drain(..).map(|reader| reader.join().unwrap_or_default()).collect();
            let events = output[1].lines().filter_map(event).collect();
            let output = format!("--- rank {}: {status}\n{}", rank.rank, output.join(""));
            Outcome { rank: rank.rank, status, events, output }
        });
        let outcomes: Vec<Outcome> = outcomes.collect();
        let until = Instant::now() + Duration::from_secs(5);
        for rank in &self.ranks {
            // Killed grandchildren belong to init, which takes a moment to collect them.
            while rank.has_processes() {
                assert!(Instant::now() < until, "a process of rank {} is left", rank.rank);
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let left: Vec<_> = std::fs::read_dir(&self.home)
            .map(|files| files.flatten().map(|file| file.path()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "files left behind: {left:?}");
        outcomes
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for rank in &mut self.ranks {
            if rank.child.try_wait().is_ok_and(|status| status.is_none()) {
                rank.kill();
                let _ = rank.child.wait();
            }
        }
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

fn event(line: &str) -> Option<Event> {
    let (_, line) = line.split_once('@')?;
    let mut parts = line.splitn(3, ' ');
    let (word, at_ns, text) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
    Some(Event { word: word.to_owned(), at_ns: at_ns.parse().ok()?, text: text.to_owned() })
}

fn fresh_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("kirsh-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory");
    path
}
