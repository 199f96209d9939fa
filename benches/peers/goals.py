"""What Kirsh wants to reach beside its peers, and how near a record comes.

Each goal compares Kirsh's better driver with somebody in one case. A value of 1 or more is reached.
"""

import dataclasses
import statistics

from .cases import KIB, MIB, human

MPI_AND_GLOO = ("openmpi", "mpich", "gloo")


@dataclasses.dataclass(frozen=True)
class Goal:
    """Kirsh is to be `factor` times as fast as `others`, or the fastest of them, in some cases."""

    worlds: tuple
    collectives: tuple
    first: int
    last: int
    others: tuple
    factor: float


_ALL = ("allreduce",)
_MOVES = ("broadcast", "allgather", "reduce_scatter", "alltoall")
_LOOPBACK = ("loopback-2", "loopback-4")

GOALS = (
    Goal(("loopback-2",), _ALL, 0, KIB, ("openmpi",), 1.0),
    Goal(("loopback-2",), _ALL, 0, KIB, ("gloo",), 25.0),
    Goal(("loopback-2",), _ALL, 4 * KIB, 4 * MIB, ("openmpi",), 1.1),
    Goal(("loopback-2",), _ALL, 4 * KIB, 4 * MIB, ("gloo",), 2.5),
    Goal(("loopback-2",), _ALL, 16 * MIB, 16 * MIB, MPI_AND_GLOO, 1.2),
    Goal(("loopback-2",), _ALL, 64 * MIB, 256 * MIB, MPI_AND_GLOO, 1.5),
    Goal(("loopback-2",), _ALL, 16 * MIB, 256 * MIB, ("limit",), 0.85),
    Goal(("loopback-4",), _ALL, 0, KIB, ("openmpi",), 1.0),
    Goal(("loopback-4",), _ALL, 0, KIB, ("gloo",), 8.0),
    Goal(("loopback-4",), _ALL, MIB, 4 * MIB, MPI_AND_GLOO, 1.1),
    Goal(("loopback-4",), _ALL, 16 * MIB, 256 * MIB, MPI_AND_GLOO, 1.4),
    Goal(_LOOPBACK, _MOVES, 64 * KIB, 256 * MIB, ("gloo",), 1.0),
    Goal(_LOOPBACK, _MOVES, 64 * KIB, 256 * MIB, ("openmpi",), 1.0),
    Goal(_LOOPBACK, _MOVES, 64 * KIB, 256 * MIB, ("mpich",), 1.0),
    Goal(_LOOPBACK, ("reduce_scatter",), 64 * KIB, 256 * MIB, ("gloo",), 2.0),
    # Of the bytes that TCP can carry on a cable of this rate.
    Goal(("hosts-1gbit",), _ALL, 64 * KIB, 64 * KIB, ("line",), 1 / 1.6),
    Goal(("hosts-1gbit",), _ALL, MIB, 256 * MIB, ("line",), 0.97),
)


def table(record):
    """The goals as lines of Markdown, a row for each and case that was measured."""
    lines = ["## Goals", "", "How many times as fast as the other Kirsh's better driver is (against "
             "several: the fastest of them; `line`: TCP's payload on the cable).", "",
             "| world | collective | size | against | goal | reached | |", "|---|---|---|---|---|---|---|"]
    for goal in GOALS:
        for world in record["worlds"]:
            if world["world"]["name"] in goal.worlds:
                lines += [_row(goal, world, case) for case in world["cases"] if _applies(goal, case)]
    return lines


def _applies(goal, case):
    return case["collective"] in goal.collectives and goal.first <= case["bytes"] <= goal.last


def _row(goal, world, case):
    reached = _reached(goal, world, case)
    start = (f"| {world['world']['name']} | {case['collective']} | {human(case['bytes'])} "
             f"| {' / '.join(goal.others)} | {goal.factor:.3g} | ")
    if reached is None:
        return start + "blank | |"
    return start + f"{reached:.2f} | {'yes' if reached >= goal.factor else '**no**'} |"


def _reached(goal, world, case):
    from . import report

    ours = report.best_of_ours(case)
    if ours is None:
        return None
    if goal.others == ("line",):
        seconds = statistics.median(case["times_s"][ours])
        bus = report.bus_gb_per_s(report.world_of(world), case, seconds)
        return bus * 1e9 / world["line_bytes_per_s"]
    ratios = [report.ratio(case, ours, other) for other in goal.others]
    ratios = [ratio for ratio in ratios if ratio is not None]
    return min(ratios) if ratios else None
