"""Registering the backend, and making it when torch asks for a group."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.distributed as dist

from ._backend import KirshBackend
from ._group import KirshProcessGroup

#: The versions of torch that Kirsh's tests have run with.
TESTED = ("2.14", "2.15")

_warned = False


def register() -> None:
    """Make "kirsh" a backend of ``torch.distributed``. Calling it again does nothing."""
    if not dist.is_available() or hasattr(dist.Backend, "KIRSH"):
        return
    dist.Backend.register_backend("kirsh", create, extended_api=True, devices=["cpu"])


def create(opts: Any, backend_options: Any = None) -> KirshProcessGroup:
    """Make a group: torch calls this on each of its ranks. Blocks until all have.

    With ``enable_reconfigure`` it returns at once; the ranks meet in ``reconfigure`` then.
    """
    _check_version()
    # torch has this since 2.15.
    connect = not getattr(opts, "enable_reconfigure", False)
    backend = KirshBackend(
        opts.store, opts.group_rank, opts.group_size, opts.timeout, connect=connect
    )
    return KirshProcessGroup(backend, opts, backend_options)


def _check_version() -> None:
    global _warned
    minor = ".".join(torch.__version__.split(".")[:2])
    if minor not in TESTED and not _warned:
        _warned = True
        warnings.warn(
            f"kirsh.torch has been tested with torch {' and '.join(TESTED)}, and this is "
            f"torch {torch.__version__}: torch promises backends nothing between versions",
            RuntimeWarning,
            stacklevel=2,
        )
