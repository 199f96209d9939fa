"""The short form of a record, for the project's README: all-reduce, a table for each world.

    PYTHONPATH=benches python -m peers.readme benches/record/FOLDER
"""

import json
import os
import sys

from . import report
from .cases import KIB, MIB, human

UNIX = "kirsh-unix"
SIZES = (4, KIB, 64 * KIB, MIB, 16 * MIB, 64 * MIB)
TITLES = {
    "loopback-2": "Two ranks on loopback",
    "loopback-4": "Four ranks on the same two cores",
    "hosts-1gbit": "Four hosts, 1 Gbit/s",
}
OTHERS = (("openmpi", "Open MPI"), ("mpich", "MPICH"), ("gloo", "Gloo"), ("limit", "bare sockets"))


def row(world, case):
    ours = report.best_of_ours(case)
    if ours is None:
        return None
    medians = report.medians(case)
    bus = report.bus_gb_per_s(report.world_of(world), case, medians[ours])
    cells = [human(case["bytes"]), report.duration(medians[ours]), f"{bus:.2f} GB/s" if case["bytes"] >= 64 * KIB else ""]
    if world["world"]["rate"] is None:
        cells.append(report.duration(medians[UNIX]) if UNIX in medians else "")
    for name, _ in OTHERS:
        times = report.ratio(case, ours, name)
        cells.append("" if times is None else f"{times:.2g}×" if times < 10 else f"{times:.0f}×")
    return "| " + " | ".join(cells) + " |"


def section(record):
    lines = []
    for world in record["worlds"]:
        title = TITLES.get(world["world"]["name"])
        if title is None:
            continue
        heads = ["array", "Kirsh", "busbw"] + ["Kirsh, Unix sockets"] * (world["world"]["rate"] is None)
        heads += [title for _, title in OTHERS]
        lines += [f"**{title}**", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        cases = [case for case in world["cases"] if case["collective"] == "allreduce" and case["bytes"] in SIZES]
        lines += [line for line in (row(world, case) for case in cases) if line]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    with open(os.path.join(sys.argv[1], "figures.json")) as file:
        print(section(json.load(file)))
