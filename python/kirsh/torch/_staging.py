"""Tensors on other devices, for a group that has no backend for them: through slabs in host memory.

A large call is cut into slices, each an operation of its own: while one is on the network, the next comes
from the device and the one before goes back. All ranks cut alike, by what all of them know: the size of
the part that a rank has. So the tensors of one call are on devices on all ranks, or on none.

A started call returns when its elements have left the device, since operations begin in the order of calls.
What fails on this rank before its part of an operation has begun is told to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._distributed_c10d import Work

from .._errors import KirshError
from ._cuts import CUTS, Start, native_of, part_of, role_of
from ._memory import After, is_run, together
from ._slabs import copy, mark, slab
from ._work import Done, Started

if TYPE_CHECKING:
    from ._backend import KirshBackend

#: Bytes of a slice, of each tensor: long enough that an operation's fixed costs do not show.
SLICE_BYTES = 4 << 20

_NO_TIMEOUT = timedelta(0)


class Staging:
    """Has the backend carry out, on host memory, what is asked for on other devices."""

    def __init__(self, backend: KirshBackend) -> None:
        self._kirsh = backend

    def call(self, name: str, *given: Any) -> Work:
        """Make or start the call that has this name in ``KirshBackend``, with the same arguments."""
        with self._telling(name):
            make = self._prepared(name, given)
        return make()

    def _prepared(self, name: str, given: tuple[Any, ...]) -> Callable[[], Work]:
        """Have what is read on its way to the host, and return what makes the call then."""
        slabs = _Slabs(given)
        part = part_of(name, given, self._kirsh.size()) if slabs.is_uniform else 0
        if part > SLICE_BYTES:
            reads, writes, start = CUTS[name](self._kirsh, slabs.flat, *given)
            if len({(one.numel(), one.dtype) for one in reads + writes}) == 1:
                return self._sliced(name, reads, writes, start, slabs, given)
            slabs = _Slabs(given)
        return self._whole(name, given, slabs)

    @contextmanager
    def _telling(self, name: str) -> Iterator[None]:
        """Tell the other ranks, where this fails, that the operation will not come."""
        try:
            yield
        except Exception as error:
            native = native_of(name)
            if native is not None:
                with suppress(KirshError):
                    self._kirsh._refuse(native, f"{type(error).__name__}: {error}")
            raise

    def _whole(self, name: str, given: tuple[Any, ...], slabs: _Slabs) -> Callable[[], Work]:
        """Make the call once, on slabs in place of the tensors."""
        role = role_of(name, given, self._kirsh.rank())
        hosted = [slabs.hosted(given[0], role), *(slabs.hosted(one, "r") for one in given[1:])]
        slabs.mark()()

        def make() -> Work:
            work: Work = getattr(self._kirsh, name)(*hosted)
            return self._completed([work], [slabs.bring], slabs, given)

        return make

    def _sliced(
        self,
        name: str,
        reads: list[Tensor],
        writes: list[Tensor],
        start: Start,
        slabs: _Slabs,
        given: tuple[Any, ...],
    ) -> Callable[[], Work]:
        """Make the call slice by slice, on flat tensors that all have as many elements."""
        one = (reads + writes)[0]
        step = SLICE_BYTES // one.element_size()
        bounds = [slice(at, at + step) for at in range(0, one.numel(), step)]
        sources = [slab(read.shape, read.dtype, read.device) for read in reads]
        # What is combined in place has one slab.
        shared = {id(read): source for read, source in zip(reads, sources, strict=True)}
        targets = [
            shared[id(write)] if id(write) in shared else slab(write.shape, write.dtype, write.device)
            for write in writes
        ]
        arrivals = []
        for bound in bounds:
            for read, source in zip(reads, sources, strict=True):
                copy(read[bound], source[bound])
            arrivals.append(slabs.mark())

        def begin(bound: slice, arrived: After) -> tuple[Work, After]:
            with self._telling(name):
                arrived()
            work = start([one[bound] for one in sources], [one[bound] for one in targets])
            pairs = zip(targets, writes, strict=True)
            return work, _bringing([(target[bound], write[bound]) for target, write in pairs])

        def make() -> Work:
            with _as_started(given) as is_started:
                begun = [begin(*one) for one in zip(bounds, arrivals, strict=True)]
            works, brings = [work for work, _ in begun], [bring for _, bring in begun]
            work = self._completed(works, brings, slabs, given)
            if is_started:
                return work
            work.wait()
            return Done(work.result(), self._kirsh._sequence)

        return make

    def _completed(
        self, works: Sequence[Work], brings: Sequence[After], slabs: _Slabs, given: tuple[Any, ...]
    ) -> Work:
        """Return one work for those of slices, with what brings each slice back."""
        results = list(_tensors(given[0]))
        parts = []
        for work, bring in zip(works, brings, strict=True):
            if isinstance(work, Started):
                # Nobody else has seen this work yet.
                work._after = together([work._after, bring])
                parts.append(work)
            else:
                bring()
        if not parts:
            slabs.finish()
            return Done(results, self._kirsh._sequence)
        return Staged(parts, results, slabs)


class Staged(Started):
    """The operations on slices, whose results go back to the device as each is over."""

    def __init__(self, parts: list[Started], tensors: list[Tensor], slabs: _Slabs) -> None:
        super().__init__(
            [native for part in parts for native in part._works],
            tensors,
            sequence=parts[-1]._sequence,
            after=self._finish,
            submit=parts[0]._submit,
        )
        self._parts = parts
        self._slabs = slabs
        self._devices = slabs.devices
        #: What a message was, once it is over.
        self._message: Any = None

    def wait(self, timeout: timedelta = _NO_TIMEOUT) -> bool:
        """Block until the result is on the device; a timeout is for each slice."""
        failed: Exception | None = None
        for part in self._parts:
            try:
                part.wait(timeout)
            except Exception as error:
                if not part.is_completed():
                    raise
                failed = failed or error
        if failed is not None:
            # Slices that went well have asked for copies, and the tensors are the caller's again.
            self._slabs.mark()()
            raise failed
        return super().wait(timeout)

    def _finish(self) -> None:
        try:
            for part in self._parts:
                part._settle()
                if part._error is not None:
                    raise part._error
            self._slabs.finish()
        except Exception:
            self._slabs.mark()()
            raise
        finally:
            # Both hold the slabs.
            self._message = self._received()
            self._parts, self._works = [], []

    def _received(self) -> Any:
        works = self._works
        return works[0].received if works else self._message


class _Slabs:
    """What one call has in host memory in place of its tensors."""

    def __init__(self, given: tuple[Any, ...]) -> None:
        tensors = list(_tensors(given))
        self.devices = sorted({one.device for one in tensors if not one.is_cpu}, key=str)
        #: Whether all can be cut into slices.
        self.is_uniform = all(
            not one.is_cpu and one.layout is torch.strided for one in tensors
        )
        self._back: list[tuple[Tensor, Tensor]] = []
        #: From one place on the device to another, in the end.
        self._moves: list[tuple[Tensor, Tensor]] = []

    def mark(self) -> After:
        """Return what blocks until the devices have done what was asked of them so far."""
        marks = [mark(device) for device in self.devices]

        def block() -> None:
            for one in marks:
                one()

        return block

    def hosted(self, given: Any, role: str) -> Any:
        """Return an argument with slabs in place of its tensors.

        :param role: whether they are read ("r"), written ("w") or both ("rw"), or neither ("").
        """
        if not role:
            return given
        if isinstance(given, list | tuple):
            return [self.hosted(one, role) for one in given]
        if not isinstance(given, Tensor) or given.is_cpu:
            return given
        tensor = given.detach()
        if tensor.layout is not torch.strided:
            host = tensor.cpu()
        else:
            host = slab(tensor.shape, tensor.dtype, tensor.device)
            if "r" in role:
                # Those views are resolved on the device: on the host that would happen before the copy is there.
                copy(tensor.resolve_conj().resolve_neg(), host)
        if "w" in role:
            self._back.append((host, tensor))
        return host

    def flat(self, given: Tensor, role: str) -> Tensor:
        """Return the elements of a tensor as one run on its device, where need be of a copy."""
        tensor = given.detach()
        if is_run(tensor):
            return tensor.reshape(-1)
        if "r" in role:
            run = tensor.resolve_conj().resolve_neg().contiguous()
        else:
            run = torch.empty(tensor.shape, dtype=tensor.dtype, device=tensor.device)
        if "w" in role:
            self._moves.append((run, tensor))
        return run.reshape(-1)

    def bring(self) -> None:
        """Ask for the copies back."""
        _bringing(self._back)()

    def finish(self) -> None:
        """Wait until the results are where they belong."""
        for source, target in self._moves:
            with torch.no_grad():
                target.copy_(source)
        self.mark()()
        # Whoever keeps the work is not to keep the slabs.
        self._back, self._moves = [], []


@contextmanager
def _as_started(given: tuple[Any, ...]) -> Iterator[bool]:
    """Have the calls with these options only start meanwhile; give whether they would anyway."""
    (opts,) = (one for one in given if hasattr(one, "asyncOp"))
    is_started, opts.asyncOp = opts.asyncOp, True
    try:
        yield is_started
    finally:
        opts.asyncOp = is_started


def _bringing(back: list[tuple[Tensor, Tensor]]) -> After:
    def bring() -> None:
        for source, target in back:
            copy(source, target)

    return bring


def _tensors(given: Sequence[Any]) -> Iterable[Tensor]:
    """All tensors in lists of lists."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, list | tuple):
        for one in given:
            yield from _tensors(one)
