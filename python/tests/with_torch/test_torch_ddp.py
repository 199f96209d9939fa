"""DistributedDataParallel over Kirsh: the same training as over Gloo, and the same each time."""

import re

import pytest

from groups import run_torch, torch_world

TRAIN = """
import sys, torch
import torch.distributed as dist
import kirsh.torch
from torch.nn.parallel import DistributedDataParallel

def train(backend, steps=50, hook=None, megabytes=0.002, wrap=None):
    begin(backend)
    rank = dist.get_rank()
    torch.manual_seed(7)
    model = torch.nn.Sequential(
        torch.nn.Linear(20, 64), torch.nn.Tanh(), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 5))
    # Small buckets, so that several are under way at once.
    model = DistributedDataParallel(model, bucket_cap_mb=megabytes)
    if hook is not None:
        hook(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    if wrap is not None:
        optimizer = wrap(optimizer)
    data = torch.Generator().manual_seed(100 + rank)
    for step in range(steps):
        x = torch.randn(16, 20, generator=data)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), x[:, :5].argmax(1)).backward()
        optimizer.step()
    parameters = torch.cat([one.detach().flatten() for one in model.parameters()])
    # Were a thread of Gloo's the last to hold its group, it would wait for its own end.
    kept.append(dist.group.WORLD)
    dist.destroy_process_group()
    return parameters
kept = []
"""


@pytest.mark.parametrize("size", [2, 3])
def test_fifty_steps_end_where_gloo_ends_and_at_the_same_bits_each_time(tmp_path, size):
    script = TRAIN + """
torch.set_num_threads(1)
gloo, first, second = train("gloo"), train("kirsh"), train("kirsh")
assert torch.equal(first, second)
assert (first - gloo).abs().max() <= 1e-6, (first - gloo).abs().max()
print("sum", first.double().sum().item())
"""
    told = {rank.output for rank in run_torch(tmp_path, script, size, join=False)}
    assert len(told) == 1 and "sum" in told.pop()


def test_torchs_own_hooks_work(tmp_path):
    script = TRAIN + """
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
torch.set_num_threads(1)
def fp16(model):
    model.register_comm_hook(None, default_hooks.fp16_compress_hook)
def power(model):
    state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=2, start_powerSGD_iter=3)
    model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
# PowerSGD starts a second allreduce when the first of a bucket is over. With several buckets its order among
# the others would differ from rank to rank, over Gloo too.
for hook, megabytes, apart in ((fp16, 0.002, 1e-3), (power, 25, 1e-4)):
    gloo, kirsh = train("gloo", 10, hook, megabytes), train("kirsh", 10, hook, megabytes)
    assert (kirsh - gloo).abs().max() <= apart, (hook, (kirsh - gloo).abs().max())
print("all is well")
"""
    for rank in run_torch(tmp_path, script, 2, join=False):
        assert "all is well" in rank.output


def test_gradients_that_stay_in_pairs_of_ranks_and_parameters_averaged_at_times_end_where_gloos_do(tmp_path):
    script = TRAIN + """
from torch.distributed.algorithms.ddp_comm_hooks.post_localSGD_hook import PostLocalSGDState, post_localSGD_hook
from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
from torch.distributed.optim import PostLocalSGDOptimizer
torch.set_num_threads(1)
BEFORE, PERIOD = 6, 4
def local(model):
    pair, _ = dist.new_subgroups_by_enumeration([[0, 1], [2, 3]])
    model.register_comm_hook(PostLocalSGDState(None, pair, BEFORE), post_localSGD_hook)
def averaged(optimizer):
    return PostLocalSGDOptimizer(optimizer, PeriodicModelAverager(PERIOD, BEFORE))
# One average comes 18 steps into 20: what the pairs have done apart since then shows.
found = {}
for run, backend in (("gloo", "gloo"), ("first", "kirsh"), ("second", "kirsh")):
    found[run] = train(backend, 20, local, wrap=averaged)
assert torch.equal(found["first"], found["second"])
away = (found["first"] - found["gloo"]).abs().max()
assert away <= 1e-6, away
print("sum", found["first"].double().sum().item())
"""
    told = [rank.output for rank in run_torch(tmp_path, script, 4, join=False)]
    assert told[0] == told[1] and told[2] == told[3] and told[0] != told[2]


