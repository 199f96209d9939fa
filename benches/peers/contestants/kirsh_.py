"""Kirsh from Python, with one driver or the other (`kirsh_uring.py`, `kirsh_poll.py`), over TCP; and as it
is when nothing is said, over Unix sockets on one host (`kirsh_unix.py`)."""

import os
import secrets

import numpy

from . import BENCHES, Job, Start, worker


def starts(driver, world, place, local="tcp"):
    port = place.free_ports(1)[0]
    env = {
        "PYTHONPATH": BENCHES,
        "KIRSH_DRIVER": driver,
        "KIRSH_LOCAL": local,
        "KIRSH_RENDEZVOUS": f"tcp://{place.address(0)}:{port}",
        "WORLD_SIZE": str(world.ranks),
    }
    if place.namespaces:
        # Nothing leaves a host without one.
        env["KIRSH_TOKEN"] = secrets.token_hex(16)
    return [Start(rank, worker(f"kirsh_{driver}"), {**env, "RANK": str(rank)})
            for rank in range(world.ranks)]


class Side:
    def __init__(self):
        import kirsh

        self._kirsh = kirsh
        self._comm = kirsh.init()
        self.rank, self.size = self._comm.rank(), self._comm.size()
        if self._comm.driver() != os.environ["KIRSH_DRIVER"]:
            raise RuntimeError(f"driver {self._comm.driver()}")
        self.version = f"kirsh {kirsh.__version__}, {self._comm.driver()}"

    def barrier(self):
        self._comm.barrier()

    def close(self):
        self._kirsh.finalize()

    def prepare(self, collective, elements):
        comm = self._comm
        whole = numpy.zeros(elements, numpy.float32)
        if collective == "allreduce":
            return Job(lambda: comm.allreduce(whole), whole, whole)
        if collective == "broadcast":
            return Job(lambda: comm.broadcast(whole, root=0), whole, whole)
        if collective == "alltoall":
            target = numpy.zeros_like(whole)
            return Job(lambda: comm.alltoall(whole, out=target), whole, target)
        part_len = elements // self.size
        part = whole[self.rank * part_len:(self.rank + 1) * part_len]
        if collective == "allgather":
            return Job(lambda: comm.allgather(part, out=whole), part, whole)
        return Job(lambda: comm.reduce_scatter(whole, out=part), whole, part)
