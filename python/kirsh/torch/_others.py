"""Backends for other devices beside Kirsh: made as torch makes them, with what it gave Kirsh's own creator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch._C import _distributed_c10d as c10d
from torch._C._distributed_c10d import Backend

if TYPE_CHECKING:
    from ._group import KirshProcessGroup


def named_for(group: Any, device: str) -> str | None:
    """Return the name of the backend that the group's description has for a device.

    :raises KeyError: torch is still making the group, and has not noted its description.
    """
    return every_named(group).get(device)


def every_named(group: Any) -> dict[str, str]:
    """Return the names of backends that the group's description has, by device.

    :raises KeyError: as above.
    """
    config = dist.distributed_c10d._world.pg_backend_config[group]
    every: dict[str, str] = dist.distributed_c10d.BackendConfig(
        dist.Backend(config)
    ).get_device_backend_map()
    return every


def make(group: KirshProcessGroup, device: str, named: str, given: Any, options: Any) -> Backend:
    """Make the backend of this name for a device of the group. Collective where its creator is.

    :param given: the ``_DistributedBackendOptions`` that the group was made with.
    :param options: the ``pg_options`` that the user gave for it.
    """
    # torch 2.15 reads entry points of backends only then.
    register = getattr(dist.Backend, "_ensure_backend_registered", None)
    if register is not None:
        register(named)
    plugin = dist.Backend._plugins[named.upper()]
    store = c10d.PrefixStore(f"{device}/", given.store)
    rank, size, timeout = group.rank(), group.size(), group.backend._timeout
    made: Any
    if plugin.extended_api:
        opts = c10d._DistributedBackendOptions()
        opts.store = store
        opts.group_rank, opts.group_size = rank, size
        opts.timeout = timeout
        opts.group_id = given.group_id
        opts.global_ranks_in_group = given.global_ranks_in_group
        opts.process_group = group
        for name in ("split_from", "enable_reconfigure"):
            # Neither is in torch's stubs, nor in all its versions.
            if hasattr(given, name):
                setattr(opts, name, getattr(given, name))
        made = plugin.creator_fn(opts, options)
    else:
        made = plugin.creator_fn(store, rank, size, timeout)
    if not isinstance(made, Backend):
        raise RuntimeError(
            f"the backend {named} for {device} is a process group of its own, and cannot be part of another"
        )
    return made
