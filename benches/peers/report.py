"""Tables of a record: medians, spread, and ratios of neighbouring turns."""

import statistics

from . import goals
from .cases import KIB, Case, World, bus_bytes, human

OURS = ("kirsh-uring", "kirsh-poll")

#: Share of the processors that others may take before the reader is warned. Polling contestants lose
#: whole time slices to whatever else runs.
QUIET_MAX = 0.05

#: Below this many bytes bandwidth tells nothing.
BANDWIDTH_FROM = 64 * KIB


def medians(case):
    return {name: statistics.median(times) for name, times in case["times_s"].items() if times}


def quartiles(times):
    return statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else times * 3


def best_of_ours(case):
    """The driver of Kirsh that was faster, or None."""
    ours = {name: median for name, median in medians(case).items() if name in OURS}
    return min(ours, key=ours.get) if ours else None


def ratio(case, ours, other):
    """How many times as long the other takes: the median over rounds, in which both had a turn."""
    pairs = zip(case["times_s"].get(other, []), case["times_s"].get(ours, []))
    ratios = [theirs / own for theirs, own in pairs]
    return statistics.median(ratios) if ratios else None


def bus_gb_per_s(world, case, seconds):
    return bus_bytes(Case(world, case["collective"], case["bytes"])) / seconds / 1e9


def world_of(record):
    return World(**record["world"])


def duration(seconds):
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}" if seconds * factor < 1000 else f"{seconds * factor:.0f} {unit}"
    return f"{seconds * 1e6:.2f} µs"


def tables(record):
    """The whole record as Markdown."""
    lines = [
        "# Kirsh beside its peers", "",
        "float32; medians of the turns, each as long as its slowest rank took, with first and third "
        "quartile, and bus bandwidth. × is how many times as long as the better driver of Kirsh it "
        "takes: the median of the ratios within a round.", ""]
    for world_record in record["worlds"]:
        lines += _world(world_record)
    lines += goals.table(record)
    return "\n".join(lines) + "\n"


def _world(record):
    world = world_of(record)
    about = record["about"]
    lines = [f"## {world.name}", "", f"{world.ranks} ranks" + (
        f" on hosts with cables of {world.rate}" if world.rate else " on loopback")
        + (f"; {world.note}" if world.note else "") + ". "
        f"{about['turns'][0]} to {about['turns'][1]} turns, {about['date']}, {about['cores']} cores of "
        f"{about['cpu']}, {about['memory']}, {about['kernel']}, commit {about['commit']}: "
        f"`{about['command']}`.", ""]
    if record.get("skipped"):
        return lines + [f"Not measured: {record['skipped']}.", ""]
    outside = record["outside_cpu_seconds"] / max(1e-9, record["turn_seconds"] * about["cores"])
    lines += [f"While contestants had their turns, {outside:.1%} of the processors went to others"
              + (": **not a quiet machine**, and its figures tell little" if outside > QUIET_MAX else "")
              + ".", ""]
    for name, facts in record["contestants"].items():
        if "blank" in facts:
            lines.append(f"- {name}: blank, since {facts['blank']}")
        else:
            share = facts["idle_cpu_seconds"] / max(1e-9, facts["idle_seconds"] * world.ranks)
            lines.append(f"- {name}: {facts['version']}; {share:.2%} of a core per rank while others "
                         "had their turn")
    lines.append("")
    names = list(record["contestants"])
    for collective in dict.fromkeys(case["collective"] for case in record["cases"]):
        lines += [f"### {collective}", "", "| size | " + " | ".join(names) + " |",
                  "|---" * (len(names) + 1) + "|"]
        for case in record["cases"]:
            if case["collective"] == collective:
                lines.append(_row(world, case, names))
        lines.append("")
    reasons = [f"- {case['collective']} {human(case['bytes'])}, {name}: {why}"
               for case in record["cases"] for name, why in case["blank"].items()]
    if reasons:
        lines += ["Why cells are blank:", "", *reasons, ""]
    return lines


def _row(world, case, names):
    cells = [human(case["bytes"])]
    ours = best_of_ours(case)
    for name in names:
        times = case["times_s"].get(name)
        if not times:
            cells.append("blank")
            continue
        low, middle, high = quartiles(times)
        text = f"{duration(middle)} ({duration(low)} – {duration(high)})"
        if case["bytes"] >= BANDWIDTH_FROM:
            text += f", {bus_gb_per_s(world, case, middle):.2f} GB/s"
        if ours and name not in OURS:
            text += f", {ratio(case, ours, name):.2f}×"
        cells.append(text)
    return "| " + " | ".join(cells) + " |"
