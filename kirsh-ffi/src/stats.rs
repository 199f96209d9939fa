//! What a communicator has counted.

use kirsh_core::{LaneStats, PeerStats};

use crate::boundary::{invalid, require};
use crate::comm::{communicator, kirsh_comm_t};
use crate::sized::{self, SizedStruct};
use crate::status::kirsh_status_t;

/// What a communicator has moved so far. Start from KIRSH_STATS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_stats_t {
    /// sizeof(kirsh_stats_t).
    pub size: usize,
    /// Operations that are over, well or not.
    pub operations: u64,
    /// Bytes of payload that were sent.
    pub bytes_sent: u64,
    /// Bytes of payload that were received.
    pub bytes_received: u64,
    /// Those among them that the kernel put straight into the caller's buffer.
    pub bytes_received_direct: u64,
    /// Bytes of payload that the library copied from memory to memory.
    pub bytes_copied: u64,
    /// Frames that were sent, each a header and a slice of payload.
    pub frames_sent: u64,
    /// Frames that were received.
    pub frames_received: u64,
    /// Those of bytes_sent that were sent from the caller's buffer, without a copy by the library.
    pub bytes_sent_direct: u64,
    /// Those among them that the kernel, too, read straight from there (KIRSH_ZERO_COPY).
    pub bytes_sent_zero_copy: u64,
    /// Those that the kernel was asked not to copy, and copied.
    pub bytes_sent_copied_anyway: u64,
    /// Nanoseconds in which the thread that drove this communicator (a blocking caller, or the library's
    /// own for started operations and messages) had nothing to do while an operation was under way,
    /// and looked or slept. Who sleeps while another drives is not counted beside it.
    pub waited_ns: u64,
    /// System calls of blocking callers while they drove this communicator: io_uring_enter,
    pub calls_enter: u64,
    /// ppoll,
    pub calls_ppoll: u64,
    /// sendmsg,
    pub calls_sendmsg: u64,
    /// and recvmsg.
    pub calls_recvmsg: u64,
    /// The same by the library's own thread, for all communicators that share it.
    pub progress_calls_enter: u64,
    pub progress_calls_ppoll: u64,
    pub progress_calls_sendmsg: u64,
    pub progress_calls_recvmsg: u64,
    /// Collective calls whose arguments were validated; runs of a plan are not.
    pub validations: u64,
    /// How often an algorithm was chosen for a call.
    pub choices: u64,
    /// Plans that were built, for want of one kept from an earlier call.
    pub plans_built: u64,
    /// Operations that are over, by name; their sum is `operations`.
    pub operations_barrier: u64,
    pub operations_broadcast: u64,
    pub operations_allreduce: u64,
    pub operations_reduce: u64,
    pub operations_allgather: u64,
    pub operations_reduce_scatter: u64,
    pub operations_gather: u64,
    pub operations_scatter: u64,
    pub operations_alltoall: u64,
    pub operations_scan: u64,
    pub operations_exscan: u64,
    pub operations_allgatherv: u64,
    pub operations_reduce_scatterv: u64,
    pub operations_gatherv: u64,
    pub operations_scatterv: u64,
    pub operations_alltoallv: u64,
    pub operations_send: u64,
    pub operations_recv: u64,
}

// SAFETY: repr(C); a usize and 8-byte integers, no padding.
unsafe impl SizedStruct for kirsh_stats_t {
    const INIT: Self = kirsh_stats_t {
        size: size_of::<kirsh_stats_t>(),
        operations: 0,
        bytes_sent: 0,
        bytes_received: 0,
        bytes_received_direct: 0,
        bytes_copied: 0,
        frames_sent: 0,
        frames_received: 0,
        bytes_sent_direct: 0,
        bytes_sent_zero_copy: 0,
        bytes_sent_copied_anyway: 0,
        waited_ns: 0,
        calls_enter: 0,
        calls_ppoll: 0,
        calls_sendmsg: 0,
        calls_recvmsg: 0,
        progress_calls_enter: 0,
        progress_calls_ppoll: 0,
        progress_calls_sendmsg: 0,
        progress_calls_recvmsg: 0,
        validations: 0,
        choices: 0,
        plans_built: 0,
        operations_barrier: 0,
        operations_broadcast: 0,
        operations_allreduce: 0,
        operations_reduce: 0,
        operations_allgather: 0,
        operations_reduce_scatter: 0,
        operations_gather: 0,
        operations_scatter: 0,
        operations_alltoall: 0,
        operations_scan: 0,
        operations_exscan: 0,
        operations_allgatherv: 0,
        operations_reduce_scatterv: 0,
        operations_gatherv: 0,
        operations_scatterv: 0,
        operations_alltoallv: 0,
        operations_send: 0,
        operations_recv: 0,
    };
}

/// What goes to and comes from one peer over connections of one kind: 40 bytes, for good.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct kirsh_lane_stats_t {
    /// Bytes that were sent: payload, or whole frames for control.
    pub bytes_sent: u64,
    pub bytes_received: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
    /// The part of `waited_ns` of kirsh_stats_t in which this peer was waited for before others. It may
    /// have waited for others itself. 0 for control, where nobody waits.
    pub waited_ns: u64,
}

