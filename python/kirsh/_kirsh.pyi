"""Types of the extension module, which is written in Rust (python/src)."""

import sys
from collections.abc import Sequence
from os import PathLike
from types import GenericAlias, TracebackType
from typing import Any, Final, Generic, Literal, NoReturn, Self, TypeVar, final

from typing_extensions import disjoint_base

from ._ops import ReduceOp
from ._store import Store

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

__all__ = [
    "ANY_SOURCE",
    "ANY_TAG",
    "Communicator",
    "LaneStats",
    "Made",
    "Memory",
    "PeerStats",
    "Plan",
    "Received",
    "Stats",
    "Work",
    "__version__",
    "call_at",
    "cli_main",
    "feed_back_at",
    "leave_all",
    "log_level",
    "log_next",
    "log_stop",
    "recv",
    "recv_at",
    "refuse_call",
    "send",
    "send_at",
    "sendrecv",
    "simulate",
    "wait_all",
    "wait_any",
]

__version__: str
ANY_SOURCE: Final[int]
ANY_TAG: Final[int]

@final
class Stats:
    @property
    def operations(self) -> int: ...
    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_sent_direct(self) -> int: ...
    @property
    def bytes_sent_zero_copy(self) -> int: ...
    @property
    def bytes_sent_copied_anyway(self) -> int: ...
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
    @property
    def waited_ns(self) -> int: ...
    @property
    def calls_enter(self) -> int: ...
    @property
    def calls_ppoll(self) -> int: ...
    @property
    def calls_sendmsg(self) -> int: ...
    @property
    def calls_recvmsg(self) -> int: ...
    @property
    def progress_calls_enter(self) -> int: ...
    @property
    def progress_calls_ppoll(self) -> int: ...
    @property
    def progress_calls_sendmsg(self) -> int: ...
    @property
    def progress_calls_recvmsg(self) -> int: ...
    @property
    def validations(self) -> int: ...
    @property
    def choices(self) -> int: ...
    @property
    def plans_built(self) -> int: ...
    @property
    def operations_barrier(self) -> int: ...
    @property
    def operations_broadcast(self) -> int: ...
    @property
    def operations_allreduce(self) -> int: ...
    @property
    def operations_reduce(self) -> int: ...
    @property
    def operations_allgather(self) -> int: ...
    @property
    def operations_reduce_scatter(self) -> int: ...
    @property
    def operations_gather(self) -> int: ...
    @property
    def operations_scatter(self) -> int: ...
    @property
    def operations_alltoall(self) -> int: ...
    @property
    def operations_scan(self) -> int: ...
    @property
    def operations_exscan(self) -> int: ...
    @property
    def operations_allgatherv(self) -> int: ...
    @property
    def operations_reduce_scatterv(self) -> int: ...
    @property
    def operations_gatherv(self) -> int: ...
    @property
    def operations_scatterv(self) -> int: ...
    @property
    def operations_alltoallv(self) -> int: ...
    @property
    def operations_send(self) -> int: ...
    @property
    def operations_recv(self) -> int: ...

@final
class LaneStats:
    @property
    def bytes_sent(self) -> int: ...
    @property
    def bytes_received(self) -> int: ...
    @property
    def frames_sent(self) -> int: ...
    @property
    def frames_received(self) -> int: ...
    @property
    def waited_ns(self) -> int: ...

@final
class PeerStats:
    @property
    def rank(self) -> int: ...
    @property
    def world_rank(self) -> int: ...
    @property
    def collective(self) -> LaneStats: ...
    @property
    def direct(self) -> LaneStats: ...
    @property
    def control(self) -> LaneStats: ...

