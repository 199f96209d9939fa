"""Collectives inside compiled functions: ordered callbacks, and what becomes of their errors."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import io_callback

from .. import _host
from .._communicator import Communicator
from .._errors import InvalidArgumentError, KirshError, UnsupportedError

#: The error of the callback that failed last: JAX makes text of it.
_failed: KirshError | None = None
_lock = threading.Lock()


def traced(
    name: str, arrays: Sequence[jax.Array], options: dict[str, Any], comm: Communicator | None
) -> list[jax.Array]:
    """The collective as a part of the function that is being traced.

    The callback is ordered, so that a rank makes its calls in the order of its program.
    """
    size = _host.communicator(comm, f"jax.{name}").size()
    shapes = [
        jax.ShapeDtypeStruct(_host.result_shape(name, x.shape, size), x.dtype) for x in arrays
    ]

    def on_host(*values: Any) -> list[np.ndarray[Any, Any]]:
        with _remembered():
            found = _host.communicator(comm, f"jax.{name}")
            _check_size(name, found, size)
            return _host.run(found, name, [np.asarray(value) for value in values], options)

    @jax.custom_jvp
    def call(*values: Any) -> Any:
        return io_callback(on_host, shapes, *values, ordered=True)

    @call.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        raise UnsupportedError(
            f"kirsh.jax.{name}() has no derivative: take the gradients of what this rank computes, "
            "and pass them to it",
            kind="unsupported",
        )

    return list(call(*arrays))


def traced_barrier(comm: Communicator | None) -> None:
    """A barrier as a part of the function that is being traced."""

    def on_host() -> None:
        with _remembered():
            _host.communicator(comm, "jax.barrier").barrier()

    io_callback(on_host, None, ordered=True)


@contextlib.contextmanager
def _remembered() -> Iterator[None]:
    global _failed
    try:
        yield
    except KirshError as error:
        with _lock:
            _failed = error
        raise


def _check_size(name: str, comm: Communicator, size: int) -> None:
    if comm.size() != size:
        raise InvalidArgumentError(
            f"kirsh.jax.{name}() was compiled for {size} ranks, and there are {comm.size()} now: "
            "call jax.clear_caches() after kirsh.init()",
            kind="invalid argument",
        )


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Raise what Kirsh raised, where a compiled function failed by it within this block.

    JAX makes a ``JaxRuntimeError`` of it, which holds its text alone::

        with kirsh.jax.own_errors():
            parameters = step(parameters)      # raises kirsh.PeerLostError, with its `peer`

    At its end the block waits until the callbacks of all compiled functions are through.
    """
    global _failed
    with _lock:
        _failed = None
    try:
        yield
        jax.effects_barrier()
    except jax.errors.JaxRuntimeError as error:
        with _lock:
            failed, _failed = _failed, None
        if failed is None or str(failed) not in str(error):
            raise
        raise failed from error
