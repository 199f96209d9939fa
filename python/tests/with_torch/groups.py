"""Starts process groups of torch, each rank a real process."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from launch import Rank, World, free_port

#: The CPU's groups are split, reconfigured, and bound to a device, from torch 2.15 on; the names that a backend inherits are
#: compared with those of that version.
SINCE_2_15 = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 15),
    reason="torch before 2.15 neither splits nor reconfigures the CPU's groups, nor binds them to a device",
)

#: What every script begins with: a default group of Kirsh, and tensors that tell ranks apart.
JOIN = """
import torch
import torch.distributed as dist
import kirsh, kirsh.torch
torch.set_num_threads(1)
dist.init_process_group("kirsh")
rank, size = dist.get_rank(), dist.get_world_size()
"""


#: `begin` for scripts that make a default group several times: each meets in a file of its own, since at one
#: port a fast rank could still reach the store of the group before.
BEGIN = """
import itertools
_meetings = itertools.count()
def begin(backend, **more):
    import torch.distributed
    torch.distributed.init_process_group(
        backend, init_method=f"file://{os.environ['TEST_DIR']}/meeting{next(_meetings)}",
        rank=int(os.environ["RANK"]), world_size=int(os.environ["WORLD_SIZE"]), **more)
"""


def torch_world(directory: Path, script: str, size: int, *, join: bool = True) -> World:
    """The ranks of a script that meet at torch's own store."""
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1"}
    # `World` takes the indentation from what it is given.
    return World(directory, (JOIN if join else BEGIN) + script, size, join=False, environment=master)


def run_torch(directory: Path, script: str, size: int, *, join: bool = True) -> list[Rank]:
    """Runs a script on all ranks to its good end."""
    with torch_world(directory, script, size, join=join) as world:
        return world.finish()
