"""Ranks of a Slurm step: by a real srun where there is one, else replayed by hand with the variables that
srun(1) documents."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import DEADLINE, Rank, clean_environment, free_port

TOKEN = "a-token-that-both-hosts-can-read"

#: Each rank joins twice, under nothing but Slurm's variables.
JOB = """
import os, sys
import kirsh, numpy
assert not {"RANK", "KIRSH_RANK", "KIRSH_RENDEZVOUS"} & set(os.environ)
for turn in range(2):
    kirsh.init()
    assert kirsh.rank() == int(os.environ["SLURM_PROCID"])
    numbers = numpy.full(1000, kirsh.rank() + 1.0)
    kirsh.allreduce(numbers)
    assert (numbers == 3).all(), numbers
    kirsh.finalize()
sys.stdout.write("rank went well\\n")
"""


def step(port: int, **changes: str) -> list[dict[str, str]]:
    """What srun sets for two tasks of a step whose port this is."""
    common = {
        "SLURM_JOB_ID": str(1_230_000 + port - 20_000),
        "SLURM_STEP_ID": "0",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_LAUNCH_NODE_IPADDR": "127.0.0.1",
        **changes,
    }
    return [{**common, "SLURM_PROCID": str(rank)} for rank in range(2)]


#: A step on this node alone, and one on two, whose names lead here.
STEPS = {
    "one node": {
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_STEP_NODELIST": "n1",
        "SLURM_STEP_TASKS_PER_NODE": "2",
    },
    "two nodes": {
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_STEP_NODELIST": "127.0.0.[1-2]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
        "KIRSH_TOKEN": TOKEN,
    },
}


def slurm_port() -> int:
    """A free port of those that steps meet at."""
    while (port := free_port()) < 20_000:
        pass
    return port


def run(command: list[str], environments: list[dict[str, str]]) -> list[Rank]:
    ranks = [Rank(command, clean_environment(**environment)) for environment in environments]
    deadline = time.monotonic() + DEADLINE
    for rank in ranks:
        rank.finish(deadline)
    return ranks


@pytest.mark.parametrize("nodes", STEPS)
def test_two_tasks_of_a_replayed_step_find_together(nodes, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    for rank in run([sys.executable, str(script)], step(slurm_port(), **STEPS[nodes])):
        assert rank.process.returncode == 0, f"{rank.output}\n{rank.errors}"
        assert rank.output == "rank went well"


@pytest.mark.parametrize("nodes", STEPS)
def test_info_shows_step_and_place(nodes):
    port = slurm_port()
    command = [sys.executable, "-m", "kirsh", "info"]
    for number, rank in enumerate(run(command, step(port, **STEPS[nodes]))):
        assert rank.process.returncode == 0, f"{rank.output}\n{rank.errors}"
        assert f"rank {number} of 2 (Slurm)" in rank.output
        assert f"tcp://127.0.0.1:{port} (Slurm)" in rank.output


def test_tasks_on_several_nodes_without_a_token_are_told_so(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    nodes = {**STEPS["two nodes"], "SLURM_STEP_NODELIST": "192.0.2.[1-2]"}
    del nodes["KIRSH_TOKEN"]
    first, _ = run([sys.executable, str(script)], step(slurm_port(), **nodes, KIRSH_JOIN_TIMEOUT="5"))
    assert first.process.returncode != 0
    assert "KIRSH_TOKEN" in first.errors, first.errors


@pytest.mark.skipif(shutil.which("srun") is None, reason="there is no srun")
def test_tasks_of_a_real_step_find_together(tmp_path):
    script: Path = tmp_path / "job.py"
    script.write_text(JOB)
    # A step of several nodes needs a token, and one that is not needed does no harm. Of Slurm's variables
    # only that stays which says where the cluster is.
    cluster = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}
    done = subprocess.run(
        ["srun", "--ntasks=2", "--immediate=60", sys.executable, str(script)],
        env=clean_environment(KIRSH_TOKEN=TOKEN, **cluster),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("rank went well") == 2, done.stdout
