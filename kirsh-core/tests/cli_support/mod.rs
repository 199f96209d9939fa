//! Runs the `kirsh` command in tests, each under a deadline, and looks whether anything is left.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far more than any test needs on a busy machine; a launcher that hangs is killed after it.
const DEADLINE: Duration = Duration::from_secs(120);

/// A command to be.
pub(crate) struct Kirsh(Command);

#[allow(dead_code, reason = "not every test file needs all of them")]
impl Kirsh {
    pub(crate) fn new(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kirsh"));
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A directory in PATH that this user may not search would hide that a program is missing.
        command.env("PATH", "/usr/bin:/bin").env_remove("NO_COLOR");
        // A shell lets what it starts in the background ignore interrupts, and so would kirsh.
        // SAFETY: `signal` may be called between fork and exec, and touches no memory of ours.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGINT, libc::SIG_DFL);
                Ok(())
            });
        }
        Kirsh(command)
    }

    /// The command started by another, such as `ip netns exec`, which needs the paths of root.
    pub(crate) fn through(
        starter: &[String],
        args: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let mut command = Command::new(&starter[0]);
        command.args(&starter[1..]).arg(env!("CARGO_BIN_EXE_kirsh")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").env_remove("NO_COLOR");
        Kirsh(command)
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.0.env_remove(name);
        self
    }

    pub(crate) fn current_dir(mut self, path: &Path) -> Self {
        self.0.current_dir(path);
        self
    }

    /// Runs it to the end.
    pub(crate) fn run(self) -> Output {
        self.start().finish()
    }

    /// Runs it to the end with a shell script as the program.
    pub(crate) fn sh(self, script: &str) -> Output {
        self.args(["sh", "-c", script]).run()
    }

    /// Starts it with a shell script as the program. The script may wait for [`Running::release`]
    /// with `read line < "$FIFO"`.
    pub(crate) fn start_sh(self, script: &str) -> Running {
        self.args(["sh", "-c", script]).start()
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kirsh-cli-{}-{number}", std::process::id());
        let fifo = std::env::temp_dir().join(name);
        let made = Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
        assert!(made.success());
        // Both ends held here: opening does not wait for the reader, and what is written before
        // the reader comes stays.
        let fifo_end = fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let mut child = self.0.env("FIFO", &fifo).spawn().expect("kirsh starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut pipe = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let (kept, dropped) = channel();
        let pid = child.id() as i32;
        let watchdog = std::thread::spawn(move || watch(pid, dropped));
        let stderr = Some(stderr);
        let watchdog = Some((kept, watchdog));
        Running { child, stdout: Some(stdout), stderr, watchdog, fifo, fifo_end }
    }
}

/// Kills the launcher, which has not been reaped, if the test has not ended in time. True if so.
fn watch(pid: i32, ended: Receiver<()>) -> bool {
    let late = ended.recv_timeout(DEADLINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    if late {
        // SAFETY: kill touches no memory; the number is that of a child that is reaped only after
        // this thread has ended.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    late
}

/// `kirsh run` of a shell script on this many ranks, to the end.
#[allow(dead_code, reason = "not every test file runs ranks")]
pub(crate) fn sh(ranks: u32, script: &str) -> Output {
    Kirsh::new(["run", "-n", &ranks.to_string(), "--"]).env("OMP_NUM_THREADS", "1").sh(script)
}

/// A command that runs.
pub(crate) struct Running {
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    watchdog: Option<(Sender<()>, JoinHandle<bool>)>,
    fifo: PathBuf,
    fifo_end: File,
}

#[allow(dead_code, reason = "not every test file needs all of them")]
impl Running {
    /// The next line of its standard output.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "the output ended where a line was expected: {line:?}");
        line.trim_end().to_owned()
    }

    /// Lets one reader of the FIFO go on.
    pub(crate) fn release(&self) {
        (&self.fifo_end).write_all(b"go\n").unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: kill touches no memory; the child has not been reaped, so the number is its own.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    pub(crate) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Waits for the end without reading standard output any further.
    pub(crate) fn wait_code(&mut self) -> i32 {
        let (code, late) = self.reap();
        assert!(!late, "kirsh was still running after {DEADLINE:?}");
        code
    }

    /// The exit code, and whether the watchdog had to help.
    fn reap(&mut self) -> (i32, bool) {
        // The watchdog first: it may signal the child only until that is reaped. So wait for the
        // end without reaping.
        let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
        let flags = libc::WEXITED | libc::WNOWAIT;
        // SAFETY: the pointer is valid for writing a siginfo.
        let result =
            unsafe { libc::waitid(libc::P_PID, self.child.id(), info.as_mut_ptr(), flags) };
        assert_eq!(result, 0);
        let late = match self.watchdog.take() {
            Some((kept, watchdog)) => {
                drop(kept);
                watchdog.join().unwrap()
            }
            None => false,
        };
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or_else(|| -status.signal().unwrap()), late)
    }

    /// Reads the rest and waits for the end.
    pub(crate) fn finish(mut self) -> Output {
        let mut stdout = Vec::new();
        if let Some(mut pipe) = self.stdout.take() {
            pipe.read_to_end(&mut stdout).unwrap();
        }
        let code = self.wait_code();
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Output { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.watchdog.is_some() {
            // The test has failed on the way.
            let _ = self.child.kill();
            self.reap();
        }
        let _ = fs::remove_file(&self.fifo);
    }
}

/// What a command has said and returned; a signal's number is negative.
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

#[allow(dead_code, reason = "not every test file needs all of them")]
impl Output {
    pub(crate) fn stdout_lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.stdout).lines().map(str::to_owned).collect()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    pub(crate) fn stderr_lines(&self) -> Vec<String> {
        self.stderr().lines().map(str::to_owned).collect()
    }
}

/// Asserts that no process of this group is left, not even a zombie.
#[allow(dead_code, reason = "not every test file runs ranks")]
pub(crate) fn assert_gone(group: i32) {
    // SAFETY: signal 0 only asks whether there is such a group.
    assert_ne!(unsafe { libc::kill(-group, 0) }, 0, "group {group} still has processes");
}

/// Waits until a process is in a state, by its letter in /proc. One that is gone counts as a
/// zombie, since reaping may be somebody else's business.
#[allow(dead_code, reason = "not every test file runs ranks")]
pub(crate) fn await_state(pid: i32, state: char) {
    let give_up = Instant::now() + DEADLINE;
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let now = match &stat {
            Some(stat) => stat[stat.rfind(')').unwrap()..].chars().nth(2).unwrap(),
            None => 'Z',
        };
        if now == state {
            return;
        }
        assert!(now != 'Z' && Instant::now() < give_up, "process {pid}: {stat:?}, not {state}");
        std::thread::yield_now();
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        write!(f, "code {}\nstdout:\n{stdout}\nstderr:\n{}", self.code, self.stderr())
    }
}
