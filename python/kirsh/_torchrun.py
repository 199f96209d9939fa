"""How ranks that torchrun started find together: in torch's own store, at ``MASTER_PORT``.

Kirsh cannot serve at that port, and speaks no torch; but Python can do both.
"""

from __future__ import annotations

import importlib
import os
import secrets
import time
from datetime import timedelta
from typing import Any

from ._errors import KirshError, KirshTimeoutError

#: How long one wait for a key lasts: Ctrl-C is looked at in between.
_WAIT_SLICE = timedelta(milliseconds=250)

#: What stands for "for ever", which torch does not know.
_LONG = 10 * 86_400.0

#: What rank 0 writes in place of a token where it has been given one: then every rank must have been.
_NO_TOKEN = "-"

#: The store that this process serves, if it does: nobody meets in it once it is gone.
_served: Any = None


def store(rank: int, seconds: float | None) -> Any:
    """Return a part of torch's store that is Kirsh's alone, or None where torch is not there.

    Blocks until the store can be reached. A restart of the job gets a part of its own, since the agent
    keeps its store.

    :param rank: this process's.
    :param seconds: how long the ranks may take to find together; None is for ever.
    """
    global _served
    try:
        dist = importlib.import_module("torch.distributed")
        connect, prefix = dist.TCPStore, dist.PrefixStore
    except (ImportError, AttributeError):
        return None
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    seconds = min(seconds if seconds is not None else _LONG, _LONG)
    # Without an agent's store torch serves one on rank 0, and shares it with whoever asks in the process.
    serves = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != str(True) and rank == 0
    try:
        whole = connect(
            host,
            int(port),
            is_master=serves,
            timeout=timedelta(seconds=seconds),
            wait_for_workers=False,
            multi_tenant=True,
        )
    except (RuntimeError, ValueError) as error:
        raise KirshError(
            f"torchrun's store at {host}:{port} (MASTER_ADDR, MASTER_PORT) cannot be reached: "
            f"{error}; KIRSH_RENDEZVOUS=tcp://host:port on every rank goes around it",
            kind="rendezvous",
        ) from error
    if serves:
        _served = whole
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    part = prefix(f"kirsh/attempt_{attempt}", whole)
    if os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        _share_token(part, rank, seconds)
    return part


def _share_token(part: Any, rank: int, seconds: float) -> None:
    """Give ranks on several hosts a token where nobody has set one: no host is left without.

    Rank 0 draws it and the store hands it out, so it is as secret as the store is. It stays in the
    process's ``KIRSH_TOKEN``. Who sets ``KIRSH_TOKEN`` or ``KIRSH_TOKEN_FILE`` keeps the say.
    """
    has_one = any(os.environ.get(name) for name in ("KIRSH_TOKEN", "KIRSH_TOKEN_FILE"))
    if rank == 0:
        token = _NO_TOKEN if has_one else secrets.token_hex(32)
        part.set("token", token)
    else:
        token = _NO_TOKEN if has_one else _wait_for(part, "token", seconds)
    if token != _NO_TOKEN:
        os.environ["KIRSH_TOKEN"] = token


def _wait_for(part: Any, key: str, seconds: float) -> str:
    """Return the value of a key once it has one."""
    dist = importlib.import_module("torch.distributed")
    end = time.monotonic() + seconds
    while True:
        try:
            part.wait([key], _WAIT_SLICE)
            return str(part.get(key).decode())
        except dist.DistNetworkError as error:
            raise KirshError(
                f"torchrun's store (MASTER_ADDR, MASTER_PORT) was lost in the wait for rank 0's {key}: {error}",
                kind="rendezvous",
            ) from error
        except dist.DistStoreError as error:
            if time.monotonic() >= end:
                raise KirshTimeoutError(
                    f"rank 0 wrote no {key} into torchrun's store within {seconds:.1f} s "
                    "(KIRSH_JOIN_TIMEOUT): it has not come",
                    kind="timeout",
                ) from error
