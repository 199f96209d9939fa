"""MPICH over TCP: libfabric's tcp provider, with every rank taken for a node of its own."""

import os

from . import Start, mpi, worker

NAME = "mpich"

connect = mpi.Side


def starts(world, place, folder):
    command = [os.path.join(mpi.prefix("mpich"), "bin", "mpiexec"), "-n", str(world.ranks)]
    env = mpi.environment("mpich", place) | {
        "MPIR_CVAR_CH4_NETMOD": "ofi",
        "FI_PROVIDER": "tcp",
        "FI_TCP_IFACE": place.interface,
        "MPIR_CVAR_NOLOCAL": "1",
    }
    if place.namespaces:
        hosts = ",".join(place.address(rank) for rank in range(world.ranks))
        command += ["-launcher", "ssh", "-launcher-exec", mpi.AGENT, "-hosts", hosts, "-ppn", "1",
                    "-localhost", place.address(0)]
    return [Start(0, command + worker("mpich"), env)]
