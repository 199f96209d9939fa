"""The run: in each world all contestants live side by side and take turns, one at a time."""

import dataclasses
import statistics
import time

from hosts import Unavailable

from . import cases, place
from .group import Failed, Group

#: Operations before the first timed turn: connections open, buffers grow, pages come.
WARM_UP = 3

#: Seconds that one answer may take.
PATIENCE_SECONDS = 60

#: A turn has no more operations than this: then it lasts long enough for any clock.
COUNT_MAX = 5000


@dataclasses.dataclass
class Pace:
    """How long things may take."""

    turns_min: int
    turns_max: int
    turn_seconds: float
    until: float

    def left(self):
        return self.until - time.monotonic()


def measure(worlds, contestants, folder, pace, cases_of, say):
    """Gives a record of every world: what was measured, and why what was not."""
    records = []
    weights = [len(cases_of(world)) for world in worlds]
    for number, world in enumerate(worlds):
        share = weights[number] / max(1, sum(weights[number:]))
        own = dataclasses.replace(pace, until=time.monotonic() + pace.left() * share)
        say(f"{world.name}: {own.left():.0f} s")
        try:
            with place.place(world) as where:
                apt = [one for one in contestants if world.rate is None or not getattr(one, "LOOPBACK_ONLY", False)]
                records.append(_world(world, where, apt, folder, own, cases_of(world), say))
        except Unavailable as cause:
            say(f"{world.name}: skipped: {cause}")
            records.append({"world": dataclasses.asdict(world), "skipped": str(cause), "cases": []})
    return records


def _world(world, where, contestants, folder, pace, todo, say):
    record = {"world": dataclasses.asdict(world), "line_bytes_per_s": world.line_bytes_per_s,
              "turn_seconds": 0.0, "outside_cpu_seconds": 0.0, "contestants": {}, "cases": []}
    groups = {}
    try:
        for contestant in contestants:
            try:
                group = Group(contestant, world, where, folder)
            except Failed as cause:
                say(f"{world.name}: no {contestant.NAME}: {cause}")
                record["contestants"][contestant.NAME] = {"blank": str(cause)}
                continue
            groups[contestant.NAME] = group
            record["contestants"][contestant.NAME] = {
                "version": group.version, "commands": group.commands,
                "idle_seconds": 0.0, "idle_cpu_seconds": 0.0}
        for number, case in enumerate(todo):
            share = 2.0 * pace.left() / (len(todo) - number)
            record["cases"].append(_case(case, groups, record, pace, share, say))
    finally:
        for group in groups.values():
            group.end()
    return record


def _case(case, groups, record, pace, share, say):
    result = {"collective": case.collective, "bytes": case.bytes, "times_s": {}, "counts": {},
              "sent_ratio": {}, "blank": {name: "out since it failed" for name, facts
                                          in record["contestants"].items()
                                          if name not in groups and "blank" not in facts}}
    if pace.left() <= 0:
        result["blank"] |= dict.fromkeys(groups, "no time was left")
        return result
    needed = cases.memory(case, len(groups))
    if needed > 0.8 * memory_available():
        result["blank"] |= dict.fromkeys(groups, f"needs {needed >> 20} MiB of memory")
        return result
    until = time.monotonic() + min(share, pace.left())
    counts = {}
    for name in list(groups):
        try:
            counts[name] = _warm_up(case, groups[name], pace)
        except Failed as cause:
            _drop(name, groups, cause, result, say)
    times = {name: [] for name in counts}
    names = list(counts)
    for turn in range(pace.turns_max):
        if turn >= pace.turns_min and time.monotonic() > until:
            break
        # Whoever comes first in a round comes later in the next.
        shift = turn % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            if name not in groups:
                continue
            try:
                times[name].append(_turn(case, name, counts[name], groups, record, result))
            except Failed as cause:
                _drop(name, groups, cause, result, say)
                del times[name]
    result["times_s"] = times
    result["counts"] = {name: counts[name] for name in times}
    say(f"{record['world']['name']} {case.collective} {cases.human(case.bytes)}: " + ", ".join(
        f"{name} {statistics.median(of) * 1e6:.1f}" for name, of in times.items() if of) + " us")
    return result


def _warm_up(case, group, pace):
    """Makes the arrays, checks one result, and gives the operations that fill a turn."""
    group.ask(f"prepare {case.collective} {case.bytes}", PATIENCE_SECONDS)
    count, seconds = WARM_UP, 0.0
    # The first operations are slow: a count from them is corrected by a longer try.
    for _ in range(2):
        seconds = max(map(float, group.ask(f"turn {count}", PATIENCE_SECONDS))) / count
        count = max(1, min(COUNT_MAX, round(pace.turn_seconds / max(seconds, 1e-7))))
        if seconds > pace.turn_seconds / 4:
            break
    return count


def _turn(case, name, count, groups, record, result):
    group = groups[name]
    try:
        sent_before = place.sent_bytes(group.pids)
    except OSError as cause:
        raise Failed(f"a rank is gone ({cause})") from None
    others = {other: groups[other] for other in groups if other != name}
    idle_before = {other: place.cpu_seconds(others[other].pids) for other in others}
    busy_before = place.busy_seconds() - place.cpu_seconds(group.pids)
    start = time.monotonic()
    slowest = max(map(float, group.ask(f"turn {count}", PATIENCE_SECONDS)))
    passed = time.monotonic() - start
    record["turn_seconds"] += passed
    record["outside_cpu_seconds"] += (
        place.busy_seconds() - place.cpu_seconds(group.pids) - busy_before)
    sent = place.sent_bytes(group.pids) - sent_before
    for other, before in idle_before.items():
        facts = record["contestants"][other]
        facts["idle_seconds"] += passed
        facts["idle_cpu_seconds"] += place.cpu_seconds(others[other].pids) - before
    # All ranks together, against what a collective without a detour sends.
    least = cases.bus_bytes(case) * case.world.ranks
    if case.collective == "broadcast":
        least -= case.bytes
    result["sent_ratio"][name] = round(sent / count / least, 3)
    return slowest / count


def _drop(name, groups, cause, result, say):
    """A contestant that failed is out for the rest of its world."""
    say(f"{name} is out: {cause}")
    result["blank"][name] = str(cause)
    groups.pop(name).end()


def memory_available():
    with open("/proc/meminfo") as file:
        for line in file:
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
