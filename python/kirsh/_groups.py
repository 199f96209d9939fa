"""Communicators made from communicators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from . import _kirsh


class Groups(_kirsh.Communicator):
    """Splitting, duplicating, and picking ranks.

    What these make is a communicator of its own: it has its own order of calls, ends or fails
    alone, and may outlive the one that it was made from. It shares that one's thread and control
    connections; connections for data open when a call first needs them.
    """

    __slots__ = ()

    def split(
        self, color: int | None, key: int = 0, *, timeout: float | None = None
    ) -> Self | None:
        """Return a communicator of the ranks that give the same color; None without a color.

        Collective over this communicator, also for those that give None; blocks until all have
        called. Its ranks are in the order of ``key``, and where keys are equal in the order that
        they have here.

        :raises MismatchError: other ranks called :meth:`dup` or :meth:`subgroup`. All of them hear
            of it, and this communicator goes on.
        """
        return self._of(self._group("split", color, key, timeout=timeout))

    def dup(self, priority: int = 0, *, timeout: float | None = None) -> Self:
        """Return a communicator of the same ranks; calls of the two do not wait for one another.

        Where several communicators have started operations at a time, the library's thread serves
        those of higher priority first in each of its turns; one that was created has priority 0,
        and each rank's priority is its own affair. It shares out no bandwidth, and blocking calls
        take no notice of it. Collective and blocking, as :meth:`split`.
        """
        # Every rank is in it.
        return type(self)(_made=self._group("dup", None, priority, timeout=timeout))

    def subgroup(self, ranks: Sequence[int], *, timeout: float | None = None) -> Self | None:
        """Return a communicator of these ranks of this one, in this order; None for the others.

        Collective and blocking, as :meth:`split`; every rank of this communicator calls with the
        same list.

        :raises MismatchError: the lists of two ranks differ; names both. All ranks hear of it, and
            this communicator goes on.
        """
        return self._of(self._group("subgroup", ranks, timeout=timeout))

    def _of(self, made: _kirsh.Made | None) -> Self | None:
        return None if made is None else type(self)(_made=made)
