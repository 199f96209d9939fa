"""The calls that combine the arrays of all ranks, element by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import _kirsh
from ._kirsh import Work
from ._ops import ReduceOp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T")
_Out = TypeVar("_Out")


class Reducing(_kirsh.Communicator):
    """Allreduce and its relatives."""

    __slots__ = ()

    @overload
    def allreduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _T: ...
    @overload
    def allreduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _Out: ...
    @overload
    def allreduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_T]: ...
    @overload
    def allreduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def allreduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def allreduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Combine ``x`` over all ranks, in place unless ``out`` is given, and return the result.

        Collective: all ranks call it with the same shape, dtype and ``op``, and with the same order
        of elements in memory. Blocks, without the GIL, until the result is there; every rank gets
        the same bits.

        :param x: a dense array in host memory (NumPy, torch, ``array``, ``bytearray``, anything
            with the buffer protocol, ``__array_interface__`` or DLPack), in C order, Fortran order
            or a transposition of these; or a number, for which a number is returned: an int travels
            as int64, a float as float64, a complex as complex128. Nothing is copied behind your back: other strided arrays,
            and read-only ones without ``out``, are errors.
        :param op: ``kirsh.SUM`` and the other members of :class:`kirsh.ReduceOp`.
        :param out: where the result goes: an array of the same dtype, shape and strides, which
            shares no memory with ``x``. ``x`` is only read then.
        :param async_op: return a :class:`kirsh.Work` at once; its ``wait()`` returns the result.
            The arrays are lent until then.
        :param timeout: seconds that the operation may take on this rank, ``math.inf`` for no limit.
            When they are over, the communicator is of no use any more.
        :param scale: this rank's factor, for ``kirsh.PREMUL_SUM`` only.
        :param weight: how much this rank counts in the mean, such as its number of samples, for
            ``kirsh.AVG`` only: the result is the sum of ``weight * x`` by the sum of the weights.
            All ranks give one, or none does. The weights are exchanged first, which is one more
            small operation, and blocks also where the call itself is only started.
        :param algorithm: the name of an algorithm for this collective, such as "ring", where the
            library is not to choose. An unknown one is refused with the names that there are.
        :param wire: how float32 elements travel: "bf16" or "f16" (half the bytes), "int8" (a
            quarter, with a scale for each 256 elements) or "none". The result is rounded, by as
            much as ``docs/WIRE.md`` says, and still the same bits on every rank. Where it is left
            out, what :func:`kirsh.init` was told holds for the calls that can be encoded. Named
            here, it is an error in those that cannot: other dtypes, ``kirsh.PROD``, an
            ``algorithm`` without that form.
        :raises KirshError: see its subclasses. After most of them the contents of the array are
            undefined. A call that is refused here for its arguments fails on the other ranks too.
        """
        return self._call(
            "allreduce",
            x,
            op=op,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def allreduce_many(
        self,
        arrays: list[_T],
        *,
        op: ReduceOp | str = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> list[_T]: ...
    @overload
    def allreduce_many(
        self,
        arrays: list[_T],
        *,
        op: ReduceOp | str = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[list[_T]]: ...
    @overload
    def allreduce_many(
        self,
        arrays: list[Any],
        *,
        op: ReduceOp | str = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def allreduce_many(
        self,
        arrays: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Combine several arrays over all ranks, in place, in one operation, and return the list.

        The arrays of a rank count as one, one behind the other, but nothing is packed or copied:
        all gradients of a model in one call. They have one dtype, and on every rank the same number
        of elements in all. The arguments are those of :func:`allreduce`.
        """
        return self._call(
            "allreduce",
            arrays,
            many=True,
            op=op,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def reduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> _T | None: ...
    @overload
    def reduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out | None: ...
    @overload
    def reduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_T | None]: ...
    @overload
    def reduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out | None]: ...
    @overload
    def reduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def reduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        root: int = 0,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Combine ``x`` over all ranks into the root's, in place unless the root gives ``out``.

        Returns the result on the root, and None on the other ranks, whose ``x`` is only read. The
        arguments are those of :func:`allreduce`; ``out`` is for the root alone.
        """
        return self._call(
            "reduce",
            x,
            op=op,
            root=root,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
        )

    @overload
    def reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _Out: ...
    @overload
    def reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def reduce_scatter(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Combine ``x`` over all ranks, and return this rank's part of the result in a new array.

        ``x`` is only read. Its first axis is divided evenly: of ``n`` ranks, rank ``r`` gets rows
        ``r * len(x) // n`` to ``(r + 1) * len(x) // n``; a length that cannot be divided is an
        error. This is the inverse of :func:`allgather`, whose rules for arrays and ``out`` hold
        here; the other arguments are those of :func:`allreduce`.
        """
        return self._call(
            "reduce_scatter",
            x,
            op=op,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def reduce_scatterv(
        self,
        x: object,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> NDArray[Any]: ...
    @overload
    def reduce_scatterv(
        self,
        x: object,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> _Out: ...
    @overload
    def reduce_scatterv(
        self,
        x: object,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[NDArray[Any]]: ...
    @overload
    def reduce_scatterv(
        self,
        x: object,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def reduce_scatterv(
        self,
        x: object,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Any: ...
    def reduce_scatterv(
        self,
        x: Any,
        counts: Sequence[int],
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Any:
        """Combine ``x`` over all ranks; return this rank's ``counts[rank]`` rows in a new array.

        :param counts: how many rows of ``x`` each rank gets, the same list on every rank; the sum
            is the length of ``x``. All else is as for :func:`reduce_scatter`.
        """
        return self._call(
            "reduce_scatterv",
            x,
            counts=counts,
            op=op,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def scan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> _T: ...
    @overload
    def scan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def scan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_T]: ...
    @overload
    def scan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def scan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def scan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Combine ``x`` of ranks 0 to this one, in place unless ``out`` is given; return the result.

        Rank ``r`` gets what ranks 0 to ``r`` combine to. The arguments are those of
        :func:`allreduce`. ``kirsh.AVG`` is refused: divide a sum by ``rank + 1``.
        """
        return self._call(
            "scan",
            x,
            op=op,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            algorithm=algorithm,
        )

    @overload
    def exscan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> _T: ...
    @overload
    def exscan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[False] = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> _Out: ...
    @overload
    def exscan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_T]: ...
    @overload
    def exscan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Work[_Out]: ...
    @overload
    def exscan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ...,
        out: Any = ...,
        async_op: bool,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Any: ...
    def exscan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        async_op: bool = False,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Any:
        """Combine ``x`` of the ranks below, in place unless ``out`` is given; return the result.

        Rank ``r`` gets what ranks 0 to ``r - 1`` combine to. For rank 0 there are none: its array
        (its ``out``, if given) is left as it was. The arguments are those of :func:`allreduce`.
        """
        return self._call(
            "exscan",
            x,
            op=op,
            out=out,
            async_op=async_op,
            timeout=timeout,
            scale=scale,
            algorithm=algorithm,
        )
