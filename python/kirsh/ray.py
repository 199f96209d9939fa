"""Kirsh under Ray: as a backend of ``ray.train``, and as one of ``ray.util.collective``.

    trainer = DataParallelTrainer(train, backend_config=kirsh.ray.train_config(), ...)

makes ``kirsh.init()`` in ``train`` join the workers. ``kirsh.ray.register()``, called in the driver and in
every actor, makes ``backend="KIRSH"`` known to ``ray.util.collective``.

Ray is looked for when one of these is called, not before.
"""

from __future__ import annotations

import functools
import importlib
import os
import secrets
import time
from typing import Any

from ._communicator import Communicator
from ._errors import KirshTimeoutError
from ._ops import ReduceOp

__all__ = ["register", "train_config"]

#: The name by which ``ray.util.collective`` knows Kirsh.
_NAME = "KIRSH"

#: Seconds that the actors of a group may take to find together, as with Ray's own Gloo backend.
_JOIN_SECONDS = 30.0


def train_config() -> Any:
    """Return a ``ray.train.backend.BackendConfig`` under which ``kirsh.init()`` joins the workers.

    Worker 0 serves the rendezvous, and a token is drawn for every start of the workers.
    """
    return _config_class()()


def register() -> None:
    """Make Kirsh known to ``ray.util.collective`` in this process; again does nothing.

    Groups work on NumPy arrays and on torch tensors in host memory. Each actor's group is a
    :class:`kirsh.Communicator`.
    """
    registry = importlib.import_module("ray.util.collective.backend_registry")
    if not registry._global_registry.is_registered(_NAME):
        registry.register_collective_backend(_NAME, _group_class())


def _place() -> str:
    """A rendezvous that this process can serve."""
    util = importlib.import_module("ray.util")
    network = importlib.import_module("ray._common.network_utils")
    host = util.get_node_ip_address()
    name = f"[{host}]" if ":" in host else host
    return f"tcp://{name}:{network.find_free_port()}"


def _set(variables: dict[str, str]) -> None:
    """Put this into the environment of a worker, in place of what an earlier start left."""
    os.environ.update(variables)


@functools.cache
def _config_class() -> Any:
    train = importlib.import_module("ray.train.backend")

    class KirshBackend(train.Backend):  # type: ignore[misc, name-defined]
        """Tells every worker who it is."""

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            shared = {
                "KIRSH_WORLD_SIZE": str(len(worker_group)),
                "KIRSH_RENDEZVOUS": worker_group.execute_single(0, _place),
                "KIRSH_JOB_ID": f"ray-{secrets.token_hex(8)}",
                "KIRSH_TOKEN": secrets.token_hex(32),
            }
            for rank in range(len(worker_group)):
                worker_group.execute_single(rank, _set, {**shared, "KIRSH_RANK": str(rank)})

    class KirshConfig(train.BackendConfig):  # type: ignore[misc, name-defined]
        """What ``ray.train`` is given."""

        @property
        def backend_cls(self) -> type:
            return KirshBackend

    return KirshConfig


def _key(name: str) -> str:
    """Where a group is told of. The table is the cluster's, and other jobs may have a group of that name."""
    context = importlib.import_module("ray").get_runtime_context()
    return f"kirsh_group_{context.get_job_id()}_{name}"


def _meeting(name: str, rank: int) -> dict[str, str]:
    """What rank 0 has told of a group's rendezvous, through Ray's own table."""
    table = importlib.import_module("ray.experimental.internal_kv")
    key = _key(name)
    if rank == 0:
        told = f"{_place()} ray-{secrets.token_hex(8)} {secrets.token_hex(32)}"
        table._internal_kv_put(key, told, overwrite=True)
    end = time.monotonic() + _JOIN_SECONDS
    while (value := table._internal_kv_get(key)) is None:
        if time.monotonic() > end:
            raise KirshTimeoutError(
                f"rank 0 of the group {name!r} has not come within {_JOIN_SECONDS:.0f} s",
                kind="timeout",
                rank=rank,
                peer=0,
            )
        time.sleep(0.02)
    rendezvous, job_id, token = value.decode().split()
    return {"rendezvous": rendezvous, "job_id": job_id, "token": token}


def _join(world_size: int, rank: int, name: str) -> Communicator:
    """Join the actors of a group. Collective: blocks until all have come."""
    if world_size == 1:
        return Communicator(rank=0, world_size=1)
    table = importlib.import_module("ray.experimental.internal_kv")
    told = _meeting(name, rank)
    before = os.environ.get("KIRSH_TOKEN")
    os.environ["KIRSH_TOKEN"] = told["token"]
    try:
        return Communicator(
            rank=rank,
            world_size=world_size,
            rendezvous=told["rendezvous"],
            job_id=told["job_id"],
            join_timeout=_JOIN_SECONDS,
        )
    finally:
        if before is None:
            del os.environ["KIRSH_TOKEN"]
        else:
            os.environ["KIRSH_TOKEN"] = before
        # All have come or this has failed: a later group of that name is told anew.
        if rank == 0:
            table._internal_kv_del(_key(name))


def _array(tensor: Any) -> Any:
    """The same memory as a NumPy array."""
    return tensor.detach().numpy() if hasattr(tensor, "detach") else tensor


@functools.cache
def _group_class() -> Any:
    base = importlib.import_module("ray.util.collective.collective_group.base_collective_group")
    types = importlib.import_module("ray.util.collective.types")
    operators = {
        types.ReduceOp.SUM: ReduceOp.SUM,
        types.ReduceOp.PRODUCT: ReduceOp.PROD,
        types.ReduceOp.MIN: ReduceOp.MIN,
        types.ReduceOp.MAX: ReduceOp.MAX,
    }

    class KirshGroup(base.BaseGroup):  # type: ignore[misc, name-defined]
        """One actor's part of a group. Ray hands over every tensor in a list of one."""

        def __init__(self, world_size: int, rank: int, group_name: str) -> None:
            super().__init__(world_size, rank, group_name)
            self._comm = _join(world_size, rank, group_name)

        @classmethod
        def backend(cls) -> str:
            return _NAME

        @classmethod
        def check_backend_availability(cls) -> bool:
            return True

        def destroy_group(self) -> None:
            self._comm.close()

        def allreduce(self, tensor: Any, options: Any) -> None:
            self._comm.allreduce(tensor[0], op=operators[options.reduceOp])

        def barrier(self, options: Any = None) -> None:
            self._comm.barrier()

        def reduce(self, tensor: Any, options: Any) -> None:
            op, root = operators[options.reduceOp], options.root_rank
            self._comm.reduce(tensor[0], op=op, root=root)

        def broadcast(self, tensor: Any, options: Any) -> None:
            self._comm.broadcast(tensor[0], root=options.root_rank)

        def allgather(self, tensor_list: Any, tensor: Any, options: Any = None) -> None:
            parts = self._comm.allgather(_array(tensor[0])[None])
            for into, part in zip(tensor_list[0], parts, strict=True):
                _array(into)[...] = part

        def reducescatter(self, tensor: Any, tensor_list: Any, options: Any) -> None:
            numpy = importlib.import_module("numpy")
            whole = numpy.stack([_array(part) for part in tensor_list[0]])
            out = _array(tensor[0])[None]
            self._comm.reduce_scatter(whole, op=operators[options.reduceOp], out=out)

        def send(self, tensor: Any, options: Any) -> None:
            self._comm.send(tensor[0], options.dst_rank)

        def recv(self, tensor: Any, options: Any) -> None:
            self._comm.recv(tensor[0], options.src_rank)

    return KirshGroup
