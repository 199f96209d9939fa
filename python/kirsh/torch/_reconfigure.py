"""A group that is made anew while it runs: without ranks that died, with new ones, or in another order."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn

from torch._C import _distributed_c10d as c10d
from torch._C._distributed_c10d import Work

from .._errors import InvalidArgumentError, KirshError
from ._base import Base
from ._store import communicator
from ._work import Done


class Handle(NamedTuple):
    """What tells of a process that is to be in the group."""

    #: Its rank until now.
    rank: int
    #: The number of the last reconfiguration that it took part in; -1 before the first.
    uuid: int
    #: Its rank in the default group when this one was begun.
    global_rank: int
    #: Drawn by each process, so that two that began with the same rank have two handles.
    drawn: str

    def text(self) -> str:
        """Return it as a program passes it on."""
        return ":".join(["kirsh", *map(str, self)])


class Reconfigure(Base):
    """torch's interface for groups that lose and gain ranks.

    A program passes all handles to all that are to be in the group, by a way of its own, and each calls
    ``reconfigure`` with them and a number that has not been used.
    """

    def __init__(
        self, store: Any, rank: int, size: int, timeout: timedelta, *, connect: bool = True
    ) -> None:
        super().__init__(store, rank, size, timeout, connect=connect)
        #: The store under the prefix of the ranks that are together now, and of nobody else.
        self.met_in = store
        #: For each rank what it was in the default group, when that was begun.
        self.global_ranks = list(range(size))
        self._uuid = -1
        self._drawn = secrets.token_hex(4)

    def get_reconfigure_handle(self) -> str:
        """Return what stands for this process in the next ``reconfigure``, which changes it."""
        return self._handle().text()

    def reconfigure(self, opts: Any) -> Work:
        """Leave the communicator and make another with those whose handles are given. Blocks.

        What the old one still does has half a second to end. Where this fails before it has left, all
        stays as it is; afterwards the group has no communicator until another call, with another
        number, makes one.

        :param opts: torch's ``ReconfigureOptions``: handles, of which a list gives the order of ranks,
            while in a set they are in the order of their old ranks; a number for this attempt that no
            other has had; how long it may take. Hints are not looked at.
        :return: work that is over.
        :raises InvalidArgumentError: handles or number cannot be right.
        """
        handles = self._ordered(opts.handles)
        own = self._handle()
        if own not in handles:
            self._refuse_handles(
                f"this process's handle {own.text()} is none of the {len(handles)}: it changes with every "
                "reconfigure, so ask for it anew"
            )
        rank, size = handles.index(own), len(handles)
        store = c10d.PrefixStore(f"reconfigure/{opts.uuid}", self._store)
        if store.add(f"kirsh/claimed/{rank}", 1) > 1:
            self._refuse_handles(
                f"a group has been made with the number (uuid) {opts.uuid} before, or somebody tried to: give "
                "each reconfigure another"
            )
        self._leave()
        comm = communicator(store, rank, size, self._timeout, join_timeout=opts.timeout)
        self._rank, self._ranks, self._uuid = rank, size, opts.uuid
        self.global_ranks = [handle.global_rank for handle in handles]
        self.met_in = store
        self._sequence = self._barriers = 0
        self._comm = comm
        return Done([])

    def _leave(self) -> None:
        comm, self._comm = self._comm, None
        if comm is not None:
            try:
                comm.close()
            except KirshError:
                # Operations that had to be aborted tell whoever waits for them.
                pass

    def _handle(self) -> Handle:
        return Handle(self._rank, self._uuid, self.global_ranks[self._rank], self._drawn)

    def _ordered(self, given: set[str] | list[str]) -> list[Handle]:
        """Return the handles in the order of the ranks that they are to have."""
        if not given:
            self._refuse_handles("it takes at least one handle")
        handles = [self._parsed(text) for text in given]
        if len(set(handles)) < len(handles):
            twice = next(one for one in handles if handles.count(one) > 1)
            self._refuse_handles(f"handles must be unique, and {twice.text()} is given twice")
        return sorted(handles) if isinstance(given, set) else handles

    def _parsed(self, text: str) -> Handle:
        try:
            name, rank, uuid, global_rank, drawn = text.split(":")
            if name == "kirsh":
                return Handle(int(rank), int(uuid), int(global_rank), drawn)
        except ValueError:
            pass
        self._refuse_handles(f"{text!r} is no handle of kirsh's")

    def _refuse_handles(self, why: str) -> NoReturn:
        raise InvalidArgumentError(
            f"reconfigure on rank {self._rank} of {self._ranks}: {why}",
            kind="invalid argument",
            rank=self._rank,
            operation="reconfigure",
        )
