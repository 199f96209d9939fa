"""Predicted beside measured times, on hosts made of network namespaces.

    sudo python benches/predictions.py [--hosts 4] [--rate 1gbit] [--rounds 3] [--tune] [--json FILE]

Every algorithm of every collective is timed by `kirsh perf`, one rank on each host, from --first to
--last bytes, and so is what the library chooses by itself; the rounds repeat all of it in turn.
Beside the median over the rounds stands what `kirsh simulate` predicts with the same costs: those
built in for the class of the link, or with --tune those that `kirsh tune` measures first.

Two things are summed up: in how many cells (algorithm, size) prediction and measurement differ by
at most a quarter, and how much longer the chosen algorithm took than the fastest that was forced.
Needs root and iproute2, and the `kirsh` command (--kirsh, or the one in PATH).
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

COLLECTIVES = ["allreduce", "reduce", "broadcast", "allgather", "reduce_scatter",
               "gather", "scatter", "alltoall", "scan", "exscan"]
CLASS = {"1gbit": "1gbit", "10gbit": "10gbit"}
NEAR = 0.25


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--rate", default="1gbit", choices=sorted(CLASS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first", type=int, default=64 << 10, help="smallest size in bytes")
    parser.add_argument("--last", type=int, default=16 << 20, help="largest size in bytes")
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--collectives", default=",".join(COLLECTIVES))
    parser.add_argument("--tune", action="store_true", help="measure the costs first")
    parser.add_argument("--table", help="go by this table instead")
    parser.add_argument("--kirsh", default="kirsh", help="the kirsh command")
    parser.add_argument("--json", help="where to write the figures")
    return parser.parse_args()


class World:
    """One rank on each host, started afresh for each command."""

    def __init__(self, hosts, kirsh, folder, link):
        self.hosts, self.kirsh, self.link, self.table = hosts, kirsh, link, None
        self._token = os.path.join(folder, "token")
        subprocess.run([kirsh, "token", self._token], check=True, stdout=subprocess.DEVNULL)
        self._port = 29500

    def run(self, *words):
        """What rank 0 prints."""
        self._port += 1
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KIRSH_")}
        environment |= {
            "WORLD_SIZE": str(self.hosts.count), "KIRSH_TOKEN_FILE": self._token, "KIRSH_LINK": self.link,
            "KIRSH_RENDEZVOUS": f"tcp://{self.hosts.address(0)}:{self._port}",
        }
        if self.table:
            environment["KIRSH_TABLE"] = self.table
        ranks = [
            self.hosts.popen(rank, [self.kirsh, *words], env=environment | {"RANK": str(rank)},
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for rank in range(self.hosts.count)
        ]
        try:
            said = [rank.communicate(timeout=120) for rank in ranks]
        finally:
            for rank in ranks:
                if rank.poll() is None:
                    rank.kill()
                    rank.wait()
        for rank, (_, error) in zip(ranks, said):
            if rank.returncode != 0:
                sys.exit(f"kirsh {' '.join(words)}: {error.strip()}")
        return said[0][0]


def predicted(world, collective, size):
    """What is predicted by algorithm, and which would be chosen."""
    costs = ["--table", world.table] if world.table else ["--bandwidth", world.link.replace("gbit", "Gbit")]
    command = [world.kirsh, "simulate", collective, "-n", str(world.hosts.count), "--size", str(size), "--json"]
    done = subprocess.run(command + costs + ["--cores", str(os.cpu_count())], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)["results"]


def measure(world, arguments, collective, algorithm):
    """Microseconds by size."""
    forced = ["--algorithm", algorithm] if algorithm else []
    said = world.run("perf", collective, *forced, "-b", str(arguments.first), "-e", str(arguments.last),
                     "-f", str(arguments.factor), "-w", "2", "--no-check", "--json")
    return {line["size"]: line["time_us"] for line in json.loads(said)["results"]}


def cells(world, arguments):
    sizes = []
    size = arguments.first
    while size <= arguments.last:
        sizes.append(size)
        size *= arguments.factor
    for collective in arguments.collectives.split(","):
        foreseen = {size: predicted(world, collective, size) for size in sizes}
        algorithms = [line["algorithm"] for line in foreseen[sizes[0]]]
        times = {}
        for _ in range(arguments.rounds):
            for algorithm in [*algorithms, None]:
                for size, time_us in measure(world, arguments, collective, algorithm).items():
                    times.setdefault((size, algorithm), []).append(time_us)
        for size in sizes:
            rows = []
            for line in foreseen[size]:
                samples = times[size, line["algorithm"]]
                if line["chosen"]:
                    # The same, not forced.
                    samples = samples + times[size, None]
                rows.append({
                    "algorithm": line["algorithm"], "slice": line["slice"], "chosen": line["chosen"],
                    "predicted_us": line["time_us"], "measured_us": statistics.median(samples),
                    "least_us": min(samples), "most_us": max(samples),
                })
            chosen = statistics.median(times[size, None])
            yield {"collective": collective, "size": size, "chosen_us": chosen, "algorithms": rows}


def show(cell):
    best = min(row["measured_us"] for row in cell["algorithms"])
    for row in sorted(cell["algorithms"], key=lambda row: row["measured_us"]):
        off = row["predicted_us"] / row["measured_us"] - 1
        print(f"{cell['collective']:<15} {cell['size']:>9} {row['algorithm']:<21} {row['slice'] >> 10:>5} "
              f"{row['predicted_us']:>10.0f} {row['measured_us']:>10.0f} "
              f"({row['least_us']:.0f}-{row['most_us']:.0f})".ljust(104)
              + f"{off:>+7.0%} {'*' if row['chosen'] else ' '}{'' if abs(off) <= NEAR else ' far'}")
    print(f"{'':<15} {'':>9} {'(left to choose)':<21} {'':>5} {'':>10} {cell['chosen_us']:>10.0f}".ljust(104)
          + f"{cell['chosen_us'] / best - 1:>+7.0%} of the fastest", flush=True)


def summary(table):
    near = total = 0
    slower = []
    for cell in table:
        best = min(row["measured_us"] for row in cell["algorithms"])
        chosen = min(row["measured_us"] for row in cell["algorithms"] if row["chosen"])
        slower.append((chosen / best - 1, cell["collective"], cell["size"]))
        for row in cell["algorithms"]:
            total += 1
            near += abs(row["predicted_us"] / row["measured_us"] - 1) <= NEAR
    slower.sort(reverse=True)
    return {"cells": total, "near": near, "share": near / total,
            "chosen_slower": [{"by": by, "collective": name, "size": size} for by, name, size in slower]}


def main():
    arguments = parse()
    rows = []
    try:
        with Hosts(arguments.hosts, arguments.rate) as hosts, tempfile.TemporaryDirectory() as folder:
            world = World(hosts, arguments.kirsh, folder, CLASS[arguments.rate])
            if arguments.table:
                world.table = os.path.abspath(arguments.table)
            elif arguments.tune:
                table = os.path.join(folder, "tuned")
                world.run("tune", "-o", table)
                world.table = table
                with open(table) as file:
                    print(file.read())
            print(f"{'collective':<15} {'bytes':>9} {'algorithm':<21} {'KiB':>5} {'predicted':>10} {'measured us (range)':>20}"
                  .ljust(104) + "    off")
            for cell in cells(world, arguments):
                show(cell)
                rows.append(cell)
    except Unavailable as why:
        sys.exit(f"skipped: {why}")
    total = summary(rows)
    print(f"\nwithin {NEAR:.0%}: {total['near']} of {total['cells']} cells ({total['share']:.0%})")
    for line in total["chosen_slower"][:5]:
        print(f"chosen slower than the fastest by {line['by']:.0%}: {line['collective']}, {line['size']} B")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump({"date": time.strftime("%Y-%m-%d"), "kernel": platform.release(), "cores": os.cpu_count(),
                       "hosts": arguments.hosts, "rate": arguments.rate, "tuned": bool(world.table),
                       "summary": total, "cells": rows}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