def test_a_rank_killed_in_a_step_is_named_on_the_others(tmp_path):
    script = """
import signal, time
from torch.nn.parallel import DistributedDataParallel
model = DistributedDataParallel(torch.nn.Linear(200, 200))
for step in range(1000):
    x = torch.randn(4, 200)
    try:
        loss = model(x).sum()
        if step == 5 and rank == 1:
            print("dying", time.time(), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        loss.backward()
    except RuntimeError as error:
        print("heard", time.time(), error, flush=True)
        os._exit(7)
"""
    with torch_world(tmp_path, script, 3) as world:
        ranks = world.finish({0: 7, 1: -9, 2: 7})
    died = float(re.search(r"dying (\S+)", ranks[1].output)[1])
    for rank in (ranks[0], ranks[2]):
        heard = re.search(r"heard (\S+) (.*)", rank.output, re.DOTALL)
        assert "rank 1" in heard[2], heard[2]
        # Milliseconds, unless the machine has much else to do.
        assert float(heard[1]) - died < 2, heard[0]


#: Notes the operations that begin, and has `late` called in a step's backward pass when the gradients of the last two
#: layers are there and those of the first are not. A layer is larger than the 1 MiB of DDP's first bucket.
LAYERS = """
import signal
from kirsh import _kirsh
from torch.nn.parallel import DistributedDataParallel
begun, call_at = [], _kirsh.call_at
def noted(*given):
    begun.append(call_at(*given))
    return begun[-1]
def watched(late):
    _kirsh.call_at = noted
    net = torch.nn.Sequential(*(torch.nn.Linear(600, 600) for _ in range(3)))
    def forward(module, given, out):
        out.register_hook(lambda gradient: late())
    net[0].register_forward_hook(forward)
    return DistributedDataParallel(net, bucket_cap_mb=1)
"""


def test_the_first_bucket_is_over_before_the_last_gradient_is_there(tmp_path):
    script = LAYERS + """
found, step = [], 0
def late():
    if step == 0:
        return  # all is in one bucket until DDP knows in which order gradients come
    # Nothing but the library's own thread can end it, while this one stays here.
    deadline = time.monotonic() + 60
    while not begun[0].done:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    found.append(len(begun))
model = watched(late)
for step in range(4):
    begun.clear()
    model(torch.randn(4, 600)).sum().backward()
    assert step == 0 or len(begun) > found[-1], (begun, found)
assert len(found) == 3
"""
    run_torch(tmp_path, script, 2)


def test_a_rank_killed_while_its_gradients_are_on_their_way_is_named_on_the_others(tmp_path):
    script = LAYERS + """
step = 0
def late():
    if step == 3 and rank == 1:
        # The others have not begun.
        assert begun and not begun[0].done
        meet("dying")
        os.kill(os.getpid(), signal.SIGKILL)
model = watched(late)
for step in range(10):
    begun.clear()
    loss = model(torch.randn(4, 600)).sum()
    if step == 3 and rank != 1:
        await_meeting("dying")
    try:
        loss.backward()
    except RuntimeError as error:
        print("heard", step, error, flush=True)
        os._exit(7)
"""
    with torch_world(tmp_path, script, 3) as world:
        ranks = world.finish({0: 7, 1: -9, 2: 7})
    for rank in (ranks[0], ranks[2]):
        assert "heard 3" in rank.output and "rank 1" in rank.output, rank.output


def test_forked_workers_of_a_loader_that_die_harm_nothing(tmp_path):
    script = """
import signal
from torch.utils.data import DataLoader, Dataset
class Rows(Dataset):
    def __init__(self, dies): self.dies = dies
    def __len__(self): return 64
    def __getitem__(self, index):
        if index == self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.full((4,), float(index))
def loader(dies):
    return DataLoader(Rows(dies), batch_size=4, num_workers=2, multiprocessing_context="fork")
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 4))
def train(rows):
    model.zero_grad()
    model(rows).sum().backward()
    assert model.module.bias.grad.tolist() == [4.0] * 4
for number, rows in enumerate(loader(None)):
    dist.all_reduce(rows)
    assert rows[0, 0] == size * 4 * number, rows
try:
    for number, rows in enumerate(loader(40)):
        # The batch of the death is asked for when batch 6 has come. Of those from there on the ranks see some before
        # they notice, and each another number.
        if number < 6:
            train(rows)
            dist.all_reduce(rows)
            assert rows[0, 0] == size * 4 * number, rows
except (RuntimeError, OSError, EOFError):
    pass  # however the loader finds out
else:
    raise AssertionError("the worker did not die")
train(torch.ones(4, 4))
x = torch.ones(3)
dist.all_reduce(x)
assert x.tolist() == [size] * 3
"""
    run_torch(tmp_path, script, 2)


