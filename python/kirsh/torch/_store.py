"""How the ranks of a group find together, through the store that torch hands over."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from .._communicator import Communicator
from .._errors import KirshTimeoutError

#: The token that was drawn for a job that had none, in this process.
_drawn: str | None = None


def communicator(
    store: Any, rank: int, size: int, timeout: timedelta, join_timeout: timedelta | None = None
) -> Communicator:
    """Return the communicator of these ranks. Collective: blocks until all have called.

    :param store: torch's, under a prefix that is this group's alone.
    :param timeout: how long each operation may take.
    :param join_timeout: how long they may take to find together; None: as long.
    """
    join = timeout if join_timeout is None else join_timeout
    if size > 1:
        began = time.monotonic()
        agree_on_token(store, rank, size, join)
        join = max(timedelta(milliseconds=1), join - timedelta(seconds=time.monotonic() - began))
    return Communicator(
        rank=rank,
        world_size=size,
        store=store,
        timeout=timeout.total_seconds(),
        join_timeout=join.total_seconds(),
    )


def agree_on_token(store: Any, rank: int, size: int, limit: timedelta) -> None:
    """Give the job a token where it needs one and nobody has set one.

    Kirsh leaves no host without a token, and on one host needs none. Where the ranks are on several,
    rank 0 draws one and the store hands it out; it is as secret as the store is. It stays in this
    process's ``KIRSH_TOKEN``. Who sets ``KIRSH_TOKEN`` or ``KIRSH_TOKEN_FILE`` keeps the say.

    :param limit: how long the ranks may take to come.
    :raises KirshTimeoutError: they took longer; it names those that have not come.
    """
    global _drawn
    deadline = time.monotonic() + limit.total_seconds()

    def read(key: str) -> bytes:
        rest = timedelta(seconds=max(0.001, deadline - time.monotonic()))
        try:
            store.wait([key], rest)
        except dist.DistStoreError as error:
            missing = [one for one in range(size) if not store.check([f"kirsh/host/{one}"])]
            who = f"ranks {missing}" if len(missing) > 1 else f"rank {missing[0] if missing else 0}"
            raise KirshTimeoutError(
                f"rank {rank} of {size} waited {limit.total_seconds():g} s for {who} to come to the store where "
                "the group meets",
                kind="timeout",
                rank=rank,
                peer=missing[0] if missing else 0,
            ) from error
        value: bytes = store.get(key)
        return value

    own = _drawn is None and any(os.environ.get(name) for name in _NAMES)
    told = json.dumps({"host": _host(), "own": own, "drawn": _drawn})
    store.set(f"kirsh/host/{rank}", told)
    if rank == 0:
        all_told = [json.loads(read(f"kirsh/host/{other}")) for other in range(size)]
        token = ""
        hosts = {one["host"] for one in all_told}
        known = [one["drawn"] for one in all_told if one["drawn"]]
        # One that was drawn for an earlier group is known to some, who cannot do without it.
        if (known or len(hosts) > 1) and not any(one["own"] for one in all_told):
            token = known[0] if known else secrets.token_hex(32)
        store.set("kirsh/token", token or "-")
    token = read("kirsh/token").decode()
    if token != "-":
        _drawn = token
        os.environ["KIRSH_TOKEN"] = token


_NAMES = ("KIRSH_TOKEN", "KIRSH_TOKEN_FILE")


def _host() -> str:
    """What tells this host, and on it this network namespace, from others."""
    try:
        namespace = os.readlink("/proc/self/ns/net")
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except OSError:
        return socket.gethostname()
    return f"{boot} {namespace}"
