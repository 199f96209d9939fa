//! How predictions look: a table for people, or JSON.

use std::io::Write;

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::model::scenario::{Scenario, Simulated};
use crate::types::Wire;

/// Everything that is shown.
pub(super) struct Report<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) results: &'a [Simulated],
}

#[derive(Serialize)]
struct Document<'a> {
    kirsh: &'static str,
    collective: &'static str,
    ranks: u32,
    ranks_per_host: u32,
    size: u64,
    r#type: &'static str,
    redop: Option<&'static str>,
    wire: &'static str,
    latency_us: f64,
    wire_ns_per_byte: f64,
    hosts_per_switch: Option<u32>,
    oversubscription: Option<u32>,
    straggler_rank: Option<u32>,
    straggler: Option<f64>,
    results: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    algorithm: &'a str,
    slice: u32,
    channels: u16,
    time_us: f64,
    algbw_gbps: f64,
    busbw_gbps: f64,
    bytes_sent: u64,
    steps: u64,
    chosen: bool,
}

impl Report<'_> {
    /// Prints it to standard output.
    ///
    /// # Errors
    /// `System` when standard output takes nothing any more.
    pub(super) fn print(&self, json: bool) -> Result<()> {
        let text = if json { self.json()? } else { self.table() };
        std::io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .map_err(|cause| Error::system("writing the results", &cause))
    }

    fn json(&self) -> Result<String> {
        let Scenario { collective, ranks, ranks_per_host, dtype, op, wire, network, .. } =
            self.scenario;
        let line = |row: &Simulated| Line {
            algorithm: row.algorithm.name(),
            slice: row.slice,
            channels: row.channels,
            time_us: row.time_us,
            algbw_gbps: row.algbw,
            busbw_gbps: row.busbw,
            bytes_sent: row.bytes_sent,
            steps: row.steps,
            chosen: row.chosen,
        };
        let document = Document {
            kirsh: env!("CARGO_PKG_VERSION"),
            collective: collective.name(),
            ranks: *ranks,
            ranks_per_host: *ranks_per_host,
            size: self.scenario.bytes_in_force(),
            r#type: dtype.name(),
            redop: collective.reduces().then(|| op.name()),
            wire: wire.name(),
            latency_us: network.costs.remote.latency_ps as f64 / 1e6,
            wire_ns_per_byte: network.costs.remote.wire_fs as f64 / 1e6,
            hosts_per_switch: network.switch.map(|switch| switch.hosts),
            oversubscription: network.switch.map(|switch| switch.oversubscription),
            straggler_rank: network.straggler.map(|slow| slow.rank),
            straggler: network.straggler.map(|slow| f64::from(slow.factor_milli) / 1e3),
            results: self.results.iter().map(line).collect(),
        };
        let text = serde_json::to_string_pretty(&document).map_err(|cause| {
            Error::new(ErrorKind::Internal, format!("the results make no JSON: {cause}"))
        })?;
        Ok(text + "\n")
    }

    fn table(&self) -> String {
        let Scenario { collective, ranks, ranks_per_host, dtype, op, wire, network, .. } =
            self.scenario;
        let hosts = ranks.div_ceil(*ranks_per_host);
        let mut op = if collective.reduces() { format!(", {op}") } else { String::new() };
        if *wire != Wire::Plain {
            op += &format!(", wire {wire}");
        }
        let mut text = format!(
            "# kirsh {}: simulated {collective} of {} bytes ({dtype}{op})\n\
             # {ranks} ranks on {hosts} hosts; between hosts {} us and {:.3} ns a byte\n",
            env!("CARGO_PKG_VERSION"),
            self.scenario.bytes_in_force(),
            network.costs.remote.latency_ps as f64 / 1e6,
            network.costs.remote.wire_fs as f64 / 1e6,
        );
        if let Some(switch) = network.switch {
            text += &format!(
                "# {} hosts to a switch, whose uplink carries 1/{} of what they can send\n",
                switch.hosts, switch.oversubscription
            );
        }
        if let Some(slow) = network.straggler {
            let factor = f64::from(slow.factor_milli) / 1e3;
            text += &format!("# rank {} takes {factor} times as long over everything\n", slow.rank);
        }
        // The same for all algorithms.
        let channels = self.results.first().map_or(1, |row| row.channels);
        if channels > 1 {
            text += &format!(
                "# {channels} channels, which share the link and have cores of their own\n"
            );
        }
        text += "#\n";
        let head = |columns: [&str; 7]| {
            let [algorithm, slice, time, algbw, busbw, sent, steps] = columns;
            format!(
                "# {algorithm:<22} {slice:>8} {time:>12} {algbw:>9} {busbw:>9} {sent:>14} {steps:>10}\n"
            )
        };
        text += &head(["algorithm", "slice", "time", "algbw", "busbw", "sent", "steps"]);
        text += &head(["", "(B)", "(us)", "(GB/s)", "(GB/s)", "(B)", ""]);
        for row in self.results {
            let mark = if row.chosen { '*' } else { ' ' };
            let Simulated { slice, time_us, algbw, busbw, bytes_sent, steps, .. } = row;
            text += &format!(
                "{mark} {:<22} {slice:>8} {time_us:>12.1} {algbw:>9.3} {busbw:>9.3} {bytes_sent:>14} {steps:>10}\n",
                row.algorithm
            );
        }
        text
    }
}
