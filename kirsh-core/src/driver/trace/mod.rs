//! A record of what this rank does, in the trace-event format that Perfetto and Chrome show.
//!
//! Whoever drives puts events into a bounded queue, which takes no lock and allocates nothing; the
//! progress thread takes them out now and then and has them written, and the rest when the process
//! leaves. What finds the queue full is counted, and the file says how much that was. `text` has how an
//! event is written down, `file` the file.

mod file;
mod text;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender};

use self::file::File;
use super::clock::Stretch;
use super::lane::Key;
use crate::error::{Error, Result};
use crate::limits::TRACE_EVENTS_MAX;
use crate::plan::Map;
use crate::session::direct::{Received, Request};
use crate::types::{Call, Rank, Sequence};

/// How often the progress thread writes, so that what a crash takes along is less than that.
pub(crate) const WRITE_EVERY_NS: u64 = 100_000_000;

/// Events written in one turn of the progress thread: a millisecond or so, since operations that it
/// drives wait meanwhile.
const BATCH: usize = 1024;

/// Something that took its time.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) communicator: Key,
    pub(crate) stretch: Stretch,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A collective, from its turn to its end.
    Collective {
        call: Call,
        /// What the caller calls it.
        label: Option<Arc<str>>,
        /// None for a call that came when its communicator was over.
        sequence: Option<Sequence>,
        /// How long it had waited for its turn.
        queued_ns: u64,
        outcome: Result<()>,
    },
    /// Whoever drives waits, for this peer more than for others.
    Waiting { sequence: Option<Sequence>, peer: Option<Rank> },
    /// Whoever drives works on payload.
    Working { phase: Phase, sequence: Sequence, bytes: u64 },
    /// A send or a receive, from the call to its end.
    Message { request: Request, number: u64, outcome: Result<Option<Received>> },
    /// The progress thread waits while messages are under way, for this peer's first.
    AwaitingMessages { peer: Option<Rank> },
}

/// Work on payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Folding,
    Copying,
    Scaling,
    Encoding,
    Decoding,
}

impl Phase {
    pub(crate) const fn of(map: Map) -> Self {
        match map {
            Map::Copy => Phase::Copying,
            Map::Scale => Phase::Scaling,
            Map::Encode(_) => Phase::Encoding,
            Map::Decode(_) => Phase::Decoding,
        }
    }
}

/// The trace of one process of a world.
pub(crate) struct Trace {
    events: Sender<(i32, Event)>,
    queue: Receiver<(i32, Event)>,
    lost: AtomicU64,
    sink: Mutex<Sink>,
}

struct Sink {
    file: Arc<Mutex<File>>,
    /// Lost events that the file tells of.
    told: u64,
}

impl Trace {
    /// A trace of this rank in the file that such a name stands for: `%r` in it becomes the rank and
    /// `%p` the number of the process; without `%r` a dot and the rank are added. A file that this
    /// process has begun is gone on with, another one of that name is replaced.
    ///
    /// # Errors
    /// `System` where the file cannot be made.
    pub(crate) fn open(name: &str, rank: Rank, world: u32) -> Result<Trace> {
        let path = path(name, rank);
        let file = File::of(&path, rank, world).map_err(|cause| {
            Error::system(
                format_args!("cannot write the trace {} (KIRSH_TRACE)", path.display()),
                &cause,
            )
        })?;
        let (events, queue) = crossbeam_channel::bounded(TRACE_EVENTS_MAX);
        let sink = Mutex::new(Sink { file, told: 0 });
        Ok(Trace { events, queue, lost: AtomicU64::new(0), sink })
    }

