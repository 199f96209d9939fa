"""``Work`` objects as torch wants them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from torch import Tensor
from torch._C import _distributed_c10d as c10d
from torch._C._distributed_c10d import Work
from torch.futures import Future

from .. import _kirsh
from .._errors import KirshTimeoutError
from ._finisher import Pending
from ._memory import After

#: Not in torch's stubs.
WorkResult: Any = vars(c10d)["WorkResult"]

_NO_TIMEOUT = timedelta(0)


class Done(Work):
    """An operation that was over before the call returned."""

    def __init__(self, tensors: list[Tensor], sequence: int = 0) -> None:
        super().__init__()
        self._tensors = tensors
        self._sequence = sequence

    def wait(self, timeout: timedelta = _NO_TIMEOUT) -> bool:
        """Return at once."""
        return True

    def is_completed(self) -> bool:
        """Return True."""
        return True

    def is_success(self) -> bool:
        """Return True."""
        return True

    def exception(self) -> None:
        """Return None: it went well."""

    def result(self) -> list[Tensor]:
        """Return the tensors that hold the result."""
        return self._tensors

    def synchronize(self) -> None:
        """Do nothing: the result is in host memory."""

    def get_future(self) -> Future[list[Tensor]]:
        """Return a completed future of the tensors that hold the result."""
        devices: list[Any] = sorted({one.device for one in self._tensors if not one.is_cpu}, key=str)
        future: Future[list[Tensor]] = Future(devices=devices)
        future.set_result(self._tensors)
        return future

    def get_future_result(self) -> Future[Any]:
        """Return a completed future of ``WorkResult.SUCCESS``."""
        future: Future[Any] = Future()
        future.set_result(WorkResult.SUCCESS)
        return future

    def _get_sequence_number(self) -> int:
        return self._sequence


class Started(Work):
    """An operation that goes on, carried out by the library's own thread.

    The tensors are lent until it is over, and live until then even if this object does not. Any
    thread may call any method.
    """

    def __init__(
        self,
        works: list[_kirsh.Work[Any]],
        tensors: list[Tensor],
        *,
        sequence: int = 0,
        after: After | None = None,
        submit: Callable[[Pending], None],
    ) -> None:
        super().__init__()
        self._works = works
        self._tensors = tensors
        self._sequence = sequence
        self._after = after
        self._error: Exception | None = None
        self._lock = threading.Lock()
        self._submit = submit
        #: Where the result is, if not in host memory: futures ask for it.
        self._devices: list[Any] = []
        self._future: Future[list[Tensor]] | None = None

    def wait(self, timeout: timedelta = _NO_TIMEOUT) -> bool:
        """Block, without the GIL, until the result is there; return True.

        :param timeout: how long to wait; zero is as long as the operation itself may take. When it
            runs out, ``KirshTimeoutError`` is raised and the operation goes on.
        :raises KirshError: the operation failed; the tensors are the caller's again.
        """
        seconds = timeout.total_seconds() if timeout > _NO_TIMEOUT else None
        failed: Exception | None = None
        for work in self._works:
            try:
                work.wait(seconds)
            except Exception as error:
                if not work.done:
                    raise
                # What was started with it still has the tensors.
                failed = failed or error
        if failed is not None:
            raise failed
        self._settle()
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether it is over, well or not, and the tensors are the caller's again."""
        if not all(work.done for work in self._works):
            return False
        self.exception()
        return True

    def is_success(self) -> bool:
        """Whether it is over and went well."""
        return self.is_completed() and self.exception() is None

    def exception(self) -> BaseException | None:
        """Return what ended it, where that was an error; None also while it goes on."""
        if not all(work.done for work in self._works):
            return None
        try:
            for work in self._works:
                work.wait()
        except Exception as error:
            return error
        self._settle()
        return self._error

    def result(self) -> list[Tensor]:
        """Return the tensors that hold the result, or will."""
        return self._tensors

    def synchronize(self) -> None:
        """Do what ``wait()`` does."""
        self.wait()

    def source_rank(self) -> int:
        """Return whose message has been received, once it has."""
        return self._source_rank()

    def _source_rank(self) -> int:
        received = self._received()
        if received is None:
            raise RuntimeError("no message has been received by this work")
        return int(received.source)

    def _received(self) -> Any:
        return self._works[0].received

    def get_future(self) -> Future[list[Tensor]]:
        """Return a future of the tensors that hold the result; the same one each time.

        Where the operation fails, so does the future, with the text of the error.
        """
        with self._lock:
            if self._future is not None:
                return self._future
            pending = _Completion(self)
            self._future = pending.future
        if self.is_completed():
            pending.complete()
        else:
            self._submit(pending)
        return self._future

    def get_future_result(self) -> Future[Any]:
        """Return a future of how it ended, a ``WorkResult``; that future never fails."""

        def how(ended: Future[list[Tensor]]) -> Any:
            error = self.exception()
            if error is None:
                return WorkResult.SUCCESS
            if isinstance(error, KirshTimeoutError):
                return WorkResult.TIMEOUT
            return WorkResult.COMM_ERROR

        return _after_end(self.get_future(), how)

    def _get_sequence_number(self) -> int:
        return self._sequence

    def _settle(self) -> None:
        """Do, once, what is left to do where all went well: copy results to where they belong."""
        if self._after is None:
            return
        with self._lock:
            if self._after is not None:
                try:
                    self._after()
                except Exception as error:
                    self._error = error
                # Only now: whoever finds nothing left to do may look at the result.
                self._after = None


class _Completion:
    """A future that is yet to be completed, and what is waited for."""

    def __init__(self, work: Started) -> None:
        self._work = work
        self._ended: Future[None] = Future(devices=work._devices)
        # An error that is set from Python is a value to C++, which would take it for the result.
        # What a callback raises is an error to both.
        self.future: Future[list[Tensor]] = self._ended.then(self._value)

    def await_end(self) -> None:
        try:
            self._work.wait()
        except Exception:
            pass  # `complete` finds it again

    def complete(self) -> None:
        self._ended.set_result(None)

    def _value(self, _ended: Future[None]) -> list[Tensor]:
        self._work.wait()
        return self._work.result()


def _after_end(future: Future[list[Tensor]], then: Callable[[Future[list[Tensor]]], Any]) -> Future[Any]:
    result: Future[Any] = Future()
    future.add_done_callback(lambda ended: result.set_result(then(ended)))
    return result
