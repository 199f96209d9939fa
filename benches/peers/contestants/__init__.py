"""Who takes part. Each is a module with the same few names:

NAME              what it is called in the record
starts(world, place, folder)
                  the processes to start, as a list of `Start`
LOOPBACK_ONLY     true for those who take part in no other world; may be missing
connect()         called in each rank that runs `worker.py`: joins the others and gives an object
                  with `rank`, `size`, `version`, `barrier()`, `close()` and
                  `prepare(collective, elements)`, which gives a `Job`

The ranks of the limit are a program of their own (`limit.rs`), so its module has no `connect`.
"""

import dataclasses
import os
import sys
import typing

#: Where `make bench-peers` has put things, and the folder that has the package `peers`.
BENCHES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
INSTALLED = os.path.dirname(sys.prefix)


@dataclasses.dataclass
class Start:
    """A process to start beside `rank`, with these variables on top of the usual ones."""

    rank: int
    command: list
    env: dict


@dataclasses.dataclass
class Job:
    """One collective ready to run, again and again. Both are one-dimensional float32 arrays, or the
    same array; `target` has the result and nothing else."""

    run: typing.Callable
    source: typing.Any
    target: typing.Any


def worker(module):
    """The command of one rank."""
    return [sys.executable, "-m", "peers.worker", module]


def everyone():
    """All contestants, in the order of the table."""
    from . import gloo, kirsh_poll, kirsh_unix, kirsh_uring, limit, mpich, openmpi

    return [kirsh_uring, kirsh_poll, kirsh_unix, gloo, openmpi, mpich, limit]
