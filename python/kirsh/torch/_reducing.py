"""The calls that combine the tensors of all ranks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import (
    AllreduceCoalescedOptions,
    AllreduceOptions,
    ReduceOptions,
    ReduceScatterOptions,
    Work,
)

from . import _sparse
from ._base import Base
from ._memory import After, apart, is_run, parts, readable, runs, writable, writables


class Reducing(Base):
    """Allreduce, reduce and reduce_scatter in their forms."""

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> Work:
        """Combine the one tensor of the list over all ranks, in place."""
        return self._allreduced(tensors, AllreduceOptions() if opts is None else opts)

    def allreduce_encoded(self, tensor: Tensor, opts: Any, wire: str) -> Work:
        """Do the same with one float32 tensor that travels in a wire format; see docs/WIRE.md."""
        return self._allreduced([tensor], opts, wire)

    def _allreduced(self, tensors: list[Tensor], opts: Any, wire: str | None = None) -> Work:
        tensor = self._one("allreduce", tensors)
        if tensor.layout is not torch.strided:
            return _sparse.allreduce(self, tensor, opts)
        dtype, op, scale = self._reduced("allreduce", tensor, opts)
        after: After | None = None
        memory = tensor
        if not is_run(tensor):
            memory, after = writable(tensor, filled=True)
        address = memory.data_ptr()
        keep = (tensor, memory)
        return self._run(
            "allreduce",
            dtype,
            memory.numel(),
            address,
            address,
            keep,
            tensors,
            opts,
            after,
            op,
            0,
            scale,
            None,
            None,
            wire,
        )

    def allreduce_sparse(self, tensors: list[Tensor], opts: Any = None) -> Work:
        """Sum the one sparse tensor of the list over all ranks, in place."""
        return self.allreduce(tensors, opts)

    def allreduce_coalesced(self, tensors: list[Tensor], opts: Any = None) -> Work:
        """Combine every tensor of the list over all ranks, in place; one operation for each dtype."""
        opts = AllreduceCoalescedOptions() if opts is None else opts
        works = []
        for group in _by_type(tensors):
            dtype, op, scale = self._reduced("allreduce", group[0], opts)
            self._check_hosted("allreduce", group)
            memories, after = writables(group, filled=True)
            counts = [memory.numel() for memory in memories]
            many = runs(memories, counts)
            keep = (group, memories)
            extra = (op, 0, scale)
            works.append(
                self._run(
                    "allreduce", dtype, sum(counts), many, many, keep, group, opts, after, *extra
                )
            )
        return self._joined(works, tensors)

    def reduce(self, tensors: list[Tensor], opts: Any = None) -> Work:
        """Combine the one tensor of the list into that of ``opts.rootRank``; the others keep theirs."""
        opts = ReduceOptions() if opts is None else opts
        tensor = self._one("reduce", tensors)
        self._check_root("reduce", opts.rootRank)
        dtype, op, scale = self._reduced("reduce", tensor, opts)
        self._check_hosted("reduce", tensors)
        after: After | None = None
        if self._rank == opts.rootRank:
            memory, after = writable(tensor, filled=True)
            recv = memory.data_ptr()
        else:
            memory, recv = readable(tensor), None
        extra = (op, opts.rootRank, scale)
        keep = (tensor, memory)
        send, count = memory.data_ptr(), memory.numel()
        return self._run("reduce", dtype, count, send, recv, keep, tensors, opts, after, *extra)

    def reduce_scatter(
        self, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any = None
    ) -> Work:
        """Combine the lists, of one tensor for each rank, and give each rank its own."""
        opts = ReduceScatterOptions() if opts is None else opts
        name = "reduce_scatter"
        output, given = self._one(name, outputs), self._one(name, inputs, "list")
        if len(given) != self._ranks or any(one.numel() != output.numel() for one in given):
            self._refuse(
                name,
                f"the input must be {self._ranks} tensors of {output.numel()} elements, and rank "
                f"{self._rank} gave {[one.numel() for one in given]}",
            )
        dtype, op, scale = self._reduced(name, output, opts)
        self._check_alike(name, [output, *given])
        memory, after = writable(output)
        sources = [readable(one) for one in given]
        sources = apart(sources, [memory], sources[self._rank])
        count = memory.numel()
        send = runs(sources, [count] * self._ranks)
        keep = (output, memory, sources)
        extra = (op, 0, scale)
        return self._run(
            name, dtype, count, send, memory.data_ptr(), keep, outputs, opts, after, *extra
        )

    def reduce_scatter_single(self, output: Tensor, given: Tensor, opts: Any = None) -> Work:
        """Combine ``given``, whose parts belong to the ranks in order, and give each rank its own."""
        opts = ReduceScatterOptions() if opts is None else opts
        return self._scattered([output], [given], opts)

    def reduce_scatter_single_coalesced(
        self, outputs: list[Tensor], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        """Do the same for every pair; one operation for each dtype."""
        opts = ReduceScatterOptions() if opts is None else opts
        works = []
        for group in _by_type(outputs):
            # By identity: tensors compare by element.
            places = [i for i, one in enumerate(outputs) if any(one is other for other in group)]
            works.append(self._scattered(group, [inputs[place] for place in places], opts))
        return self._joined(works, outputs)

    _reduce_scatter_base = reduce_scatter_single
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    def _scattered(self, outputs: list[Tensor], inputs: list[Tensor], opts: Any) -> Work:
        name = "reduce_scatter"
        dtype, op, scale = self._reduced(name, outputs[0], opts)
        self._check_alike(name, outputs + inputs)
        for output, given in zip(outputs, inputs, strict=True):
            if given.numel() != output.numel() * self._ranks:
                self._refuse(
                    name,
                    f"the input must have {self._ranks} times the {output.numel()} elements of the "
                    f"output, and has {given.numel()} on rank {self._rank}",
                )
        memories, after = writables(outputs)
        sources = [readable(given) for given in inputs]
        if len(outputs) > 1:
            sources = apart(sources, memories)
        counts = [memory.numel() for memory in memories]
        if len(outputs) == 1:
            send: Any = sources[0].data_ptr()
            recv: Any = memories[0].data_ptr()
        else:
            sizes = [memory.numel() * memory.element_size() for memory in memories]
            send = parts(sources, counts, self._ranks, sizes)
            recv = runs(memories, counts)
        keep = (outputs, memories, sources)
        extra = (op, 0, scale)
        return self._run(
            name, dtype, sum(counts), send, recv, keep, outputs, opts, after, *extra
        )

    def _check_alike(self, collective: str, tensors: list[Tensor]) -> None:
        self._check_hosted(collective, tensors)
        types = {tensor.dtype for tensor in tensors}
        if len(types) > 1:
            self._refuse(collective, f"the tensors are of several types: {sorted(map(str, types))}")


def _by_type(tensors: list[Tensor]) -> list[list[Tensor]]:
    """The tensors by dtype, in the order in which the types first occur: the same on every rank."""
    groups: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return list(groups.values())
