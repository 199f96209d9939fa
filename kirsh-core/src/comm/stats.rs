//! Counters, as users see them.

use crate::driver::counters::{Calls, Counters, Traffic};
use crate::driver::lane::Lane;
use crate::memory::Counter;
use crate::types::{Collective, Rank};

/// What was done so that calls could run. Relaxed counters, each touched once for a call: a run of
/// one that was prepared beforehand touches none.
#[derive(Default)]
pub(super) struct Preparations {
    pub(super) validations: Counter,
    pub(super) choices: Counter,
    pub(super) plans_built: Counter,
}

/// What a communicator has done on this rank so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that are over, well or not: the sum of those by name below.
    pub operations: u64,
    /// Payload bytes handed to sockets.
    pub bytes_sent: u64,
    /// Of those, bytes that were sent from the caller's array, without a copy by the library.
    pub bytes_sent_direct: u64,
    /// Of those, bytes that the kernel read straight from there, in frames that it reports not to have
    /// copied (`KIRSH_ZERO_COPY`).
    pub bytes_sent_zero_copy: u64,
    /// Those of frames that the kernel was asked not to copy, and copied: it has no NIC that could read
    /// memory in pieces. Asking stops soon then.
    pub bytes_sent_copied_anyway: u64,
    /// Payload bytes taken from sockets.
    pub bytes_received: u64,
    /// Of those, bytes that the kernel put straight into the caller's array.
    pub bytes_received_direct: u64,
    /// Payload bytes that the library itself copied from one place to another.
    pub bytes_copied: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
    /// Nanoseconds in which the thread that drove this communicator waited while an operation of its
    /// was under way: it had found nothing to do, and looked (spun) or slept in the kernel until
    /// there was something. That thread is a blocking caller, or the progress thread for started operations
    /// and messages; one that sleeps while the other drives is not counted beside it. With io_uring
    /// what the kernel copies to sockets in the same system call is in it, with poll it is not. Time
    /// for collectives and for messages is added up, also where the progress thread waited for both at
    /// once, and so is that of a communicator's channels, which wait at the same time.
    pub waited_ns: u64,
    /// System calls by blocking callers while they drove this communicator, and by the threads of its
    /// further channels: `io_uring_enter`,
    pub calls_enter: u64,
    /// `ppoll`,
    pub calls_ppoll: u64,
    /// `sendmsg`,
    pub calls_sendmsg: u64,
    /// and `recvmsg`.
    pub calls_recvmsg: u64,
    /// The same by the progress thread, for all communicators that share it, and for its own purposes.
    pub progress_calls_enter: u64,
    pub progress_calls_ppoll: u64,
    pub progress_calls_sendmsg: u64,
    pub progress_calls_recvmsg: u64,
    /// Collective calls whose arguments were validated. Runs of a prepared call
    /// ([`RawPlan`](super::RawPlan), [`Persistent`](super::Persistent)) are not validated again, nor
    /// counted here or below.
    pub validations: u64,
    /// How often an algorithm and a slice were chosen for a call, be it that they were remembered.
    pub choices: u64,
    /// Plans that were built, for want of one kept from an earlier call. One that goes on growing
    /// while a program makes the same calls over and over has more different calls than are kept.
    pub plans_built: u64,
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
    /// Messages sent, to this very rank among them.
    pub operations_send: u64,
    /// Messages received.
    pub operations_recv: u64,
}

/// What goes to and comes from one peer over connections of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LaneStats {
    /// Bytes handed to sockets: payload, or whole frames for control.
    pub bytes_sent: u64,
    /// Bytes taken from sockets, likewise.
    pub bytes_received: u64,
    pub frames_sent: u64,
    pub frames_received: u64,
    /// The part of [`Stats::waited_ns`] in which this peer was waited for: of the steps that waited it
    /// was that of the earliest, or that of the message that was posted first. The peer may have waited
    /// for others itself. What was waited for without one to name (a receive from anybody) is no peer's.
    /// 0 for control, where nobody waits.
    pub waited_ns: u64,
}

/// What a communicator has had to do with one of its ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerStats {
    /// The peer in this communicator.
    pub rank: Rank,
    /// The same process in the communicator that was created first.
    pub world_rank: Rank,
    /// Connections that this communicator has for its collectives.
    pub collective: LaneStats,
    /// Connections that it has for messages.
    pub direct: LaneStats,
    /// The connection of the two processes for liveness, aborts and goodbyes, which all communicators
    /// that stem from one `create` share.
    pub control: LaneStats,
}

