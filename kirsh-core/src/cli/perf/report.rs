//! How results look: a table as nccl-tests prints it, comma-separated values, or JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::measure::{Mode, Row};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Algorithm, Collective, ReduceOp, Wire};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// For people; lines that are not results begin with `#`.
    Table,
    Csv,
    /// One object, at the end.
    Json,
}

/// What holds for all rows.
pub(super) struct Heading {
    pub(super) collective: Collective,
    pub(super) ranks: u32,
    pub(super) ranks_here: u32,
    pub(super) driver: &'static str,
    pub(super) mode: Mode,
    /// `None` where the library chooses.
    pub(super) algorithm: Option<Algorithm>,
    pub(super) wire: Wire,
    /// Sockets between two ranks; `None` where the library chooses.
    pub(super) stripes: Option<u8>,
    /// As many as were asked for.
    pub(super) channels: Option<u16>,
}

/// Prints rows to standard output as they come.
pub(super) struct Report {
    format: Format,
    heading: Heading,
    rows: Vec<Row>,
}

impl Report {
    /// A report that has printed nothing yet.
    pub(super) fn new(format: Format, heading: Heading) -> Self {
        Report { format, heading, rows: Vec::new() }
    }

    /// Prints a row, and what goes before the first.
    ///
    /// # Errors
    /// `System` when standard output takes nothing any more.
    pub(super) fn add(&mut self, row: Row) -> Result<()> {
        let text = match self.format {
            Format::Table if self.rows.is_empty() => self.table_head() + &table_line(&row),
            Format::Table => table_line(&row),
            Format::Csv if self.rows.is_empty() => CSV_HEAD.to_owned() + &csv_line(&row),
            Format::Csv => csv_line(&row),
            Format::Json => String::new(),
        };
        self.rows.push(row);
        print(&text)
    }

    /// Prints what goes behind the last row.
    ///
    /// # Errors
    /// As [`Report::add`].
    pub(super) fn end(self) -> Result<()> {
        match self.format {
            Format::Table => print(&self.table_foot()),
            Format::Csv => Ok(()),
            Format::Json => print(&self.json()?),
        }
    }

    fn table_head(&self) -> String {
        let Heading {
            collective,
            ranks,
            ranks_here,
            driver,
            mode,
            algorithm,
            wire,
            stripes,
            channels,
        } = &self.heading;
        let algorithm = algorithm.map_or("chosen by size", Algorithm::name);
        let wire = match wire {
            Wire::Plain => String::new(),
            wire => format!(", wire {wire}"),
        };
        let stripes = stripes.map(|stripes| format!(", {stripes} sockets")).unwrap_or_default();
        let channels =
            channels.map(|channels| format!(", channels {channels}")).unwrap_or_default();
        format!(
            "# kirsh {}: {collective}, {ranks} ranks, {ranks_here} on this host, driver {driver}, \
             {}, algorithm {algorithm}{wire}{stripes}{channels}\n\
             #\n\
             # {:>10}  {:>12}  {:>8}  {:>11}  {:>6}  {:>9}  {:>7}  {:>7}  {:>6}\n\
             # {:>10}  {:>12}  {:>8}  {:>11}  {:>6}  {:>9}  {:>7}  {:>7}  {:>6}\n",
            env!("CARGO_PKG_VERSION"),
            mode_name(*mode),
            "size",
            "count",
            "type",
            "redop",
            "root",
            "time",
            "algbw",
            "busbw",
            "wrong",
            "(B)",
            "(elements)",
            "",
            "",
            "",
            "(us)",
            "(GB/s)",
            "(GB/s)",
            "",
        )
    }

    fn table_foot(&self) -> String {
        let checked: Vec<u64> = self.rows.iter().filter_map(|row| row.wrong).collect();
        let wrong = match (checked.len(), checked.iter().sum::<u64>()) {
            (0, _) => "not looked for".to_owned(),
            (_, 0) => "0 OK".to_owned(),
            (_, wrong) => format!("{wrong} FAILED"),
        };
        format!("# Wrong elements    : {wrong}\n# Average busbw     : {:.3} GB/s\n", self.average())
    }

