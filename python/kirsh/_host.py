"""What `kirsh.jax` and `kirsh.tensorflow` share: collectives from NumPy arrays into new ones.

The arrays that a framework lends are only read, also where NumPy would let one write. Results lie in
memory that no one else has, aligned so that the frameworks take it over instead of copying it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import _default
from ._communicator import Communicator
from ._errors import InvalidArgumentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Bytes. What JAX and TensorFlow want of memory that they are to use as it is.
_ALIGNMENT = 64


def communicator(given: Communicator | None, function: str) -> Communicator:
    """The one that the caller gave, or the default; `function` is named where there is none."""
    return _default._current(function) if given is None else given


def given(**options: Any) -> dict[str, Any]:
    """The options that the caller gave: the others are left to the communicator."""
    return {name: value for name, value in options.items() if value is not None}


def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A new array on a boundary of 64 bytes, in C order."""
    import numpy as np

    count = 1
    for length in shape:
        count *= length
    size = count * dtype.itemsize
    block = np.empty(size + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size].view(dtype).reshape(tuple(shape))


def copied(x: NDArray[Any]) -> NDArray[Any]:
    new = empty(x.shape, x.dtype)
    new[...] = x
    return new


def result_shape(name: str, shape: Sequence[int], size: int) -> tuple[int, ...]:
    """The shape of what this collective gives for an array of that shape in a world of `size`."""
    if name in ("allreduce", "broadcast"):
        return tuple(shape)
    if name == "allgather":
        return (size * shape[0], *shape[1:]) if shape else (size,)
    if not shape or shape[0] % size != 0:
        raise InvalidArgumentError(
            f"{name}: the first axis of an array of shape {tuple(shape)} cannot be divided evenly "
            f"among {size} ranks",
            kind="invalid argument",
        )
    return tuple(shape) if name == "alltoall" else (shape[0] // size, *shape[1:])


def run(
    comm: Communicator, name: str, arrays: list[NDArray[Any]], options: dict[str, Any]
) -> list[NDArray[Any]]:
    """Carry out one collective on each of these arrays, in order; blocks without the GIL.

    An allreduce takes all arrays of one dtype in one operation.
    """
    import numpy as np

    # Kirsh wants rows in C order here, which frameworks nearly always have.
    arrays = [np.asarray(x, order="C") for x in arrays]
    if name == "allreduce":
        return _allreduce(comm, arrays, options)
    if name == "broadcast":
        return [_broadcast(comm, x, options) for x in arrays]
    call = getattr(comm, name)
    results = []
    for x in arrays:
        out = empty(result_shape(name, x.shape, comm.size()), x.dtype)
        call(x, out=out, **options)
        results.append(out)
    return results


def _allreduce(
    comm: Communicator, arrays: list[NDArray[Any]], options: dict[str, Any]
) -> list[NDArray[Any]]:
    groups: dict[np.dtype[Any], list[int]] = {}
    for index, x in enumerate(arrays):
        groups.setdefault(x.dtype, []).append(index)
    results = list(arrays)
    for indices in groups.values():
        if len(indices) == 1:
            x = arrays[indices[0]]
            results[indices[0]] = out = empty(x.shape, x.dtype)
            comm.allreduce(x, out=out, **options)
            continue
        # Many at once are worked on in place.
        copies = [copied(arrays[index]) for index in indices]
        comm.allreduce_many(copies, **options)
        for index, copy in zip(indices, copies, strict=True):
            results[index] = copy
    return results


def _broadcast(comm: Communicator, x: NDArray[Any], options: dict[str, Any]) -> NDArray[Any]:
    at_root = options["root"] == comm.rank()
    out = copied(x) if at_root else empty(x.shape, x.dtype)
    comm.broadcast(out, **options)
    return out
