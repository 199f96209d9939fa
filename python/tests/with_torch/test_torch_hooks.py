"""The hook for gradients in fewer bytes: what it remembers of which bucket, and when a step begins."""

import pytest
import torch

import kirsh.torch
from groups import run_torch
from kirsh.torch._meter import Meter

#: A bucket as DDP hands it over.
BUCKET = """
class Bucket:
    def __init__(self, values, *parameters, index=0):
        self._values, self._parameters, self._index = values, list(parameters), index
    def index(self): return self._index
    def buffer(self): return self._values
    def parameters(self): return self._parameters
a, b, c = (torch.nn.Parameter(torch.zeros(2)) for _ in range(3))
def average(state, values, *parameters, index=0):
    return kirsh.torch.allreduce_hook(state, Bucket(torch.tensor(values), *parameters, index=index)).wait()
"""


def test_what_rounding_loses_is_sent_in_the_next_step(tmp_path):
    script = BUCKET + """
# A 1 that int8 and bf16 drop beside 1000: without feedback it would never arrive.
for wire in ("int8", "bf16"):
    state, total = kirsh.torch.HookState(wire=wire), torch.zeros(2)
    lone = kirsh.torch.HookState(wire=wire, feedback=False)
    dropped = torch.zeros(2)
    for _ in range(64):
        total += average(state, [1000.3, 1.0], a)
        dropped += average(lone, [1000.3, 1.0], a)
    wanted = 64 * torch.tensor([1000.3, 1.0])
    assert ((total - wanted).abs() <= 8).all(), (wire, total)
    assert ((dropped - wanted).abs() > 12).any(), (wire, dropped)
"""
    run_torch(tmp_path, script, 2)


def test_what_was_lost_of_a_bucket_goes_to_the_same_parameters_whatever_the_buckets_number(tmp_path):
    script = BUCKET + """
state = kirsh.torch.HookState(wire="int8")
average(state, [1000.3, 1.0], a)
# Another bucket of the same number and size gets nothing of that; the same with another number does.
assert average(state, [0.0, 0.0], b).tolist() == [0.0, 0.0]
assert average(state, [0.0, 0.0], a, index=1).abs().max() > 0.1
# A bucket that is arranged anew begins anew, and what is known of its parts is forgotten.
average(state, [1000.3, 1.0], a)
assert average(state, [0.0, 0.0, 0.0, 0.0], a, c).tolist() == [0.0] * 4
assert len(state._lost) == 2
"""
    run_torch(tmp_path, script, 2)


def test_what_is_still_owed_is_paid_when_gradients_travel_as_they_are_again(tmp_path):
    script = BUCKET + """
state = kirsh.torch.HookState(wire="int8")
total = average(state, [1000.3, 1.0], a)
state.wire = "none"
total = total + average(state, [0.0, 0.0], a)
assert (total - torch.tensor([1000.3, 1.0])).abs().max() < 1e-3, total
assert average(state, [0.0, 0.0], a).tolist() == [0.0, 0.0]
"""
    run_torch(tmp_path, script, 2)


def test_a_step_begins_with_the_first_bucket_also_where_that_cannot_be_encoded():
    agreed = []

    class Group:
        def allreduce(self, tensors, opts):
            agreed.append(tensors[0])
            return self

        def wait(self):
            pass

    meter, group = Meter(), Group()
    for _ in range(20):
        meter.format_of((1, 2), torch.ones(3, dtype=torch.float64), group, False)
        meter.format_of((3,), torch.ones(5), group, True)
    # One of each eighth step, when the next begins.
    assert len(agreed) == 2
    assert meter._bytes == 5 * 4


@pytest.mark.parametrize("feedback", [True, False])
def test_a_format_is_charged_with_keeping_what_it_loses_where_that_is_kept(feedback):
    found = []

    class Group:
        def allreduce(self, tensors, opts):
            found.append(tensors[0].tolist())
            return self

        def wait(self):
            pass

    state, group = kirsh.torch.HookState(feedback=feedback), Group()
    for _ in range(10):
        state._meter.format_of((1,), torch.ones(1000), group, True)
    ((_, _, *passes),) = found
    assert len(passes) == 2 and all((one > 0) == feedback for one in passes), passes


def test_ranks_with_fewer_inputs_join_under_the_hook_as_without_it(tmp_path):
    script = """
import torch
import torch.distributed as dist
import kirsh.torch
from torch.nn.parallel import DistributedDataParallel
torch.set_num_threads(1)
def train(state, static):
    begin("kirsh")
    rank = dist.get_rank()
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 9))
    model = DistributedDataParallel(net, bucket_cap_mb=0.001, static_graph=static)
    if state is not None:
        model.register_comm_hook(state, kirsh.torch.allreduce_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data, losses = torch.Generator().manual_seed(rank), []
    with model.join():
        # The first rank has none at all, and its first step is the other's; torch does not allow that of a static graph.
        for _ in range(30 * rank + (5 if static else 0)):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 20, generator=data)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    found = torch.cat([one.detach().flatten() for one in model.parameters()])
    dist.destroy_process_group()
    return found, losses
State = kirsh.torch.HookState
for static in (False, True):
    plain, plain_losses = train(None, static)
    for wire, apart in (("none", 1e-6), ("auto", 1e-6), ("bf16", 0.02)):
        found, losses = train(State(wire), static)
        assert (found - plain).abs().max() <= apart, (wire, static, (found - plain).abs().max())
        assert len(losses) == len(plain_losses)
        assert all(abs(one - other) <= apart for one, other in zip(losses, plain_losses))
"""
    run_torch(tmp_path, script, 2, join=False)


def test_nothing_depends_on_the_default_type_and_device(tmp_path):
    script = """
from torch.nn.parallel import DistributedDataParallel
from datetime import timedelta
cpu = torch.device("cpu")
def train(wire):
    torch.manual_seed(1)
    model = torch.nn.Linear(20, 9, device=cpu, dtype=torch.float32)
    model = DistributedDataParallel(model)
    model.register_comm_hook(kirsh.torch.HookState(wire), kirsh.torch.allreduce_hook)
    data = torch.Generator(cpu).manual_seed(rank)
    for _ in range(12):
        x = torch.randn(5, 20, generator=data, device=cpu, dtype=torch.float32)
        model(x).square().mean().backward()
    return model.module.weight.grad
def others():
    dist.monitored_barrier(timeout=timedelta(seconds=30))
    sparse = torch.sparse_coo_tensor(
        torch.tensor([[rank]], device=cpu), torch.ones(1, device=cpu, dtype=torch.float32), (size,), device=cpu)
    dist.all_reduce(sparse)
    strided = torch.zeros(4, 2, device=cpu, dtype=torch.float32).t()
    if rank == 0:
        strided.fill_(3.0)
    dist.broadcast(strided, 0)
    return torch.cat([sparse.to_dense(), strided.flatten()])
wires = ("none", "bf16", "auto")
wanted, also = [train(wire) for wire in wires], others()
torch.set_default_dtype(torch.bfloat16)
torch.set_default_device("meta")
for wire, gradient in zip(wires, wanted):
    assert torch.equal(train(wire), gradient), wire
assert torch.equal(others(), also)
"""
    run_torch(tmp_path, script, 2)
