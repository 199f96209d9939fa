"""What Open MPI and MPICH have in common: mpi4py, and how ranks get onto hosts."""

import os

import numpy

from . import BENCHES, INSTALLED, Job

#: Called by mpirun in place of ssh: enters a host that `hosts.py` made.
AGENT = os.path.join(BENCHES, "peers", "contestants", "agent.sh")


def prefix(name):
    return os.path.join(INSTALLED, name)


def environment(name, place):
    env = {
        "PYTHONPATH": BENCHES,
        "LD_LIBRARY_PATH": os.path.join(prefix(name), "lib"),
        "MPI4PY_MPIABI": name,
    }
    if place.namespaces:
        env["KIRSH_BENCH_NAMESPACES"] = place.namespaces
    return env


class Side:
    def __init__(self):
        from mpi4py import MPI

        self._mpi, self._comm = MPI, MPI.COMM_WORLD
        self.rank, self.size = self._comm.Get_rank(), self._comm.Get_size()
        said = MPI.Get_library_version().split("\n")[0].split(",")[0]
        self.version = " ".join(said.split())

    def barrier(self):
        self._comm.Barrier()

    def close(self):
        self._mpi.Finalize()

    def prepare(self, collective, elements):
        comm, same = self._comm, self._mpi.IN_PLACE
        whole = numpy.zeros(elements, numpy.float32)
        if collective == "allreduce":
            return Job(lambda: comm.Allreduce(same, whole), whole, whole)
        if collective == "broadcast":
            return Job(lambda: comm.Bcast(whole, root=0), whole, whole)
        if collective == "alltoall":
            target = numpy.zeros_like(whole)
            return Job(lambda: comm.Alltoall(whole, target), whole, target)
        part_len = elements // self.size
        if collective == "allgather":
            part = whole[self.rank * part_len:(self.rank + 1) * part_len]
            return Job(lambda: comm.Allgather(same, whole), part, whole)
        # In place, MPI's result is at the start of the array.
        return Job(lambda: comm.Reduce_scatter_block(same, whole), whole, whole[:part_len])
