"""Two ranks that torchrun starts find together in torch's own store."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launch import DEADLINE, clean_environment, free_port

ROOT = Path(__file__).parents[3]

#: Each rank joins twice, and torch's own group meets in the same store before or after.
JOB = """
import os, sys
import kirsh, numpy
import torch.distributed as dist
FAILS_FIRST = os.environ.get("TEST_FAILS_FIRST") == "1"
TORCH_FIRST = os.environ.get("TEST_TORCH_FIRST") == "1"
assert os.environ["TORCHELASTIC_USE_AGENT_STORE"] == os.environ.get("TEST_AGENT_STORE", "True")
def with_torch():
    dist.init_process_group("gloo")
    dist.barrier()
def with_kirsh():
    for turn in range(2):
        kirsh.init()
        numbers = numpy.full(1000, kirsh.rank() + 1.0)
        kirsh.allreduce(numbers)
        assert (numbers == 3).all(), numbers
        if FAILS_FIRST and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            os._exit(3)
        kirsh.finalize()
for step in [with_torch, with_kirsh] if TORCH_FIRST else [with_kirsh, with_torch]:
    step()
attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
sys.stdout.write(f"rank went well in attempt {attempt}\\n")
"""


def torchrun(
    directory: Path, *options: str, script: str = JOB, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Two ranks of a script under torchrun, to their end."""
    path = directory / "job.py"
    path.write_text(script)
    return started(*options, str(path), **environment)


def torchrun_program(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two ranks of a program that need not be Python, to their end."""
    return started("--standalone", "--no-python", *command, **environment)


def started(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", *arguments],
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def compiled(example: str, directory: Path) -> str:
    """An example in C, linked with the library of this source tree."""
    cargo, compiler = shutil.which("cargo"), shutil.which("cc")
    if cargo is None or compiler is None:
        pytest.skip("no cargo, or no C compiler")
    # As the tests of the C face build it, so that what they have built is taken.
    manifest = str(ROOT / "kirsh-ffi" / "Cargo.toml")
    build = [cargo, "build", "--lib", "--manifest-path", manifest, "--message-format=json"]
    told = subprocess.run(build, capture_output=True, text=True, timeout=600)
    assert told.returncode == 0, told.stderr
    files = [file for line in told.stdout.splitlines() for file in json.loads(line).get("filenames", [])]
    (built,) = (file for file in files if file.endswith("libkirsh.so"))
    # By the name under which it is looked for when the program starts.
    library, program = directory / "libkirsh.so.0", str(directory / "program")
    shutil.copy(built, library)
    flags = [f"-I{ROOT / 'include'}", str(library), f"-Wl,-rpath,{directory}"]
    subprocess.run([compiler, str(ROOT / "examples" / example), *flags, "-o", program], check=True)
    return program


def went_well(done: subprocess.CompletedProcess[str], attempt: int = 0) -> None:
    """Both ranks came to their end."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    told = done.stdout.count(f"rank went well in attempt {attempt}")
    assert told == 2, f"{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("first", ["kirsh", "torch"])
def test_ranks_meet_in_the_agents_store_beside_torch(first, tmp_path):
    went_well(torchrun(tmp_path, "--standalone", TEST_TORCH_FIRST=str(int(first == "torch"))))


@pytest.mark.parametrize("first", ["kirsh", "torch"])
def test_ranks_meet_in_the_store_of_rank_0_where_the_agent_has_none(first, tmp_path):
    went_well(
        torchrun(
            tmp_path,
            "--standalone",
            TEST_AGENT_STORE="False",
            TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1",
            TEST_TORCH_FIRST=str(int(first == "torch")),
        )
    )


def test_a_restart_meets_anew(tmp_path):
    done = torchrun(tmp_path, "--standalone", "--max-restarts=1", TEST_FAILS_FIRST="1")
    went_well(done, attempt=1)


def test_ranks_on_several_hosts_get_a_token_from_rank_0(tmp_path):
    script = """
import os, sys
os.environ["LOCAL_WORLD_SIZE"] = "1"
import kirsh
kirsh.init()
assert len(os.environ["KIRSH_TOKEN"]) == 64
tokens = kirsh.Communicator().allgather_object(os.environ["KIRSH_TOKEN"])
assert len(set(tokens)) == 1
sys.stdout.write("rank went well in attempt 0\\n")
"""
    went_well(torchrun(tmp_path, "--standalone", script=script))


def test_without_torch_the_error_says_what_to_set(tmp_path):
    script = """
import sys
sys.modules["torch"] = None
import kirsh
try:
    kirsh.init()
except kirsh.KirshError as error:
    assert "KIRSH_RENDEZVOUS=tcp://host:port" in str(error), error
    assert "torch's own store" in str(error), error
    sys.stdout.write("rank went well in attempt 0\\n")
"""
    went_well(torchrun(tmp_path, "--standalone", script=script))
    # And doing so helps.
    told = script.replace("except", "    sys.stdout.write('rank went well in attempt 0\\\\n')\nexcept", 1)
    place = f"tcp://127.0.0.1:{free_port()}"
    went_well(torchrun(tmp_path, "--standalone", script=told, KIRSH_RENDEZVOUS=place))


def test_info_under_torchrun_names_it_and_its_store(tmp_path):
    done = torchrun_program(sys.executable, "-m", "kirsh", "info")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    for rank in range(2):
        assert f"rank {rank} of 2 (torchrun)" in done.stdout, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("rendezvous")]
    assert len(lines) == 2 and lines[0] == lines[1], "both meet at one place"
    assert "torch's store at " in lines[0] and "(torchrun; for Python" in lines[0], lines


@pytest.mark.parametrize("language", ["C", "Rust"])
def test_programs_without_torch_are_told_what_to_set_and_then_meet(language, tmp_path):
    if language == "C":
        command, good = [compiled("minimal.c", tmp_path)], "of 2: the ranks sum to 1"
    else:
        # The command is Rust to its end, and its `perf` a rank of whoever starts it.
        perf = ["perf", "allreduce", "-b", "4", "-e", "4", "-i", "2", "--json"]
        command, good = [sys.executable, "-m", "kirsh", *perf], '"ranks": 2'
    refused = torchrun_program(*command)
    assert refused.returncode != 0, refused.stdout
    assert "KIRSH_RENDEZVOUS=tcp://host:port" in refused.stderr, refused.stderr
    assert "lead to torch's own store" in refused.stderr, refused.stderr
    assert "another than MASTER_PORT" in refused.stderr, refused.stderr
    place = f"tcp://127.0.0.1:{free_port()}"
    done = torchrun_program(*command, KIRSH_RENDEZVOUS=place)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert good in done.stdout, done.stdout