impl Stats {
    /// Of all channels, the first one first, which messages go by and where operations are counted.
    pub(super) fn read(lanes: &[&Lane], preparations: &Preparations) -> Self {
        use Collective::*;
        let first = lanes[0];
        let sum = |figure: &dyn Fn(&Counters) -> u64| -> u64 {
            lanes.iter().map(|lane| figure(&lane.counters)).sum()
        };
        let of = |collective: Collective| first.counters.operations[collective as usize].get();
        let messages = (first.counters.sends.get(), first.counters.receives.get());
        let Calls { enter, ppoll, sendmsg, recvmsg } = &first.observed.calls;
        Stats {
            operations: Collective::ALL.iter().copied().map(of).sum::<u64>()
                + messages.0
                + messages.1,
            bytes_sent: sum(&|all| all.sum(|traffic| &traffic.bytes_sent)),
            bytes_sent_direct: sum(&|all| all.collective.sent_direct.get())
                + first.counters.direct.sent_direct.get(),
            bytes_sent_zero_copy: sum(&|all| all.zero_copied.get()),
            bytes_sent_copied_anyway: sum(&|all| all.copied_anyway.get()),
            bytes_received: sum(&|all| all.sum(|traffic| &traffic.bytes_received)),
            bytes_received_direct: sum(&|all| all.collective.received_direct.get())
                + first.counters.direct.received_direct.get(),
            bytes_copied: sum(&|all| all.copied.get()),
            frames_sent: sum(&|all| all.sum(|traffic| &traffic.frames_sent)),
            frames_received: sum(&|all| all.sum(|traffic| &traffic.frames_received)),
            waited_ns: sum(&|all| all.collective.waited_ns.get())
                + first.counters.direct.waited_ns.get(),
            calls_enter: sum(&|all| all.calls.enter.get()),
            calls_ppoll: sum(&|all| all.calls.ppoll.get()),
            calls_sendmsg: sum(&|all| all.calls.sendmsg.get()),
            calls_recvmsg: sum(&|all| all.calls.recvmsg.get()),
            progress_calls_enter: enter.get(),
            progress_calls_ppoll: ppoll.get(),
            progress_calls_sendmsg: sendmsg.get(),
            progress_calls_recvmsg: recvmsg.get(),
            validations: preparations.validations.get(),
            choices: preparations.choices.get(),
            plans_built: preparations.plans_built.get(),
            operations_barrier: of(Barrier),
            operations_broadcast: of(Broadcast),
            operations_allreduce: of(Allreduce),
            operations_reduce: of(Reduce),
            operations_allgather: of(Allgather),
            operations_reduce_scatter: of(ReduceScatter),
            operations_gather: of(Gather),
            operations_scatter: of(Scatter),
            operations_alltoall: of(Alltoall),
            operations_scan: of(Scan),
            operations_exscan: of(Exscan),
            operations_allgatherv: of(Allgatherv),
            operations_reduce_scatterv: of(ReduceScatterv),
            operations_gatherv: of(Gatherv),
            operations_scatterv: of(Scatterv),
            operations_alltoallv: of(Alltoallv),
            operations_send: messages.0,
            operations_recv: messages.1,
        }
    }
}

impl LaneStats {
    fn read<'a>(all: impl Iterator<Item = &'a Traffic>) -> Self {
        all.fold(LaneStats::default(), |sum, traffic| LaneStats {
            bytes_sent: sum.bytes_sent + traffic.bytes_sent.get(),
            bytes_received: sum.bytes_received + traffic.bytes_received.get(),
            frames_sent: sum.frames_sent + traffic.frames_sent.get(),
            frames_received: sum.frames_received + traffic.frames_received.get(),
            waited_ns: sum.waited_ns + traffic.waited_ns.get(),
        })
    }
}

impl PeerStats {
    /// Of every rank, this one among them, in order; over all channels, the first one first.
    pub(super) fn read(lanes: &[&Lane]) -> Vec<Self> {
        let first = lanes[0];
        let ranks = first.members.world_ranks().iter().zip(0..);
        let collective = |rank| lanes.iter().map(move |lane| lane.counters.collective.of(rank));
        let read = |(&world_rank, rank): (&Rank, Rank)| PeerStats {
            rank,
            world_rank,
            collective: LaneStats::read(collective(rank)),
            direct: LaneStats::read([first.counters.direct.of(rank)].into_iter()),
            control: LaneStats::read([&first.observed.control[world_rank as usize]].into_iter()),
        };
        ranks.map(read).collect()
    }
}
