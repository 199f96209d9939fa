//! What a communicator has counted, as Python sees it.

use std::fmt::Write;

use pyo3::prelude::*;

/// A class of plain numbers that is made from the core's struct of the same fields, and shows them all.
macro_rules! figures {
    ($(#[$meta:meta])* $name:ident from $core:ty { $($(#[$field_meta:meta])* $field:ident: u64,)+ }) => {
        $(#[$meta])*
        #[pyclass(frozen, get_all, module = "kirsh")]
        #[derive(Clone, Copy)]
        pub(crate) struct $name { $($(#[$field_meta])* $field: u64,)+ }

        #[pymethods]
        impl $name {
            fn __repr__(&self) -> String {
                let mut text = String::from(concat!(stringify!($name), "("));
                let mut separator = "";
                $(
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{separator}{}={}", stringify!($field), self.$field);
                    separator = ", ";
                )+
                let _ = separator;
                text + ")"
            }
        }

        impl From<$core> for $name {
            fn from(stats: $core) -> Self {
                $name { $($field: stats.$field,)+ }
            }
        }
    };
}

figures! {
/// What a communicator has counted since it was created.
Stats from kirsh_core::Stats {
    /// Operations that are over, well or not.
    operations: u64,
    /// Bytes of payload given to the network.
    bytes_sent: u64,
    /// Of those, bytes sent from the caller's array, without a copy by the library.
    bytes_sent_direct: u64,
    /// Of those, bytes that the kernel, too, read straight from there.
    bytes_sent_zero_copy: u64,
    /// Bytes that the kernel was asked not to copy, and copied.
    bytes_sent_copied_anyway: u64,
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
    /// Nanoseconds in which the thread that drove this communicator looked or slept for want of
    /// anything to do, while an operation was under way.
    waited_ns: u64,
    /// System calls of blocking callers while they drove it, and below those of the library's own
    /// thread, for all communicators that share it.
    calls_enter: u64,
    calls_ppoll: u64,
    calls_sendmsg: u64,
    calls_recvmsg: u64,
    progress_calls_enter: u64,
    progress_calls_ppoll: u64,
    progress_calls_sendmsg: u64,
    progress_calls_recvmsg: u64,
    /// Collective calls whose arguments were validated.
    validations: u64,
    /// How often an algorithm was chosen for a call.
    choices: u64,
    /// Plans that were built, for want of one kept from an earlier call.
    plans_built: u64,
    /// Operations by name; their sum is `operations`.
    operations_barrier: u64,
    operations_broadcast: u64,
    operations_allreduce: u64,
    operations_reduce: u64,
    operations_allgather: u64,
    operations_reduce_scatter: u64,
    operations_gather: u64,
    operations_scatter: u64,
    operations_alltoall: u64,
    operations_scan: u64,
    operations_exscan: u64,
    operations_allgatherv: u64,
    operations_reduce_scatterv: u64,
    operations_gatherv: u64,
    operations_scatterv: u64,
    operations_alltoallv: u64,
    operations_send: u64,
    operations_recv: u64,
}
}

figures! {
/// What goes to and comes from one peer over connections of one kind.
LaneStats from kirsh_core::LaneStats {
    /// Bytes given to the network: payload, or whole frames for control.
    bytes_sent: u64,
    bytes_received: u64,
    frames_sent: u64,
    frames_received: u64,
    /// The part of the communicator's `waited_ns` in which this peer was waited for before others.
    waited_ns: u64,
}
}

/// What a communicator has had to do with one of its ranks.
#[pyclass(frozen, get_all, module = "kirsh")]
pub(crate) struct PeerStats {
    /// The peer in this communicator.
    rank: u32,
    /// The same process in the communicator that was created first.
    world_rank: u32,
    /// Connections for this communicator's collectives.
    collective: LaneStats,
    /// Connections for its messages.
    direct: LaneStats,
    /// The connection of the two processes for liveness and failures.
    control: LaneStats,
}

#[pymethods]
impl PeerStats {
    fn __repr__(&self) -> String {
        let PeerStats { rank, world_rank, collective, direct, control } = self;
        let [collective, direct, control] =
            [collective, direct, control].map(|lane| lane.__repr__());
        format!(
            "PeerStats(rank={rank}, world_rank={world_rank}, collective={collective}, \
             direct={direct}, control={control})"
        )
    }
}

impl From<kirsh_core::PeerStats> for PeerStats {
    fn from(stats: kirsh_core::PeerStats) -> Self {
        PeerStats {
            rank: stats.rank,
            world_rank: stats.world_rank,
            collective: stats.collective.into(),
            direct: stats.direct.into(),
            control: stats.control.into(),
        }
    }
}
