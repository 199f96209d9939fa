"""Collectives between ordinary Linux machines: all-reduce, broadcast, barrier.

    import kirsh, numpy

    kirsh.init()                      # joins the ranks that `kirsh run -n 4` started
    gradient = numpy.ones(1000, "f4")
    kirsh.allreduce(gradient)         # in place: now the sum over all ranks

The functions work on the default communicator, which ``init()`` creates; ``Communicator`` has the
same as methods. Waits release the GIL, and Ctrl-C ends them, here and on the peers. After a fork
the handles are dead in the child. The log goes to the standard logger "kirsh".
"""

from __future__ import annotations

import atexit as _atexit

from . import _kirsh, _logging
from ._default import (
    allreduce,
    barrier,
    broadcast,
    finalize,
    init,
    local_rank,
    local_size,
    rank,
    size,
    stats,
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
from ._kirsh import Communicator, Stats, Work, __version__
from ._ops import ReduceOp
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
    "MismatchError",
    "PeerLostError",
    "ReduceOp",
    "RefusedError",
    "Stats",
    "Store",
    "UnsupportedError",
    "Work",
    "__version__",
    "allreduce",
    "barrier",
    "broadcast",
    "finalize",
    "init",
    "local_rank",
    "local_size",
    "rank",
    "size",
    "stats",
]

#: Seconds that all communicators together may take to leave when the process ends. With the log's
#: last words this stays below the second that is promised.
_LEAVE_SECONDS = 0.8


def _leave_at_exit() -> None:
    _kirsh.leave_all(_LEAVE_SECONDS)
    _logging.stop()


_atexit.register(_leave_at_exit)
