"""The examples, as a user starts them: with torchrun, whose agent holds the store."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import clean_environment

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"

ABORTED, TERMINATED = "-6", "-15"
NO_EXCEPTION = "terminate called without an active exception"


def torchrun(ranks: int, script: Path, *given: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    return subprocess.run(
        [*command, str(script), *given],
        env=clean_environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=240,
    )


def only_a_thread_of_gloos_failed(done: subprocess.CompletedProcess[str]) -> bool:
    """Whether ranks ended as they sometimes do over Gloo when all is done: one of its threads, still there at the
    process's end, aborts it. torchrun terminates the others then."""
    codes = set(re.findall(r"exitcode\s*: (-?\d+)", done.stderr))
    aborted = ABORTED in codes and codes <= {ABORTED, TERMINATED}
    return done.returncode == 1 and aborted and NO_EXCEPTION in done.stderr


def losses(example: str, backend: str) -> list[str]:
    done = torchrun(4, EXAMPLES / example, "--steps", "30", "--backend", backend)
    ended = done.returncode == 0 or (backend == "gloo" and only_a_thread_of_gloos_failed(done))
    assert ended, done.stdout + done.stderr
    told = re.findall(r"step .*", done.stdout)
    assert len(told) == 3, done.stdout + done.stderr
    return told


@pytest.mark.parametrize("example", ["torch_ddp.py", "torch_fsdp.py"])
def test_under_torchrun_the_curve_of_losses_is_gloos(example):
    assert losses(example, "kirsh") == losses(example, "gloo")


@pytest.mark.parametrize(
    "end, excused",
    [
        (f"sys.stderr.write('{NO_EXCEPTION}'); sys.stderr.flush(); os.abort()", True),
        ("os.abort()", False),
        (f"sys.exit('{NO_EXCEPTION}')", False),
        (f"sys.stderr.write('{NO_EXCEPTION}'); sys.stderr.flush(); os.kill(os.getpid(), 11)", False),
    ],
)
def test_no_other_end_of_gloos_ranks_is_excused(tmp_path, end, excused):
    script = tmp_path / "ends.py"
    script.write_text(f"import os, sys\nif os.environ['RANK'] == '1': {end}\n")
    done = torchrun(2, script)
    assert done.returncode and only_a_thread_of_gloos_failed(done) == excused, done.stderr
