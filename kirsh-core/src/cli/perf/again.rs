//! How to start this very command again, once for each rank.
//!
//! The program `kirsh` is its own executable. In the Python wheel the executable is an interpreter,
//! and resolving its path would lose the virtual environment, which Python finds through the path
//! it was called by. So what stands before the command's own arguments on the command line of the
//! process (`python -m kirsh`, or `python /path/to/bin/kirsh`) is taken as it is.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::run;
use crate::error::{Error, ErrorKind, Result};
use crate::rendezvous::identity::{Arguments, Source, identity, process_env};

/// Starts the ranks where that is for this process to do, and gives their exit code; `None` where
/// this process is a rank itself.
pub(in crate::cli) fn start_ranks(
    ranks: Option<u32>,
    invocation: &[OsString],
) -> Result<Option<i32>> {
    let me = identity(&Arguments::default(), &process_env)?;
    match ranks {
        None => Ok(None),
        Some(ranks) if me.source == Source::Alone => {
            Ok(Some(run::start(ranks, command(invocation)?)))
        }
        Some(ranks) if ranks == me.world_size => Ok(None),
        Some(ranks) => Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "-n {ranks} was given, but this process is rank {} of {} already (from {}); leave \
                 -n out to take part in that world",
                me.rank, me.world_size, me.source
            ),
        )),
    }
}

/// The command that starts this one again, where `invocation` is its arguments, the first of them
/// its name.
///
/// # Errors
/// `Unsupported` where the process was not started with these arguments, as when a program of its
/// own calls the command as a function.
fn command(invocation: &[OsString]) -> Result<Vec<OsString>> {
    let line = std::fs::read("/proc/self/cmdline")
        .map_err(|cause| Error::system("reading this process's command line", &cause))?;
    let arguments = invocation.get(1..).unwrap_or_default();
    let Some(mut command) = opening(&line, arguments) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "this command cannot tell how to start itself again, since its process was started \
             with other arguments; start the ranks with `kirsh run -n N -- kirsh ...`",
        ));
    };
    if let [program] = &mut command[..] {
        // No interpreter: then the name may be one that no search finds again.
        *program = std::env::current_exe()
            .map_err(|cause| Error::system("looking for this program's file", &cause))?
            .into_os_string();
    }
    command.extend_from_slice(arguments);
    Ok(command)
}

/// What stands before these arguments on a command line as /proc shows it; `None` where the line
/// does not end with them, or begins with them.
fn opening(line: &[u8], arguments: &[OsString]) -> Option<Vec<OsString>> {
    // Each argument ends with a zero byte.
    let mut words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    words.pop();
    let at = words.len().checked_sub(arguments.len()).filter(|at| *at > 0)?;
    let same = words[at..]
        .iter()
        .zip(arguments)
        .all(|(word, argument)| OsStr::from_bytes(word) == argument);
    same.then(|| words[..at].iter().map(|word| OsString::from_vec(word.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(texts: &[&str]) -> Vec<OsString> {
        texts.iter().map(OsString::from).collect()
    }

    #[test]
    fn what_stands_before_the_arguments_starts_the_command() {
        let perf = words(&["perf", "barrier", ""]);
        let of = |line: &[u8]| opening(line, &perf);
        assert_eq!(of(b"kirsh\0perf\0barrier\0\0"), Some(words(&["kirsh"])));
        let module = words(&["/venv/bin/python", "-m", "kirsh"]);
        assert_eq!(of(b"/venv/bin/python\0-m\0kirsh\0perf\0barrier\0\0"), Some(module));
        assert_eq!(of(b"pytest\0tests\0"), None, "a process that does something else");
        assert_eq!(of(b"perf\0barrier\0\0"), None, "nothing is left to start");
        assert_eq!(of(b""), None);
    }
}
