"""What a call through torch.distributed costs beside the same call of Kirsh's own.

    python benches/torch_overhead.py [--calls 2000] [--rounds 11]

Two ranks on loopback sum one float32 by turns: with `Communicator.allreduce` on its NumPy array, with
`dist.all_reduce` over Kirsh, and with `dist.all_reduce` over Gloo. Shown are the medians of the rounds in
microseconds, rank 0's, and what torch's way adds to Kirsh's own. Needs torch and the package kirsh.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time

RANKS = 2


def rank(arguments):
    """Times all by turns; rank 0 prints."""
    import torch
    import torch.distributed as dist

    import kirsh.torch  # noqa: F401

    torch.set_num_threads(1)
    dist.init_process_group("kirsh")
    gloo = dist.new_group(backend="gloo")
    comm = dist.group.WORLD.backend.communicator
    x = torch.ones(1)
    array = x.numpy()
    calls = {
        "kirsh": lambda: comm.allreduce(array, op="max"),
        "torch over kirsh": lambda: dist.all_reduce(x, dist.ReduceOp.MAX),
        "torch over gloo": lambda: dist.all_reduce(x, dist.ReduceOp.MAX, group=gloo),
    }
    times = {name: [] for name in calls}
    for _ in range(arguments.rounds):
        for name, call in calls.items():
            for _ in range(20):
                call()
            began = time.perf_counter()
            for _ in range(arguments.calls):
                call()
            times[name].append(1e6 * (time.perf_counter() - began) / arguments.calls)
    if dist.get_rank() == 0:
        for name, own in times.items():
            added = statistics.median(one - base for one, base in zip(own, times["kirsh"]))
            low, _, high = statistics.quantiles(own, n=4)
            print(f"{name:<18} {statistics.median(own):8.1f} us ({low:.1f} to {high:.1f})  {added:+8.1f}")
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000, help="of a turn")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--as-rank", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_rank:
        rank(arguments)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "WORLD_SIZE": str(RANKS), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                   "GLOO_SOCKET_IFNAME": "lo"}
    ranks = [subprocess.Popen([sys.executable, *sys.argv, "--as-rank"], env={**environment, "RANK": str(number)})
             for number in range(RANKS)]
    codes = [one.wait() for one in ranks]
    if any(codes):
        sys.exit(f"the ranks ended with {codes}")


if __name__ == "__main__":
    main()
