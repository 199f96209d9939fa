"""Where the elements of tensors lie.

Kirsh works on runs of memory. A tensor that is one run is worked on where it is; any other goes
through a copy, as under Gloo, and a result is copied back when the operation is over.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ._types import BYTE, NAMES

#: Copies results back, once the operation is over.
After = Callable[[], None]


def is_run(tensor: Tensor) -> bool:
    """Whether the elements lie row by row, as what they are."""
    lazy = tensor.is_neg() or (tensor.is_complex() and tensor.is_conj())
    return tensor.is_contiguous() and not lazy


def readable(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy of it in one run."""
    if is_run(tensor):
        return tensor
    return tensor.detach().resolve_conj().resolve_neg().contiguous()


def writable(tensor: Tensor, *, filled: bool = False) -> tuple[Tensor, After | None]:
    """Return memory in one run for a result, and what brings it to the tensor where it is another.

    :param filled: whether the memory has to hold the tensor's elements already.
    """
    if is_run(tensor):
        return tensor, None
    target = tensor.detach()
    if filled:
        copy = target.resolve_conj().resolve_neg().contiguous()
    else:
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return copy, lambda: _bring(copy, target)


def writables(
    tensors: Sequence[Tensor], *, filled: bool = False
) -> tuple[list[Tensor], After | None]:
    """The same for several."""
    found = [writable(tensor, filled=filled) for tensor in tensors]
    afters = [after for _, after in found if after is not None]
    return [memory for memory, _ in found], together(afters)


def together(afters: Sequence[After | None]) -> After | None:
    """Return one that does all."""
    some = [after for after in afters if after is not None]
    if not some:
        return None

    def run() -> None:
        for after in some:
            after()

    return run


def moved(tensors: Sequence[Tensor]) -> tuple[str, list[int]]:
    """Return the element type under which these travel together, and how many each has of it."""
    dtype = tensors[0].dtype if tensors else torch.uint8
    name = NAMES.get(dtype)
    if name is not None and all(tensor.dtype is dtype for tensor in tensors):
        return name, [tensor.numel() for tensor in tensors]
    return BYTE, [tensor.numel() * tensor.element_size() for tensor in tensors]


def apart(
    sources: Sequence[Tensor], targets: Sequence[Tensor] = (), in_place: Tensor | None = None
) -> list[Tensor]:
    """Return what is only read, as copies where it shares memory with another or with a result.

    torch's users may name one tensor twice, or parts of one; Kirsh takes memory that overlaps for a mistake.

    :param in_place: the result that the operation allows to lie where its source is.
    """
    allowed = None if in_place is None else in_place.data_ptr()
    taken: list[tuple[int, int]] = []
    own: list[tuple[int, int]] = []
    for target in targets:
        _take(own if target.data_ptr() == allowed else taken, target)
    found = []
    for source in sources:
        if _is_taken(taken, source) or (source.data_ptr() != allowed and _is_taken(own, source)):
            found.append(source.clone())
        else:
            _take(taken, source)
            found.append(source)
    return found


def _take(taken: list[tuple[int, int]], tensor: Tensor) -> None:
    """Note where a run begins and ends, in order."""
    start, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    if size:
        bisect.insort(taken, (start, start + size))


def _is_taken(taken: list[tuple[int, int]], tensor: Tensor) -> bool:
    """Whether a run shares memory with one of these."""
    start, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
    at = bisect.bisect_left(taken, (start + size, 0))
    return size > 0 and at > 0 and taken[at - 1][1] > start


def runs(tensors: Sequence[Tensor], counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return address and length of each."""
    return [(tensor.data_ptr(), count) for tensor, count in zip(tensors, counts, strict=True)]


def parts(
    tensors: Sequence[Tensor], counts: Sequence[int], ranks: int, sizes: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the runs of tensors that each have a part for each rank, rank by rank.

    :param counts: the elements of one part, of each tensor.
    :param sizes: the bytes of one part, of each tensor.
    """
    starts = [tensor.data_ptr() for tensor in tensors]
    return [
        (start + rank * size, count)
        for rank in range(ranks)
        for start, size, count in zip(starts, sizes, counts, strict=True)
    ]


def _bring(source: Tensor, target: Tensor) -> None:
    with torch.no_grad():
        target.copy_(source)
