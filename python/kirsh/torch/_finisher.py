"""Threads that complete futures.

Whoever waits on a ``Work`` waits for the operation itself, and no thread stands between. A future is
another thing: C++ waits on it (DDP's reducer does), so somebody has to complete it. Kirsh's own
progress thread never takes the GIL; hence these.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Protocol


class Pending(Protocol):
    """What is to be completed."""

    def await_end(self) -> None:
        """Block until it is over, well or not. Raises nothing."""

    def complete(self) -> None:
        """Complete the future, which may run anybody's code and block."""


#: Seconds after which a thread without work ends.
_IDLE_SECONDS = 10.0


class Finisher:
    """Completes in the order of submission what ends in that order.

    One thread waits at a time. Completing runs callbacks, which may wait for operations that are
    only started there (as PowerSGD's do), so before it completes anything a thread leaves the
    waiting to another.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._queue: deque[Pending] = deque()
        self._is_led = False
        self._idle = 0

    def submit(self, pending: Pending) -> None:
        """Have this completed once it is over. Never blocks."""
        with self._changed:
            self._queue.append(pending)
            if not self._is_led:
                self._appoint()

    def _appoint(self) -> None:
        """Have another thread wait for what is in the queue. The lock is held."""
        if self._idle:
            self._changed.notify()
        else:
            self._is_led = True
            try:
                threading.Thread(target=self._lead, name=self._name, daemon=True).start()
            except RuntimeError:
                # The system has no thread left.
                self._is_led = False
                raise

    def _lead(self) -> None:
        # The one who appointed this thread has said that there is a leader.
        while True:
            pending = self._queue[0]
            pending.await_end()
            with self._changed:
                self._queue.popleft()
                self._is_led = False
                if self._queue:
                    # Where there is no other thread to be had, this one waits on once it has completed.
                    with contextlib.suppress(RuntimeError):
                        self._appoint()
            pending.complete()
            del pending
            with self._changed:
                if not self._may_lead():
                    return

    def _may_lead(self) -> bool:
        """Wait to become the leader; False where there is nothing to do. The lock is held."""
        self._idle += 1
        found = self._changed.wait_for(lambda: self._queue and not self._is_led, _IDLE_SECONDS)
        self._idle -= 1
        if found:
            self._is_led = True
        return bool(found)


def alone(pending: Pending) -> None:
    """Complete this in a thread of its own, for what ends in no order: messages."""

    def run() -> None:
        pending.await_end()
        pending.complete()

    threading.Thread(target=run, name="kirsh-future", daemon=True).start()
