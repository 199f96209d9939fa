"""The sum of sparse tensors: what embeddings with sparse gradients need.

The ranks' coordinates differ, so nothing is reduced on the way: each rank gets the coordinates and values
of all, and adds them up in the order of the ranks, to the same bits on every rank. As Gloo does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import AllgatherOptions, Work

from ._types import operator
from ._work import Done

if TYPE_CHECKING:
    from ._backend import KirshBackend


def allreduce(backend: Any, tensor: Tensor, opts: Any) -> Work:
    """Sum or average ``tensor`` over all ranks in place. Blocks, also where it was to be started only."""
    group: KirshBackend = backend
    if tensor.layout is not torch.sparse_coo:
        group._refuse("allreduce", f"layout {tensor.layout} cannot be reduced", unsupported=True)
    op = operator(opts.reduceOp, tensor.dtype)[0]
    if op not in ("sum", "avg"):
        group._refuse("allreduce", "sparse tensors can only be summed and averaged", unsupported=True)
    with torch.no_grad():
        _sum(group, tensor)
        if op == "avg":
            tensor.div_(group.size())
    return Done([tensor], group._sequence)


def _sum(group: KirshBackend, tensor: Tensor) -> None:
    ranks = group.size()
    own = tensor.detach().coalesce()
    indices, values = own.indices().contiguous(), own.values().contiguous()
    counts = _gathered(group, torch.tensor([indices.shape[1]], device="cpu"))
    most = int(max(count.item() for count in counts))
    # Padded to the longest, so that all ranks' parts are of one length.
    wide = indices.new_zeros((indices.shape[0], most))
    wide[:, : indices.shape[1]] = indices
    long = values.new_zeros((most, *values.shape[1:]))
    long[: values.shape[0]] = values
    all_indices, all_values = _gathered(group, wide), _gathered(group, long)
    total: Tensor | None = None
    for rank in range(ranks):
        count = int(counts[rank].item())
        part = torch.sparse_coo_tensor(
            all_indices[rank][:, :count],
            all_values[rank][:count],
            tensor.shape,
            device="cpu",
            check_invariants=False,
        )
        total = part if total is None else total + part
    assert total is not None
    tensor.copy_(total.coalesce())


def _gathered(group: KirshBackend, own: Tensor) -> list[Tensor]:
    opts = AllgatherOptions()
    opts.asyncOp = False
    everyone = [torch.empty_like(own) for _ in range(group.size())]
    group.allgather([everyone], [own], opts)
    return everyone
