"""Collectives between ordinary Linux machines: all-reduce, broadcast, all-gather and the rest.

    import kirsh, numpy

    kirsh.init()                      # joins the ranks that `kirsh run -n 4` started
    gradient = numpy.ones(1000, "f4")
    kirsh.allreduce(gradient)         # in place: now the sum over all ranks

The functions work on the default communicator, which ``init()`` creates; ``Communicator`` has the
same as methods. ``send`` and ``recv`` are for messages between two ranks. ``simulate`` predicts and
needs no communicator. Waits release the GIL, and Ctrl-C ends them, here and on the peers. After a fork
the handles are dead in the child. The log goes to the standard logger "kirsh".
"""

from __future__ import annotations

import atexit as _atexit

from . import _kirsh, _logging
from ._communicator import Communicator
from ._default import (
    allgather,
    allgather_object,
    allgatherv,
    allreduce,
    allreduce_many,
    alltoall,
    alltoallv,
    barrier,
    broadcast,
    broadcast_object,
    check_equal,
    exscan,
    finalize,
    gather,
    gatherv,
    init,
    local_rank,
    local_size,
    plan_allgather,
    plan_allreduce,
    plan_allreduce_many,
    plan_alltoall,
    plan_barrier,
    plan_broadcast,
    plan_exscan,
    plan_gather,
    plan_reduce,
    plan_reduce_scatter,
    plan_scan,
    plan_scatter,
    rank,
    recv,
    reduce,
    reduce_scatter,
    reduce_scatterv,
    scan,
    scatter,
    scatterv,
    send,
    sendrecv,
    size,
    stats,
    stats_by_peer,
)
from ._errors import (
    AbortedError,
    InvalidArgumentError,
    KirshError,
    KirshTimeoutError,
    MismatchError,
    PeerLostError,
    RefusedError,
    UnsupportedError,
)
from ._kirsh import (
    ANY_SOURCE,
    ANY_TAG,
    LaneStats,
    PeerStats,
    Plan,
    Received,
    Stats,
    Work,
    __version__,
    wait_all,
    wait_any,
)
from ._ops import ReduceOp
from ._simulate import Simulated, simulate
from ._spawn import spawn
from ._store import Store

SUM = ReduceOp.SUM
PROD = ReduceOp.PROD
MIN = ReduceOp.MIN
MAX = ReduceOp.MAX
AVG = ReduceOp.AVG
PREMUL_SUM = ReduceOp.PREMUL_SUM
BAND = ReduceOp.BAND
BOR = ReduceOp.BOR
BXOR = ReduceOp.BXOR
LAND = ReduceOp.LAND
LOR = ReduceOp.LOR
LXOR = ReduceOp.LXOR

__all__ = [
    "ANY_SOURCE",
    "ANY_TAG",
    "AVG",
    "BAND",
    "BOR",
    "BXOR",
    "LAND",
    "LOR",
    "LXOR",
    "MAX",
    "MIN",
    "PREMUL_SUM",
    "PROD",
    "SUM",
    "AbortedError",
    "Communicator",
    "InvalidArgumentError",
    "KirshError",
    "KirshTimeoutError",
    "LaneStats",
    "MismatchError",
    "PeerLostError",
    "PeerStats",
    "Plan",
    "Received",
    "ReduceOp",
    "RefusedError",
    "Simulated",
    "Stats",
    "Store",
    "UnsupportedError",
    "Work",
    "__version__",
    "allgather",
    "allgather_object",
    "allgatherv",
    "allreduce",
    "allreduce_many",
    "alltoall",
    "alltoallv",
    "barrier",
    "broadcast",
    "broadcast_object",
    "check_equal",
    "exscan",
    "finalize",
    "gather",
    "gatherv",
    "init",
    "local_rank",
    "local_size",
    "plan_allgather",
    "plan_allreduce",
    "plan_allreduce_many",
    "plan_alltoall",
    "plan_barrier",
    "plan_broadcast",
    "plan_exscan",
    "plan_gather",
    "plan_reduce",
    "plan_reduce_scatter",
    "plan_scan",
    "plan_scatter",
    "rank",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatterv",
    "scan",
    "scatter",
    "scatterv",
    "send",
    "sendrecv",
    "simulate",
    "size",
    "spawn",
    "stats",
    "stats_by_peer",
    "wait_all",
    "wait_any",
]

#: Seconds that all communicators together may take to leave when the process ends. With the log's
#: last words this stays below the second that is promised.
_LEAVE_SECONDS = 0.8


def _leave_at_exit() -> None:
    _kirsh.leave_all(_LEAVE_SECONDS)
    _logging.stop()


_atexit.register(_leave_at_exit)
