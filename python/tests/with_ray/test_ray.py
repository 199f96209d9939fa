"""Two workers, and two actors, that Ray starts find together."""

from __future__ import annotations

import importlib.util

import pytest
import ray

import kirsh.ray

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="there is no torch")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this host alone, for as long as the tests of this file run."""
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def test_the_workers_of_ray_train_are_a_world(cluster, tmp_path):
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def train():
        import numpy
        from ray.train import get_context

        import kirsh

        kirsh.init()
        assert kirsh.rank() == get_context().get_world_rank()
        numbers = numpy.full(1000, kirsh.rank() + 1.0)
        kirsh.allreduce(numbers)
        assert (numbers == 3).all(), numbers
        (tmp_path / f"rank {kirsh.rank()} of {kirsh.size()}").touch()
        kirsh.finalize()

    trainer = DataParallelTrainer(
        train,
        backend_config=kirsh.ray.train_config(),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(tmp_path / "ray"), name="job"),
    )
    trainer.fit()
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank 0 of 2", "rank 1 of 2"]


def test_a_restart_of_the_workers_meets_anew(cluster, tmp_path):
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    def train():
        import os

        import kirsh

        kirsh.init()
        assert kirsh.allreduce(1) == 2
        attempt = len(list(tmp_path.glob(f"rank {kirsh.rank()}*")))
        told = [os.environ[f"KIRSH_{name}"] for name in ("JOB_ID", "TOKEN", "RENDEZVOUS")]
        (tmp_path / f"rank {kirsh.rank()} attempt {attempt}").write_text(" ".join(told))
        kirsh.barrier()
        if attempt == 0:
            raise RuntimeError("as if something had gone wrong")
        kirsh.finalize()

    trainer = DataParallelTrainer(
        train,
        backend_config=kirsh.ray.train_config(),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(
            storage_path=str(tmp_path / "ray"),
            name="job",
            failure_config=FailureConfig(max_failures=1),
        ),
    )
    trainer.fit()
    told = {path.name: path.read_text().split() for path in tmp_path.glob("rank*")}
    assert sorted(told) == [f"rank {rank} attempt {turn}" for rank in range(2) for turn in range(2)]
    first, second = (told[f"rank 0 attempt {turn}"] for turn in range(2))
    assert told["rank 1 attempt 0"] == first and told["rank 1 attempt 1"] == second
    assert first[0] != second[0] and first[1] != second[1], "a job and a token of its own"


@needs_torch
def test_rays_trainer_for_torch_takes_the_backend_by_name(cluster, tmp_path):
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer, prepare_model

    def train():
        import torch
        import torch.distributed as dist

        assert dist.get_backend() == "kirsh"
        numbers = torch.full((1000,), dist.get_rank() + 1.0)
        dist.all_reduce(numbers)
        assert (numbers == 3).all(), numbers
        model = prepare_model(torch.nn.Linear(2, 1, bias=False))
        assert isinstance(model, torch.nn.parallel.DistributedDataParallel)
        model(torch.full((1, 2), dist.get_rank() + 1.0)).sum().backward()
        (gradient,) = (parameter.grad for parameter in model.parameters())
        assert gradient.tolist() == [[1.5, 1.5]], gradient
        (tmp_path / f"rank {dist.get_rank()} of {dist.get_world_size()}").touch()

    trainer = TorchTrainer(
        train,
        torch_config=TorchConfig(backend="kirsh"),
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(tmp_path / "ray"), name="job"),
    )
    trainer.fit()
    assert sorted(path.name for path in tmp_path.glob("rank*")) == ["rank 0 of 2", "rank 1 of 2"]


def test_actors_are_a_group_of_ray_util_collective(cluster):
    from ray.util import collective

    @ray.remote
    class Actor:
        def begin(self, rank):
            kirsh.ray.register()
            kirsh.ray.register()
            self.rank = rank
            collective.init_collective_group(2, rank, backend="KIRSH", group_name="pair")

        def work(self):
            import numpy

            rank, found = self.rank, {}
            own = numpy.array([1.0, 2.0, 3.0]) + rank
            both = own.copy()
            collective.allreduce(both, "pair", op=collective.types.ReduceOp.MAX)
            found["allreduce"] = both.tolist()
            into = own.copy()
            collective.reduce(into, 1, "pair")
            found["reduce"] = into.tolist()
            into = own.copy()
            collective.broadcast(into, 1, "pair")
            found["broadcast"] = into.tolist()
            parts = [numpy.zeros(3), numpy.zeros(3)]
            collective.allgather(parts, own, "pair")
            found["allgather"] = [part.tolist() for part in parts]
            part = numpy.zeros(3)
            collective.reducescatter(part, [own, own * 10], "pair")
            found["reducescatter"] = part.tolist()
            collective.barrier("pair")
            if rank == 0:
                collective.send(own * 7, 1, "pair")
            else:
                collective.recv(into, 0, "pair")
                found["recv"] = into.tolist()
            collective.destroy_collective_group("pair")
            return found

    actors = [Actor.remote() for _ in range(2)]
    # Twice, under one name: the second group must not meet where the first did.
    for _ in range(2):
        ray.get([actor.begin.remote(rank) for rank, actor in enumerate(actors)], timeout=100)
        first, second = ray.get([actor.work.remote() for actor in actors], timeout=100)
        common = {
            "allreduce": [2, 3, 4],
            "broadcast": [2, 3, 4],
            "allgather": [[1, 2, 3], [2, 3, 4]],
        }
        assert first == {**common, "reduce": [1, 2, 3], "reducescatter": [3, 5, 7]}
        assert second == {
            **common,
            "reduce": [3, 5, 7],
            "reducescatter": [30, 50, 70],
            "recv": [7, 14, 21],
        }


@needs_torch
def test_a_group_takes_torch_tensors(cluster):
    @ray.remote
    class Actor:
        def work(self, rank):
            import torch
            from ray.util import collective

            kirsh.ray.register()
            collective.init_collective_group(2, rank, backend="KIRSH", group_name="tensors")
            found = {}
            own = torch.tensor([[1.0, 2.0], [3.0, 4.0]]) + rank
            into = own.clone()
            collective.allreduce(into, "tensors")
            found["allreduce"] = into.tolist()
            into = own.clone()
            collective.reduce(into, 0, "tensors", op=collective.types.ReduceOp.PRODUCT)
            found["reduce"] = into.tolist()
            into = own.clone()
            collective.broadcast(into, 0, "tensors")
            found["broadcast"] = into.tolist()
            parts = [torch.zeros(2, 2), torch.zeros(2, 2)]
            collective.allgather(parts, own, "tensors")
            found["allgather"] = [part.tolist() for part in parts]
            part = torch.zeros(2, 2, dtype=torch.int64)
            whole = [torch.full((2, 2), rank + to) for to in range(2)]
            collective.reducescatter(part, whole, "tensors")
            found["reducescatter"] = part.tolist()
            if rank == 0:
                collective.send(own * 7, 1, "tensors")
            else:
                collective.recv(into, 0, "tensors")
                found["recv"] = into.tolist()
            # What a parameter is: it asks for a gradient and is written to all the same.
            weight = torch.nn.Parameter(own.clone())
            collective.broadcast(weight.data, 1, "tensors")
            found["parameter"] = weight.tolist()
            collective.destroy_collective_group("tensors")
            return found

    actors = [Actor.remote() for _ in range(2)]
    first, second = ray.get([actor.work.remote(rank) for rank, actor in enumerate(actors)], timeout=100)
    zero, one = [[1, 2], [3, 4]], [[2, 3], [4, 5]]
    common = {
        "allreduce": [[3, 5], [7, 9]],
        "broadcast": zero,
        "allgather": [zero, one],
        "parameter": one,
    }
    assert first == {**common, "reduce": [[2, 6], [12, 20]], "reducescatter": [[1, 1], [1, 1]]}
    seven = [[7, 14], [21, 28]]
    assert second == {**common, "reduce": one, "reducescatter": [[3, 3], [3, 3]], "recv": seven}
