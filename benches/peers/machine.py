"""Where a record comes from."""

import os
import platform
import subprocess
import time


def describe(repository):
    return {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.0f} GiB",
        "nice": os.nice(0),
        "python": platform.python_version(),
        "commit": _commit(repository),
        "tcp": {name: _first_line(f"/proc/sys/net/ipv4/{name}")
                for name in ("tcp_congestion_control", "tcp_rmem", "tcp_wmem")},
    }


def _field(path, name):
    with open(path) as file:
        for line in file:
            if line.startswith(name):
                return line.split(":", 1)[1].strip()
    return ""


def _first_line(path):
    try:
        with open(path) as file:
            return " ".join(file.readline().split())
    except OSError:
        return ""


def _commit(repository):
    """The commit that was measured; "+" where the files differ from it."""
    def git(*words):
        return subprocess.run(["git", "-C", repository, *words], capture_output=True, text=True,
                              check=False).stdout.strip()
    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except OSError:
        return ""
