"""The calls that only move what the ranks have."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch._C._distributed_c10d import (
    AllgatherOptions,
    AllToAllOptions,
    BarrierOptions,
    BroadcastOptions,
    GatherOptions,
    ScatterOptions,
    Work,
)

from ._base import Base
from ._memory import apart, moved, parts, readable, runs, writable, writables


class Moving(Base):
    """Broadcast, allgather, gather, scatter, alltoall in their forms, and the barrier."""

    def broadcast(self, tensors: list[Tensor], opts: Any = None) -> Work:
        """Give every rank the elements of ``opts.rootRank``'s tensor."""
        opts = BroadcastOptions() if opts is None else opts
        tensor, root = self._one("broadcast", tensors), opts.rootRank
        self._check_root("broadcast", root)
        self._check_hosted("broadcast", tensors)
        memory, after = writable(tensor, filled=self._rank == root)
        dtype, (count,) = moved([memory])
        if self._rank == root:
            after = None
        recv, keep = memory.data_ptr(), (tensor, memory)
        return self._run(
            "broadcast", dtype, count, None, recv, keep, tensors, opts, after, None, root
        )

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None) -> Work:
        """Give every rank the tensors of all, in a list in the order of ranks."""
        opts = AllgatherOptions() if opts is None else opts
        name = "allgather"
        given, places = self._one(name, inputs), self._one(name, outputs, "list")
        self._check_places(name, places, given)
        memories, after = writables(places)
        (source,) = apart([readable(given)], memories, memories[self._rank])
        dtype, (count,) = moved([source])
        recv = runs(memories, [count] * self._ranks)
        keep = (places, memories, source)
        send = source.data_ptr()
        return self._run(name, dtype, count, send, recv, keep, places, opts, after)

    def all_gather_single(self, output: Tensor, given: Tensor, opts: Any = None) -> Work:
        """Give every rank the tensors of all, one behind the other in ``output``.

        ``given`` may be this rank's part of ``output``.
        """
        opts = AllgatherOptions() if opts is None else opts
        return self._gathered([output], [given], opts)

    def all_gather_single_coalesced(
        self, outputs: list[Tensor], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        """Do the same for every pair, in one operation."""
        opts = AllgatherOptions() if opts is None else opts
        return self._gathered(outputs, inputs, opts)

    _allgather_base = all_gather_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced

    def allgather_coalesced(
        self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None
    ) -> Work:
        """Give every rank the lists of all: ``outputs[rank]`` becomes that rank's ``inputs``."""
        opts = AllgatherOptions() if opts is None else opts
        name = "allgather"
        if len(outputs) != self._ranks:
            self._refuse(name, f"needs {self._ranks} lists of outputs, and has {len(outputs)}")
        form = [(one.numel(), one.dtype) for one in inputs]
        for place in outputs:
            if [(one.numel(), one.dtype) for one in place] != form:
                self._refuse(
                    name,
                    "every list of outputs must have as many tensors as the inputs, of the same numbers of "
                    "elements and types",
                )
        flat = [one for place in outputs for one in place]
        self._check_hosted(name, flat + inputs)
        memories, after = writables(flat)
        sources = apart([readable(one) for one in inputs], memories)
        dtype, counts = moved(sources)
        send, recv = runs(sources, counts), runs(memories, counts * self._ranks)
        keep = (flat, memories, sources)
        return self._run(name, dtype, sum(counts), send, recv, keep, flat, opts, after)

    def gather(self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None) -> Work:
        """Give ``opts.rootRank`` the tensors of all; the others pass no outputs."""
        opts = GatherOptions() if opts is None else opts
        name, root = "gather", opts.rootRank
        given = self._one(name, inputs)
        self._check_root(name, root)
        self._check_hosted(name, inputs)
        source = readable(given)
        dtype, (count,) = moved([source])
        send = source.data_ptr()
        extra = (None, root)
        if self._rank != root:
            if outputs and outputs[0]:
                self._refuse(name, f"rank {self._rank} is not the root and must give no outputs")
            own = (given, source)
            return self._run(name, dtype, count, send, None, own, [], opts, None, *extra)
        places = self._one(name, outputs, "list")
        self._check_places(name, places, given)
        memories, after = writables(places)
        (source,) = apart([source], memories, memories[root])
        recv = runs(memories, [count] * self._ranks)
        keep = (places, memories, source)
        send = source.data_ptr()
        return self._run(name, dtype, count, send, recv, keep, places, opts, after, *extra)

    def gather_single(self, output: Tensor, given: Tensor, opts: Any = None) -> Work:
        """Give ``opts.rootRank`` the tensors of all, one behind the other in ``output``."""
        opts = GatherOptions() if opts is None else opts
        name, root = "gather", opts.rootRank
        self._check_root(name, root)
        self._check_hosted(name, [given, output] if self._rank == root else [given])
        source = readable(given)
        dtype, (count,) = moved([source])
        send, extra = source.data_ptr(), (None, root)
        if self._rank != root:
            return self._run(name, dtype, count, send, None, source, [], opts, None, *extra)
        if output.numel() != given.numel() * self._ranks or output.dtype != given.dtype:
            self._refuse(name, f"the output must have {given.numel() * self._ranks} elements")
        memory, after = writable(output)
        recv, keep = memory.data_ptr(), (output, memory, source)
        return self._run(name, dtype, count, send, recv, keep, [output], opts, after, *extra)

    gather_into_tensor = gather_single

    def scatter(self, outputs: list[Tensor], inputs: list[list[Tensor]], opts: Any = None) -> Work:
        """Give every rank its tensor of ``opts.rootRank``'s list; the others pass no inputs."""
        opts = ScatterOptions() if opts is None else opts
        name, root = "scatter", opts.rootRank
        output = self._one(name, outputs)
        self._check_root(name, root)
        self._check_hosted(name, outputs)
        memory, after = writable(output)
        dtype, (count,) = moved([memory])
        recv = memory.data_ptr()
        extra = (None, root)
        if self._rank != root:
            if inputs and inputs[0]:
                self._refuse(name, f"rank {self._rank} is not the root and must give no inputs")
            place = (output, memory)
            return self._run(name, dtype, count, None, recv, place, outputs, opts, after, *extra)
        given = self._one(name, inputs, "list")
        self._check_places(name, given, output)
        sources = [readable(one) for one in given]
        own = sources[root]
        sources = apart(sources, [memory], own)
        send = runs(sources, [count] * self._ranks)
        keep = (output, memory, sources)
        return self._run(name, dtype, count, send, recv, keep, outputs, opts, after, *extra)

    def alltoall(self, outputs: list[Tensor], inputs: list[Tensor], opts: Any = None) -> Work:
        """Send ``inputs[rank]`` to each rank, and receive ``outputs[rank]`` from each."""
        opts = AllToAllOptions() if opts is None else opts
        name = "alltoallv"
        if len(outputs) != self._ranks or len(inputs) != self._ranks:
            self._refuse(
                name,
                f"needs {self._ranks} inputs and outputs, and rank {self._rank} gave {len(inputs)} "
                f"and {len(outputs)}",
            )
        self._check_hosted(name, outputs + inputs)
        memories, after = writables(outputs)
        sources = apart([readable(one) for one in inputs], memories)
        dtype, both = moved([*sources, *memories])
        counts, recv_counts = both[: self._ranks], both[self._ranks :]
        send, recv = runs(sources, counts), runs(memories, recv_counts)
        keep = (outputs, memories, sources)
        extra = (None, 0, None, counts, recv_counts)
        return self._run(name, dtype, 0, send, recv, keep, outputs, opts, after, *extra)

    def all_to_all_single(
        self,
        output: Tensor,
        given: Tensor,
        output_splits: list[int],
        input_splits: list[int],
        opts: Any = None,
    ) -> Work:
        """Send each rank its rows of ``given``, and receive rows of each into ``output``.

        Without splits every rank gets as many. Where one of the two is left out, that side is even.
        """
        opts = AllToAllOptions() if opts is None else opts
        self._check_hosted("alltoall", [output, given])
        source, (memory, after) = readable(given), writable(output)
        dtype, (sent, received) = moved([source, memory])
        keep = (output, memory, source)
        addresses = source.data_ptr(), memory.data_ptr()
        if not output_splits and not input_splits:
            for tensor in (given, output):
                if _rows(tensor) % self._ranks:
                    self._refuse(
                        "alltoall",
                        f"shape {tuple(tensor.shape)} cannot be divided among {self._ranks} ranks "
                        "along its first axis: give split sizes",
                    )
            if sent != received:
                self._refuse("alltoall", f"the input has {sent} elements, the output {received}")
            count = sent // self._ranks
            return self._run("alltoall", dtype, count, *addresses, keep, [output], opts, after)
        counts = self._split("input", input_splits, given, sent)
        recv_counts = self._split("output", output_splits, output, received)
        extra = (None, 0, None, counts, recv_counts)
        return self._run("alltoallv", dtype, 0, *addresses, keep, [output], opts, after, *extra)

    alltoall_base = all_to_all_single

    def barrier(self, opts: Any = None) -> Work:
        """Wait until every rank has come here."""
        opts = BarrierOptions() if opts is None else opts
        return self._run("barrier", "byte", 0, None, None, None, [], opts)

    def _gathered(self, outputs: list[Tensor], inputs: list[Tensor], opts: Any) -> Work:
        name = "allgather"
        self._check_hosted(name, outputs + inputs)
        for output, given in zip(outputs, inputs, strict=True):
            if output.numel() != given.numel() * self._ranks or output.dtype != given.dtype:
                self._refuse(
                    name,
                    f"the output must have {self._ranks} times the {given.numel()} elements of the "
                    f"input, of {given.dtype}, and has {output.numel()} of {output.dtype} on rank "
                    f"{self._rank}",
                )
        memories, after = writables(outputs)
        sources = [readable(given) for given in inputs]
        if len(outputs) > 1:
            sources = apart(sources, memories)
        dtype, counts = moved(sources)
        if len(outputs) == 1:
            send: Any = sources[0].data_ptr()
            recv: Any = memories[0].data_ptr()
        else:
            sizes = [source.numel() * source.element_size() for source in sources]
            send = runs(sources, counts)
            recv = parts(memories, counts, self._ranks, sizes)
        keep = (outputs, memories, sources)
        return self._run(name, dtype, sum(counts), send, recv, keep, outputs, opts, after)

    def _split(self, what: str, splits: list[int], tensor: Tensor, count: int) -> list[int]:
        """Elements for each rank, of numbers of rows."""
        rows = _rows(tensor)
        if not splits:
            splits = [rows // self._ranks] * self._ranks
        if len(splits) != self._ranks or sum(splits) != rows or min(splits) < 0:
            self._refuse(
                "alltoallv",
                f"the {what} has {rows} rows, and its split sizes {splits} are not {self._ranks} "
                "numbers from 0 on of that sum",
            )
        row = count // rows if rows else 0
        return [split * row for split in splits]

    def _check_places(self, collective: str, places: list[Tensor], own: Tensor) -> None:
        """Fail where a list has not, for each rank, a tensor like this rank's."""
        self._check_hosted(collective, [*places, own])
        wrong = len(places) != self._ranks or any(
            place.numel() != own.numel() or place.dtype != own.dtype for place in places
        )
        if wrong:
            shown = [f"{place.numel()} of {place.dtype}" for place in places]
            self._refuse(
                collective,
                f"the list must be {self._ranks} tensors of {own.numel()} elements of {own.dtype}, "
                f"and on rank {self._rank} is {shown}",
            )


def _rows(tensor: Tensor) -> int:
    """What is divided among the ranks: the first axis, or the one element of a tensor without any."""
    return tensor.shape[0] if tensor.dim() else 1