    fn average(&self) -> f64 {
        let sum: f64 = self.rows.iter().map(|row| row.busbw).sum();
        sum / self.rows.len().max(1) as f64
    }

    fn json(&self) -> Result<String> {
        let Heading { collective, mode, algorithm, wire, .. } = self.heading;
        let document = Document {
            kirsh: env!("CARGO_PKG_VERSION"),
            collective: collective.name(),
            ranks: self.heading.ranks,
            ranks_on_this_host: self.heading.ranks_here,
            driver: self.heading.driver,
            mode: mode_name(mode),
            algorithm: algorithm.map(Algorithm::name),
            wire: wire.name(),
            stripes: self.heading.stripes,
            channels: self.heading.channels,
            average_busbw_gbps: self.average(),
            results: self.rows.iter().map(Line::from).collect(),
        };
        let text = serde_json::to_string_pretty(&document).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("the results make no JSON: {cause}"))
        })?;
        Ok(text + "\n")
    }
}

/// What every format shows of a row.
#[derive(Serialize)]
struct Line {
    size: u64,
    count: usize,
    r#type: &'static str,
    redop: Option<&'static str>,
    root: Option<u32>,
    calls: u32,
    time_us: f64,
    algbw_gbps: f64,
    busbw_gbps: f64,
    wrong: Option<u64>,
}

#[derive(Serialize)]
struct Document {
    kirsh: &'static str,
    collective: &'static str,
    ranks: u32,
    ranks_on_this_host: u32,
    driver: &'static str,
    mode: &'static str,
    algorithm: Option<&'static str>,
    wire: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stripes: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<u16>,
    average_busbw_gbps: f64,
    results: Vec<Line>,
}

impl Line {
    fn from(row: &Row) -> Self {
        Line {
            size: row.bytes,
            count: row.count,
            r#type: row.dtype.name(),
            redop: row.op.map(ReduceOp::name),
            root: row.root,
            calls: row.calls,
            time_us: row.time_ns / 1e3,
            algbw_gbps: row.algbw,
            busbw_gbps: row.busbw,
            wrong: row.wrong,
        }
    }

    /// As nccl-tests writes what does not apply.
    fn redop(&self) -> &'static str {
        self.redop.unwrap_or("none")
    }

    fn root(&self) -> i64 {
        self.root.map_or(-1, i64::from)
    }
}

const CSV_HEAD: &str = "size,count,type,redop,root,time_us,algbw_gbps,busbw_gbps,wrong,calls\n";

fn csv_line(row: &Row) -> String {
    let line = Line::from(row);
    format!(
        "{},{},{},{},{},{:.3},{:.6},{:.6},{},{}\n",
        line.size,
        line.count,
        line.r#type,
        line.redop(),
        line.root(),
        line.time_us,
        line.algbw_gbps,
        line.busbw_gbps,
        line.wrong.map(|wrong| wrong.to_string()).unwrap_or_default(),
        line.calls,
    )
}

fn table_line(row: &Row) -> String {
    let line = Line::from(row);
    // As many digits as mean anything.
    let digits = match line.time_us {
        0.0..100.0 => 2,
        100.0..10_000.0 => 1,
        _ => 0,
    };
    format!(
        "  {:>10}  {:>12}  {:>8}  {:>11}  {:>6}  {:>9.digits$}  {:>7.2}  {:>7.2}  {:>6}\n",
        line.size,
        line.count,
        line.r#type,
        line.redop(),
        line.root(),
        line.time_us,
        line.algbw_gbps,
        line.busbw_gbps,
        line.wrong.map_or("N/A".to_owned(), |wrong| wrong.to_string()),
    )
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::InPlace => "in place",
        Mode::OutOfPlace => "out of place",
        Mode::Started => "started",
    }
}

/// Prints at once, so that somebody who watches sees each row when it is there.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|cause| Error::system("writing the results", &cause))
}
