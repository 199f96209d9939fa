//! A store in a directory that all ranks see: no port, no server, any shared filesystem with
//! atomic renames and flock (local ones, NFS from version 3 with its lock service).

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::shelf::sum;
use super::store::Store;
use super::table::random_u64;
use super::tcp_store::check_lengths;
use crate::error::{Error, ErrorKind, Result};
use crate::limits;

/// The first and the longest pause between looks at the directory. A network filesystem answers
/// from its cache in between, and some hundred ranks look.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Bytes of a file name that a key may become: filesystems take 255.
const NAME_MAX: usize = 200;

/// Key files, lock and temporary files begin differently, so that no key can name another's file.
const KEY_START: &str = "k.";
const TEMPORARY_START: &str = "t.";
const LOCK_NAME: &str = "lock";

/// A store in a shared directory. Any thread and any process may call.
#[derive(Debug)]
pub struct FileStore {
    directory: PathBuf,
    /// Tells this store's temporary files from those of others.
    id: u64,
    written: AtomicU64,
}

impl FileStore {
    /// Opens a directory as a store, making it (0700) if it is not there. Its parent must be.
    ///
    /// # Errors
    /// - `Configuration`: it belongs to somebody else, or others may write to it;
    /// - `System`: it cannot be made or looked at.
    pub fn open(directory: &Path) -> Result<FileStore> {
        let failed = |cause| {
            Error::system(format_args!("opening the directory {}", directory.display()), &cause)
        };
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(cause));
            }
            _ => {}
        }
        let facts = fs::metadata(directory).map_err(failed)?;
        let wrong = |why: String| {
            Err(Error::new(
                ErrorKind::Configuration,
                format!("the rendezvous file://{} {why}", directory.display()),
            ))
        };
        if !facts.is_dir() {
            return wrong("is not a directory; name one that all ranks share".to_owned());
        }
        if facts.mode() & 0o022 != 0 {
            return wrong(format!(
                "can be written by others (mode {:04o}), who could join or mislead the job: chmod \
                 700 it, or name a directory inside of it",
                facts.mode() & 0o7777
            ));
        }
        let me = super::sys::effective_uid();
        // Root may use anybody's, but where anybody may have made it before.
        let made_by_anybody = || {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            let facts = fs::metadata(parent.unwrap_or(Path::new(".")));
            facts.is_ok_and(|facts| facts.mode() & 0o022 != 0)
        };
        if facts.uid() != me && (me != 0 || made_by_anybody()) {
            return wrong(format!("belongs to user {}, and this process is {me}", facts.uid()));
        }
        let (id, written) = (random_u64()?, AtomicU64::new(0));
        Ok(FileStore { directory: directory.to_owned(), id, written })
    }

    /// Removes all keys that begin so. What cannot be removed stays: the next run then says so.
    pub(super) fn remove(&self, prefix: &str) {
        let start = format!("{KEY_START}{}", escape(prefix));
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&start) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.directory.join(format!("{KEY_START}{}", file_name(key)))
    }

    fn failed(&self, doing: &str, key: &str, cause: &io::Error) -> Error {
        Error::system(format_args!("{doing} {key:?} in {}", self.directory.display()), cause)
    }

    /// Takes the directory's lock; it is given back when the file is closed.
    fn lock(&self, key: &str) -> Result<File> {
        let failed = |cause: &io::Error| self.failed("locking for", key, cause);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.directory.join(LOCK_NAME))
            .map_err(|cause| failed(&cause))?;
        let end = Instant::now() + Duration::from_secs(limits::STORE_REQUEST_SECONDS);
        let mut pause = PAUSE_FIRST;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(cause)) => return Err(failed(&cause)),
                Err(TryLockError::WouldBlock) if Instant::now() >= end => {
                    let held = io::Error::other(format!(
                        "another process has held the lock for {} s",
                        limits::STORE_REQUEST_SECONDS
                    ));
                    return Err(failed(&held));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

impl Store for FileStore {
    fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        check_lengths(key, value.len())?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY_START}{}.{:016x}.{number}", std::process::id(), self.id);
        let temporary = self.directory.join(name);
        let write = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            file.write_all(value)?;
            // On a network filesystem the bytes must be there before the name is.
            file.sync_data()?;
            fs::rename(&temporary, self.path(key))
        };
        write().map_err(|cause| {
            let _ = fs::remove_file(&temporary);
            self.failed("writing", key, &cause)
        })
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        check_lengths(key, 0)?;
        let failed = |cause: &io::Error| self.failed("reading", key, cause);
        let file = match File::open(self.path(key)) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(failed(&cause)),
        };
        let mut value = Vec::new();
        let bound = limits::STORE_VALUE_MAX as u64 + 1;
        file.take(bound).read_to_end(&mut value).map_err(|cause| failed(&cause))?;
        if value.len() > limits::STORE_VALUE_MAX {
            return Err(failed(&io::Error::other("longer than any value may be")));
        }
        Ok(Some(value))
    }

    fn wait(&self, key: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
        let mut pause = PAUSE_FIRST;
        loop {
            if let Some(value) = self.get(key)? {
                return Ok(Some(value));
            }
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            std::thread::sleep(pause.min(deadline - now));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn add(&self, key: &str, delta: i64) -> Result<i64> {
        let _lock = self.lock(key)?;
        let sum = sum(self.get(key)?.as_deref(), delta)
            .map_err(|why| self.failed("adding to", key, &io::Error::other(why)))?;
        self.set(key, sum.to_string().as_bytes())?;
        Ok(sum)
    }

    fn describe(&self) -> String {
        format!(
            "the directory {}, where an earlier run may have left files: use an empty one for each",
            self.directory.display()
        )
    }
}

/// The name under which a key's file stands, one for each key.
fn file_name(key: &str) -> String {
    let escaped = escape(key);
    if escaped.len() <= NAME_MAX {
        return escaped;
    }
    // The digest stands for what is cut off; a percent sign that no escape has keeps such names
    // apart from the others.
    let digest = Sha256::digest(key.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}%~{digest}", &escaped[..NAME_MAX - 2 - digest.len()])
}

/// Letters, digits, dashes and underscores stay; every other byte becomes `%XX`.
fn escape(key: &str) -> String {
    let mut escaped = String::new();
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => escaped.push(byte.into()),
            _ => escaped += &format!("%{byte:02X}"),
        }
    }
    escaped
}
