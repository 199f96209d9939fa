"""Collectives on JAX arrays and on trees of them, with results as new arrays.

    import kirsh, kirsh.jax

    kirsh.init()
    gradients = kirsh.jax.allreduce(gradients, op=kirsh.AVG)     # a whole tree, in one operation

The same functions work inside ``jax.jit``, where they are ordered callbacks. They work on host memory:
CPU arrays are read where they are, others go through it. See ``docs/FRAMEWORKS.md``.
"""

from __future__ import annotations

try:
    import jax as _jax  # noqa: F401
except ImportError as error:
    raise ImportError("kirsh.jax needs JAX: pip install 'kirsh[jax]'") from error

from ._collectives import allgather, allreduce, alltoall, barrier, broadcast, reduce_scatter
from ._traced import own_errors

__all__ = [
    "allgather",
    "allreduce",
    "alltoall",
    "barrier",
    "broadcast",
    "own_errors",
    "reduce_scatter",
]
