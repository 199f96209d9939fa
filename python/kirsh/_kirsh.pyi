"""Types of the extension module, which is written in Rust (python/src)."""

from collections.abc import Sequence
from types import GenericAlias, TracebackType
from typing import Any, Generic, Literal, NoReturn, Self, TypeVar, final, overload

from ._ops import ReduceOp
from ._store import Store

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)
_Out = TypeVar("_Out")

__all__ = [
    "Communicator",
    "Stats",
    "Work",
    "__version__",
    "cli_main",
    "leave_all",
    "log_level",
    "log_next",
    "log_stop",
]

__version__: str

@final
class Stats:
    @property
    def operations(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def bytes_received_direct(self) -> int: ...
    @property
    def bytes_copied(self) -> int: ...
    @property
    def frames_sent(self) -> int: ...
    @property
    def frames_received(self) -> int: ...

@final
class Work(Generic[_T_co]):
    def wait(self, timeout: float | None = None) -> _T_co: ...
    def test(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def sequence(self) -> int: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __reduce_ex__(self, _protocol: object, /) -> NoReturn: ...

@final
class Communicator:
    def __new__(
        cls,
        *,
        rank: int | None = None,
        world_size: int | None = None,
        rendezvous: str | None = None,
        store: Store | None = None,
        timeout: float | None = None,
        join_timeout: float | None = None,
        job_id: str | None = None,
    ) -> Self: ...
    @overload
    def allreduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = "sum",
        out: None = None,
        async_op: Literal[False] = False,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> _T: ...
    @overload
    def allreduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = "sum",
        out: _Out,
        async_op: Literal[False] = False,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> _Out: ...
    @overload
    def allreduce(
        self,
        x: _T,
        *,
        op: ReduceOp | str = "sum",
        out: None = None,
        async_op: Literal[True],
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Work[_T]: ...
    @overload
    def allreduce(
        self,
        x: object,
        *,
        op: ReduceOp | str = "sum",
        out: _Out,
        async_op: Literal[True],
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Work[_Out]: ...
    @overload
    def allreduce(
        self,
        x: Any,
        *,
        op: ReduceOp | str = "sum",
        out: Any = None,
        async_op: bool,
        timeout: float | None = None,
        scale: float | None = None,
        algorithm: str | None = None,
    ) -> Any: ...
    @overload
    def broadcast(
        self,
        x: _T,
        *,
        root: int = 0,
        async_op: Literal[False] = False,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> _T: ...
    @overload
    def broadcast(
        self,
        x: _T,
        *,
        root: int = 0,
        async_op: Literal[True],
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Work[_T]: ...
    @overload
    def broadcast(
        self,
        x: Any,
        *,
        root: int = 0,
        async_op: bool,
        timeout: float | None = None,
        algorithm: str | None = None,
    ) -> Any: ...
    @overload
    def barrier(self, *, async_op: Literal[False] = False, timeout: float | None = None) -> None: ...
    @overload
    def barrier(self, *, async_op: Literal[True], timeout: float | None = None) -> Work[None]: ...
    @overload
    def barrier(self, *, async_op: bool, timeout: float | None = None) -> Any: ...
    def rank(self) -> int: ...
    def size(self) -> int: ...
    def local_rank(self) -> int: ...
    def local_size(self) -> int: ...
    def launched(self) -> bool: ...
    def driver(self) -> str: ...
    def stats(self) -> Stats: ...
    def abort(self, reason: str = "") -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> Literal[False]: ...
    def __reduce_ex__(self, _protocol: object, /) -> NoReturn: ...

def cli_main(argv: Sequence[str]) -> int: ...
def leave_all(seconds: float) -> None: ...
def log_level(level: int) -> None: ...
def log_next() -> tuple[int, str, int] | None: ...
def log_stop() -> None: ...
