//! What a communicator has counted, as Python sees it.

use pyo3::prelude::*;

/// What a communicator has counted since it was created.
#[pyclass(frozen, get_all, module = "kirsh")]
pub(crate) struct Stats {
    /// Operations that are over.
    operations: u64,
    /// Bytes of payload given to the network.
    bytes_sent: u64,
    /// Bytes of payload taken from the network.
    bytes_received: u64,
    /// Of those, bytes that the kernel put straight into their final place.
    bytes_received_direct: u64,
    /// Bytes that the library copied within this process.
    bytes_copied: u64,
    /// Frames given to the network.
    frames_sent: u64,
    /// Frames taken from the network.
    frames_received: u64,
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        format!(
            "Stats(operations={}, bytes_sent={}, bytes_received={}, bytes_received_direct={}, \
             bytes_copied={}, frames_sent={}, frames_received={})",
            self.operations,
            self.bytes_sent,
            self.bytes_received,
            self.bytes_received_direct,
            self.bytes_copied,
            self.frames_sent,
            self.frames_received
        )
    }
}

impl From<kirsh_core::comm::Stats> for Stats {
    fn from(stats: kirsh_core::comm::Stats) -> Self {
        Stats {
            operations: stats.operations,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            bytes_received_direct: stats.bytes_received_direct,
            bytes_copied: stats.bytes_copied,
            frames_sent: stats.frames_sent,
            frames_received: stats.frames_received,
        }
    }
}
