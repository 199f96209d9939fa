"""The calls that move arrays, or parts of them, from rank to rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import _kirsh
from ._kirsh import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T")
_Out = TypeVar("_Out")


class Moving(_kirsh.Communicator):
    """Broadcast, allgather and their relatives, with equal parts for all ranks."""

    __slots__ = ()

    @overload
    def broadcast(
        self,
        x: _T,
        *,
        root: int = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _T: ...
    @overload
    def broadcast(
        self,
        x: _T,
        *,
        root: int = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_T]: ...
    @overload
    def broadcast(
        self,
        x: Any,
        *,
        root: int = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def broadcast(
        self,
        x: Any,
        *,
        root: int = 0,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Copy ``x`` of rank ``root`` over ``x`` of all other ranks, in place, and return it.

        Collective: all ranks call it with the same root, shape and dtype, and with the same order
        of elements in memory. ``x`` and the other arguments are those of :func:`allreduce`; for a
        number the root's is returned.
        """
        return self._call(
            "broadcast",
            x,
            root=root,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def allgather(
        self,
        x: object,
        *,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def allgather(
        self,
        x: object,
        *,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _Out: ...
    @overload
    def allgather(
        self,
        x: object,
        *,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def allgather(
        self,
        x: object,
        *,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def allgather(
        self,
        x: object,
        *,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def allgather(
        self,
        x: Any,
        *,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Return the arrays of all ranks in a new one, one behind the other along the first axis.

        Collective: all ranks call it with the same shape and dtype. An array without dimensions, or
        a number, gives one element for each rank. ``x`` is only read.

        :param x: an array as for :func:`allreduce`, row by row in memory (C order).
        :param out: where the result goes instead: an array of the dtype of ``x``, in C order,
            writable, with the world size times its rows. Where ``x`` is this rank's own part of
            ``out``, nothing is copied. Without ``out`` the result is a NumPy array, whatever ``x``
            is.
        :param async_op: return a :class:`kirsh.Work` at once; its ``wait()`` returns the result.
        :param timeout: as for :func:`allreduce`, and so is ``algorithm``.
        """
        return self._call(
            "allgather",
            x,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any] | None: ...
    @overload
    def gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out | None: ...
    @overload
    def gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any] | None]: ...
    @overload
    def gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out | None]: ...
    @overload
    def gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def gather(
        self,
        x: Any,
        *,
        root: int = 0,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Return the arrays of all ranks in a new one on the root, and None on the other ranks.

        As :func:`allgather` otherwise. ``out`` is for the root alone.
        """
        return self._call(
            "gather",
            x,
            root=root,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def scatter(
        self,
        x: object = None,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def scatter(
        self,
        x: object = None,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def scatter(
        self,
        x: object = None,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def scatter(
        self,
        x: object = None,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def scatter(
        self,
        x: object = None,
        *,
        root: int = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def scatter(
        self,
        x: Any = None,
        *,
        root: int = 0,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Return this rank's part of the root's ``x``: on the root a new array, elsewhere ``out``.

        The first axis of ``x`` is divided evenly among the ranks; a length that cannot be divided
        is an error. The other ranks pass no ``x``, and must give ``out``, which says what they
        expect: its dtype is that of ``x``, and it has the world size's share of its rows. The root
        may give one.
        """
        return self._call(
            "scatter",
            x,
            root=root,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def alltoall(
        self,
        x: object,
        *,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def alltoall(
        self,
        x: object,
        *,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def alltoall(
        self,
        x: object,
        *,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def alltoall(
        self,
        x: object,
        *,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def alltoall(
        self,
        x: object,
        *,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def alltoall(
        self,
        x: Any,
        *,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Send part ``r`` of ``x`` to each rank ``r``; return what they sent here in a new array.

        The first axis of ``x`` is divided evenly among the ranks; a length that cannot be divided
        is an error. The result has the shape of ``x``: the part from rank 0, from rank 1, and so
        on. With ``out=x`` it goes over ``x`` itself, for which Kirsh copies ``x`` first.
        """
        return self._call(
            "alltoall",
            x,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def barrier(
        self, *, async_op: Literal[False] = ..., timeout: float | None = ...
    ) -> None: ...
    @overload
    def barrier(self, *, async_op: Literal[True], timeout: float | None = ...) -> Work[None]: ...
    @overload
    def barrier(self, *, async_op: bool, timeout: float | None = ...) -> Any: ...
    def barrier(self, *, async_op: bool = False, timeout: float | None = None) -> Any:
        """Wait until every rank has called this. Collective; blocks without the GIL."""
        return self._call("barrier", async_op=async_op, timeout=timeout)
