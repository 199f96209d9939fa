//! How an examination looks: for people, or as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::Serialize;

use super::findings::{Finding, Severity};
use super::record::{Examined, Pair};
use crate::error::{Error, ErrorKind, Result};

/// Prints everything to standard output.
///
/// # Errors
/// `System` when standard output takes nothing any more.
pub(super) fn print(examined: &Examined, findings: &[Finding], json: bool) -> Result<()> {
    let text = if json { as_json(examined, findings)? } else { as_text(examined, findings) };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|cause| Error::system("writing the report", &cause))
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    examined: &'a Examined,
    findings: &'a [Finding],
    reachable: bool,
}

fn as_json(examined: &Examined, findings: &[Finding]) -> Result<String> {
    let reachable = examined.pairs.iter().all(|pair| pair.chosen.is_some());
    let text = serde_json::to_string_pretty(&Document { examined, findings, reachable }).map_err(
        |cause| Error::new(ErrorKind::Internal, format!("the report makes no JSON: {cause}")),
    )?;
    Ok(text + "\n")
}

fn as_text(examined: &Examined, findings: &[Finding]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let mut line = |words: String| {
        let _ = writeln!(text, "{words}");
    };
    let ranks = &examined.ranks;
    line(format!("kirsh {} doctor: {} ranks", examined.kirsh, ranks.len()));
    line(String::new());
    for rank in ranks {
        let driver = if rank.driver.is_empty() { "none" } else { &rank.driver };
        line(format!(
            "rank {}: host {}, pid {}, driver {driver} ({})",
            rank.rank, rank.host, rank.pid, rank.why
        ));
        if !rank.addresses.is_empty() {
            line(format!("    publishes {}", rank.addresses.join(", ")));
        }
        if !rank.left_out.is_empty() {
            line(format!("    leaves out {}", rank.left_out.join(", ")));
        }
    }
    if !examined.rails.is_empty() {
        line(format!("networks that join all ranks: {}", examined.rails.join(", ")));
    }
    if !examined.pairs.is_empty() {
        line(String::new());
    }
    for pair in &examined.pairs {
        line(of_pair(pair));
    }
    line(String::new());
    line(if findings.is_empty() {
        "Nothing to remark.".to_owned()
    } else {
        "Findings:".to_owned()
    });
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        line(format!("  {severity}: {}", finding.text));
    }
    text
}

fn of_pair(pair: &Pair) -> String {
    let Pair { from, to, .. } = pair;
    let Some(chosen) = &pair.chosen else {
        let why = pair.problem.as_deref().unwrap_or_default();
        return format!("{from} -> {to}  UNREACHABLE: {why}");
    };
    let mut line = format!("{from} -> {to}  {chosen} ({})", pair.why);
    if let Some(latency) = pair.latency_us {
        let _ = write!(line, ", {latency:.1} us round trip");
    }
    if let Some(rate) = pair.bandwidth_mbit {
        let _ = write!(line, ", {rate:.1} Mbit/s");
    }
    if let (Some(mtu), Some(mss), Some(retransmits)) = (pair.path_mtu, pair.mss, pair.retransmits) {
        let _ = write!(line, ", MTU {mtu}, MSS {mss}, {retransmits} sent again");
    }
    if let Some(name) = &pair.congestion_control {
        let _ = write!(line, ", {name}");
    }
    line
}
