"""Messages from one rank to another."""

from __future__ import annotations

from typing import Any, Literal, overload

from . import _kirsh
from ._kirsh import ANY_SOURCE, ANY_TAG, Received, Work


class Messages(_kirsh.Communicator):
    """Sending and receiving, outside the order of collectives.

    A message has a tag, and a receive says whose message it takes and under which tag: the first
    that fits. Messages of one rank under one tag are received in the order in which they were
    sent, and one that nobody receives keeps no other from being received.
    """

    __slots__ = ()

    @overload
    def send(
        self,
        x: object,
        dst: int,
        *,
        tag: int = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
    ) -> None: ...
    @overload
    def send(
        self,
        x: object,
        dst: int,
        *,
        tag: int = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
    ) -> Work[None]: ...
    @overload
    def send(
        self,
        x: object,
        dst: int,
        *,
        tag: int = ...,
        async_op: bool,
        timeout: float | None = ...,
    ) -> Any: ...
    def send(
        self,
        x: Any,
        dst: int,
        *,
        tag: int = 0,
        async_op: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Send ``x`` to rank ``dst``, which may be this one, where a :func:`recv` takes it.

        Blocks, without the GIL, until ``x`` may be changed. A short message (up to 16 KiB) may
        then still be on its way, as long as less than 256 of them and 1 MiB from this rank wait
        there; a longer one has been received. So two ranks that send long messages to one another
        before they receive wait for ever: use :func:`sendrecv`, or start one of the two.

        :param x: an array as for :func:`allreduce`, in any dense order, or a number. It is only
            read. What travels is its elements in the order in which they lie in memory, and their
            dtype; the shape does not.
        :param tag: 0 to 2**32 - 1.
        :param async_op: return a :class:`kirsh.Work` at once; ``x`` is lent until it is over.
        :param timeout: seconds that it may take. What runs out of time fails alone, with the scope
            "call", unless bytes of the message are stuck on their way: those end the communicator.
        :raises KirshTimeoutError: nobody has received a long message in time.
        :raises PeerLostError: ``dst`` is gone; the communicator is over.
        """
        return _kirsh.send(self, x, dst, tag=tag, async_op=async_op, timeout=timeout)

    @overload
    def recv(
        self,
        out: object,
        src: int = ...,
        *,
        tag: int = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
    ) -> Received: ...
    @overload
    def recv(
        self,
        out: object,
        src: int = ...,
        *,
        tag: int = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
    ) -> Work[Received]: ...
    @overload
    def recv(
        self,
        out: object,
        src: int = ...,
        *,
        tag: int = ...,
        async_op: bool,
        timeout: float | None = ...,
    ) -> Any: ...
    def recv(
        self,
        out: Any,
        src: int = ANY_SOURCE,
        *,
        tag: int = ANY_TAG,
        async_op: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Receive a message into ``out``; return whose it is, its tag and its length.

        It takes the first message that fits by source and tag, and blocks, without the GIL, until
        one is there. ``out`` is what it has room in: where the message is shorter, the elements
        behind it stay as they are, and ``count`` of the :class:`kirsh.Received` tells how many
        came.

        :param out: a writable array, in any dense order, of the dtype of the message. Its elements
            are filled in the order in which they lie in memory.
        :param src: the rank whose message it is to be, or :data:`kirsh.ANY_SOURCE`.
        :param tag: the tag that the message is to have, or :data:`kirsh.ANY_TAG`.
        :param async_op: return a :class:`kirsh.Work` at once, whose ``wait()`` returns the
            :class:`kirsh.Received`; ``out`` is lent until it is over.
        :param timeout: as in :func:`send`. A message that comes later is there for the next
            receive; what had come in part is lost.
        :raises MismatchError: the message is longer than ``out``, or of another dtype; says what it
            is and from whom. It is dropped, and the communicator goes on.
        :raises PeerLostError: ``src`` is gone, or with ANY_SOURCE all others are; the communicator
            is over.
        """
        return _kirsh.recv(self, out, src, tag=tag, async_op=async_op, timeout=timeout)

    def sendrecv(
        self,
        x: object,
        dst: int,
        out: object,
        src: int,
        *,
        tag: int = 0,
        timeout: float | None = None,
    ) -> Received:
        """Send ``x`` to rank ``dst`` and receive into ``out`` from ``src``, both under one tag.

        Blocks, without the GIL, until both are done. They go on at once, so ranks that exchange
        messages in this way, in pairs or in a ring, never wait for one another, however long those
        are. The arguments are those of :func:`send` and :func:`recv`; ``x`` and ``out`` must not
        overlap. Where both fail, the send's error is raised.
        """
        return _kirsh.sendrecv(self, x, dst, out, src, tag=tag, timeout=timeout)
