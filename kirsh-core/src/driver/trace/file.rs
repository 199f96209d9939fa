//! A trace's file: a list of JSON that stays readable whatever happens to the process.
//!
//! The format lets the closing bracket be missing, so what has been written is of use at any time. An
//! ended file is gone on with by writing over the bracket: a process that makes one communicator after
//! another has one trace.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::text;
use super::{Event, What};
use crate::driver::clock::{self, now_ns};
use crate::driver::fork;
use crate::driver::lane::Key;
use crate::types::Rank;

/// Tracks that the messages of one communicator are spread over where they overlap. Beyond that they
/// share the last, where a viewer shows them one over the other.
const MESSAGE_TRACKS_MAX: usize = 64;

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Track {
    /// A communicator's collectives, as driven by this thread.
    Collectives(Key, i32),
    /// Messages of a communicator that do not overlap.
    Messages(Key, usize),
    /// The progress thread's waits for messages of a communicator.
    Waits(Key),
}

pub(super) struct File {
    file: fs::File,
    path: PathBuf,
    rank: Rank,
    /// Where the next event goes, over the closing bracket if there is one.
    end: u64,
    /// Written down and not in the file yet.
    text: String,
    tracks: HashMap<Track, u32>,
    /// Until when each message track is taken.
    taken_ns: HashMap<Key, Vec<u64>>,
    broken: bool,
}

/// The files that this process has begun, and in which generation of forks.
static FILES: Mutex<Vec<(u64, Arc<Mutex<File>>)>> = Mutex::new(Vec::new());

impl File {
    /// The file of this name, begun or gone on with.
    pub(super) fn of(path: &Path, rank: Rank, world: u32) -> io::Result<Arc<Mutex<File>>> {
        let generation = fork::generation();
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        // A parent's files are its own.
        files.retain(|(made_in, _)| *made_in == generation);
        let mut gone = None;
        for (index, (_, file)) in files.iter().enumerate() {
            let known = file.lock().unwrap_or_else(PoisonError::into_inner);
            if known.path == path {
                if known.is_there() {
                    return Ok(Arc::clone(file));
                }
                gone = Some(index);
            }
        }
        if let Some(index) = gone {
            files.swap_remove(index);
        }
        let file = Arc::new(Mutex::new(File::begin(path, rank, world)?));
        files.push((generation, Arc::clone(&file)));
        Ok(file)
    }

    fn begin(path: &Path, rank: Rank, world: u32) -> io::Result<File> {
        let mut file = File {
            file: fs::File::create(path)?,
            path: path.to_owned(),
            rank,
            end: 0,
            text: String::new(),
            tracks: HashMap::new(),
            taken_ns: HashMap::new(),
            broken: false,
        };
        text::begin(&mut file.text, rank, world, clock::realtime_offset_ns());
        file.flush();
        Ok(file)
    }

    /// Whether its name still leads to it.
    fn is_there(&self) -> bool {
        let place = |of: &fs::Metadata| (of.dev(), of.ino());
        match (self.file.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(named)) => place(&open) == place(&named) && !self.broken,
            _ => false,
        }
    }

    /// Writes an event down.
    pub(super) fn put(&mut self, thread: i32, event: &Event) {
        let key = event.communicator;
        let track = match event.what {
            What::Collective { .. } | What::Waiting { .. } | What::Working { .. } => {
                Track::Collectives(key, thread)
            }
            What::Message { .. } => Track::Messages(key, self.message_track(event)),
            What::AwaitingMessages { .. } => Track::Waits(key),
        };
        let track = self.number(track, thread);
        text::event(&mut self.text, self.rank, track, event);
    }

    /// Says that so many events have found no room, and how many in all.
    pub(super) fn put_lost(&mut self, lost: u64, in_all: u64) {
        text::lost(&mut self.text, self.rank, now_ns(), lost, in_all);
    }

    /// The first track on which nothing overlaps this message. They come in the order of their ends.
    fn message_track(&mut self, event: &Event) -> usize {
        let taken_ns = self.taken_ns.entry(event.communicator).or_default();
        let free = taken_ns.iter().position(|until_ns| *until_ns <= event.stretch.from_ns);
        let index = free.unwrap_or(taken_ns.len()).min(MESSAGE_TRACKS_MAX - 1);
        if index == taken_ns.len() {
            taken_ns.push(0);
        }
        taken_ns[index] = event.stretch.to_ns;
        index
    }

    /// A track's number, which is named when it first appears.
    fn number(&mut self, track: Track, thread: i32) -> u32 {
        if let Some(number) = self.tracks.get(&track) {
            return *number;
        }
        let number = self.tracks.len() as u32 + 1;
        self.tracks.insert(track, number);
        let name = match track {
            Track::Collectives(key, thread) => {
                format!("communicator {}: collectives, thread {}", text::Name(key), name_of(thread))
            }
            Track::Messages(key, index) => {
                format!("communicator {}: messages {}", text::Name(key), index + 1)
            }
            Track::Waits(key) => {
                let name = name_of(thread);
                format!("communicator {}: waits for messages, thread {name}", text::Name(key))
            }
        };
        text::track(&mut self.text, self.rank, number, &name);
        number
    }

    /// Puts into the file what has been written down.
    pub(super) fn flush(&mut self) {
        let written = self.file.write_all_at(self.text.as_bytes(), self.end);
        match written {
            Ok(()) => self.end += self.text.len() as u64,
            Err(cause) if !self.broken => {
                self.broken = true;
                let path = self.path.display();
                tracing::warn!(rank = self.rank, "the trace {path} is not gone on with: {cause}");
            }
            Err(_) => {}
        }
        self.text.clear();
    }

    /// Ends the list, until it is gone on with.
    pub(super) fn finish(&mut self) {
        self.flush();
        // Who cannot be told of its failure has been told of the one before.
        let _ = self.file.write_all_at(text::END.as_bytes(), self.end);
    }
}

/// A thread's name, if it still has one.
fn name_of(thread: i32) -> String {
    let name = fs::read_to_string(format!("/proc/self/task/{thread}/comm")).unwrap_or_default();
    match name.trim_end() {
        "" => thread.to_string(),
        name => format!("{name} ({thread})"),
    }
}
