"""What wire formats are worth on slow cables, on hosts made of network namespaces.

    sudo python benches/wire.py [--hosts 4] [--rate 1gbit] [--size 64M] [--rounds 5] [--json FILE]

One rank on each host times an allreduce of float32 with `kirsh perf`, by every wire format in turn; the
rounds repeat that. Beside the median over the rounds stand how many times as fast that is as without a
format (ratios are taken within a round, and the median of those is shown), what was aimed at, and what
`kirsh simulate` predicts. Needs root and iproute2, and the `kirsh` command (--kirsh, or the one in PATH).
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from hosts import Hosts, Unavailable
from predictions import CLASS, World

FORMATS = ["none", "bf16", "f16", "int8"]
# Of the two and nearly four that fewer bytes could give, the rest is for frames and for encoding.
GOALS = {"bf16": 1.9, "f16": 1.9, "int8": 3.4}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--rate", default="1gbit", choices=sorted(CLASS))
    parser.add_argument("--collective", default="allreduce", choices=["allreduce", "allgather", "reduce_scatter"])
    parser.add_argument("--size", default="64M")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kirsh", default="kirsh", help="the kirsh command")
    parser.add_argument("--json", help="where to write the figures")
    return parser.parse_args()


def measure(world, arguments, wire):
    """Microseconds of a call, and the elements that are further off than rounding explains."""
    said = world.run("perf", arguments.collective, "--wire", wire, "-b", arguments.size, "-e", arguments.size,
                     "-w", "1", "-i", "3", "--json")
    line = json.loads(said)["results"][0]
    return line["time_us"], line["wrong"]


def predicted(world, arguments, wire):
    command = [world.kirsh, "simulate", arguments.collective, "-n", str(world.hosts.count), "--size", arguments.size,
               "--wire", wire, "--bandwidth", world.link.replace("gbit", "Gbit"), "--cores", str(os.cpu_count()), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return next(line for line in json.loads(done.stdout)["results"] if line["chosen"])


def table(world, arguments):
    times = {wire: [] for wire in FORMATS}
    for _ in range(arguments.rounds):
        for wire in FORMATS:
            time_us, wrong = measure(world, arguments, wire)
            if wrong:
                sys.exit(f"{wrong} elements are wrong with {wire}")
            times[wire].append(time_us)
    foreseen = {wire: predicted(world, arguments, wire) for wire in FORMATS}
    for wire in FORMATS:
        ratios = [plain / this for plain, this in zip(times["none"], times[wire])]
        yield {
            "wire": wire, "time_us": statistics.median(times[wire]), "least_us": min(times[wire]),
            "most_us": max(times[wire]), "times_as_fast": statistics.median(ratios), "goal": GOALS.get(wire),
            "algorithm": foreseen[wire]["algorithm"], "slice": foreseen[wire]["slice"],
            "predicted_us": foreseen[wire]["time_us"],
            "predicted_times_as_fast": foreseen["none"]["time_us"] / foreseen[wire]["time_us"],
        }


def main():
    arguments = parse()
    try:
        with Hosts(arguments.hosts, arguments.rate) as hosts, tempfile.TemporaryDirectory() as folder:
            world = World(hosts, arguments.kirsh, folder, CLASS[arguments.rate])
            rows = list(table(world, arguments))
    except Unavailable as why:
        sys.exit(f"skipped: {why}")
    print(f"{arguments.collective} of {arguments.size}, {arguments.hosts} hosts at {arguments.rate}, "
          f"{arguments.rounds} rounds")
    print(f"{'wire':<6} {'us (range)':>30} {'as fast':>8} {'goal':>5} {'predicted us':>13} {'as fast':>8}  by")
    for row in rows:
        spread = f"{row['time_us']:.0f} ({row['least_us']:.0f}-{row['most_us']:.0f})"
        goal = "" if row["goal"] is None else f"{row['goal']:.1f}"
        print(f"{row['wire']:<6} {spread:>30} {row['times_as_fast']:>8.2f} {goal:>5} {row['predicted_us']:>13.0f} "
              f"{row['predicted_times_as_fast']:>8.2f}  {row['algorithm']}, {row['slice'] >> 10} KiB")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "cores": os.cpu_count(),
                       "collective": arguments.collective, "size": arguments.size, "hosts": arguments.hosts,
                       "rate": arguments.rate, "rounds": arguments.rounds, "rows": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
