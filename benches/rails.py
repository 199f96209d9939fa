"""Two hosts with two cables each: an all-reduce by one cable against both.

    sudo python benches/rails.py --kirsh target/release/kirsh [--rates 1gbit 1gbit] [--rounds 5]

Hosts are network namespaces (see hosts.py), with a second cable each to a switch of its own. By turns
the ranks are started with KIRSH_RAILS off and auto; each time `kirsh perf` times an all-reduce, and the
medians over the rounds are printed with their ratio. Needs root, iproute2 and a build of `kirsh`.
"""

import argparse
import json
import os
import secrets
import statistics
import subprocess

from hosts import GSO_BYTES, Hosts, _ip

SIZES = ["1M", "16M", "64M"]


class Railed(Hosts):
    """Two hosts with an `eth1` beside their `eth0`, 10.79.0.1 and on."""

    def __init__(self, rates):
        super().__init__(2, rate=rates[0])
        self.second = rates[1]

    def _make(self):
        super()._make()
        switch, self.rate = f"{self._name}-switch", self.second
        _ip("-n", switch, "link", "add", "br1", "type", "bridge")
        _ip("-n", switch, "link", "set", "br1", "up")
        for host in range(self.count):
            name = self.namespace(host)
            _ip("-n", switch, "link", "add", f"q{host}", "type", "veth", "peer", "name", "eth1", "netns", name)
            _ip("-n", switch, "link", "set", f"q{host}", "master", "br1", "up")
            _ip("-n", name, "link", "set", "eth1", "gso_max_size", GSO_BYTES)
            _ip("-n", name, "address", "add", f"10.79.0.{host + 1}/24", "dev", "eth1")
            _ip("-n", name, "link", "set", "eth1", "up")
            self._shape(name, "eth1")
            self._shape(switch, f"q{host}")


def busbw(hosts, kirsh, size, rails, port):
    """GB/s of an all-reduce of this size, and what rank 0 says of its rails."""
    env = {
        **os.environ,
        "KIRSH_WORLD_SIZE": "2",
        "KIRSH_RENDEZVOUS": f"tcp://{hosts.address(0)}:{port}",
        "KIRSH_TOKEN": hosts.token,
        "KIRSH_RAILS": rails,
        "KIRSH_LOG": "info",
    }
    command = [kirsh, "perf", "allreduce", "-b", size, "-e", size, "--json"]
    ranks = [
        hosts.popen(rank, command, env={**env, "KIRSH_RANK": str(rank)}, text=True,
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    if any(rank.returncode for rank in ranks):
        raise SystemExit("\n".join(said for output in outputs for said in output))
    said = [line for line in outputs[0][1].splitlines() if "networks between" in line]
    return json.loads(outputs[0][0])["results"][0]["busbw_gbps"], said


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kirsh", required=True, help="the program, built for release")
    parser.add_argument("--rates", nargs=2, default=["1gbit", "1gbit"], help="of the two cables")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="of the arrays")
    args = parser.parse_args()
    kirsh = os.path.abspath(args.kirsh)
    with Railed(args.rates) as hosts:
        hosts.token = secrets.token_hex(16)
        port, said = 29500, []
        print(f"cables of {args.rates[0]} and {args.rates[1]}, medians of {args.rounds} rounds, busbw in GB/s")
        print(f"{'size':>6} {'one':>8} {'both':>8} {'ratio':>6}")
        for size in args.sizes:
            figures = {"off": [], "auto": []}
            for _ in range(args.rounds):
                for rails, seen in figures.items():
                    figure, lines = busbw(hosts, kirsh, size, rails, port)
                    port, said = port + 1, lines or said
                    seen.append(figure)
            one, both = (statistics.median(figures[rails]) for rails in ("off", "auto"))
            print(f"{size:>6} {one:8.3f} {both:8.3f} {both / one:6.2f}", flush=True)
        print(*said, sep="\n")


if __name__ == "__main__":
    main()
