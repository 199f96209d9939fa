"""The default communicator, and the functions of the package that work on it."""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from ._communicator import Communicator
from ._errors import KirshError
from ._kirsh import PeerStats, Stats
from ._store import Store

_P = ParamSpec("_P")
_R = TypeVar("_R")

_lock = threading.Lock()
_default: Communicator | None = None
_was_initialised = False
_warned = False


def init(
    *,
    rank: int | None = None,
    world_size: int | None = None,
    rendezvous: str | None = None,
    store: Store | None = None,
    timeout: float | None = None,
    join_timeout: float | None = None,
    job_id: str | None = None,
    wire: str | None = None,
) -> Communicator:
    """Join the other ranks, make this the default communicator, and return it.

    Collective: blocks, without the GIL, until all ranks have called it. What is left at None comes
    from the environment (``KIRSH_*``, ``RANK``, ``WORLD_SIZE``), which ``kirsh run`` and other
    launchers set. Rank and world size go together, and of rendezvous and store one is given.

    :param rank: index of this process, from 0.
    :param world_size: number of processes.
    :param rendezvous: where they meet, ``tcp://host:port`` (rank 0 serves) or ``file://path``.
    :param store: an object of that role instead; see :class:`kirsh.Store`.
    :param timeout: seconds that each operation may take (600), ``math.inf`` for no limit.
    :param join_timeout: seconds that the ranks may take to find together (300).
    :param job_id: keeps jobs apart that meet at one place.
    :param wire: how float32 travels in every call that can be encoded and says nothing else:
        "none", "bf16", "f16" or "int8"; see :func:`allreduce`. Rank 0's word counts.
    :raises KirshError: called twice without ``finalize()``, or the ranks did not find together.

    Where nothing names a world, this is a world of one rank, and one ``RuntimeWarning`` says so.
    """
    global _default, _was_initialised, _warned
    with _lock:
        if _default is not None:
            raise KirshError(
                "kirsh.init() was called already: use the communicator that it returned, call "
                "kirsh.finalize() before another init(), or create a kirsh.Communicator",
                kind="invalid argument",
            )
        communicator = Communicator(
            rank=rank,
            world_size=world_size,
            rendezvous=rendezvous,
            store=store,
            timeout=timeout,
            join_timeout=join_timeout,
            job_id=job_id,
            wire=wire,
        )
        _default = communicator
        _was_initialised = True
        if not communicator.launched() and not _warned:
            _warned = True
            warnings.warn(
                "kirsh.init() found neither a launcher nor arguments, so this is a world of one "
                "rank: start the program with `kirsh run -n 4 -- python ...`, or set RANK, "
                "WORLD_SIZE and KIRSH_RENDEZVOUS",
                RuntimeWarning,
                stacklevel=2,
            )
        return communicator


def finalize() -> None:
    """Leave the default communicator: say goodbye to the peers, within little more than a second.

    Does nothing where there is none. Afterwards ``init()`` may be called again. The end of the
    process does the same by itself, in less than a second.

    :raises AbortedError: started operations were not over after half a second; it has left anyway.
    """
    global _default
    with _lock:
        communicator, _default = _default, None
    if communicator is not None:
        communicator.close()


def _current(function: str) -> Communicator:
    communicator = _default
    if communicator is None:
        when = "after kirsh.finalize()" if _was_initialised else "before kirsh.init()"
        raise KirshError(
            f"kirsh.{function}() was called {when}: call kirsh.init() first", kind="closed"
        )
    return communicator


def _on_default(
    method: Callable[Concatenate[Communicator, _P], _R],
) -> Callable[_P, _R]:
    """The method of the default communicator as a function, with its documentation and types."""

    @functools.wraps(method)
    def function(*arguments: _P.args, **options: _P.kwargs) -> _R:
        return method(_current(method.__name__), *arguments, **options)

    signature = inspect.signature(method)
    given = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    function.__dict__["__signature__"] = signature.replace(parameters=given)
    function.__module__ = "kirsh"
    function.__qualname__ = method.__name__
    return function


allreduce = _on_default(Communicator.allreduce)
allreduce_many = _on_default(Communicator.allreduce_many)
reduce = _on_default(Communicator.reduce)
reduce_scatter = _on_default(Communicator.reduce_scatter)
reduce_scatterv = _on_default(Communicator.reduce_scatterv)
scan = _on_default(Communicator.scan)
exscan = _on_default(Communicator.exscan)
broadcast = _on_default(Communicator.broadcast)
allgather = _on_default(Communicator.allgather)
gather = _on_default(Communicator.gather)
scatter = _on_default(Communicator.scatter)
alltoall = _on_default(Communicator.alltoall)
barrier = _on_default(Communicator.barrier)
allgatherv = _on_default(Communicator.allgatherv)
gatherv = _on_default(Communicator.gatherv)
scatterv = _on_default(Communicator.scatterv)
alltoallv = _on_default(Communicator.alltoallv)
send = _on_default(Communicator.send)
recv = _on_default(Communicator.recv)
sendrecv = _on_default(Communicator.sendrecv)
broadcast_object = _on_default(Communicator.broadcast_object)
allgather_object = _on_default(Communicator.allgather_object)
check_equal = _on_default(Communicator.check_equal)
plan_allreduce = _on_default(Communicator.plan_allreduce)
plan_allreduce_many = _on_default(Communicator.plan_allreduce_many)
plan_reduce = _on_default(Communicator.plan_reduce)
plan_scan = _on_default(Communicator.plan_scan)
plan_exscan = _on_default(Communicator.plan_exscan)
plan_broadcast = _on_default(Communicator.plan_broadcast)
plan_allgather = _on_default(Communicator.plan_allgather)
plan_reduce_scatter = _on_default(Communicator.plan_reduce_scatter)
plan_gather = _on_default(Communicator.plan_gather)
plan_scatter = _on_default(Communicator.plan_scatter)
plan_alltoall = _on_default(Communicator.plan_alltoall)
plan_barrier = _on_default(Communicator.plan_barrier)


def rank() -> int:
    """Return the index of this process among the ranks, from 0."""
    return _current("rank").rank()


def size() -> int:
    """Return the number of ranks."""
    return _current("size").size()


def local_rank() -> int:
    """Return the index of this process among the ranks on its host, from 0."""
    return _current("local_rank").local_rank()


def local_size() -> int:
    """Return the number of ranks on this host."""
    return _current("local_size").local_size()


def stats() -> Stats:
    """Return what the default communicator has counted since it was created."""
    return _current("stats").stats()


def stats_by_peer() -> list[PeerStats]:
    """Return what the default communicator has had to do with each of its ranks, in order."""
    return _current("stats_by_peer").stats_by_peer()
