"""Trains a small transformer to write like Python's documentation, its parameters sharded (FSDP2).

    torchrun --nproc-per-node 4 examples/torch_fsdp.py [--backend gloo]

Every rank keeps its part of each parameter, of its gradient and of the optimizer's state. A layer is put
together before it computes (allgather), and its gradients are averaged into the parts (reduce_scatter). The
curve of losses is that of Gloo, to the digits that are printed.
"""

import argparse
import sys
import time

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import kirsh.torch  # registers the backend
from torch_text import Writer, codes, train

SEED = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="kirsh", help="kirsh or gloo")
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    dist.init_process_group(arguments.backend)
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(SEED)

    text, characters = codes()
    # FSDP takes the parameters as each rank has them: the seed has made them alike.
    model = Writer(characters)
    mesh = init_device_mesh("cpu", (size,))
    for layer in model.layers.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    if rank == 0:
        own = sum(one.to_local().numel() for one in model.parameters())
        whole = sum(one.numel() for one in model.parameters())
        print(f"rank 0 keeps {own} of {whole} parameters")
    began = time.perf_counter()
    train(model, text, arguments.steps, SEED + 1 + rank)
    if rank == 0:
        seconds = time.perf_counter() - began
        print(f"{arguments.steps} steps over {arguments.backend} in {seconds:.1f} s")
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
