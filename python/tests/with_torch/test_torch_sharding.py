"""What shards a model over the ranks: each way of it ends, after twenty steps or fifty, where it ends over Gloo."""

import pytest

from groups import run_torch

COMMON = """
import torch
import torch.distributed as dist
import kirsh.torch
from torch.distributed.device_mesh import init_device_mesh
torch.set_num_threads(1)

def model():
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(24, 48), torch.nn.GELU(), torch.nn.Linear(48, 24), torch.nn.GELU(), torch.nn.Linear(24, 8))

def train(shard, same_data, steps=20):
    net, full = shard(model())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(10 + (0 if same_data else dist.get_rank()))
    losses = []
    for step in range(steps):
        loss = net(torch.randn(16, 24, generator=data)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    whole = torch.cat([full(one).detach().flatten() for one in net.parameters()])
    return torch.tensor(losses), whole

def compare(shard, same_data, **more):
    found = {}
    for run, backend in (("gloo", "gloo"), ("first", "kirsh"), ("second", "kirsh")):
        begin(backend)
        found[run] = train(shard, same_data, **more)
        dist.destroy_process_group()
    for gloo, first, second in zip(*found.values()):
        assert torch.equal(first, second) and first.isfinite().all()
        assert (gloo - first).abs().max() <= 1e-6, (gloo - first).abs().max()
"""


@pytest.mark.parametrize("size", [2, 4])
def test_fifty_steps_of_fully_sharded_training_equal_gloos(tmp_path, size):
    script = COMMON + """
from torch.distributed.fsdp import fully_shard
def shard(net):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in net:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(net, mesh=mesh), lambda one: one.full_tensor()
compare(shard, same_data=False, steps=50)
"""
    run_torch(tmp_path, script, size, join=False)


def test_tensor_parallel_training_equals_gloos(tmp_path):
    script = COMMON + """
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
def shard(net):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return net, lambda one: one.full_tensor() if hasattr(one, "full_tensor") else one
compare(shard, same_data=True)
"""
    run_torch(tmp_path, script, 4, join=False)


def test_sharding_in_two_dimensions_equals_gloos(tmp_path):
    script = COMMON + """
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
def shard(net):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    parallelize_module(net, mesh["tensor"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    return fully_shard(net, mesh=mesh["data"]), lambda one: one.full_tensor()
compare(shard, same_data=True)
"""
    run_torch(tmp_path, script, 4, join=False)


def test_distributed_tensors_move_between_placements_as_over_gloo(tmp_path):
    script = COMMON + """
from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor
def train(shard, same_data):
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    data = torch.Generator().manual_seed(5)
    draw = lambda *shape: torch.randn(*shape, generator=data)
    # Rows that the ranks do not share out evenly, and columns; both are moved in every step.
    rows = distribute_tensor(0.1 * draw(10, 24), mesh, [Shard(0)]).requires_grad_()
    columns = distribute_tensor(0.1 * draw(24, 9), mesh, [Shard(1)]).requires_grad_()
    losses = []
    for step in range(20):
        x = distribute_tensor(draw(16, 10), mesh, [Shard(1)])
        # Each rank has its share of the sum, which is added up when it is cut the other way.
        hidden = x @ rows
        assert hidden.placements == (Partial(),), hidden.placements
        hidden = hidden.redistribute(placements=[Shard(0)]).tanh().redistribute(placements=[Shard(1)])
        out = hidden.redistribute(placements=[Replicate()]) @ columns
        loss = out.square().mean()
        loss.backward()
        with torch.no_grad():
            for one in (rows, columns):
                one -= 0.01 * one.grad
                one.grad = None
        losses.append(loss.full_tensor().item())
    whole = torch.cat([one.full_tensor().detach().flatten() for one in (rows, columns)])
    return torch.tensor(losses), whole
compare(None, True)
"""
    run_torch(tmp_path, script, 4, join=False)


@pytest.mark.parametrize("schedule", ["ScheduleGPipe", "Schedule1F1B"])
def test_pipelined_training_equals_gloos(tmp_path, schedule):
    script = COMMON + f"""
from torch.distributed import pipelining
Schedule = pipelining.{schedule}
""" + """
def train(shard, same_data):
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(3)
    widths = [24, 48, 32, 24, 8]
    parts = [torch.nn.Sequential(torch.nn.Linear(width, out), torch.nn.Tanh())
             for width, out in zip(widths, widths[1:])]
    assert len(parts) == size
    stage = pipelining.PipelineStage(parts[rank], rank, size, torch.device("cpu"))
    mean = lambda out, wanted: (out - wanted).square().mean()
    schedule = Schedule(stage, n_microbatches=4, loss_fn=mean)
    optimizer = torch.optim.SGD(parts[rank].parameters(), lr=0.1)
    data, losses = torch.Generator().manual_seed(5), []
    for step in range(20):
        x = torch.randn(16, 24, generator=data)
        optimizer.zero_grad()
        if rank == 0:
            schedule.step(x)
        elif rank < size - 1:
            schedule.step()
        else:
            found = []
            schedule.step(target=x[:, :8], losses=found)
            losses.append(sum(one.item() for one in found))
        optimizer.step()
    assert len(losses) == (20 if rank == size - 1 else 0)
    return torch.tensor(losses or [0.0]), torch.cat([one.detach().flatten() for one in parts[rank].parameters()])
compare(None, True)
"""
    run_torch(tmp_path, script, 4, join=False)


def test_checkpoints_are_written_beside_training_and_training_goes_on_from_them(tmp_path):
    script = COMMON + """
import torch.distributed.checkpoint as dcp
from torch.distributed.fsdp import fully_shard
STEPS, SAVED = 20, 8

def train(shard, same_data):
    path = os.path.join(os.environ["TEST_DIR"], f"checkpoint{next(_meetings)}")
    # A thread of its own saves, and its calls must not mix with those of training: hence a group of its own.
    apart = dist.new_group(list(range(dist.get_world_size())), backend=dist.get_backend())
    net = fully_shard(model(), mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(10 + dist.get_rank())
    batches = [torch.randn(16, 24, generator=data) for _ in range(STEPS)]
    def steps(of):
        losses = []
        for x in of:
            loss = net(x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        whole = torch.cat([one.full_tensor().detach().flatten() for one in net.parameters()])
        return torch.tensor(losses), whole
    before = steps(batches[:SAVED])
    saving = dcp.async_save({"net": net.state_dict()}, checkpoint_id=path, process_group=apart)
    after = steps(batches[SAVED:])
    saving.result()
    # What comes after the checkpoint comes the same from what was read of it.
    state = {"net": net.state_dict()}
    dcp.load(state, checkpoint_id=path)
    net.load_state_dict(state["net"])
    assert torch.equal(steps([])[1], before[1])
    again = steps(batches[SAVED:])
    assert torch.equal(again[0], after[0]) and torch.equal(again[1], after[1])
    return torch.cat([before[0], after[0]]), after[1]

compare(None, False)
"""
    run_torch(tmp_path, script, 4, join=False)
