"""Calls on Python objects rather than arrays: pickled ones, and states that should be equal."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterator
from typing import Any, TypeVar

from ._counted import Counted
from ._errors import KirshError, MismatchError, UnsupportedError
from ._kirsh import Memory
from ._moving import Moving

_T = TypeVar("_T")

#: Stands for a length where a rank has nothing to send, because it failed.
_FAILED = -1

#: Bytes of a digest: by chance two differing states agree once in 2 to the power of 128.
_DIGEST_BYTES = 16


class Objects(Moving, Counted):
    """Pickles between ranks that trust each other, and comparing what ranks have."""

    __slots__ = ()

    def broadcast_object(self, obj: _T, *, root: int = 0, timeout: float | None = None) -> _T:
        """Return the root's object in a new one on every other rank, and itself on the root.

        Collective; blocks. The object travels as a pickle, of which the length goes first: two
        broadcasts. What the other ranks pass as ``obj`` is not looked at. Reading a pickle runs
        what code it names, so this is refused unless the peers have proven to belong to the job:
        ``kirsh run`` and ``kirsh.spawn`` see to that, and by hand ``KIRSH_TOKEN_FILE`` does.

        :raises KirshError: the job has no token, or the root could not pickle its object; the
            communicator goes on then. On the root the latter raises what pickling raised.
        """
        self._check_trust("broadcast_object")
        payload, failure = _pickled(obj) if self.rank() == root else (b"", None)
        length = self.broadcast(
            _FAILED if failure is not None else len(payload), root=root, timeout=timeout
        )
        if failure is not None:
            raise failure
        if length == _FAILED:
            raise self._told("broadcast_object", root)
        buffer = bytearray(payload) if self.rank() == root else self._room(length)
        self.broadcast(buffer, root=root, timeout=timeout)
        return obj if self.rank() == root else pickle.loads(buffer)

    def allgather_object(self, obj: _T, *, timeout: float | None = None) -> list[_T]:
        """Return the objects of all ranks in a new list, in the order of ranks.

        Collective; blocks. The objects travel as pickles, of which the lengths go first. The rules
        are those of :meth:`broadcast_object`; this rank's own entry is ``obj`` itself.
        """
        self._check_trust("allgather_object")
        payload, failure = _pickled(obj)
        length = _FAILED if failure is not None else len(payload)
        mine = length.to_bytes(8, "little", signed=True)
        told = self._room(8 * self.size())
        self.allgather(mine, out=told, timeout=timeout)
        lengths = list(memoryview(told).cast("q"))
        if failure is not None:
            raise failure
        if _FAILED in lengths:
            raise self._told("allgather_object", lengths.index(_FAILED))
        every = self._room(sum(lengths))
        self.allgatherv(payload, lengths, out=every, timeout=timeout)
        objects: list[_T] = []
        begin = 0
        for rank, length in enumerate(lengths):
            part = memoryview(every)[begin : begin + length]
            objects.append(obj if rank == self.rank() else pickle.loads(part))
            begin += length
        return objects

    def check_equal(self, state: object, *, timeout: float | None = None) -> None:
        """Check that ``state`` is the same on all ranks, and raise on all of them where it is not.

        Collective; blocks; changes nothing. A state is an array, a number, a string, None, or a
        dict, list or tuple of states, such as ``model.state_dict()``. Compared are names, shapes,
        dtypes and a hash of the contents; no payload travels, and where all is equal only 17 bytes
        from each rank do. Keys are compared in sorted order. Arrays are dense, as for
        :func:`allreduce`, and NaN is equal to NaN of the same bits.

        :raises MismatchError: names the first tensor that differs and the ranks where it does, as
            against rank 0; ``peer`` is the first of these. The communicator goes on.
        :raises UnsupportedError: a rank's state holds something else.
        """
        failure: Exception | None = None
        listing: list[list[str]] = []
        try:
            listing = [list(entry) for entry in _entries(state, "")]
        except Exception as error:
            failure = error
        text = json.dumps(listing).encode() if failure is None else b""
        mine = bytes([failure is not None]) + _digest(text)
        told = self._room(len(mine) * self.size())
        self.allgather(mine, out=told, timeout=timeout)
        summaries = [bytes(told[i : i + len(mine)]) for i in range(0, len(told), len(mine))]
        if failure is not None:
            raise failure
        for rank, summary in enumerate(summaries):
            if summary[0]:
                raise UnsupportedError(
                    f"rank {rank} could not read its state, and says why",
                    kind="unsupported",
                    rank=self.rank(),
                    peer=rank,
                    operation="check_equal",
                )
        if len(set(summaries)) == 1:
            return
        lengths = self._room(8 * self.size())
        self.allgather(len(text).to_bytes(8, "little"), out=lengths, timeout=timeout)
        counts = list(memoryview(lengths).cast("q"))
        every = self._room(sum(counts))
        self.allgatherv(text, counts, out=every, timeout=timeout)
        listings = []
        begin = 0
        for count in counts:
            listings.append([tuple(entry) for entry in json.loads(every[begin : begin + count])])
            begin += count
        peer, said = _first_difference(listings)
        raise MismatchError(
            said, kind="mismatch", rank=self.rank(), peer=peer, operation="check_equal"
        )

    def _check_trust(self, operation: str) -> None:
        if not self.authenticated():
            raise KirshError(
                f"{operation} reads pickles, which can run any code, and this job has no token to "
                "tell its ranks from others: start it with `kirsh run` or kirsh.spawn, or set "
                "KIRSH_TOKEN_FILE on every rank (`kirsh token` writes the file)",
                kind="authentication",
                rank=self.rank(),
                operation=operation,
            )

    def _told(self, operation: str, peer: int) -> KirshError:
        return KirshError(
            f"rank {peer} could not pickle its object, and says why",
            kind="refused",
            rank=self.rank(),
            peer=peer,
            operation=operation,
        )

    def _room(self, length: int) -> bytearray:
        """Memory for what the peers announced; where there is none, they are told."""
        try:
            return bytearray(length)
        except (MemoryError, OverflowError, ValueError):
            self.abort(f"no memory for {length} bytes that were announced")
            raise


def _pickled(obj: object) -> tuple[bytes, Exception | None]:
    try:
        return pickle.dumps(obj, protocol=pickle.HIGHEST_PROTOCOL), None
    except Exception as error:
        return b"", error


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _entries(state: object, name: str) -> Iterator[tuple[str, str, str]]:
    """What is in a state: name, description and hash of each thing, in the order of names."""
    if isinstance(state, dict):
        yield name, "dict", ""
        for key in sorted(state, key=lambda key: (str(key), type(key).__name__)):
            yield from _entries(state[key], f"{name}.{key}" if name else str(key))
    elif isinstance(state, (list, tuple)):
        yield name, type(state).__name__, ""
        for index, part in enumerate(state):
            yield from _entries(part, f"{name}[{index}]")
    elif state is None or isinstance(state, (bool, int, float, complex, str)):
        yield name, type(state).__name__, _digest(repr(state).encode()).hex()
    else:
        yield name, *_array(state, name)


def _array(state: Any, name: str) -> tuple[str, str]:
    try:
        memory = Memory(state.detach() if _needs_detach(state) else state)
    except KirshError as error:
        error.args = (f"{name or 'the state'}: {error}",)
        raise
    order = "" if memory.row_major else ", not row by row"
    return f"{memory.dtype} {memory.shape}{order}", _digest(memory.view()).hex()


def _needs_detach(state: Any) -> bool:
    """Parameters of torch give their memory only without their gradient."""
    return bool(getattr(state, "requires_grad", False)) and hasattr(state, "detach")


def _first_difference(listings: list[list[tuple[str, str, str]]]) -> tuple[int, str]:
    """The first rank that differs from rank 0 in the first thing that differs, and words for it."""
    names = {entry[0] for entry in listings[0]}
    longest = max(len(listing) for listing in listings)
    for index in range(longest):
        entries = [listing[index] if index < len(listing) else None for listing in listings]
        ranks = [rank for rank, entry in enumerate(entries) if entry != entries[0]]
        if not ranks:
            continue
        peer = ranks[0]
        mine, theirs = entries[0], entries[peer]
        others = "rank " + str(peer) if len(ranks) == 1 else "ranks " + ", ".join(map(str, ranks))
        if mine is None or (theirs is not None and theirs[0] not in names):
            said = f"it has {_name(theirs)}, and rank 0 does not"
        elif theirs is None or theirs[0] != mine[0]:
            said = f"it lacks {_name(mine)}"
        elif mine[1] != theirs[1]:
            said = f"{_name(mine)} is {theirs[1]}, and on rank 0 {mine[1]}"
        else:
            said = f"{_name(mine)}, {mine[1]}, has other contents than on rank 0"
        return peer, f"the state of {others} differs from that of rank 0: {said}"
    raise KirshError("the hashes of the states differ, and their listings do not", kind="internal")


def _name(entry: tuple[str, str, str] | None) -> str:
    return repr(entry[0]) if entry is not None and entry[0] else "the state itself"
