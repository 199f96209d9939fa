"""What a Python object must have to serve as a store."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol


class Store(Protocol):
    """A small dictionary that all ranks share, through which they find together.

    Any object with these methods will do, such as a store of ``torch.distributed``. It is called
    only while a communicator is created, from the thread that creates it. An optional method
    ``check(keys) -> bool``, which tells without waiting whether all the keys have values, saves
    time.
    """

    def set(self, key: str, value: bytes, /) -> object:
        """Write a value, over an older one if there is one."""

    def get(self, key: str, /) -> bytes | str:
        """Return the value of a key that has one. Kirsh asks only for those."""

    def wait(self, keys: list[str], timeout: timedelta, /) -> object:
        """Return once all the keys have values; raise anything once the time is over."""

    def add(self, key: str, amount: int, /) -> int:
        """Add to a counter that starts at 0, atomically, and return the sum.

        A counter shares the space of keys with the values, and reads as decimal text.
        """
        ...
