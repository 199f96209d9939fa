"""Gloo, as torch.distributed brings it."""

import numpy

from . import BENCHES, Job, Start, worker

NAME = "gloo"


def starts(world, place, folder):
    env = {
        "PYTHONPATH": BENCHES,
        "MASTER_ADDR": place.address(0),
        "MASTER_PORT": str(place.free_ports(1)[0]),
        "WORLD_SIZE": str(world.ranks),
        "GLOO_SOCKET_IFNAME": place.interface,
    }
    return [Start(rank, worker("gloo"), {**env, "RANK": str(rank)}) for rank in range(world.ranks)]


class Side:
    def __init__(self):
        import torch
        import torch.distributed as dist

        torch.set_num_threads(1)
        dist.init_process_group("gloo")
        self._torch, self._dist = torch, dist
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.version = f"torch {torch.__version__}"

    def barrier(self):
        self._dist.barrier()

    def close(self):
        self._dist.destroy_process_group()

    def prepare(self, collective, elements):
        dist, tensor_of = self._dist, self._torch.from_numpy
        whole = numpy.zeros(elements, numpy.float32)
        tensor = tensor_of(whole)
        if collective == "allreduce":
            return Job(lambda: dist.all_reduce(tensor), whole, whole)
        if collective == "broadcast":
            return Job(lambda: dist.broadcast(tensor, src=0), whole, whole)
        if collective == "alltoall":
            target = numpy.zeros_like(whole)
            into = tensor_of(target)
            return Job(lambda: dist.all_to_all_single(into, tensor), whole, target)
        # Torch does not say that its part may lie in the whole.
        part = numpy.zeros(elements // self.size, numpy.float32)
        own = tensor_of(part)
        if collective == "allgather":
            return Job(lambda: dist.all_gather_into_tensor(tensor, own), part, whole)
        return Job(lambda: dist.reduce_scatter_tensor(own, tensor), whole, part)


connect = Side
