"""What all calls of the backend have in common: how one is made, for how long, and its number."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._C._distributed_c10d import Backend, Work

from .. import _kirsh
from .._communicator import Communicator
from .._errors import KirshError
from ._finisher import Finisher
from ._memory import After
from ._store import communicator
from ._types import NAMES, operator
from ._work import Done, Started

#: One of a call's arrays: an address, or several with their lengths in elements.
Memory = int | list[tuple[int, int]] | None


class Base(Backend):
    """A communicator, in the shape in which torch holds one for a kind of device.

    Calls with ``opts.asyncOp`` only start and return at once; the others block, without the GIL, and
    return work that is over. Tensors are lent until the work is over. Errors are Kirsh's own, which are
    RuntimeErrors: they name ranks and operation. After most of them the group is of no use, and later
    calls raise the first cause.
    """

    def __init__(
        self, store: Any, rank: int, size: int, timeout: timedelta, *, connect: bool = True
    ) -> None:
        """Meet the other ranks in the store. Blocks until all are there.

        :param store: torch's, under a prefix that is this group's alone.
        :param timeout: how long that may take, and each operation then.
        :param connect: False leaves the backend without a communicator, and returns at once.
        """
        super().__init__(rank, size)
        #: None until `reconfigure` makes one, and where it failed to.
        self._comm = communicator(store, rank, size, timeout) if connect else None
        self._store = store
        self._rank, self._ranks = rank, size
        #: None while it is what the communicator was made with.
        self._seconds: float | None = None
        self._timeout = timeout
        self._sequence = 0
        #: Monitored barriers so far.
        self._barriers = 0
        self._finisher = Finisher("kirsh-futures")

    @property
    def communicator(self) -> Communicator:
        """Kirsh's communicator behind the group, with its counters (``stats()``)."""
        return self._made("communicator")

    def rank(self) -> int:
        """Return this process's rank in the group: since the last ``reconfigure``, where there was one."""
        return self._rank

    def size(self) -> int:
        """Return the number of ranks in the group, likewise."""
        return self._ranks

    def _made(self, operation: str) -> Communicator:
        """Return the communicator, which there has to be for this operation."""
        if self._comm is None:
            raise KirshError(
                f"{operation} on rank {self._rank} of {self._ranks}: the group has no communicator. One that "
                "is made with enable_reconfigure=True has none before reconfigure() has returned, and none "
                "has one after a reconfigure() that failed",
                kind="closed",
                rank=self._rank,
                operation=operation,
            )
        return self._comm

    def getBackendName(self) -> str:
        """Return "kirsh"."""
        return "kirsh"

    def name(self) -> str:
        """Return "kirsh"."""
        return "kirsh"

    def _seconds_of(self, timeout: timedelta) -> float | None:
        """Seconds of a call's own timeout, where it has one (torch's "unset" is negative)."""
        if timeout.days < 0 or not timeout:
            return self._seconds
        return timeout.total_seconds()

    def _run(
        self,
        collective: str,
        dtype: str,
        count: int,
        send: Memory,
        recv: Memory,
        keep: Any,
        tensors: list[Tensor],
        opts: Any,
        after: After | None = None,
        *extra: Any,
    ) -> Work:
        """Make or start one collective call.

        :param keep: whatever owns the memory, where ``tensors`` alone do not.
        :param tensors: those that hold the result.
        :param extra: operator, root and the rest that ``_kirsh.call_at`` takes.
        """
        comm = self._comm
        if comm is None:
            comm = self._made(collective)
        self._sequence = sequence = self._sequence + 1
        started = opts.asyncOp
        made = _kirsh.call_at(
            comm,
            collective,
            dtype,
            count,
            send,
            recv,
            keep,
            started,
            self._seconds_of(opts.timeout),
            *extra,
        )
        if started:
            submit = self._finisher.submit
            return Started([made], tensors, sequence=sequence, after=after, submit=submit)
        if after is not None:
            after()
        return Done(tensors, sequence)

    def _joined(self, works: Sequence[Work], tensors: list[Tensor]) -> Work:
        """Return one work for several."""
        if len(works) == 1:
            return works[0]
        started = [work for work in works if isinstance(work, Started)]
        if not started:
            return Done(tensors, self._sequence)
        natives = [native for work in started for native in work._works]

        def after() -> None:
            for work in started:
                work._settle()
                if work._error is not None:
                    raise work._error

        return Started(
            natives,
            tensors,
            sequence=self._sequence,
            after=after,
            submit=self._finisher.submit,
        )

    def _reduced(self, collective: str, tensor: Tensor, opts: Any) -> tuple[str, str, float | None]:
        """Return element type, operator and factor of a call that reduces."""
        if not tensor.is_cpu:
            self._refuse_device(collective, tensor)
        name = NAMES.get(tensor.dtype)
        if name is None:
            self._refuse(collective, f"{tensor.dtype} cannot be reduced", unsupported=True)
        try:
            op, scale = operator(opts.reduceOp, tensor.dtype)
        except KeyError:
            self._refuse(collective, f"there is no operator {opts.reduceOp}", unsupported=True)
        return name, op, scale

    def _one(self, collective: str, tensors: Sequence[Any], what: str = "tensor") -> Any:
        """Return the only element of a list that torch hands over for several devices."""
        if len(tensors) != 1:
            self._refuse(
                collective, f"takes one {what} for each rank, and rank {self._rank} gave {len(tensors)}"
            )
        return tensors[0]

    def _check_root(self, collective: str, root: int) -> None:
        if not 0 <= root < self._ranks:
            self._refuse(collective, f"rank {root} is none of the {self._ranks} of this group")

    def _check_hosted(self, collective: str, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if not tensor.is_cpu:
                self._refuse_device(collective, tensor)
            if tensor.layout is not torch.strided:
                self._refuse(
                    collective, f"a tensor of layout {tensor.layout} cannot be moved", unsupported=True
                )

    def _refuse_device(self, collective: str, tensor: Tensor) -> NoReturn:
        self._refuse(
            collective,
            f"a tensor is on {tensor.device}, and kirsh works on host memory: name a backend for that "
            f"device too, as in init_process_group('cpu:kirsh,{tensor.device.type}:...')",
            unsupported=True,
        )

    def _refuse(self, collective: str, why: str, *, unsupported: bool = False) -> NoReturn:
        """Raise, and tell the other ranks that this call will not come."""
        comm = self._made(collective)
        self._sequence += 1
        _kirsh.refuse_call(comm, collective, why, unsupported)
        raise AssertionError("refuse_call always raises")
