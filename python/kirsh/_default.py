"""The default communicator, and the functions of the package that work on it."""

from __future__ import annotations

import threading
import warnings
from typing import Any, Literal, TypeVar, overload

from ._errors import KirshError
from ._kirsh import Communicator, Stats, Work
from ._ops import ReduceOp
from ._store import Store

_T = TypeVar("_T")
_Out = TypeVar("_Out")

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


@overload
def allreduce(
    x: _T,
    *,
    op: ReduceOp | str = ...,
    out: None = ...,
    async_op: Literal[False] = ...,
    timeout: float | None = ...,
    scale: float | None = ...,
    algorithm: str | None = ...,
) -> _T: ...
@overload
def allreduce(
    x: object,
    *,
    op: ReduceOp | str = ...,
    out: _Out,
    async_op: Literal[False] = ...,
    timeout: float | None = ...,
    scale: float | None = ...,
    algorithm: str | None = ...,
) -> _Out: ...
@overload
def allreduce(
    x: _T,
    *,
    op: ReduceOp | str = ...,
    out: None = ...,
    async_op: Literal[True],
    timeout: float | None = ...,
    scale: float | None = ...,
    algorithm: str | None = ...,
) -> Work[_T]: ...
@overload
def allreduce(
    x: object,
    *,
    op: ReduceOp | str = ...,
    out: _Out,
    async_op: Literal[True],
    timeout: float | None = ...,
    scale: float | None = ...,
    algorithm: str | None = ...,
) -> Work[_Out]: ...
@overload
def allreduce(
    x: Any,
    *,
    op: ReduceOp | str = ...,
    out: Any = ...,
    async_op: bool,
    timeout: float | None = ...,
    scale: float | None = ...,
    algorithm: str | None = ...,
) -> Any: ...
def allreduce(
    x: Any,
    *,
    op: ReduceOp | str = ReduceOp.SUM,
    out: Any = None,
    async_op: bool = False,
    timeout: float | None = None,
    scale: float | None = None,
    algorithm: str | None = None,
) -> Any:
    """Combine ``x`` over all ranks, in place unless ``out`` is given, and return the result.

    Collective: all ranks call it with the same shape, dtype and ``op``, and with the same order of
    elements in memory. Blocks, without the GIL, until the result is there; every rank gets the same
    bits.

    :param x: a dense array in host memory (NumPy, torch, ``array``, ``bytearray``, anything with
        the buffer protocol, ``__array_interface__`` or DLPack), in C order, Fortran order or a
        transposition of these; or a number, for which a number is returned: an int travels as
        int64, a float as float64. Nothing is copied behind your back: other strided arrays, and
        read-only ones without ``out``, are errors.
    :param op: ``kirsh.SUM`` and the other members of :class:`kirsh.ReduceOp`.
    :param out: where the result goes: an array of the same dtype, shape and strides, which shares
        no memory with ``x``. ``x`` is only read then.
    :param async_op: return a :class:`kirsh.Work` at once; its ``wait()`` returns the result. The
        arrays are lent until then.
    :param timeout: seconds that the operation may take on this rank, ``math.inf`` for no limit.
        When they are over, the communicator is of no use any more.
    :param scale: this rank's factor, for ``kirsh.PREMUL_SUM`` only.
    :param algorithm: "ring", "recursive_doubling" or "tree", where the library is not to choose.
    :raises KirshError: see its subclasses. After most of them the contents of the array are
        undefined. A call that is refused here for its arguments fails on the other ranks too.
    """
    return _current("allreduce").allreduce(
        x,
        op=op,
        out=out,
        async_op=async_op,
        timeout=timeout,
        scale=scale,
        algorithm=algorithm,
    )


@overload
def broadcast(
    x: _T,
    *,
    root: int = ...,
    async_op: Literal[False] = ...,
    timeout: float | None = ...,
    algorithm: str | None = ...,
) -> _T: ...
@overload
def broadcast(
    x: _T,
    *,
    root: int = ...,
    async_op: Literal[True],
    timeout: float | None = ...,
    algorithm: str | None = ...,
) -> Work[_T]: ...
@overload
def broadcast(
    x: Any,
    *,
    root: int = ...,
    async_op: bool,
    timeout: float | None = ...,
    algorithm: str | None = ...,
) -> Any: ...
def broadcast(
    x: Any,
    *,
    root: int = 0,
    async_op: bool = False,
    timeout: float | None = None,
    algorithm: str | None = None,
) -> Any:
    """Copy ``x`` of rank ``root`` over ``x`` of all other ranks, in place, and return it.

    Collective: all ranks call it with the same root, shape and dtype, and with the same order of
    elements in memory. ``x`` and the other arguments are those of :func:`allreduce`; for a number
    the root's is returned.

    :param algorithm: "binomial" or "chain", where the library is not to choose.
    """
    return _current("broadcast").broadcast(
        x, root=root, async_op=async_op, timeout=timeout, algorithm=algorithm
    )


@overload
def barrier(*, async_op: Literal[False] = ..., timeout: float | None = ...) -> None: ...
@overload
def barrier(*, async_op: Literal[True], timeout: float | None = ...) -> Work[None]: ...
@overload
def barrier(*, async_op: bool, timeout: float | None = ...) -> Any: ...
def barrier(*, async_op: bool = False, timeout: float | None = None) -> Any:
    """Wait until every rank has called this. Collective; blocks without the GIL."""
    return _current("barrier").barrier(async_op=async_op, timeout=timeout)


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
