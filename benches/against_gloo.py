"""All-reduce by Kirsh and by Gloo, alternating within one run, in the same processes.

    python benches/against_gloo.py [--ranks 2] [--repeats 9] [--seconds 0.15] [--json FILE]

Each rank holds one float32 array and joins both a Kirsh communicator and a Gloo group of
torch.distributed. For every size the two take turns: a batch of all-reduces in place by one, then
by the other, as often as --repeats says; a batch lasts about --seconds. A batch's time per
operation is that of the slowest rank. Printed are the medians over the batches, their spread
(first and third quartile), the bus bandwidth 2(n-1)/n * bytes / time, and how much faster Kirsh is,
as the median of the ratios of neighbouring batches.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time


def sizes(first, last, factor):
    size = first
    while size <= last:
        yield size
        size *= factor


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.15)
    parser.add_argument("--first", type=int, default=4, help="smallest size in bytes")
    parser.add_argument("--last", type=int, default=64 << 20, help="largest size in bytes")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--json", help="where to write the figures")
    return parser.parse_args()


def launch(arguments):
    """Starts the ranks with the `kirsh` command that belongs to this Python."""
    command = [sys.executable, "-m", "kirsh", "run", "--no-prefix", "-n", str(arguments.ranks), "--"]
    sys.exit(subprocess.call(command + [sys.executable, *sys.argv]))


def human(size):
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} TiB"


def main():
    arguments = parse()
    if "KIRSH_RENDEZVOUS" not in os.environ:
        launch(arguments)
    import numpy
    import torch
    import torch.distributed as dist

    import kirsh

    torch.set_num_threads(1)
    comm = kirsh.init()
    dist.init_process_group("gloo")
    rank, ranks = comm.rank(), comm.size()

    def slowest(seconds):
        return float(kirsh.allreduce(numpy.array([seconds]), op=kirsh.MAX)[0])

    def by_kirsh(array, tensor, count):
        for _ in range(count):
            kirsh.allreduce(array)

    def by_gloo(array, tensor, count):
        for _ in range(count):
            dist.all_reduce(tensor)

    def batch(run, array, tensor, count):
        array.fill(0)
        kirsh.barrier()
        start = time.perf_counter()
        run(array, tensor, count)
        return slowest(time.perf_counter() - start) / count

    rows = []
    if rank == 0:
        print(f"{ranks} ranks, float32 allreduce in place, driver {comm.driver()}, torch {torch.__version__}")
        print(f"{'size':>9} {'Kirsh us':>22} {'Gloo us':>26} {'Kirsh GB/s':>11} {'Gloo GB/s':>10} {'faster':>7}")
    for size in sizes(arguments.first, arguments.last, arguments.factor):
        array = numpy.zeros(size // 4, dtype=numpy.float32)
        tensor = torch.from_numpy(array)
        counts = {}
        for run in (by_kirsh, by_gloo):
            once = batch(run, array, tensor, 3)
            counts[run] = max(3, int(arguments.seconds / once))
        times = {by_kirsh: [], by_gloo: []}
        for _ in range(arguments.repeats):
            for run in (by_kirsh, by_gloo):
                times[run].append(batch(run, array, tensor, counts[run]))
        if rank == 0:
            rows.append(report(size, ranks, times[by_kirsh], times[by_gloo]))
    if rank == 0 and arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(record(ranks, comm.driver(), torch.__version__, rows), file, indent=1)
            file.write("\n")
    dist.destroy_process_group()
    kirsh.finalize()


def report(size, ranks, kirsh_s, gloo_s):
    factor = 2 * (ranks - 1) / ranks
    ratio = statistics.median(gloo / own for gloo, own in zip(gloo_s, kirsh_s))
    cells = []
    for times in (kirsh_s, gloo_s):
        low, middle, high = statistics.quantiles(times, n=4)
        cells.append({"us": middle * 1e6, "us_q1": low * 1e6, "us_q3": high * 1e6,
                      "busbw": factor * size / middle / 1e9})
    own, gloo = cells
    print(f"{human(size):>9} {own['us']:9.1f} ({own['us_q1']:.1f}-{own['us_q3']:.1f})".ljust(34)
          + f"{gloo['us']:10.1f} ({gloo['us_q1']:.1f}-{gloo['us_q3']:.1f})".ljust(27)
          + f"{own['busbw']:9.2f} {gloo['busbw']:10.2f} {ratio:6.1f}x", flush=True)
    return {"size": size, "kirsh": own, "gloo": gloo, "ratio": ratio}


def record(ranks, driver, torch_version, rows):
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "")
    return {
        "date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "cpu": model,
        "cores": os.cpu_count(), "ranks": ranks, "driver": driver, "torch": torch_version, "rows": rows,
    }


if __name__ == "__main__":
    main()
