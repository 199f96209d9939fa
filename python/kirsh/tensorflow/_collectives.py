"""The calls, for eager tensors and for those of a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from .. import _host
from .._communicator import Communicator
from .._errors import InvalidArgumentError
from .._ops import ReduceOp

#: What the operation is called in a graph. XLA names it when it refuses to compile it.
_NODE = "kirsh_{}_needs_jit_compile_False"

_F = TypeVar("_F", bound=Callable[..., Any])


def unconverted(function: _F) -> _F:
    """The function, which AutoGraph does not rewrite: errors keep their class, and tracing is short."""
    kept: _F = tf.autograph.experimental.do_not_convert(function)
    return kept


@unconverted
def allreduce(
    tensors: Any,
    *,
    op: ReduceOp | str = ReduceOp.SUM,
    scale: float | None = None,
    weight: float | None = None,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> Any:
    """Return the tensors combined over all ranks, as new ones: a list for a list.

    Collective: all ranks call it with the same shapes, dtypes and ``op``. Blocks until the result is
    there; in a ``tf.function`` the graph does. All tensors of one dtype go in one operation, so pass
    all gradients at once.

    :param tensors: a tensor, a variable or what becomes a tensor, or a list of these. Only read.
        ``tf.IndexedSlices`` are made dense.
    :param comm: where it happens, if not on the default communicator.

    The other arguments are those of :func:`kirsh.allreduce`.
    """
    options = _host.given(op=op, scale=scale, weight=weight, algorithm=algorithm, wire=wire)
    return _on_tensors("allreduce", tensors, options, comm)


@unconverted
def broadcast(
    tensors: Any, *, root: int = 0, algorithm: str | None = None, comm: Communicator | None = None
) -> Any:
    """Return the root's tensors on every rank, as new ones: a list for a list.

    Collective, and blocks, as :func:`allreduce`; an operation for each tensor. The other ranks'
    tensors say only which shapes and dtypes they expect.
    """
    return _on_tensors("broadcast", tensors, _host.given(root=root, algorithm=algorithm), comm)


@unconverted
def allgather(
    tensors: Any,
    *,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> Any:
    """Return the tensors of all ranks in new ones, one behind the other along the first axis.

    Collective, and blocks, as :func:`allreduce`; an operation for each tensor. A scalar gives one
    element for each rank.
    """
    return _on_tensors("allgather", tensors, _host.given(algorithm=algorithm, wire=wire), comm)


@unconverted
def reduce_scatter(
    tensors: Any,
    *,
    op: ReduceOp | str = ReduceOp.SUM,
    scale: float | None = None,
    algorithm: str | None = None,
    wire: str | None = None,
    comm: Communicator | None = None,
) -> Any:
    """Return this rank's share, by the first axis, of what all ranks combine to, in new tensors.

    Collective, and blocks, as :func:`allreduce`; an operation for each tensor. A first axis that
    cannot be divided by the number of ranks is an error.
    """
    options = _host.given(op=op, scale=scale, algorithm=algorithm, wire=wire)
    return _on_tensors("reduce_scatter", tensors, options, comm)


@unconverted
def alltoall(
    tensors: Any, *, algorithm: str | None = None, comm: Communicator | None = None
) -> Any:
    """Send part ``r`` of each tensor to rank ``r``; return what they sent here, in new tensors.

    Collective, and blocks, as :func:`allreduce`; an operation for each tensor, whose first axis is
    divided evenly among the ranks.
    """
    return _on_tensors("alltoall", tensors, _host.given(algorithm=algorithm), comm)


def _on_tensors(
    name: str, tensors: Any, options: dict[str, Any], comm: Communicator | None
) -> Any:
    if isinstance(tensors, (list, tuple)):
        return _run(name, [_tensor(name, x) for x in tensors], options, comm)
    return _run(name, [_tensor(name, tensors)], options, comm)[0]


def _run(
    name: str, tensors: Sequence[Any], options: dict[str, Any], comm: Communicator | None
) -> list[Any]:
    if not tensors:
        return []
    if tf.executing_eagerly():
        found = _host.communicator(comm, f"tensorflow.{name}")
        results = _host.run(found, name, [_array(x) for x in tensors], options)
        return [_adopted(result) for result in results]

    def on_host(*arrays: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        found = _host.communicator(comm, f"tensorflow.{name}")
        return _host.run(found, name, list(arrays), options)

    # The operation has effects, by which tf.function keeps such calls in the order of the program;
    # and within this one they have the order of the list.
    made = tf.numpy_function(
        on_host, tensors, [x.dtype for x in tensors], stateful=True, name=_NODE.format(name)
    )
    for result, x in zip(made, tensors, strict=True):
        result.set_shape(_static_shape(name, x, comm))
    return list(made)


def _static_shape(name: str, x: Any, comm: Communicator | None) -> Any:
    """The shape of the result, as far as the graph knows it."""
    if not x.shape.is_fully_defined():
        return x.shape if name in ("allreduce", "broadcast", "alltoall") else tf.TensorShape(None)
    size = _host.communicator(comm, f"tensorflow.{name}").size()
    return _host.result_shape(name, x.shape.as_list(), size)


def _tensor(name: str, x: Any) -> Any:
    try:
        tensor = tf.convert_to_tensor(x)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"kirsh.tensorflow.{name}() takes a tensor or a list of tensors, and not "
            f"{type(x).__name__}: {error}",
            kind="invalid argument",
        ) from error
    if tensor.dtype in (tf.string, tf.resource, tf.variant):
        raise InvalidArgumentError(
            f"kirsh.tensorflow.{name}() takes tensors of numbers, and not of {tensor.dtype.name}",
            kind="invalid argument",
        )
    return tensor


def _array(x: Any) -> np.ndarray[Any, Any]:
    """The tensor's own memory, where NumPy has its type; elsewhere a copy of it."""
    try:
        return np.asarray(memoryview(x))
    except (TypeError, ValueError, BufferError):
        # bfloat16 and the floats of 8 bits, which the buffer protocol cannot name; and other devices.
        array: np.ndarray[Any, Any] = x.numpy()
        return np.asarray(array)


def _adopted(result: np.ndarray[Any, Any]) -> Any:
    """A tensor that has this memory for its own; a copy where DLPack lacks the type."""
    try:
        return tf.experimental.dlpack.from_dlpack(result.__dlpack__())
    except (BufferError, TypeError, ValueError, tf.errors.OpError):
        return tf.convert_to_tensor(result)
