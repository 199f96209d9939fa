"""Calls that are prepared once and made many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from . import _kirsh
from ._kirsh import Plan
from ._ops import ReduceOp

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = TypeVar("_T")
_Out = TypeVar("_Out")


class Planned(_kirsh.Communicator):
    """The ``plan_`` methods.

    Each takes the arguments of the call of its name, checks them, chooses an algorithm and returns
    a :class:`kirsh.Plan`, whose runs do nothing of that again. Planning is not collective, except
    with ``weight``, which the ranks exchange then. Where the call makes a new array, the plan does
    so once, and each run's result is that array.
    """

    __slots__ = ()

    @overload
    def plan_allreduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[_T]: ...
    @overload
    def plan_allreduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_allreduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`allreduce`, in place unless ``out`` is given."""
        return self._plan(
            "allreduce",
            x,
            op=op,
            out=out,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    def plan_allreduce_many(
        self,
        arrays: list[_T],
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Plan[list[_T]]:
        """Prepare :meth:`allreduce_many`, in place."""
        return self._plan(
            "allreduce",
            arrays,
            many=True,
            op=op,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def plan_reduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: None = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_T | None]: ...
    @overload
    def plan_reduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        root: int = ...,
        out: _Out,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out | None]: ...
    def plan_reduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        root: int = 0,
        out: Any = None,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`reduce`, in place unless the root gives ``out``."""
        return self._plan(
            "reduce",
            x,
            op=op,
            root=root,
            out=out,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
        )

    @overload
    def plan_scan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_T]: ...
    @overload
    def plan_scan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_scan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`scan`, in place unless ``out`` is given."""
        return self._plan(
            "scan",
            x,
            op=op,
            out=out,
            timeout=timeout,
            scale=scale,
            algorithm=algorithm,
        )

    @overload
    def plan_exscan(
        self,
        x: _T,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_T]: ...
    @overload
    def plan_exscan(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        timeout: float | None = ...,
        scale: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_exscan(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`exscan`, in place unless ``out`` is given."""
        return self._plan(
            "exscan",
            x,
            op=op,
            out=out,
            timeout=timeout,
            scale=scale,
            algorithm=algorithm,
        )

    def plan_broadcast(
        self,
        x: _T,
        *,
        root: int = 0,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[_T]:
        """Prepare :meth:`broadcast`, in place."""
        return self._plan(
            "broadcast",
            x,
            root=root,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def plan_allgather(
        self,
        x: object,
        *,
        out: None = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[NDArray[Any]]: ...
    @overload
    def plan_allgather(
        self,
        x: object,
        *,
        out: _Out,
        timeout: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_allgather(
        self,
        x: Any,
        *,
        out: Any = None,
        timeout: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`allgather` on these arrays."""
        return self._plan(
            "allgather",
            x,
            out=out,
            timeout=timeout,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def plan_reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: None = ...,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[NDArray[Any]]: ...
    @overload
    def plan_reduce_scatter(
        self,
        x: object,
        *,
        op: ReduceOp | str = ...,
        out: _Out,
        timeout: float | None = ...,
        scale: float | None = ...,
        weight: float | None = ...,
        algorithm: str | None = ...,
        wire: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_reduce_scatter(
        self,
        x: Any,
        *,
        op: ReduceOp | str = ReduceOp.SUM,
        out: Any = None,
        timeout: float | None = None,
        scale: float | None = None,
        weight: float | None = None,
        algorithm: str | None = None,
        wire: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`reduce_scatter` on these arrays."""
        return self._plan(
            "reduce_scatter",
            x,
            op=op,
            out=out,
            timeout=timeout,
            scale=scale,
            weight=weight,
            algorithm=algorithm,
            wire=wire,
        )

    @overload
    def plan_gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: None = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[NDArray[Any] | None]: ...
    @overload
    def plan_gather(
        self,
        x: object,
        *,
        root: int = ...,
        out: _Out,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out | None]: ...
    def plan_gather(
        self,
        x: Any,
        *,
        root: int = 0,
        out: Any = None,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`gather` on these arrays."""
        return self._plan(
            "gather",
            x,
            root=root,
            out=out,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def plan_scatter(
        self,
        x: object = ...,
        *,
        root: int = ...,
        out: None = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[NDArray[Any]]: ...
    @overload
    def plan_scatter(
        self,
        x: object = ...,
        *,
        root: int = ...,
        out: _Out,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_scatter(
        self,
        x: Any = None,
        *,
        root: int = 0,
        out: Any = None,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`scatter` on these arrays."""
        return self._plan(
            "scatter",
            x,
            root=root,
            out=out,
            timeout=timeout,
            algorithm=algorithm,
        )

    @overload
    def plan_alltoall(
        self,
        x: object,
        *,
        out: None = ...,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[NDArray[Any]]: ...
    @overload
    def plan_alltoall(
        self,
        x: object,
        *,
        out: _Out,
        timeout: float | None = ...,
        algorithm: str | None = ...,
    ) -> Plan[_Out]: ...
    def plan_alltoall(
        self,
        x: Any,
        *,
        out: Any = None,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Plan[Any]:
        """Prepare :meth:`alltoall` on these arrays."""
        return self._plan(
            "alltoall",
            x,
            out=out,
            timeout=timeout,
            algorithm=algorithm,
        )

    def plan_barrier(self, *, timeout: float | None = None) -> Plan[None]:
        """Prepare :meth:`barrier`."""
        return self._plan("barrier", timeout=timeout)
