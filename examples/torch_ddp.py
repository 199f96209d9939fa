"""Trains a small transformer to write like Python's documentation, with DistributedDataParallel.

    torchrun --nproc-per-node 4 examples/torch_ddp.py [--backend gloo] [--wire bf16]

Every rank draws samples of its own; DDP begins with the parameters of rank 0 and averages the
gradients. The curve of losses is that of Gloo, to the digits that are printed.
"""

import argparse
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import kirsh.torch
from torch_text import Writer, codes, train

SEED = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="kirsh", help="kirsh or gloo")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--wire", help="how gradients travel: bf16, f16, int8 or auto")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    dist.init_process_group(arguments.backend)
    rank = dist.get_rank()
    torch.manual_seed(SEED)

    text, characters = codes()
    model = DistributedDataParallel(Writer(characters))
    if arguments.wire:
        state = kirsh.torch.HookState(wire=arguments.wire)
        model.register_comm_hook(state, kirsh.torch.allreduce_hook)
    began = time.perf_counter()
    train(model, text, arguments.steps, SEED + 1 + rank)
    if rank == 0:
        seconds = time.perf_counter() - began
        print(f"{arguments.steps} steps over {arguments.backend} in {seconds:.1f} s")
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
