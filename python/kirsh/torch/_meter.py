"""What steps take, measured where DDP hands over its buckets, and agreed on by all ranks: for the choice of a
wire format."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import AllreduceOptions, Work
from torch.distributed import ReduceOp
from torch.futures import Future

from .. import _kirsh
from ._choice import SHARES, Choice

if TYPE_CHECKING:
    from ._backend import KirshBackend

#: Elements with which it is measured what rounding takes, and how often.
_SAMPLE = 1 << 18
_SAMPLES = 3


class Meter:
    """Measures a model's steps. DDP's hook calls it for every bucket, in the order of buckets.

    A step goes from its first bucket to the first of the next, which is the one with a parameter that this step has
    had already: DDP numbers the buckets, but not so in every step. What it took is agreed on by an allreduce of a
    few numbers beside the gradients of the next step, so that nobody waits for it, and decides about the one
    after.

    :param feedback: whether what rounding loses is kept, which takes a pass over the gradients.
    """

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, *, feedback: bool = True
    ) -> None:
        self.choice = Choice()
        self._clock = clock
        self._lock = threading.Lock()
        self._wire = "none"
        #: The parameters of this step's buckets so far, by identity.
        self._seen: set[int] = set()
        self._began: float | None = None
        self._bytes = 0
        self._number = 0
        #: The last step that ranks agreed on or are about to, and how many it stands for.
        self._agreed = 0
        self._agreed_steps = 0
        #: Since the step began: seconds that the network was busy, and until when it was.
        self._busy = 0.0
        self._busy_until = 0.0
        self._rounding: list[float] | None = None if feedback else [0.0] * len(SHARES)
        self._agreeing: tuple[str, Tensor, Work] | None = None

    def format_of(
        self, parameters: tuple[int, ...], tensor: Tensor, backend: KirshBackend, encodes: bool
    ) -> str:
        """Return the format in which this bucket travels, alike on all ranks.

        :param encodes: whether it can travel in any but "none".
        """
        if self._began is None or not self._seen.isdisjoint(parameters):
            self._seen.clear()
            self._step_begins(tensor, backend)
        self._seen.update(parameters)
        if encodes:
            self._bytes += tensor.nbytes
        return self._wire

    def ending(self, then: Callable[[Future[Any]], Tensor]) -> Callable[[Future[Any]], Tensor]:
        """Return ``then``, for the end of what starts now, with a look at the clock."""
        began = self._clock()

        def ended(future: Future[Any]) -> Tensor:
            now = self._clock()
            with self._lock:
                # Operations go one after the other; what waited for one before was not on the network.
                self._busy += now - max(began, min(self._busy_until, now))
                self._busy_until = now
            return then(future)

        return ended

    def _step_begins(self, tensor: Tensor, backend: KirshBackend) -> None:
        now = self._clock()
        if self._agreeing is not None:
            (wire, numbers, work), self._agreeing = self._agreeing, None
            work.wait()
            seconds, idle, *rounding = numbers.tolist()
            passes = dict(zip(SHARES, rounding, strict=True))
            self.choice.told(wire, seconds, -idle, passes, self._agreed_steps)
        if self._rounding is None:
            self._rounding = _rounding(tensor)
        with self._lock:
            busy, self._busy = self._busy, 0.0
        self._number += 1
        if self._began is not None and self.choice.asks(self._number, self._wire):
            rounding = [one * self._bytes for one in self._rounding]
            # The slowest rank's step is everybody's; the network was busy for no longer than on the rank that
            # came last, where nothing waited for others. So the most of one, the least of the other.
            took = [now - self._began, -busy, *rounding]
            numbers = torch.tensor(took, dtype=torch.float64, device="cpu")
            opts = AllreduceOptions()
            opts.reduceOp = ReduceOp.MAX
            self._agreed_steps, self._agreed = self._number - self._agreed, self._number
            self._agreeing = (self._wire, numbers, backend.allreduce([numbers], opts))
        self._began, self._bytes = now, 0
        self._wire = self.choice.next()


def _rounding(like: Tensor) -> list[float]:
    """Measure the seconds that rounding takes for each byte of float32, for each format."""
    if not like.is_cpu:
        # A device does that beside.
        return [0.0] * len(SHARES)
    sample = torch.ones(_SAMPLE, dtype=torch.float32, device="cpu")
    lost = torch.zeros_like(sample)
    found = []
    for wire in SHARES:
        times = []
        for _ in range(_SAMPLES):
            began = time.perf_counter()
            _kirsh.feed_back_at(wire, _SAMPLE, sample.data_ptr(), lost.data_ptr())
            times.append(time.perf_counter() - began)
        found.append(min(times) / sample.nbytes)
    return found
