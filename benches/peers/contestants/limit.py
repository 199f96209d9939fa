"""Bare sockets (`limit.rs`): the same bytes between neighbours, both ways, nothing done to them."""

import os

from . import INSTALLED, Start

NAME = "limit"


def starts(world, place, folder):
    ports = place.free_ports(world.ranks)
    addresses = [f"{place.address(rank)}:{port}" for rank, port in enumerate(ports)]
    program = os.path.join(INSTALLED, "limit")
    env = {"KIRSH_BENCH_ADDRESSES": ",".join(addresses)}
    return [Start(rank, [program], {**env, "RANK": str(rank)}) for rank in range(world.ranks)]
