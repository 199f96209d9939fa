"""Messages from one rank to another, and the barrier that is made of them."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import Work

from .. import _kirsh
from .._errors import KirshError, KirshTimeoutError, MismatchError, PeerLostError
from . import _finisher
from ._base import Base
from ._memory import moved, readable, together, writable
from ._work import Started

#: Tags that the monitored barrier keeps to itself; torch's come from a C int.
_TAG_ARRIVED = 2**32 - 1
_TAG_RELEASED = 2**32 - 2


class Messages(Base):
    """Send, receive, and the monitored barrier.

    Messages have no place in the order of collectives. A send or a receive that runs out of time
    fails alone.
    """

    def send(self, tensors: list[Tensor], dst: int, tag: int = 0) -> Work:
        """Start to send the one tensor of the list to a rank of the group."""
        tensor = self._message(tensors)
        source = readable(tensor)
        dtype, (count,) = moved([source])
        keep = (tensor, source)
        native = _kirsh.send_at(
            self._made("send"), dtype, count, source.data_ptr(), keep, dst, tag, self._seconds
        )
        return Started([native], tensors, submit=_finisher.alone)

    def recv(self, tensors: list[Tensor], src: int, tag: int = 0) -> Work:
        """Start to receive into the one tensor of the list; the message must be as long as it."""
        tensor = self._message(tensors)
        memory, bring = writable(tensor)
        dtype, (count,) = moved([memory])
        keep = (tensor, memory)
        native = _kirsh.recv_at(
            self._made("recv"), dtype, count, memory.data_ptr(), keep, src, tag, self._seconds
        )
        rank = self._rank

        def check() -> None:
            received = native.received
            if received is not None and received.count != count:
                raise MismatchError(
                    f"rank {rank} received a message of {received.count} elements from rank "
                    f"{received.source} (tag {received.tag}) into a tensor of {count}: both must be of "
                    "one size",
                    kind="mismatch",
                    rank=rank,
                    peer=received.source,
                    operation="recv",
                )

        after = together([check, bring])
        return Started([native], tensors, after=after, submit=_finisher.alone)

    def recv_anysource(self, tensors: list[Tensor], tag: int = 0) -> Work:
        """Start to receive from whichever rank sends first; ``source_rank()`` then tells which."""
        return self.recv(tensors, _kirsh.ANY_SOURCE, tag)

    def monitored_barrier(self, opts: Any = None, wait_all_ranks: bool = False) -> None:
        """Wait until every rank has come here, and say which have not.

        Rank 0 waits for the others, and tells them when all are there. Blocks.

        :param opts: ``BarrierOptions`` or a ``timedelta``: how long to wait; the group's timeout where
            it says nothing.
        :param wait_all_ranks: name all missing ranks, and not only the first.
        :raises RuntimeError: on rank 0 with the missing ranks; on the others, where rank 0 gave up.
        """
        self._made("monitored_barrier")
        self._barriers += 1
        limit = self._limit_of(opts)
        deadline = time.monotonic() + limit.total_seconds()
        if self._rank == 0:
            self._await_others(limit, deadline, wait_all_ranks)
        else:
            self._await_first(deadline)

    def _await_others(self, limit: timedelta, deadline: float, wait_all_ranks: bool) -> None:
        if not limit:
            raise RuntimeError("[Rank 0]: Rank 0 timed out in monitoredBarrier after 0 ms")
        others = range(1, self._ranks)
        signals = {rank: self._listen(rank, _TAG_ARRIVED, deadline) for rank in others}
        missing = []
        for rank, signal in signals.items():
            try:
                self._hear(rank, _TAG_ARRIVED, signal, deadline)
            except (KirshTimeoutError, PeerLostError):
                missing.append(rank)
                if not wait_all_ranks:
                    break
        if missing:
            who = f"Rank {missing[0]}" if len(missing) == 1 else f"Ranks {_listed(missing)}"
            milliseconds = round(limit.total_seconds() * 1000)
            raise RuntimeError(
                f"[Rank 0]: {who} failed to pass monitoredBarrier in {milliseconds} ms"
            )
        for rank in others:
            self._tell(rank, _TAG_RELEASED, deadline)

    def _await_first(self, deadline: float) -> None:
        try:
            self._tell(0, _TAG_ARRIVED, deadline)
            signal = self._listen(0, _TAG_RELEASED, deadline)
            self._hear(0, _TAG_RELEASED, signal, deadline)
        except (KirshTimeoutError, PeerLostError) as error:
            raise RuntimeError(
                f"[Rank {self._rank}]: Rank {self._rank} successfully reached monitoredBarrier, but "
                "received errors while waiting for send/recv from rank 0. Please check rank 0 logs for "
                f"faulty rank.\nOriginal exception:\n{error}"
            ) from error

    def _tell(self, peer: int, tag: int, deadline: float) -> None:
        number = torch.tensor([self._barriers], device="cpu")
        address, seconds = number.data_ptr(), _rest(deadline)
        comm = self._made("monitored_barrier")
        _kirsh.send_at(comm, "int64", 1, address, number, peer, tag, seconds).wait()

    def _listen(self, peer: int, tag: int, deadline: float) -> tuple[_kirsh.Work[Any], Tensor]:
        number = torch.zeros(1, dtype=torch.int64, device="cpu")
        address, seconds = number.data_ptr(), _rest(deadline)
        comm = self._made("monitored_barrier")
        work = _kirsh.recv_at(comm, "int64", 1, address, number, peer, tag, seconds)
        return work, number

    def _hear(
        self, peer: int, tag: int, signal: tuple[_kirsh.Work[Any], Tensor], deadline: float
    ) -> None:
        """Wait for a signal of this barrier: those of earlier ones, which failed, may come first."""
        work, number = signal
        work.wait()
        while number.item() < self._barriers:
            work, number = self._listen(peer, tag, deadline)
            work.wait()

    def _limit_of(self, opts: Any) -> timedelta:
        given = opts if isinstance(opts, timedelta) or opts is None else opts.timeout
        # torch's "unset" is negative.
        if given is None or given < timedelta(0):
            return self._timeout
        return given

    def _message(self, tensors: list[Tensor]) -> Tensor:
        """The one tensor of a message. No peer waits for this rank's refusal: it is raised at once."""
        if len(tensors) != 1:
            raise KirshError(f"a message is one tensor, and {len(tensors)} were given")
        (tensor,) = tensors
        if not tensor.is_cpu or tensor.layout is not torch.strided:
            raise KirshError(
                f"rank {self._rank} cannot send or receive a tensor on {tensor.device} with layout "
                f"{tensor.layout}: kirsh works on strided tensors in host memory",
                kind="unsupported",
                rank=self._rank,
            )
        return tensor


def _rest(deadline: float) -> float:
    """Seconds until then, and at least a moment: a timeout of none is no timeout."""
    return max(0.001, deadline - time.monotonic())


def _listed(ranks: list[int]) -> str:
    return ", ".join(str(rank) for rank in ranks)
