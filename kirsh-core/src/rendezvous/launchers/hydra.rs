//! Hydra, the mpiexec of MPICH and of Intel MPI.
//!
//! It names neither job nor address. On one host all ranks stem from one process of it, whose number,
//! namespace of numbers and time of start name a directory for the job.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Launcher, from_variables, nowhere, number};
use crate::error::Result;
use crate::rendezvous::identity::{Env, Identity, Rendezvous};
use crate::rendezvous::sys::effective_uid;

/// What the kernel calls the process that starts the ranks of a host: 15 bytes, as many as it keeps.
const PROXY: &str = "hydra_pmi_proxy";

/// Generations that are looked at: shells and wrappers may stand between.
const ANCESTORS_MAX: usize = 64;

pub(super) static LAUNCHER: Launcher = Launcher {
    name: "MPICH (hydra)",
    identity,
    rendezvous,
    // What names the directory differs from host to host.
    job: |_| None,
};

fn identity(env: Env<'_>) -> Result<Option<Identity>> {
    // These are Hydra's own; PMI's are also set by others.
    let local_rank = number(env, "MPI_LOCALRANKID")?;
    let local_size = number(env, "MPI_LOCALNRANKS")?;
    if local_rank.is_none() || local_size.is_none() {
        return Ok(None);
    }
    // With -pmi-port the rank is called PMI_ID.
    let rank = if number(env, "PMI_RANK")?.is_some() { "PMI_RANK" } else { "PMI_ID" };
    let found = from_variables(&LAUNCHER, rank, "PMI_SIZE", env)?;
    Ok(found.map(|identity| Identity { local_rank, local_size, ..identity }))
}

fn rendezvous(identity: &Identity, _env: Env<'_>) -> Result<Rendezvous> {
    let how = ", as in `mpiexec -genv KIRSH_RENDEZVOUS tcp://host:port ...`";
    if identity.local_size != Some(identity.world_size) {
        let why = "Hydra tells its ranks no address, and they are on several hosts";
        return Err(nowhere(identity, why, how));
    }
    let Some(proxy) = proxy(Path::new("/proc")) else {
        let why = format!("no process called {PROXY}, which would name the job, is above this one");
        return Err(nowhere(identity, &why, how));
    };
    let shared = std::env::temp_dir();
    if identity.rank == 0 {
        sweep(&shared, Path::new("/proc"));
    }
    Ok(Rendezvous::File(shared.join(format!("{}{proxy}", prefix(Path::new("/proc"))))))
}

/// How the directories of this user's jobs are called, up to what tells them apart among those that number
/// their processes alike: containers that share the directory do not.
fn prefix(proc: &Path) -> String {
    let namespace = fs::read_link(proc.join("self/ns/pid")).unwrap_or_default();
    let digits = namespace.to_string_lossy().replace(|c: char| !c.is_ascii_digit(), "");
    format!("kirsh-{}-hydra-{digits}-", effective_uid())
}

/// Number and start of Hydra's process above this one, as `number-start`.
fn proxy(proc: &Path) -> Option<String> {
    let mut at = "self".to_owned();
    for _ in 0..ANCESTORS_MAX {
        let process = Process::read(proc, &at)?;
        if process.name == PROXY {
            return Some(format!("{at}-{}", process.start));
        }
        at = process.parent;
    }
    None
}

/// Removes directories of jobs whose Hydra is gone. Each job leaves one with nothing but its lock.
fn sweep(shared: &Path, proc: &Path) {
    let Ok(entries) = fs::read_dir(shared) else { return };
    let prefix = prefix(proc);
    let stale = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str())?.strip_prefix(&prefix)?;
        let (number, start) = name.split_once('-')?;
        let gone = match Process::read(proc, number) {
            Some(process) => process.start != start,
            None => fs::metadata(proc.join(number))
                .is_err_and(|cause| cause.kind() == io::ErrorKind::NotFound),
        };
        gone.then_some(())
    };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| stale(path).is_some()) {
        // Somebody else's, or swept by another job at the same time: nothing is lost by that.
        let _ = fs::remove_dir_all(path);
    }
}

/// What the kernel says of a process, as far as it counts here.
struct Process {
    name: String,
    parent: String,
    /// Clock ticks from the host's start to the process's.
    start: String,
}

impl Process {
    /// Reads proc_pid_stat(5): the name stands in parentheses and may hold any of them; the parent is
    /// the second field behind it, the start the twentieth.
    fn read(proc: &Path, number: &str) -> Option<Process> {
        let line = fs::read(proc.join(number).join("stat")).ok()?;
        let line = String::from_utf8_lossy(&line);
        let (before, rest) = line.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |at: usize| fields.get(at).map(|text| text.to_string());
        Some(Process { name: name.to_owned(), parent: field(1)?, start: field(19)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that only this test's directory knows.
    fn pretend(proc: &Path, number: &str, name: &str, parent: &str, start: &str) {
        let directory = proc.join(number);
        fs::create_dir_all(&directory).unwrap();
        let between = "0 ".repeat(17);
        let line = format!("{number} ({name}) S {parent} {between}{start} 0 0\n");
        fs::write(directory.join("stat"), line).unwrap();
    }

    fn namespace(proc: &Path) -> PathBuf {
        let directory = proc.join("self/ns");
        fs::create_dir_all(&directory).unwrap();
        directory.join("pid")
    }

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("kirsh-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn the_proxy_is_found_above_shells_and_names_with_parentheses() {
        let proc = scratch("ancestors");
        pretend(&proc, "self", "python", "12", "900");
        pretend(&proc, "12", "a) S 1 (b", "11", "800");
        pretend(&proc, "11", PROXY, "10", "700");
        pretend(&proc, "10", "mpiexec", "0", "600");
        assert_eq!(proxy(&proc).as_deref(), Some("11-700"));
        pretend(&proc, "11", "bash", "10", "700");
        assert_eq!(proxy(&proc), None, "and not found where there is none");
        fs::remove_dir_all(proc).unwrap();
    }

    #[test]
    fn only_directories_of_jobs_that_are_over_are_swept() {
        let (proc, shared) = (scratch("living"), scratch("shared"));
        pretend(&proc, "11", PROXY, "1", "700");
        std::os::unix::fs::symlink("pid:[4026]", namespace(&proc)).unwrap();
        // Of which the kernel says nothing now.
        fs::create_dir(proc.join("13")).unwrap();
        let prefix = prefix(&proc);
        assert!(prefix.ends_with("-hydra-4026-"), "{prefix}");
        let mine = ["11-700", "13-1", "12-5", "11-600"].map(|name| format!("{prefix}{name}"));
        let elsewhere = format!("{}12-5", prefix.replace("4026", "4027"));
        let [living, unknown, over, reused] = mine.map(|name| shared.join(name));
        let [elsewhere, foreign] =
            [elsewhere.as_str(), "kirsh-other"].map(|name| shared.join(name));
        let all = [living, unknown, elsewhere, foreign, over, reused];
        for path in &all {
            fs::create_dir_all(path.join("inside")).unwrap();
        }
        sweep(&shared, &proc);
        assert_eq!(all.map(|path| path.exists()), [true, true, true, true, false, false]);
        fs::remove_dir_all(proc).unwrap();
        fs::remove_dir_all(shared).unwrap();
    }
}
