"""`make bench-peers`: measures, and writes a record with tables and pictures."""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

from . import cases, goals, machine, plots, report, turns
from .contestants import BENCHES, everyone

#: Minutes of measuring; starting groups and drawing come on top, some 2 minutes.
MINUTES, QUICK_MINUTES = 60.0, 7.5


def parse():
    parser = argparse.ArgumentParser(prog="python -m peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer sizes and turns: ten minutes in all")
    parser.add_argument("--minutes", type=float, help="for measuring; what no time is left for is blank")
    parser.add_argument("--worlds", help="comma separated: " + ",".join(world.name for world in cases.WORLDS))
    parser.add_argument("--collectives", help="comma separated: " + ",".join(cases.COLLECTIVES))
    parser.add_argument("--contestants", help="comma separated: "
                        + ",".join(contestant.NAME for contestant in everyone()))
    parser.add_argument("--record", help="folder for the record; one of today below benches/record otherwise")
    parser.add_argument("--add", action="store_true",
                        help="keep what the folder's record has of worlds that are not measured now")
    return parser.parse_args()


def chosen(words, known, name_of):
    """Those of the known that are asked for; all where nothing is."""
    if not words:
        return list(known)
    wanted = words.split(",")
    unknown = set(wanted) - {name_of(one) for one in known}
    if unknown:
        sys.exit(f"not known: {', '.join(sorted(unknown))}")
    return [one for one in known if name_of(one) in wanted]


def main():
    arguments = parse()
    # Ends like Ctrl-C does, so that ranks and namespaces go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    worlds = chosen(arguments.worlds, cases.WORLDS, lambda world: world.name)
    collectives = chosen(arguments.collectives, cases.COLLECTIVES, str)
    contestants = chosen(arguments.contestants, everyone(), lambda contestant: contestant.NAME)
    minutes = arguments.minutes or (QUICK_MINUTES if arguments.quick else MINUTES)
    least, most, seconds = (3, 5, 0.1) if arguments.quick else (3, 9, 0.2)
    pace = turns.Pace(least, most, seconds, time.monotonic() + 60 * minutes)
    options = " ".join(f"--{name} {getattr(arguments, name)}"
                       for name in ("minutes", "worlds", "collectives", "contestants")
                       if getattr(arguments, name))
    command = ("make bench-peers" + " QUICK=1" * arguments.quick
               + (f' PEERS_ARGS="{options}"' if options else ""))
    about = {"command": command, "turns": [least, most], **machine.describe(os.path.dirname(BENCHES))}
    with tempfile.TemporaryDirectory(prefix="kirsh-peers-") as folder:
        measured = turns.measure(
            worlds, contestants, folder, pace,
            lambda world: cases.cases(world, arguments.quick, collectives),
            lambda line: print(line, flush=True))
    folder = arguments.record or os.path.join(BENCHES, "record", time.strftime("%Y-%m-%d-peers")
                                              + ("-quick" if arguments.quick else ""))
    record = {"worlds": [{"about": about, **world} for world in measured]}
    if arguments.add:
        keep_others(record, folder)
    write(record, folder)
    print("\n".join(goals.table(record)))
    print(f"record: {os.path.relpath(folder)}")


def keep_others(record, folder):
    """Puts the worlds of an earlier record beside those of this one that it has not."""
    with open(os.path.join(folder, "figures.json")) as file:
        earlier = json.load(file)["worlds"]
    names = [world.name for world in cases.WORLDS]
    new = {world["world"]["name"] for world in record["worlds"]}
    record["worlds"] += [world for world in earlier if world["world"]["name"] not in new]
    record["worlds"].sort(key=lambda world: names.index(world["world"]["name"]))


def write(record, folder):
    """Replaces the record in a folder by this one, once that is whole."""
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        with open(os.path.join(fresh, "figures.json"), "w") as file:
            json.dump(record, file, indent=1)
            file.write("\n")
        pictures = plots.draw(record, fresh)
        with open(os.path.join(fresh, "tables.md"), "w") as file:
            file.write(report.tables(record))
            file.writelines(f"\n![{name}]({name})\n" for name in pictures)
        for name in os.listdir(fresh):
            shutil.move(os.path.join(fresh, name), os.path.join(folder, name))


if __name__ == "__main__":
    main()
