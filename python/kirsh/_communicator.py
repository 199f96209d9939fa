"""``Communicator``: what the extension module knows of a group of ranks, with all its calls."""

from __future__ import annotations

from typing import final

from ._groups import Groups
from ._messages import Messages
from ._objects import Objects
from ._planned import Planned
from ._reducing import Reducing


@final
class Communicator(Reducing, Objects, Planned, Messages, Groups):
    """A group of ranks that do collectives together; creating one is itself collective.

    Any thread may call its methods; collectives are carried out one after the other, and all ranks
    must make the same ones in the same order. Messages (``send``, ``recv``) may come between and
    beside them. Arguments left at None come from the environment.
    """

    __slots__ = ()


# Where users find it.
Communicator.__module__ = "kirsh"
