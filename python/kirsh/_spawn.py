"""``kirsh.spawn``: the ranks of a world as processes of a function, from a notebook or a test."""

from __future__ import annotations

import importlib
import importlib.util
import math
import multiprocessing
import multiprocessing.connection
import os
import pickle
import secrets
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

from ._errors import InvalidArgumentError, KirshError, KirshTimeoutError, PeerLostError

_R = TypeVar("_R")

#: Seconds that a process gets to end after SIGTERM, before SIGKILL.
_TERM_SECONDS = 2.0

#: Seconds that a process gets to end once its result is there.
_LEAVE_SECONDS = 10.0

#: Bytes of the token that is drawn: as many as `kirsh run` takes.
_TOKEN_BYTES = 32

#: What would name another world than the one that is made here.
_FOREIGN = (
    *("KIRSH_TOKEN_FILE", "KIRSH_RENDEZVOUS_SERVED", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_USE_AGENT_STORE"),
)


def spawn(
    fn: Callable[..., _R],
    n: int,
    *,
    args: Sequence[Any] = (),
    timeout: float | None = None,
) -> list[_R]:
    """Run ``fn(*args)`` in ``n`` new processes, the ranks of one world, and return their results.

    For notebooks and tests. ``fn`` is what a program under ``kirsh run -n`` would be: it calls
    ``kirsh.init()``, which finds rank, world size, meeting place and a token of its own in the
    environment. Blocks until all are through; the list is in the order of ranks.

    The processes begin anew and share no memory with this one, so ``fn``, ``args`` and the results
    are pickled: ``fn`` stands at the top of a module, and a script that calls spawn does so under
    ``if __name__ == "__main__":``. A function that was typed into a notebook or a prompt belongs to
    no module; it travels by the package ``cloudpickle``, where that is installed.

    :param timeout: seconds for all of it; None and ``math.inf`` are no limit.
    :raises KirshTimeoutError: it passed first; the text has the ranks that were not through.
    :raises PeerLostError: a process ended without a result; ``peer`` is its rank.
    :raises Exception: what ``fn`` raised first, with a note of its rank and traceback.

    Whenever it raises, also on Ctrl-C, the processes that still run are ended before.
    """
    if n < 1:
        raise InvalidArgumentError(f"n={n}: a world has at least one rank", kind="invalid argument")
    payload = _pack(fn, tuple(args))
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="kirsh-spawn-") as directory:
        shared = {
            "WORLD_SIZE": str(n),
            "LOCAL_WORLD_SIZE": str(n),
            "KIRSH_WORLD_SIZE": str(n),
            "KIRSH_LOCAL_SIZE": str(n),
            "KIRSH_RENDEZVOUS": f"file://{Path(directory) / 'meeting'}",
            "KIRSH_TOKEN": secrets.token_hex(_TOKEN_BYTES),
            "KIRSH_JOB_ID": f"spawn-{secrets.token_hex(8)}",
            "KIRSH_BIND": os.environ.get("KIRSH_BIND", "127.0.0.1"),
        }
        if n > 1 and "OMP_NUM_THREADS" not in os.environ:
            shared["OMP_NUM_THREADS"] = "1"
        ranks: list[_Rank] = []
        try:
            for rank in range(n):
                ranks.append(_Rank(rank, shared, payload))
            results = _collect(ranks, deadline, timeout)
        except BaseException:
            for each in ranks:
                each.process.terminate()
            _bury(ranks, _TERM_SECONDS)
            raise
        # All that is left to them is to say goodbye, and what the program does at its exit.
        _bury(ranks, _LEAVE_SECONDS)
        return results


