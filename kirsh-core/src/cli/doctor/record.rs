//! What is found: of each rank, and of each pair. It travels through the store as JSON, and is what
//! `--json` prints.

use serde::{Deserialize, Serialize};

/// Everything that was found.
#[derive(Serialize)]
pub(super) struct Examined {
    pub(super) kirsh: &'static str,
    pub(super) ranks: Vec<RankFacts>,
    pub(super) pairs: Vec<Pair>,
    /// Networks in which every rank has an address, as a communicator would look for them.
    pub(super) rails: Vec<String>,
}

/// What a rank says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct RankFacts {
    pub(super) rank: u32,
    pub(super) host: String,
    /// Equal for ranks that reach each other by loopback.
    pub(super) host_id: String,
    pub(super) pid: u32,
    /// Empty where none can be had; `why` says why.
    pub(super) driver: String,
    pub(super) why: String,
    /// The driver was asked for by name.
    pub(super) forced: bool,
    pub(super) kernel: Option<String>,
    /// What this rank publishes, best first.
    pub(super) addresses: Vec<String>,
    /// Addresses of the host that are not used, and why.
    pub(super) left_out: Vec<String>,
    /// `None` where it is not limited, or not known.
    pub(super) locked_memory_bytes: Option<u64>,
    pub(super) congestion_control: Option<String>,
}

/// What one rank found when it looked for another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) same_host: bool,
    /// In the order in which a communicator would try them.
    pub(super) tried: Vec<Tried>,
    /// The address that a communicator would take, and why that one.
    pub(super) chosen: Option<String>,
    pub(super) why: String,
    /// What was measured over the chosen address, where it was.
    pub(super) latency_us: Option<f64>,
    pub(super) bandwidth_mbit: Option<f64>,
    pub(super) path_mtu: Option<u32>,
    pub(super) mss: Option<u32>,
    pub(super) retransmits: Option<u32>,
    pub(super) congestion_control: Option<String>,
    /// What went wrong with the measurement, or with the whole pair.
    pub(super) problem: Option<String>,
}

/// One address that was tried.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Tried {
    pub(super) address: String,
    /// `None` where it leads to the rank.
    pub(super) problem: Option<String>,
    /// Measured also where it is not the chosen one.
    pub(super) bandwidth_mbit: Option<f64>,
}
