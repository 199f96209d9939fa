"""The calls, for arrays that are there and for those that `jax.jit` traces."""

from __future__ import annotations

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from .. import _host
from .._communicator import Communicator
from .._errors import InvalidArgumentError, UnsupportedError
from .._ops import ReduceOp
from ._traced import traced, traced_barrier

_T = TypeVar("_T")

#: What takes JAX the least time to make an array of.
_PROBE = np.zeros((), np.float32)


def allreduce(
    tree: _T,
    *,
    op: ReduceOp | str = ReduceOp.SUM,
    scale: float | None = None,
    weight: float | None = None,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> _T:
    """Return the tree with every array combined over all ranks.

    Collective: all ranks call it with the same tree, shapes, dtypes and ``op``. Blocks until the
    result is there; under ``jax.jit`` the compiled program does. All arrays of one dtype go in one
    operation, so pass all gradients at once.

    :param tree: an array, a number, or any pytree of them. Only read.
    :param comm: where it happens, if not on the default communicator.

    The other arguments are those of :func:`kirsh.allreduce`.
    """
    options = _host.given(
        op=op,
        scale=scale,
        weight=weight,
        algorithm=algorithm,
        wire=wire,
    )
    return _on_leaves("allreduce", tree, options, comm)


def broadcast(
    tree: _T, *, root: int = 0, algorithm: str | None = None, comm: Communicator | None = None
) -> _T:
    """Return the root's tree on every rank, such as the parameters to begin with.

    Collective, and blocks, as :func:`allreduce`; an operation for each array. The other ranks' trees
    say only which shapes and dtypes they expect.
    """
    return _on_leaves("broadcast", tree, _host.given(root=root, algorithm=algorithm), comm)


def allgather(
    tree: _T,
    *,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> _T:
    """Return the tree with the arrays of all ranks, one behind the other along the first axis.

    Collective, and blocks, as :func:`allreduce`; an operation for each array. An array without
    dimensions gives one element for each rank.
    """
    return _on_leaves("allgather", tree, _host.given(algorithm=algorithm, wire=wire), comm)


def reduce_scatter(
    tree: _T,
    *,
    op: ReduceOp | str = ReduceOp.SUM,
    scale: float | None = None,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> _T:
    """Return the tree with this rank's share, by the first axis, of what all ranks combine to.

    Collective, and blocks, as :func:`allreduce`; an operation for each array. A first axis that
    cannot be divided by the number of ranks is an error.
    """
    options = _host.given(op=op, scale=scale, algorithm=algorithm, wire=wire)
    return _on_leaves("reduce_scatter", tree, options, comm)


def alltoall(tree: _T, *, algorithm: str | None = None, comm: Communicator | None = None) -> _T:
    """Send part ``r`` of each array to rank ``r``; return the tree with what they sent here.

    Collective, and blocks, as :func:`allreduce`; an operation for each array, whose first axis is
    divided evenly among the ranks.
    """
    return _on_leaves("alltoall", tree, _host.given(algorithm=algorithm), comm)


def barrier(*, comm: Communicator | None = None) -> None:
    """Wait until every rank has called this.

    Collective, and blocks; under ``jax.jit`` the compiled program does. Outside, the callbacks of all
    compiled functions that this rank has started come first.
    """
    if _is_traced():
        traced_barrier(comm)
        return
    jax.effects_barrier()
    _host.communicator(comm, "jax.barrier").barrier()


def _on_leaves(name: str, tree: _T, options: dict[str, Any], comm: Communicator | None) -> _T:
    leaves, structure = jax.tree_util.tree_flatten(tree)
    arrays = [_array(name, leaf) for leaf in leaves]
    # Arrays that are known already may belong to a function that is traced: what it closes over.
    if any(isinstance(x, jax.core.Tracer) for x in arrays) or _is_traced():
        results = traced(name, arrays, options, comm)
    else:
        # Compiled programs that were started may still have calls to make, and these come first on
        # every rank.
        jax.effects_barrier()
        found = _host.communicator(comm, f"jax.{name}")
        made = _host.run(found, name, [np.asarray(x) for x in arrays], options)
        results = [_placed(result, x) for result, x in zip(made, arrays, strict=True)]
    done: _T = jax.tree_util.tree_unflatten(structure, results)
    return done


def _is_traced() -> bool:
    """Whether JAX traces a function now: what is made then belongs to it."""
    return isinstance(jnp.asarray(_PROBE), jax.core.Tracer)


def _array(name: str, leaf: Any) -> jax.Array:
    try:
        x: jax.Array = leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf)
    except TypeError as error:
        raise InvalidArgumentError(
            f"kirsh.jax.{name}() takes arrays, numbers and trees of them, and not "
            f"{type(leaf).__name__}",
            kind="invalid argument",
        ) from error
    if jnp.issubdtype(x.dtype, jax.dtypes.extended):
        raise UnsupportedError(
            f"kirsh.jax.{name}() cannot move {x.dtype}: pass the numbers, for a random key "
            "jax.random.key_data(key)",
            kind="unsupported",
        )
    return x


def _placed(result: np.ndarray[Any, Any], x: jax.Array) -> jax.Array:
    """The result as an array where `x` is; on the CPU it takes the memory over."""
    devices = list(x.devices())
    device = devices[0] if len(devices) == 1 and x.committed else None
    placed: jax.Array = jax.device_put(result, device)
    return placed
