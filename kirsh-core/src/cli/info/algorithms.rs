//! `kirsh info --algorithms`: what would be chosen, by size, from the table in force.

use std::fmt::Write;

use serde::Serialize;

use crate::comm::{channels_in_force, tables_in_force};
use crate::error::Result;
use crate::model::Layout;
use crate::model::choice::Choice;
use crate::plan::algorithms;
use crate::rendezvous::identity::process_env;
use crate::types::{Call, Collective, DataType, ReduceOp, Wire};

/// Sizes that are looked at: every power of two between these.
const SIZES: std::ops::RangeInclusive<u32> = 3..=30;

/// What is chosen in a world, and by what.
#[derive(Debug, Serialize)]
pub(super) struct Algorithms {
    ranks: u32,
    ranks_per_host: u32,
    /// Where the costs are from.
    source: String,
    latency_us: f64,
    wire_ns_per_byte: f64,
    collectives: Vec<Chosen>,
}

#[derive(Debug, Serialize)]
struct Chosen {
    collective: &'static str,
    forced: bool,
    sizes: Vec<Range>,
}

/// Sizes that are carried out alike.
#[derive(Debug, Serialize)]
struct Range {
    /// The smallest of the sizes looked at; bytes of the larger of a rank's two arrays.
    from: u64,
    algorithm: &'static str,
    slice: u32,
    channels: u16,
}

/// Chooses for every collective and size.
///
/// # Errors
/// As a communicator would have them: for a table that is none and malformed settings.
pub(super) fn gather(ranks: u32, ranks_per_host: u32) -> Result<Algorithms> {
    let tables = tables_in_force(&process_env)?;
    let layout = Layout { world: ranks, ranks_per_host_max: ranks_per_host };
    let rule = channels_in_force(&process_env, ranks_per_host)?;
    let selection = &tables.selection.with_channels(rule);
    let remote = selection.costs().remote;
    let collectives = Collective::ALL.iter().map(|collective| {
        let mut sizes: Vec<Range> = Vec::new();
        let mut last = None;
        for bytes in SIZES.map(|power| 1u64 << power) {
            let choice = selection.choose(layout, &call(*collective, bytes, ranks), None);
            // Which slices a call has that is shorter than any says nothing.
            let shown = Choice { slice: if bytes > 16 << 10 { choice.slice } else { 0 }, ..choice };
            if last != Some(shown) {
                let Choice { algorithm, slice, channels } = choice;
                let algorithm = algorithm.name();
                sizes.push(Range { from: bytes, algorithm, slice, channels });
            }
            last = Some(shown);
        }
        let forced = selection.forced().iter().any(|(other, _)| other == collective);
        Chosen { collective: collective.name(), forced, sizes }
    });
    Ok(Algorithms {
        ranks,
        ranks_per_host,
        latency_us: remote.latency_ps as f64 / 1e6,
        wire_ns_per_byte: remote.wire_fs as f64 / 1e6,
        collectives: collectives.collect(),
        source: tables.source,
    })
}

/// A call of float32 whose larger array has this many bytes.
fn call(collective: Collective, bytes: u64, ranks: u32) -> Call {
    use Collective::*;
    let elements = bytes / 4;
    let count = match collective {
        Barrier | Gatherv | Scatterv | Alltoallv => 0,
        Allgather | ReduceScatter | Gather | Scatter | Alltoall => {
            (elements / u64::from(ranks)).max(1)
        }
        _ => elements,
    };
    let algorithm = algorithms(collective)[0];
    Call {
        collective,
        algorithm,
        dtype: DataType::Float32,
        op: ReduceOp::Sum,
        root: 0,
        count,
        wire: Wire::Plain,
    }
}

/// The same as text.
pub(super) fn text(all: &Algorithms) -> String {
    let mut text = format!(
        "{} ranks, {} to a host, by {}\n\
         (between hosts {} us, {:.3} ns a byte)\n",
        all.ranks, all.ranks_per_host, all.source, all.latency_us, all.wire_ns_per_byte
    );
    for Chosen { collective, forced, sizes } in &all.collectives {
        let forced = if *forced { " (forced)" } else { "" };
        // Writing to a string does not fail.
        let _ = writeln!(text, "\n{collective}{forced}");
        for (index, Range { from, algorithm, slice, channels }) in sizes.iter().enumerate() {
            let from =
                if index == 0 { "any size".to_owned() } else { format!("from {}", sized(*from)) };
            let slice = sized((*slice).into());
            let channels =
                if *channels > 1 { format!(", {channels} channels") } else { String::new() };
            let _ = writeln!(text, "  {from:<12} {algorithm:<22} slices of {slice}{channels}");
        }
    }
    text
}

fn sized(bytes: u64) -> String {
    match bytes {
        1_073_741_824.. => format!("{}G", bytes >> 30),
        1_048_576.. => format!("{}M", bytes >> 20),
        1024.. => format!("{}K", bytes >> 10),
        _ => bytes.to_string(),
    }
}
