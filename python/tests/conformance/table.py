"""Shows how torch's conformance tests went, Kirsh beside Gloo; with ``--run`` it runs them first.

The columns are the ranks and, for each, three runs: Gloo; Kirsh with what torch lets through for Gloo; and
Kirsh with what it lets through for MPI, which is what Gloo cannot do (all_to_all). Below come the tests that no
run has made, and why. The exit code is 1 where a test passes for Gloo and not for Kirsh.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

WORLDS = (2, 3)
#: By run, and by test.
Results = dict[str, dict[str, dict[str, str]]]
#: Backend that runs, and name under which torch's tests decide what to skip.
RUNS = (("gloo", "gloo"), ("kirsh", "gloo"), ("kirsh", "mpi"))


#: Said of tests that torch decides by name to run over NCCL alone, as most of batch_isend_irecv. Under that name
#: nothing is tried: the tensors would be CUDA's.
FOR_NCCL = "torch keeps it for NCCL, which is for CUDA devices"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--run", action="store_true", help="run them first, anew")
    arguments = parser.parse_args()
    if arguments.run:
        arguments.results.unlink(missing_ok=True)
        for world in WORLDS:
            for backend, named in RUNS:
                run(backend, named, world, arguments.results)
    results = json.loads(arguments.results.read_text())
    show(results)
    return int(any(worse(results, world) for world in WORLDS))


def run(backend: str, named: str, world: int, results: Path) -> None:
    script = Path(__file__).with_name("run.py")
    command = [sys.executable, str(script), "--backend", backend, "--named", named]
    subprocess.run([*command, "--world", str(world), "--results", str(results)], check=True)


def of(results: Results, backend: str, named: str, world: int) -> dict[str, dict[str, str]]:
    return results.get(f"{backend}/{named}/{world}", {})


def worse(results: Results, world: int) -> list[str]:
    """The tests that pass for Gloo and do not for Kirsh."""
    gloo = of(results, "gloo", "gloo", world)
    kirsh = of(results, "kirsh", "gloo", world)
    return [
        name
        for name, how in gloo.items()
        if how["outcome"] == "passed"
        and kirsh.get(name, {}).get("outcome") != "passed"
    ]


def show(results: Results) -> None:
    columns = [(world, *run) for world in WORLDS for run in RUNS]
    names = sorted({name for tests in results.values() for name in tests})
    heads = [
        f"{world}: {backend}" + ("" if backend == named else f" as {named}")
        for world, backend, named in columns
    ]
    print(f"{'test':58} " + " ".join(f"{head:>16}" for head in heads))
    for name in names:
        cells = [of(results, backend, named, world).get(name) for world, backend, named in columns]
        if all(cell is None or cell["outcome"] == "skipped" for cell in cells):
            continue
        shown = ["-" if cell is None else cell["outcome"] for cell in cells]
        print(f"{name:58} " + " ".join(f"{cell:>16}" for cell in shown))
    for world, backend, named in columns:
        tests = of(results, backend, named, world).values()
        counts = {
            kind: sum(1 for test in tests if test["outcome"] == kind)
            for kind in ("passed", "failed", "skipped")
        }
        print(f"{world} ranks, {backend} with what torch tests for {named}: {counts}")
    for world in WORLDS:
        for name in worse(results, world):
            print(f"{world} ranks: {name} passes for Gloo and not for Kirsh")
    for why, names in not_run(results).items():
        print(f"not run, {why}:")
        for name in names:
            print(f"    {name}")


def not_run(results: Results) -> dict[str, list[str]]:
    """The tests that every run skipped, by what it said where it went as Gloo; that name lets most through."""
    every = {name for tests in results.values() for name in tests}
    found: dict[str, list[str]] = {}
    for name in sorted(every):
        told = {mode: tests[name] for mode, tests in results.items() if name in tests}
        if all(how["outcome"] == "skipped" for how in told.values()):
            mode = next((mode for mode in told if "/gloo/" in mode), next(iter(told)))
            why = told[mode]["why"]
            found.setdefault(FOR_NCCL if "nccl" in why.lower() else why, []).append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
