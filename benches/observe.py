"""What counting costs: a build of `kirsh` as it is beside one without the feature `observe`.

Both time a blocking allreduce of 4 bytes between two ranks on loopback, in turns, and the ratio of each
pair of turns is taken, so that what slows the machine for a while does not count. The second build serves
for nothing else: its statistics are empty.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "target" / "bench-observe"

#: The two builds, and the options to cargo that make them.
BUILDS = {"off": ["--no-default-features"], "on": []}


def build() -> None:
    """Makes both programs, which share all that does not depend on the feature."""
    PLACE.mkdir(parents=True, exist_ok=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    for name, options in BUILDS.items():
        command = ["cargo", "build", "--release", "-p", "kirsh-core", "--bin", "kirsh"]
        subprocess.run([*command, "--features", "cli", *options], cwd=ROOT, check=True)
        shutil.copy2(target / "release" / "kirsh", PLACE / name)


def turn(name: str, driver: str, calls: int) -> float:
    """Nanoseconds that a call takes, as `kirsh perf` says."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KIRSH_")}
    kept["KIRSH_DRIVER"] = driver
    sizes = ["-n", "2", "-b", "4", "-e", "4", "-w", "2000", "-i", str(calls), "--no-check"]
    command = [str(PLACE / name), "perf", "allreduce", *sizes, "--json"]
    done = subprocess.run(command, env=kept, check=True, capture_output=True, text=True)
    (row,) = json.loads(done.stdout)["results"]
    return float(row["time_us"]) * 1000


def measure(driver: str, rounds: int, calls: int) -> float:
    """The median of the ratios, on to off, which is printed with what it comes from."""
    times: dict[str, list[float]] = {name: [] for name in BUILDS}
    for number in range(rounds):
        names = list(BUILDS) if number % 2 == 0 else list(reversed(BUILDS))
        for name in names:
            times[name].append(turn(name, driver, calls))
    ratios = [on / off for on, off in zip(times["on"], times["off"], strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    medians = {name: statistics.median(of) for name, of in times.items()}
    print(
        f"{driver}: on {medians['on']:.0f} ns, off {medians['off']:.0f} ns; ratio of pairs "
        f"{median:.4f} (quartiles {low:.4f} and {high:.4f}, {rounds} pairs)"
    )
    return median


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="pairs of turns for each driver")
    parser.add_argument("--calls", type=int, default=20_000, help="calls in a turn")
    parser.add_argument("--drivers", default="uring,poll", help="comma separated")
    parser.add_argument("--no-build", action="store_true", help="use what was built before")
    parser.add_argument("--build-only", action="store_true")
    options = parser.parse_args()
    if not options.no_build:
        build()
    if options.build_only:
        return 0
    for driver in options.drivers.split(","):
        measure(driver, options.rounds, options.calls)
    return 0


if __name__ == "__main__":
    sys.exit(main())
