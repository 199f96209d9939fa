"""Where the ranks of a world run: all on loopback, or each on a host of its own (`hosts.py`)."""

import contextlib
import os
import socket
import subprocess

from hosts import Hosts


class Loopback:
    interface = "lo"
    namespaces = None

    def address(self, rank):
        return "127.0.0.1"

    def popen(self, rank, command, **arguments):
        return subprocess.Popen(command, **arguments)

    def free_ports(self, count):
        """Ports that nobody holds now; taken together, so that they differ."""
        with contextlib.ExitStack() as stack:
            taken = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in taken:
                one.bind(("127.0.0.1", 0))
            return [one.getsockname()[1] for one in taken]


class OnHosts:
    """Ranks on hosts whose network nobody else uses, so that ports can be counted up."""

    interface = "eth0"

    def __init__(self, hosts):
        self._hosts = hosts
        self._port = 20000
        #: The name of a rank's namespace, without its number.
        self.namespaces = hosts.namespace(0)[:-1]

    def address(self, rank):
        return self._hosts.address(rank)

    def popen(self, rank, command, **arguments):
        return self._hosts.popen(rank, command, **arguments)

    def free_ports(self, count):
        self._port += count
        return list(range(self._port - count, self._port))


@contextlib.contextmanager
def place(world):
    """The place of a world for as long as it is measured; `hosts.Unavailable` if there is none."""
    if world.rate is None:
        yield Loopback()
        return
    with Hosts(world.ranks, rate=world.rate) as hosts:
        yield OnHosts(hosts)


def sent_bytes(pids):
    """What has left through the interfaces that these processes see, each network counted once."""
    total, seen = 0, set()
    for pid in pids:
        network = os.readlink(f"/proc/{pid}/ns/net")
        if network in seen:
            continue
        seen.add(network)
        with open(f"/proc/{pid}/net/dev") as file:
            for line in file.readlines()[2:]:
                total += int(line.split(":")[1].split()[8])
    return total


def cpu_seconds(pids):
    """Processor time that these processes have used; of one that is gone, none."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def busy_seconds():
    """Processor time that anybody on this machine has used, the kernel included."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _iowait, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
