"""Runs torch's own conformance class for backends, and writes down how each test went.

    python run.py --backend kirsh --named gloo --world 2 --results results.json [test ...]

The class is ``DistributedTest._DistTestBase`` of torch's ``distributed_test``. It decides by the name of
the backend, while it is imported, which tests are skipped. ``--named`` is the name it sees then: as
"gloo" it lets through whatever Gloo can do, as "mpi" what Gloo cannot: all_to_all. ``--backend`` is what
really runs. Each rank of each test is a process forked from this one. What is in the results already is
not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

#: Seconds until a test that hangs is taken down.
LIMIT = 60


def main() -> int:
    arguments = parse()
    tests = selected(load(arguments), arguments)
    results = read(arguments.results)
    mode = f"{arguments.backend}/{arguments.named}/{arguments.world}"
    done: dict[str, Any] = results.setdefault(mode, {})
    began = time.monotonic()
    for test in tests:
        name = test.id().split(".")[-1]
        if name in done:
            continue
        if time.monotonic() - began > arguments.budget:
            print(f"out of time: {len(done)} of {len(tests)} are there; run it again for the rest")
            return 3
        done[name] = outcome(test)
        print(f"{mode} {name}: {done[name]['outcome']} ({done[name]['seconds']} s)", flush=True)
        arguments.results.write_text(json.dumps(results, indent=1, sort_keys=True))
    return 0


class Name(str):
    """The name of a backend, which the tests' own questions take for another's too.

    Some tests ask inside for the backends they know, and do nothing sensible with any other.
    """

    def __new__(cls, name: str, *, passes_for: str) -> Name:
        made = super().__new__(cls, name)
        made.passes_for = passes_for
        return made

    def __eq__(self, other: object) -> bool:
        return str.__eq__(self, other) is True or self.passes_for == other

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = str.__hash__


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["gloo", "kirsh"], default="kirsh")
    parser.add_argument("--named", choices=["gloo", "mpi"], default="gloo")
    parser.add_argument("--world", type=int, default=2)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds to begin tests in")
    parser.add_argument("tests", nargs="*", help="names or regular expressions; all without any")
    return parser.parse_args()


def load(arguments: argparse.Namespace) -> type[unittest.TestCase]:
    """Import torch's class under the name, and make the class of our backend from it."""
    os.environ.update(
        BACKEND=arguments.named,
        WORLD_SIZE=str(arguments.world),
        TEMP_DIR=tempfile.mkdtemp(prefix="kirsh-conformance-"),
        DISTRIBUTED_TESTS_DEFAULT_TIMEOUT=str(LIMIT),
        # Two ranks or three on few cores: more threads only stand in each other's way.
        OMP_NUM_THREADS="1",
    )
    # As torch's own launcher of these tests does.
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29500")
    for folder in ("barrier", "test_dir", "init_dir"):
        Path(os.environ["TEMP_DIR"], folder).mkdir()
    import kirsh.torch  # noqa: F401 - registers

    # torch's tests import what only its developers have.
    from torch.testing._internal import common_distributed
    from torch.testing._internal.distributed import distributed_test

    common_distributed.TIMEOUT_OVERRIDE.clear()
    distributed_test.BACKEND = Name(arguments.backend, passes_for=arguments.named)

    class Conformance(distributed_test.TestDistBackend, distributed_test.DistributedTest._DistTestBase):
        def setUp(self) -> None:
            super().setUp()
            context = distributed_test.torch.multiprocessing.get_context("fork")
            self._start_processes(context.Process)

    return Conformance


def selected(
    case: type[unittest.TestCase], arguments: argparse.Namespace
) -> list[unittest.TestCase]:
    names = unittest.TestLoader().getTestCaseNames(case)
    patterns = [re.compile(pattern) for pattern in arguments.tests]
    return [
        case(name)
        for name in names
        if not patterns or any(pattern.fullmatch(name) for pattern in patterns)
    ]


def outcome(test: unittest.TestCase) -> dict[str, Any]:
    result = unittest.TestResult()
    began = time.monotonic()
    test.run(result)
    seconds = round(time.monotonic() - began, 1)
    if result.skipped:
        return {"outcome": "skipped", "why": result.skipped[0][1], "seconds": seconds}
    wrong = result.errors + result.failures
    if wrong:
        return {"outcome": "failed", "why": wrong[0][1][-4000:], "seconds": seconds}
    return {"outcome": "passed", "why": "", "seconds": seconds}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