/// What a communicator has had to do with one of its ranks. Start each of an array from
/// KIRSH_PEER_STATS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct kirsh_peer_stats_t {
    /// sizeof(kirsh_peer_stats_t).
    pub size: usize,
    /// The peer in this communicator.
    pub rank: i32,
    /// The same process in the communicator that was created first.
    pub world_rank: i32,
    /// Connections for this communicator's collectives.
    pub collective: kirsh_lane_stats_t,
    /// Connections for its messages.
    pub direct: kirsh_lane_stats_t,
    /// The connection of the two processes for liveness and failures, which all communicators share
    /// that were made from one another.
    pub control: kirsh_lane_stats_t,
}

// SAFETY: repr(C); a usize, a pair of 4-byte integers and 8-byte ones, no padding.
unsafe impl SizedStruct for kirsh_peer_stats_t {
    const INIT: Self = {
        let none = kirsh_lane_stats_t {
            bytes_sent: 0,
            bytes_received: 0,
            frames_sent: 0,
            frames_received: 0,
            waited_ns: 0,
        };
        kirsh_peer_stats_t {
            size: size_of::<kirsh_peer_stats_t>(),
            rank: 0,
            world_rank: 0,
            collective: none,
            direct: none,
            control: none,
        }
    };
}

impl From<LaneStats> for kirsh_lane_stats_t {
    fn from(stats: LaneStats) -> Self {
        let LaneStats { bytes_sent, bytes_received, frames_sent, frames_received, waited_ns } =
            stats;
        kirsh_lane_stats_t { bytes_sent, bytes_received, frames_sent, frames_received, waited_ns }
    }
}

impl From<PeerStats> for kirsh_peer_stats_t {
    fn from(stats: PeerStats) -> Self {
        kirsh_peer_stats_t {
            // Ranks lie far below what the type holds.
            rank: stats.rank as i32,
            world_rank: stats.world_rank as i32,
            collective: stats.collective.into(),
            direct: stats.direct.into(),
            control: stats.control.into(),
            ..kirsh_peer_stats_t::INIT
        }
    }
}

/// Fills in what the communicator has moved so far. `out->size` must be set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_stats(
    comm: *const kirsh_comm_t,
    out: *mut kirsh_stats_t,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let stats = unsafe { communicator(comm) }?.stats();
        let given = kirsh_stats_t {
            operations: stats.operations,
            bytes_sent: stats.bytes_sent,
            bytes_received: stats.bytes_received,
            bytes_received_direct: stats.bytes_received_direct,
            bytes_copied: stats.bytes_copied,
            frames_sent: stats.frames_sent,
            frames_received: stats.frames_received,
            bytes_sent_direct: stats.bytes_sent_direct,
            bytes_sent_zero_copy: stats.bytes_sent_zero_copy,
            bytes_sent_copied_anyway: stats.bytes_sent_copied_anyway,
            waited_ns: stats.waited_ns,
            calls_enter: stats.calls_enter,
            calls_ppoll: stats.calls_ppoll,
            calls_sendmsg: stats.calls_sendmsg,
            calls_recvmsg: stats.calls_recvmsg,
            progress_calls_enter: stats.progress_calls_enter,
            progress_calls_ppoll: stats.progress_calls_ppoll,
            progress_calls_sendmsg: stats.progress_calls_sendmsg,
            progress_calls_recvmsg: stats.progress_calls_recvmsg,
            validations: stats.validations,
            choices: stats.choices,
            plans_built: stats.plans_built,
            operations_barrier: stats.operations_barrier,
            operations_broadcast: stats.operations_broadcast,
            operations_allreduce: stats.operations_allreduce,
            operations_reduce: stats.operations_reduce,
            operations_allgather: stats.operations_allgather,
            operations_reduce_scatter: stats.operations_reduce_scatter,
            operations_gather: stats.operations_gather,
            operations_scatter: stats.operations_scatter,
            operations_alltoall: stats.operations_alltoall,
            operations_scan: stats.operations_scan,
            operations_exscan: stats.operations_exscan,
            operations_allgatherv: stats.operations_allgatherv,
            operations_reduce_scatterv: stats.operations_reduce_scatterv,
            operations_gatherv: stats.operations_gatherv,
            operations_scatterv: stats.operations_scatterv,
            operations_alltoallv: stats.operations_alltoallv,
            operations_send: stats.operations_send,
            operations_recv: stats.operations_recv,
            ..kirsh_stats_t::INIT
        };
        // SAFETY: the header asks for null or a struct that begins with its size.
        unsafe { sized::write(out, &given, "out", "KIRSH_STATS_INIT") }?;
        Ok(kirsh_status_t::KIRSH_OK)
    }
}

/// Fills in what the communicator has had to do with each of its ranks, this one among them: entry `i`
/// is about rank `i`. `count` is the number of entries in `out`, at least kirsh_comm_size(); those beyond
/// stay as they are. Each entry's size must be set, all to the same.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kirsh_comm_stats_by_peer(
    comm: *const kirsh_comm_t,
    out: *mut kirsh_peer_stats_t,
    count: usize,
) -> kirsh_status_t {
    boundary! {
        // SAFETY: the header asks for null or a live handle.
        let stats = unsafe { communicator(comm) }?.stats_by_peer();
        require(out, "out")?;
        if count < stats.len() {
            let text = format!("out has {count} entries for {} ranks", stats.len());
            return Err(invalid(text));
        }
        let given: Vec<kirsh_peer_stats_t> = stats.into_iter().map(Into::into).collect();
        // SAFETY: the header asks for as many structs, each of which begins with its size.
        unsafe { sized::write_all(out, &given, "out", "KIRSH_PEER_STATS_INIT") }?;
        Ok(kirsh_status_t::KIRSH_OK)
    }
}
