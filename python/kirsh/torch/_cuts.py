"""How calls are cut into slices: each as lists of flat tensors of one length, of which a slice of the call
takes the same stretch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch._C._distributed_c10d import Work

#: Makes the call on slices in host memory: on those that are read, and those that are written.
Start = Callable[[list[Tensor], list[Tensor]], Work]

#: What is read, what is written (in place: the same tensor), and how to make the call on slices of them.
Cut = tuple[list[Tensor], list[Tensor], Start]

#: A tensor as one run, by whether it is read ("r"), written ("w") or both.
Flat = Callable[[Tensor, str], Tensor]


def role_of(name: str, given: tuple[Any, ...], rank: int) -> str:
    """Whether a call reads or writes the tensors of its first argument; those of others it reads.

    "" where it does neither: a result that only the root has.
    """
    if name == "broadcast":
        return "r" if given[1].rootRank == rank else "w"
    if name == "reduce":
        return "rw" if given[1].rootRank == rank else "r"
    if name.startswith("gather"):
        return "w" if given[2].rootRank == rank else ""
    if name.startswith("allreduce"):
        return "rw"
    return "r" if name == "send" else "w"


def native_of(name: str) -> str | None:
    """Return Kirsh's name of a collective; None for messages, which have no place in an order."""
    if name in ("send", "recv", "recv_anysource"):
        return None
    plain = name.replace("_", "")
    if plain.startswith("reducescatter"):
        return "reduce_scatter"
    known = ("allreduce", "broadcast", "allgather", "gather", "scatter", "alltoall", "reduce")
    return next(one for one in known if plain.startswith(one))


def part_of(name: str, given: tuple[Any, ...], ranks: int) -> int:
    """Return the bytes of what each rank has a part of: those of a slice are cut from it.

    0 for what is not cut: several calls in one, and where parts have different lengths.
    """
    if name not in CUTS:
        return 0
    if CUTS[name] is _alltoall_single:
        output, tensor, outgoing, incoming, _ = given
        # What has no even rows is refused as a whole.
        even = all(one.dim() and one.shape[0] % ranks == 0 for one in (output, tensor))
        return 0 if outgoing or incoming or not even else int(tensor.nbytes) // ranks
    tensor = given[_PARTS.get(name, 0)]
    if isinstance(tensor, list):
        tensor = tensor[0]
    return int(tensor.nbytes)


#: Which argument holds one rank's part, where it is not the first.
_PARTS = {"allgather": 1, "all_gather_single": 1, "_allgather_base": 1, "gather": 1}
_PARTS |= {"gather_single": 1, "gather_into_tensor": 1}


def _allreduce(backend: Any, flat: Flat, tensors: list[Tensor], opts: Any) -> Cut:
    one = [flat(tensors[0], "rw")]
    return one, one, lambda _, memory: backend.allreduce(memory, opts)


def _allreduce_encoded(backend: Any, flat: Flat, tensor: Tensor, opts: Any, wire: str) -> Cut:
    one = [flat(tensor, "rw")]
    return one, one, lambda _, memory: backend.allreduce_encoded(memory[0], opts, wire)


def _broadcast(backend: Any, flat: Flat, tensors: list[Tensor], opts: Any) -> Cut:
    if backend.rank() == opts.rootRank:
        return [flat(tensors[0], "r")], [], lambda source, _: backend.broadcast(source, opts)
    return [], [flat(tensors[0], "w")], lambda _, target: backend.broadcast(target, opts)


def _reduce(backend: Any, flat: Flat, tensors: list[Tensor], opts: Any) -> Cut:
    is_root = backend.rank() == opts.rootRank
    one = [flat(tensors[0], "rw" if is_root else "r")]
    return one, one if is_root else [], lambda source, _: backend.reduce(source, opts)


def _allgather(
    backend: Any, flat: Flat, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any
) -> Cut:
    writes = [flat(one, "w") for one in outputs[0]]
    return (
        [flat(inputs[0], "r")],
        writes,
        lambda source, target: backend.allgather([target], source, opts),
    )


def _allgather_single(backend: Any, flat: Flat, output: Tensor, given: Tensor, opts: Any) -> Cut:
    writes = _parts(backend, flat(output, "w"))
    return (
        [flat(given, "r")],
        writes,
        lambda source, target: backend.allgather([target], source, opts),
    )


def _gather(
    backend: Any, flat: Flat, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any
) -> Cut:
    writes = [flat(one, "w") for places in outputs for one in places]
    return (
        [flat(inputs[0], "r")],
        writes,
        lambda source, target: backend.gather([target] if target else [], source, opts),
    )


def _gather_single(backend: Any, flat: Flat, output: Tensor, given: Tensor, opts: Any) -> Cut:
    is_root = backend.rank() == opts.rootRank
    places = [_parts(backend, flat(output, "w"))] if is_root else []
    return _gather(backend, lambda one, role: one, places, [flat(given, "r")], opts)


def _scatter(
    backend: Any, flat: Flat, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any
) -> Cut:
    reads = [flat(one, "r") for given in inputs for one in given]
    return (
        reads,
        [flat(outputs[0], "w")],
        lambda source, target: backend.scatter(target, [source] if source else [], opts),
    )


def _reduce_scatter(
    backend: Any, flat: Flat, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any
) -> Cut:
    return (
        [flat(one, "r") for one in inputs[0]],
        [flat(outputs[0], "w")],
        lambda source, target: backend.reduce_scatter(target, [source], opts),
    )


def _reduce_scatter_single(
    backend: Any, flat: Flat, output: Tensor, given: Tensor, opts: Any
) -> Cut:
    return (
        _parts(backend, flat(given, "r")),
        [flat(output, "w")],
        lambda source, target: backend.reduce_scatter(target, [source], opts),
    )


def _alltoall_single(
    backend: Any,
    flat: Flat,
    output: Tensor,
    given: Tensor,
    _output_splits: list[int],
    _input_splits: list[int],
    opts: Any,
) -> Cut:
    return (
        _parts(backend, flat(given, "r")),
        _parts(backend, flat(output, "w")),
        lambda source, target: backend.alltoall(target, source, opts),
    )


def _parts(backend: Any, run: Tensor) -> list[Tensor]:
    """The ranks' parts of a run."""
    count = -(-run.numel() // backend.size())
    return [run[at : at + count] for at in range(0, run.numel(), count)]


#: The calls that are cut, by name.
CUTS: dict[str, Callable[..., Cut]] = {
    "allreduce": _allreduce,
    "allreduce_encoded": _allreduce_encoded,
    "broadcast": _broadcast,
    "reduce": _reduce,
    "allgather": _allgather,
    "all_gather_single": _allgather_single,
    "_allgather_base": _allgather_single,
    "gather": _gather,
    "gather_single": _gather_single,
    "gather_into_tensor": _gather_single,
    "scatter": _scatter,
    "reduce_scatter": _reduce_scatter,
    "reduce_scatter_single": _reduce_scatter_single,
    "_reduce_scatter_base": _reduce_scatter_single,
    "all_to_all_single": _alltoall_single,
    "alltoall_base": _alltoall_single,
}
