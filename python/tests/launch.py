"""Starts the ranks of a test as real processes, and ends only those."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

#: Seconds until a test that hangs is taken down.
DEADLINE = 240.0

#: What every script begins with. `meet` lets one rank wait for another without the library.
PREAMBLE = """
import os, sys, time, math, threading
def meet(name):
    open(os.path.join(os.environ["TEST_DIR"], name), "w").close()
def await_meeting(name):
    path = os.path.join(os.environ["TEST_DIR"], name)
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        assert time.monotonic() < deadline, f"nobody made {name}"
        time.sleep(0.005)
"""

#: And what most go on with.
JOIN = """
import kirsh
import numpy as np
comm = kirsh.init()
rank, size = kirsh.rank(), kirsh.size()
"""

#: Waits, in a thread, until the main thread is inside a call that has let go of the interpreter:
#: it stays on one instruction although others run.
WHEN_BLOCKED = """
WAITING = ("allreduce", "send", "recv", "wait_for", "init")
def when_blocked(then):
    main = threading.main_thread().ident
    def watch():
        same, before = 0, None
        while same < 50:
            frame = sys._current_frames()[main]
            now = (frame.f_code.co_name, frame.f_lasti)
            same = same + 1 if now == before and now[0] in WAITING else 0
            before = now
            time.sleep(0.002)
        then()
    threading.Thread(target=watch, daemon=True).start()
def wait_for(work, *arguments):
    return work.wait(*arguments)
"""


def free_port() -> int:
    """A port of the loopback interface that was free a moment ago, from below those that the kernel gives to
    whoever asks for any: no rank's own listener takes it before rank 0 does."""
    while True:
        with socket.socket() as probe:
            port = random.randrange(10_000, 30_000)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would name a world."""
    named = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    started = ("KIRSH_", "TORCHELASTIC_", "OMPI_", "PMIX_", "PMI_", "MPI_LOCAL", "SLURM_")
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in named and not key.startswith(started)
    }
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **extra}


class Rank:
    """One process, whose output is collected while it runs."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.errors = ""
        self._grown = threading.Condition()
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._readers = [
            threading.Thread(target=self._read_lines, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_lines(self) -> None:
        for line in self.process.stdout:
            with self._grown:
                self.lines.append(line.rstrip("\n"))
                self._grown.notify_all()
        with self._grown:
            self._grown.notify_all()

    def _read_errors(self) -> None:
        self.errors = self.process.stderr.read()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def await_line(self, text: str, seconds: float = 60.0) -> None:
        """Waits until the process has printed this."""
        with self._grown:
            found = self._grown.wait_for(
                lambda: any(text in line for line in self.lines)
                or self.process.poll() is not None,
                seconds,
            )
        assert found and any(text in line for line in self.lines), (
            f"no line {text!r} in {self.lines}, errors: {self.errors}"
        )

    def finish(self, deadline: float) -> int:
        """The exit code; a process that takes too long is killed and gives -9."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return self.process.returncode


class World:
    """The ranks of one script, started together; leaving the block ends what still runs."""

    def __init__(
        self,
        directory: Path,
        script: str,
        size: int,
        *,
        join: bool = True,
        environment: dict[str, str] | None = None,
    ) -> None:
        path = directory / "script.py"
        path.write_text(PREAMBLE + (JOIN if join else "") + textwrap.dedent(script))
        self._deadline = time.monotonic() + DEADLINE
        common = clean_environment(
            WORLD_SIZE=str(size),
            KIRSH_RENDEZVOUS=f"tcp://127.0.0.1:{free_port()}",
            TEST_DIR=str(directory),
            **(environment or {}),
        )
        self.ranks = [
            Rank([sys.executable, "-X", "faulthandler", str(path)], {**common, "RANK": str(rank)})
            for rank in range(size)
        ]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        for rank in self.ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(signal.SIGKILL)
            rank.finish(time.monotonic() + 10)

    def finish(self, codes: dict[int, int] | None = None) -> list[Rank]:
        """Waits for the end of all ranks; each must exit with 0, or with its code in `codes`."""
        for rank in self.ranks:
            rank.finish(self._deadline)
        found = [rank.process.returncode for rank in self.ranks]
        wanted = [(codes or {}).get(number, 0) for number in range(len(self.ranks))]
        told = "\n".join(
            f"--- rank {number}, exit code {rank.process.returncode}\n{rank.output}\n{rank.errors}"
            for number, rank in enumerate(self.ranks)
        )
        assert found == wanted, f"exit codes {found}, not {wanted}\n{told}"
        return self.ranks


def run_ranks(directory: Path, script: str, size: int, **options: object) -> list[Rank]:
    """Runs a script on all ranks of a world to its good end."""
    with World(directory, script, size, **options) as world:
        return world.finish()


def run_alone(script: str, *, python: str = sys.executable, **environment: str) -> str:
    """Runs a script in a process outside any world to its good end, and gives its output."""
    done = subprocess.run(
        [python, "-c", textwrap.dedent(script)],
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout
