"""Several hosts on one machine, for benches: network namespaces on one bridge, each with a shaped cable.

    with Hosts(4, rate="1gbit") as hosts:
        process = hosts.popen(2, ["python", "train.py"], env=...)

Each host is a namespace with an interface `eth0`, whose cable to the bridge is shaped in both
directions with tc's token bucket, so that a host sends and receives at the same time at `rate`
each. The bridge has a namespace of its own: nothing of the machine's network is touched. Needs root
and iproute2. Namespaces are removed when the `with` ends, and those of processes that died before
they could are removed by the next `Hosts`.
"""

import contextlib
import os
import shutil
import subprocess

PREFIX = "kirsh-bench-"

# A bucket that lets 64 KiB pass at the speed of memory would hide the wire from small messages;
# one below the kernel's timer resolution would not reach the rate.
BURST = {"1gbit": "64kb", "10gbit": "256kb"}

# The kernel passes several Ethernet frames from one end of a cable to the other at once. As many as fit
# the bucket keep their pace; single ones keep two cores so busy that four hosts get no further than
# 0.3 Gbit/s each.
GSO_BYTES = "32768"


class Unavailable(Exception):
    """Why this machine can have no such hosts."""


def _ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20)
    if done.returncode != 0:
        raise Unavailable(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def _remove_left_overs():
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line.strip() else ""
        if not name.startswith(PREFIX):
            continue
        owner = name[len(PREFIX):].split("-")[0]
        if not os.path.exists(f"/proc/{owner}"):
            with contextlib.suppress(Unavailable):
                _ip("netns", "del", name)


class Hosts:
    """`count` hosts, 10.78.0.1 and on, whose cables carry `rate` each way (None: unshaped)."""

    def __init__(self, count, rate="1gbit", burst=None):
        if os.geteuid() != 0:
            raise Unavailable("network namespaces need root")
        if not shutil.which("ip") or not shutil.which("tc"):
            raise Unavailable("there is no ip or tc command (iproute2)")
        self.count, self.rate = count, rate
        self._burst = burst or BURST.get(rate, "64kb")
        self._name = f"{PREFIX}{os.getpid()}"
        self._made = []

    def __enter__(self):
        _remove_left_overs()
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_):
        self._remove()

    def namespace(self, host):
        return f"{self._name}-{host}"

    def address(self, host):
        return f"10.78.0.{host + 1}"

    def command(self, host, command):
        """The command that runs `command` on a host."""
        return ["ip", "netns", "exec", self.namespace(host), *command]

    def popen(self, host, command, **arguments):
        return subprocess.Popen(self.command(host, command), **arguments)

    def _add(self, name):
        _ip("netns", "add", name)
        self._made.append(name)

    def _make(self):
        switch = f"{self._name}-switch"
        self._add(switch)
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for host in range(self.count):
            name = self.namespace(host)
            self._add(name)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", switch, "link", "add", f"p{host}", "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("-n", switch, "link", "set", f"p{host}", "master", "br0", "up")
            _ip("-n", name, "link", "set", "eth0", "gso_max_size", GSO_BYTES)
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            if self.rate:
                self._shape(name, "eth0")
                self._shape(switch, f"p{host}")

    def _shape(self, namespace, interface):
        _ip("netns", "exec", namespace, "tc", "qdisc", "add", "dev", interface, "root",
            "tbf", "rate", self.rate, "burst", self._burst, "latency", "20ms")

    def _remove(self):
        for name in reversed(self._made):
            with contextlib.suppress(Unavailable):
                _ip("netns", "del", name)
        self._made = []