@pytest.mark.parametrize("wire", ["bf16", "f16", "int8", "auto"])
def test_gradients_in_fewer_bytes_train_as_well(tmp_path, wire):
    script = TRAIN + f"""
torch.set_num_threads(1)
states = []
def hook(model):
    states.append(kirsh.torch.HookState(wire="{wire}"))
    model.register_comm_hook(states[-1], kirsh.torch.allreduce_hook)
""" + """
plain, encoded = train("kirsh", 30), train("kirsh", 30, hook)
away = (plain - encoded).abs().max().item()
assert away < 0.02, away
if states[0].wire != "auto":
    assert away > 0
    assert any(lost.abs().max() > 0 for lost in states[0]._lost.values())
print("sum", encoded.double().sum().item())
"""
    told = {rank.output for rank in run_torch(tmp_path, script, 2, join=False)}
    assert len(told) == 1


def test_auto_measures_steps_and_all_ranks_choose_alike(tmp_path):
    script = TRAIN + """
import time
from kirsh.torch import _choice, _meter
torch.set_num_threads(1)
# A step is a second long, or a quarter with a format, on every rank's clock; of each second all ranks were on the
# network for half.
class Clock:
    now, calls = 0.0, 0
    def __call__(self):
        return self.now
clock, states, wires = Clock(), [], []
class Told(_choice.Choice):
    def told(self, wire, seconds, busy, passes, steps):
        wires.append(wire)
        super().told(wire, seconds, 0.5, passes, steps)
def hook(model):
    state = kirsh.torch.HookState()
    state._meter = _meter.Meter(clock)
    state._meter.choice = Told()
    states.append(state)
    def timed(given, bucket):
        if bucket.index() == 0:
            clock.now += 1.0 if state._meter._wire == "none" else 0.25 + 0.01 * dist.get_rank()
        return kirsh.torch.allreduce_hook(given, bucket)
    timed.__annotations__ = kirsh.torch.allreduce_hook.__annotations__
    model.register_comm_hook(state, timed)
first = train("kirsh", 90, hook)
state = states[0]
assert state.chosen == "int8", (state.chosen, state.measured)
# What all have been told is what the slowest rank took.
assert abs(state.measured["int8"] - 0.26) < 1e-9 and state.measured["none"] == 1.0, state.measured
print("wires", wires, first.double().sum().item())
"""
    told = {rank.output for rank in run_torch(tmp_path, script, 2, join=False)}
    assert len(told) == 1 and "'int8'" in told.pop()


def test_ranks_with_fewer_inputs_join_as_over_gloo(tmp_path):
    script = """
import torch
import torch.distributed as dist
import kirsh.torch
from torch.nn.parallel import DistributedDataParallel
def train(backend):
    begin(backend)
    torch.manual_seed(1)
    model = DistributedDataParallel(torch.nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = torch.Generator().manual_seed(dist.get_rank())
    losses = []
    with model.join():
        # The last rank has twenty, the first five.
        for _ in range(5 * (dist.get_rank() + 1)):
            optimizer.zero_grad()
            loss = model(torch.randn(5, 6, generator=data)).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == 5 * (dist.get_rank() + 1)
    found = torch.cat([one.detach().flatten() for one in model.parameters()])
    dist.destroy_process_group()
    return torch.tensor(losses), found
for gloo, first, second in zip(train("gloo"), train("kirsh"), train("kirsh")):
    assert torch.equal(first, second) and (gloo - first).abs().max() <= 1e-6
"""
    run_torch(tmp_path, script, 4, join=False)
