"""The example of training, on four ranks and on real data."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import DEADLINE, World, clean_environment

pytest.importorskip("sklearn", reason="scikit-learn, which ships the digits, is not installed")

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Runs the example in this process, with its arguments.
RUN = f"""
import runpy, kirsh
sys.argv = ["digits.py", "--check"]
runpy.run_path({str(EXAMPLES / "digits.py")!r}, run_name="__main__")
"""


def train(tmp_path, size=4):
    with World(tmp_path, RUN, size, join=False) as world:
        ranks = world.finish()
    found = [re.search(r"accuracy (\S+), weights ([0-9a-f]{64})", r.output) for r in ranks]
    return [(float(match[1]), match[2]) for match in found]


def test_four_ranks_learn_the_digits_alike_and_again_alike(tmp_path):
    first, second = train(tmp_path), train(tmp_path)
    assert first == second
    assert len({weights for _, weights in first}) == 1
    assert all(accuracy >= 0.95 for accuracy, _ in first)


def test_without_the_allreduce_the_check_fails(tmp_path):
    identity = "import kirsh\nkirsh.allreduce = lambda x, **_: x\n"
    with World(tmp_path, identity + RUN, 4, join=False) as world:
        ranks = world.finish({number: 1 for number in range(4)})
    assert all("gradients differ" in rank.errors for rank in ranks)


def test_without_the_broadcast_the_check_fails(tmp_path):
    identity = "import kirsh\nkirsh.broadcast = lambda x, **_: x\n"
    with World(tmp_path, identity + RUN, 4, join=False) as world:
        for rank in world.ranks:
            rank.process.wait(DEADLINE)
        assert any(rank.process.returncode == 1 for rank in world.ranks)


def test_the_data_is_exported_as_text(tmp_path):
    out = tmp_path / "digits.csv"
    subprocess.run(
        [sys.executable, str(EXAMPLES / "digits_data.py"), str(out)],
        check=True,
        timeout=DEADLINE,
        env=clean_environment(),
    )
    rows = [[int(value) for value in line.split(",")] for line in out.read_text().splitlines()]
    assert len(rows) == 1797 and all(len(row) == 65 for row in rows)
    assert {row[0] for row in rows} == set(range(10))
    assert {value for row in rows for value in row[1:]} == set(range(17))
