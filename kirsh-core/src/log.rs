//! Where messages go: `tracing` events, as lines, to standard error or to a sink of the host
//! language.
//!
//! A program that has a `tracing` subscriber of its own gets the events there instead.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Once, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::error::Result;
use crate::rendezvous::identity::process_env;
use crate::rendezvous::settings;

/// Receives a message: its level, from 1 (error) to 5 (trace), and its text. Called from any
/// thread, the progress thread included; it must not block.
pub type Sink = fn(level: u8, text: &str);

const WARN: u8 = 2;

static LEVEL: AtomicU8 = AtomicU8::new(WARN);
static SINK: RwLock<Sink> = RwLock::new(to_stderr);

/// Sends messages to this sink from now on, instead of to standard error or to an earlier sink.
pub fn set_sink(sink: Sink) {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
    // A malformed setting is told to whoever creates a communicator.
    let _ = install();
}

/// Leaves out messages less important than this: 0 is silence, 1 errors only, 5 everything. What is
/// left out costs its caller one comparison. Until somebody calls this, `KIRSH_LOG` decides.
pub fn set_level(level: u8) {
    // Before, so that the environment does not overrule the program later.
    let _ = read_environment();
    LEVEL.store(level, Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

/// Makes the lines come, unless the program has a subscriber of its own. Later calls only check the
/// setting.
///
/// # Errors
/// `Configuration` where `KIRSH_LOG` is malformed; the lines come all the same.
pub(crate) fn install() -> Result<()> {
    static ONCE: Once = Once::new();
    let environment = read_environment();
    // Where somebody else's subscriber was first, it gets the events.
    ONCE.call_once(|| drop(tracing::subscriber::set_global_default(Lines)));
    environment
}

/// Takes the level from the environment, the first time.
fn read_environment() -> Result<()> {
    static ONCE: Once = Once::new();
    let level = settings::log_level(&process_env)?;
    ONCE.call_once(|| LEVEL.store(number(level), Ordering::Relaxed));
    Ok(())
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => WARN,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

fn to_stderr(level: u8, text: &str) {
    let name = ["", "ERROR", "WARN", "INFO", "DEBUG", "TRACE"][usize::from(level.min(5))];
    // In one piece, so that lines of several ranks on one terminal do not mix. Where nobody listens
    // any more, that is no reason to panic in the middle of a call.
    let _ = std::io::stderr().write_all(format!("kirsh {name} {text}\n").as_bytes());
}

/// Makes a line of each event. Spans are not used in this crate and are ignored.
struct Lines;

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(env!("CARGO_CRATE_NAME"))
            && metadata.is_event()
            && number(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            WARN => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
        sink(number(*event.metadata().level()), &line.finish());
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `rank N: message key=value …`
#[derive(Default)]
struct Line {
    rank: Option<u64>,
    message: String,
    rest: String,
}

impl Line {
    fn finish(self) -> String {
        let line = match self.rank {
            Some(rank) => format!("rank {rank}: {}{}", self.message, self.rest),
            None => format!("{}{}", self.message, self.rest),
        };
        // One event is one line, also where a peer's words are in it.
        line.replace(char::is_control, " ")
    }
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "rank" {
            self.rank = Some(value);
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.rest, " {}={value:?}", field.name())
        };
    }
}