@final
class Received:
    def __new__(cls, source: int, tag: int, count: int, nbytes: int) -> Self: ...
    @property
    def source(self) -> int: ...
    @property
    def tag(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs__(self) -> tuple[int, int, int, int]: ...

@final
class Work(Generic[_T_co]):
    def wait(self, timeout: float | None = None) -> _T_co: ...
    def test(self) -> bool: ...
    @property
    def done(self) -> bool: ...
    @property
    def received(self) -> Received | None: ...
    @property
    def sequence(self) -> int | None: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __reduce_ex__(self, _protocol: object, /) -> NoReturn: ...

@final
class Plan(Generic[_T_co]):
    def run(self) -> _T_co: ...
    def start(self) -> Work[_T_co]: ...
    def __class_getitem__(cls, key: object) -> GenericAlias: ...
    def __reduce_ex__(self, _protocol: object, /) -> NoReturn: ...

@final
class Memory:
    def __new__(cls, x: object) -> Self: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def row_major(self) -> bool: ...
    def view(self) -> memoryview: ...
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Made: ...

@disjoint_base
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
        wire: str | None = None,
        _made: Made | None = None,
    ) -> Self: ...
    def _call(
        self,
        collective: str,
        x: object = None,
        *,
        out: object = None,
        op: ReduceOp | str | None = None,
        root: int | None = None,
        counts: Sequence[int] | None = None,
        recv_counts: Sequence[int] | None = None,
        many: bool = False,
        async_op: bool | None = None,
        timeout: float | None = None,
        algorithm: str | None = None,
        scale: float | None = None,
        weight: float | None = None,
        wire: str | None = None,
    ) -> Any: ...
    def _plan(
        self,
        collective: str,
        x: object = None,
        *,
        out: object = None,
        op: ReduceOp | str | None = None,
        root: int | None = None,
        many: bool = False,
        timeout: float | None = None,
        algorithm: str | None = None,
        scale: float | None = None,
        weight: float | None = None,
        wire: str | None = None,
    ) -> Plan[Any]: ...
    def _group(
        self,
        name: str,
        value: object = None,
        number: int | None = None,
        *,
        timeout: float | None = None,
    ) -> Made | None: ...
    def rank(self) -> int: ...
    def size(self) -> int: ...
    def local_rank(self) -> int: ...
    def local_size(self) -> int: ...
    def launched(self) -> bool: ...
    def authenticated(self) -> bool: ...
    def driver(self) -> str: ...
    def stats(self) -> Stats: ...
    def stats_by_peer(self) -> list[PeerStats]: ...
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
def send(
    comm: Communicator,
    x: object,
    dst: int,
    *,
    tag: int,
    async_op: bool | None = None,
    timeout: float | None = None,
) -> Work[None] | None: ...
def recv(
    comm: Communicator,
    out: object,
    src: int,
    *,
    tag: int,
    async_op: bool | None = None,
    timeout: float | None = None,
) -> Work[Received] | Received: ...
def sendrecv(
    comm: Communicator,
    x: object,
    dst: int,
    out: object,
    src: int,
    *,
    tag: int,
    timeout: float | None = None,
) -> Received: ...
def call_at(
    comm: Communicator,
    collective: str,
    dtype: str,
    count: int,
    send: int | Sequence[tuple[int, int]] | None,
    recv: int | Sequence[tuple[int, int]] | None,
    keep: object,
    started: bool = False,
    timeout: float | None = None,
    op: str | None = None,
    root: int = 0,
    scale: float | None = None,
    counts: Sequence[int] | None = None,
    recv_counts: Sequence[int] | None = None,
    wire: str | None = None,
) -> Any: ...
def feed_back_at(wire: str, count: int, values: int, lost: int) -> None: ...
def send_at(
    comm: Communicator,
    dtype: str,
    count: int,
    address: int,
    keep: object,
    dst: int,
    tag: int,
    timeout: float | None = None,
) -> Work[Any]: ...
def recv_at(
    comm: Communicator,
    dtype: str,
    count: int,
    address: int,
    keep: object,
    src: int,
    tag: int,
    timeout: float | None = None,
) -> Work[Received]: ...
def refuse_call(
    comm: Communicator, collective: str, message: str, unsupported: bool = False
) -> NoReturn: ...
def simulate(
    collective: str,
    *,
    ranks: int,
    size: float | str,
    bandwidth: float | str | None = None,
    latency: float | str | None = None,
    ranks_per_host: int,
    cores: int | None = None,
    hosts_per_switch: int | None = None,
    oversubscription: int | None = None,
    straggler: float | str | None = None,
    straggler_rank: int | None = None,
    algorithm: str | None = None,
    op: ReduceOp | str,
    dtype: str,
    wire: str | None = None,
    table: str | PathLike[str] | None = None,
) -> list[tuple[str, int, int, float, float, float, int, int, bool]]: ...
def wait_all(works: Sequence[Work[_T]], timeout: float | None = None) -> list[_T]: ...
def wait_any(works: Sequence[Work[Any]], timeout: float | None = None) -> int: ...
