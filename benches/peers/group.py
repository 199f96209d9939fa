"""The ranks of one contestant: started, asked, ended.

Each rank is connected to this process by a socket in the file system, which works from every
network namespace. A rank that is not asked sleeps in a read of it.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import time

from .contestants import BENCHES

#: Seconds until all ranks have met. Loading torch takes most of them.
START_SECONDS = 120

#: Seconds that ranks may take to leave before they are killed.
LEAVE_SECONDS = 10


class Failed(Exception):
    """Why a contestant cannot go on."""


class Group:
    def __init__(self, contestant, world, place, folder):
        self.name = contestant.NAME
        self.pids, self.version, self.commands = [], "", []
        self._ranks, self._processes, self._logs = {}, [], []
        folder = os.path.join(folder, world.name)
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{self.name}.sock")
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(path)
            listener.listen(world.ranks)
            base = {**os.environ, "KIRSH_BENCH_CONTROL": path, "OMP_NUM_THREADS": "1"}
            for number, start in enumerate(contestant.starts(world, place, folder)):
                self._start(place, start, base, os.path.join(folder, f"{self.name}-{number}.log"))
            self._meet(listener, world.ranks)
        except BaseException:
            self.end()
            raise
        finally:
            listener.close()

    def ask(self, words, seconds):
        """Says this to all ranks and gives what each answers, in the order of ranks."""
        for rank in sorted(self._ranks):
            try:
                self._ranks[rank].sendall(f"{words}\n".encode())
            except OSError as cause:
                raise self._failure(f"rank {rank} is gone ({cause})") from None
        until = time.monotonic() + seconds
        return [self._line(rank, until, words) for rank in sorted(self._ranks)]

    def end(self):
        """Lets the ranks leave; kills those that do not."""
        for connection in self._ranks.values():
            with contextlib.suppress(OSError):
                connection.sendall(b"end\n")
                connection.close()
        until = time.monotonic() + LEAVE_SECONDS
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        for process in self._processes:
            if process.poll() is None:
                # What it started is in its process group, unless it has left that.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for log in self._logs:
            log.close()

    def _start(self, place, start, base, log_path):
        log = open(log_path, "w+")
        self._logs.append(log)
        shown = [f"{key}={value}" for key, value in start.env.items() if key != "KIRSH_TOKEN"]
        self.commands.append(without_paths(" ".join(shown + start.command)))
        self._processes.append(place.popen(
            start.rank, start.command, env={**base, **start.env}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=subprocess.STDOUT, process_group=0))

    def _meet(self, listener, ranks):
        until = time.monotonic() + START_SECONDS
        listener.settimeout(0.2)
        waiting = []
        while len(waiting) < ranks:
            if time.monotonic() > until:
                raise self._failure(f"{len(waiting)} of {ranks} ranks came in {START_SECONDS} s")
            if any(process.poll() not in (None, 0) for process in self._processes):
                raise self._failure("a process ended at its start")
            with contextlib.suppress(TimeoutError):
                waiting.append(listener.accept()[0])
        pids = {}
        for place_held, connection in enumerate(waiting):
            self._ranks[-1 - place_held] = connection
            rank, pid, version = self._line(-1 - place_held, until, "hello").split(" ", 2)
            self._ranks[int(rank)] = self._ranks.pop(-1 - place_held)
            pids[int(rank)] = int(pid)
            self.version = version
        if sorted(self._ranks) != list(range(ranks)):
            raise self._failure(f"ranks {sorted(self._ranks)} came, not 0 to {ranks - 1}")
        self.pids = [pids[rank] for rank in sorted(pids)]

    def _line(self, rank, until, words):
        connection, line = self._ranks[rank], b""
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([connection], [], [], left)[0]:
                raise self._failure(f"rank {rank} did not answer {words!r} in time")
            part = connection.recv(4096)
            if not part:
                raise self._failure(f"rank {rank} ended at {words!r}")
            line += part
        answer = line.decode().strip()
        if answer.startswith("error "):
            raise self._failure(f"rank {rank}: {answer.removeprefix('error ')}")
        return answer

    def _failure(self, what):
        """The reason, with the last that the processes had to say."""
        said = []
        for log in self._logs:
            log.seek(0)
            said += [line for line in log.read().splitlines() if line.strip()][-4:]
        return Failed(without_paths(what + (": " + " | ".join(said[-8:]) if said else "")))


def without_paths(text):
    """The text with paths from the root of the repository: a record says nothing of its machine's."""
    return text.replace(os.path.dirname(BENCHES) + os.sep, "")
