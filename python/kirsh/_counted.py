"""The calls that move parts of differing lengths: so many rows for each rank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import _kirsh
from ._kirsh import Work

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Out = TypeVar("_Out")


class Counted(_kirsh.Communicator):
    """Allgatherv and its relatives. Counts are lengths along the first axis: rows."""

    __slots__ = ()

    @overload
    def allgatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def allgatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _Out: ...
    @overload
    def allgatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def allgatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def allgatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def allgatherv(
        self,
        x: Any,
        counts: Sequence[int] | None = None,
        *,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Return the arrays of all ranks, of any lengths, in a new one along the first axis.

        :param counts: the lengths of all ranks' arrays, given on every rank or on none. Where it is
            None the ranks tell each other first, which is one more small operation; it blocks also
            where the call itself is only started.

        All else is as for :func:`allgather`; the shapes agree but for the first axis.
        """
        return self._call(
            "allgatherv",
            x,
            counts=counts,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def gatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any] | None: ...
    @overload
    def gatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out | None: ...
    @overload
    def gatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any] | None]: ...
    @overload
    def gatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out | None]: ...
    @overload
    def gatherv(
        self,
        x: object,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def gatherv(
        self,
        x: Any,
        counts: Sequence[int] | None = None,
        *,
        root: int = 0,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Return the arrays of all ranks, which may differ in length, in a new one on the root.

        The other ranks get None. ``counts`` is as for :func:`allgatherv`, all else as for
        :func:`gather`.
        """
        return self._call(
            "gatherv",
            x,
            counts=counts,
            root=root,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def scatterv(
        self,
        x: object = None,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def scatterv(
        self,
        x: object = None,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def scatterv(
        self,
        x: object = None,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def scatterv(
        self,
        x: object = None,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def scatterv(
        self,
        x: object = None,
        counts: Sequence[int] | None = ...,
        *,
        root: int = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def scatterv(
        self,
        x: Any = None,
        counts: Sequence[int] | None = None,
        *,
        root: int = 0,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Return this rank's rows of the root's ``x``: on the root a new array, elsewhere ``out``.

        :param counts: how many rows each rank gets, which the root has to say; their sum is the
            length of ``x``. On the other ranks the length of ``out`` says it.

        All else is as for :func:`scatter`.
        """
        return self._call(
            "scatterv",
            x,
            counts=counts,
            root=root,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def alltoallv(
        self,
        x: object,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = ...,
        *,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def alltoallv(
        self,
        x: object,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = ...,
        *,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def alltoallv(
        self,
        x: object,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = ...,
        *,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def alltoallv(
        self,
        x: object,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = ...,
        *,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def alltoallv(
        self,
        x: object,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = ...,
        *,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def alltoallv(
        self,
        x: Any,
        send_counts: Sequence[int],
        recv_counts: Sequence[int] | None = None,
        *,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Send some rows of ``x`` to each rank, and return what they sent here in a new array.

        :param send_counts: how many rows go to each rank, in the order of ranks; their sum is the
            length of ``x``.
        :param recv_counts: how many rows come from each, given on every rank or on none. Where it
            is None the ranks tell each other first, which is one more small operation; it blocks
            also where the call itself is only started.

        All else is as for :func:`alltoall`, but that ``out`` shares no memory with ``x``.
        """
        return self._call(
            "alltoallv",
            x,
            counts=send_counts,
            recv_counts=recv_counts,
            out=out,
            async_op=async_op,
            timeout=timeout,
            algorithm=algorithm,
        )