    /// Takes an event in, from the thread that it is about.
    pub(crate) fn record(&self, event: Event) {
        if self.events.try_send((this_thread(), event)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes a batch of what has been recorded. `true` when there is more.
    pub(crate) fn write(&self) -> bool {
        let mut sink = self.sink();
        let more = sink.write(&self.queue);
        sink.tell_lost(self.lost.load(Ordering::Relaxed));
        more
    }

    /// Writes all that is left, and ends the file.
    pub(crate) fn finish(&self) {
        while self.write() {}
        self.sink().file().finish();
    }

    fn sink(&self) -> MutexGuard<'_, Sink> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink {
    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, queue: &Receiver<(i32, Event)>) -> bool {
        let mut file = self.file();
        let mut count = 0;
        for (thread, event) in queue.try_iter().take(BATCH) {
            file.put(thread, &event);
            count += 1;
        }
        file.flush();
        count == BATCH
    }

    fn tell_lost(&mut self, lost: u64) {
        if lost > self.told {
            let mut file = self.file();
            file.put_lost(lost - self.told, lost);
            file.flush();
            drop(file);
            self.told = lost;
        }
    }
}

/// The file that a name stands for.
fn path(name: &str, rank: Rank) -> PathBuf {
    let placed = name.replace("%p", &std::process::id().to_string());
    match placed.contains("%r") {
        true => placed.replace("%r", &rank.to_string()).into(),
        false => format!("{placed}.{rank}").into(),
    }
}

/// The kernel's number for this thread.
fn this_thread() -> i32 {
    thread_local! {
        static NUMBER: Cell<i32> = const { Cell::new(0) };
    }
    NUMBER.with(|number| {
        if number.get() == 0 {
            // SAFETY: a system call without arguments, which cannot fail.
            number.set(unsafe { libc::gettid() });
        }
        number.get()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Event {
        let stretch = Stretch { from_ns: 1000 * number, to_ns: 1000 * number + 500 };
        let what = What::Waiting { sequence: Some(number), peer: Some(1) };
        Event { communicator: (7, 0), stretch, what }
    }

    fn scratch(name: &str) -> String {
        let name = format!("kirsh-trace-{}-{name}", std::process::id());
        std::env::temp_dir().join(name).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_name_says_where_rank_and_process_go_and_gets_the_rank_at_its_end_otherwise() {
        let process = std::process::id();
        assert_eq!(path("/t/a.json", 3).to_str(), Some("/t/a.json.3"));
        assert_eq!(path("/t/a-%r.json", 12).to_str(), Some("/t/a-12.json"));
        let placed = format!("/t/{process}-%.2.json");
        assert_eq!(path("/t/%p-%.%r.json", 2).to_str(), Some(&*placed));
    }

    #[test]
    fn what_finds_the_queue_full_is_counted_and_the_file_says_so() {
        let name = scratch("full-%r");
        let trace = Trace::open(&name, 0, 2).unwrap();
        (0..TRACE_EVENTS_MAX as u64 + 5).for_each(|number| trace.record(event(number)));
        trace.finish();
        let text = std::fs::read_to_string(path(&name, 0)).unwrap();
        assert_eq!(text.matches("\"cat\":\"wait\"").count(), TRACE_EVENTS_MAX);
        assert!(text.contains("\"name\":\"5 events lost\""), "{}", &text[text.len() - 400..]);
        std::fs::remove_file(path(&name, 0)).unwrap();
    }

    #[test]
    fn what_a_process_traces_later_goes_on_in_the_file_that_it_has_ended() {
        let name = scratch("again-%r");
        let file = path(&name, 4);
        for round in 0..3 {
            let trace = Trace::open(&name, 4, 8).unwrap();
            trace.record(event(round));
            trace.finish();
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("[\n{") && text.ends_with("}\n]\n"), "{text}");
            assert_eq!(text.matches("\"cat\":\"wait\"").count() as u64, round + 1);
            assert_eq!(text.matches("process_name").count(), 1);
            assert_eq!(text.matches(']').count(), 1, "the bracket has been written over: {text}");
        }
        // One that somebody has taken away is begun anew.
        std::fs::remove_file(&file).unwrap();
        Trace::open(&name, 4, 8).unwrap().finish();
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches("\"cat\":\"wait\"").count(), 0);
        std::fs::remove_file(&file).unwrap();
    }
}