class _Rank:
    """One process, and the end of the pipe on which its result comes."""

    def __init__(self, rank: int, shared: dict[str, str], payload: bytes) -> None:
        own = ("RANK", "LOCAL_RANK", "KIRSH_RANK", "KIRSH_LOCAL_RANK")
        environment = {**shared, **{name: str(rank) for name in own}}
        context = multiprocessing.get_context("spawn")
        self.rank = rank
        self.results, results = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_run, args=(environment, payload, results), name=f"kirsh rank {rank}"
        )
        try:
            self.process.start()
        finally:
            # The process has its own; without this one its end would not be seen.
            results.close()

    def read(self) -> tuple[int, bool, Any]:
        """When it ended, whether well, and the result or what was raised."""
        try:
            message: tuple[int, bool, bytes, str] = self.results.recv()
        except (EOFError, OSError):
            self.process.join(_TERM_SECONDS)
            return time.monotonic_ns(), False, self._lost()
        ended, well, packed, told = message
        try:
            value = pickle.loads(packed)
        except Exception as error:
            value = KirshError(
                f"rank {self.rank} of kirsh.spawn: what it gave back cannot be read here: {error}",
                kind="invalid argument",
                peer=self.rank,
            )
            well = False
        if not well:
            value.add_note(f"raised by rank {self.rank} of kirsh.spawn:\n{told}".rstrip())
        return ended, well, value

    def _lost(self) -> PeerLostError:
        code = self.process.exitcode
        if code is not None and code < 0:
            how = f"was ended by {signal.Signals(-code).name}"
        else:
            how = f"exited with code {code}"
        return PeerLostError(
            f"rank {self.rank} of kirsh.spawn {how} before it had a result",
            kind="peer lost",
            peer=self.rank,
        )


def _collect(ranks: list[_Rank], deadline: float, timeout: float | None) -> list[Any]:
    """The results of all ranks; raises the failure that happened first."""
    waiting = {rank.results: rank for rank in ranks}
    results: dict[int, Any] = {}
    while waiting:
        left = None if deadline == math.inf else max(0.0, deadline - time.monotonic())
        ready = multiprocessing.connection.wait(list(waiting), left)
        if not ready:
            late = ", ".join(str(rank.rank) for rank in waiting.values())
            raise KirshTimeoutError(
                f"kirsh.spawn: after {timeout} s these ranks were not through: {late}",
                kind="timeout",
            )
        failures = []
        for connection in ready:
            assert isinstance(connection, Connection)
            rank = waiting.pop(connection)
            ended, well, value = rank.read()
            if well:
                results[rank.rank] = value
            else:
                failures.append((ended, rank.rank, value))
        if failures:
            raise min(failures, key=lambda failure: failure[:2])[2]
    return [results[rank.rank] for rank in ranks]


def _bury(ranks: list[_Rank], seconds: float) -> None:
    """Waits for the end of all processes, and kills those that take longer than that."""
    deadline = time.monotonic() + seconds
    for rank in ranks:
        rank.process.join(max(0.0, deadline - time.monotonic()))
        if rank.process.is_alive():
            rank.process.kill()
            rank.process.join()
        rank.process.close()
        rank.results.close()


def _pack(fn: Callable[..., Any], args: tuple[Any, ...]) -> bytes:
    """The call as bytes that a process which knows only modules can read."""
    # A prompt and a notebook have no file that a new process could read.
    is_typed_in = not hasattr(sys.modules.get("__main__"), "__file__")
    if is_typed_in and importlib.util.find_spec("cloudpickle") is not None:
        packed: bytes = importlib.import_module("cloudpickle").dumps((fn, args))
        return packed
    if is_typed_in and getattr(fn, "__module__", None) == "__main__":
        raise InvalidArgumentError(
            f"{getattr(fn, '__qualname__', fn)} was typed into a notebook or a prompt, where new "
            "processes do not find it: write it into a module and import it, or install the "
            "package cloudpickle",
            kind="invalid argument",
        )
    return pickle.dumps((fn, args), protocol=pickle.HIGHEST_PROTOCOL)


def _run(environment: dict[str, str], payload: bytes, results: Connection) -> None:
    """What a process does: the function, and the report of how it went."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    for name in _FOREIGN:
        os.environ.pop(name, None)
    os.environ.update(environment)
    told = ""
    try:
        fn, args = pickle.loads(payload)
        value: Any = fn(*args)
        packed, well = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL), True
    except KeyboardInterrupt:
        # Ctrl-C goes to the whole group; who called spawn raises it.
        raise SystemExit(130) from None
    except BaseException as error:
        told, well = traceback.format_exc(), False
        packed = _pack_failure(error)
    # Before this process leaves its world, so that no peer's complaint about it comes earlier.
    results.send((time.monotonic_ns(), well, packed, told))
    results.close()


def _pack_failure(error: BaseException) -> bytes:
    """The exception as bytes, or where that cannot be had, one that tells of it."""
    if isinstance(error, Exception):
        try:
            packed = pickle.dumps(error)
            pickle.loads(packed)
            return packed
        except Exception:
            pass
    name = type(error).__name__
    return pickle.dumps(KirshError(f"{name}: {error}", kind="failed in kirsh.spawn"))


def _leave_with_parent() -> None:
    """Ends this process when the one that called spawn is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
