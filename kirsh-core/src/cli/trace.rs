//! `kirsh trace merge`: the traces of several ranks as one, on one clock, also from several hosts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::FAILED;

/// What `kirsh trace` is told.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Print the traces of several ranks (files that KIRSH_TRACE has had written) as one, for
    /// https://ui.perfetto.dev. Times of different hosts are brought together by their clocks, so far
    /// as those agree.
    Merge {
        /// One file a rank.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
}

/// Merges, and returns the exit code.
pub(super) fn run(args: Args) -> i32 {
    let Action::Merge { files } = args.action;
    match merge(&files) {
        // Whoever reads may have seen enough.
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(cause) => {
            eprintln!("kirsh trace merge: {cause}");
            FAILED
        }
        Ok(()) => 0,
    }
}

/// What the first lines of a file say of it.
struct Head {
    realtime_offset_ns: u64,
    /// The earliest time in it, on its own clock.
    first_ns: u64,
}

fn merge(files: &[PathBuf]) -> io::Result<()> {
    // Twice through each file: they may be larger than memory.
    let heads = files.iter().map(|path| examine(path)).collect::<io::Result<Vec<Head>>>()?;
    let begin_ns = heads.iter().map(|head| head.first_ns.saturating_add(head.realtime_offset_ns));
    let begin_ns = begin_ns.min().unwrap_or(0);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut separator = "[\n";
    for (path, head) in files.iter().zip(&heads) {
        for_each(path, |mut event| {
            if let Some(ns) = time_ns(&event) {
                let ns = ns.saturating_add(head.realtime_offset_ns).saturating_sub(begin_ns);
                event.insert("ts".to_owned(), (ns as f64 / 1000.0).into());
            }
            write!(out, "{separator}")?;
            separator = ",\n";
            serde_json::to_writer(&mut out, &event)?;
            Ok(())
        })?;
    }
    writeln!(out, "\n]")?;
    out.flush()
}

fn examine(path: &Path) -> io::Result<Head> {
    let mut offset_ns = None;
    let mut first_ns = u64::MAX;
    let torn = for_each(path, |event| {
        if event.get("name").is_some_and(|name| name == "kirsh") {
            offset_ns = event["args"]["realtime_offset_ns"].as_u64();
        }
        if let Some(ns) = time_ns(&event) {
            first_ns = first_ns.min(ns);
        }
        Ok(())
    })?;
    if torn {
        eprintln!("kirsh trace merge: the last line of {} is cut off", path.display());
    }
    match offset_ns {
        Some(realtime_offset_ns) => Ok(Head { realtime_offset_ns, first_ns }),
        None => Err(no_trace(path)),
    }
}

fn no_trace(path: &Path) -> io::Error {
    io::Error::other(format!("{} is no trace of Kirsh", path.display()))
}

/// When an event begins.
fn time_ns(event: &Map<String, Value>) -> Option<u64> {
    Some((event.get("ts")?.as_f64()? * 1000.0).round() as u64)
}

/// Hands over every event of a file, of which each is on a line. `true` where the last is not whole, as
/// a process that dies while it writes may leave it.
fn for_each(
    path: &Path,
    mut each: impl FnMut(Map<String, Value>) -> io::Result<()>,
) -> io::Result<bool> {
    let named =
        |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", path.display()));
    let mut lines = BufReader::new(File::open(path).map_err(named)?).lines();
    while let Some(line) = lines.next() {
        let line = line.map_err(named)?;
        let text = line.trim_end_matches(',');
        if matches!(text, "[" | "]" | "") {
            continue;
        }
        match serde_json::from_str(text) {
            Ok(event) => each(event)?,
            Err(_) if lines.next().is_none() => return Ok(true),
            Err(_) => return Err(no_trace(path)),
        }
    }
    Ok(false)
}
