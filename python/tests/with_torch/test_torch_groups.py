"""Groups: how they are made, how they end, and who gets which call."""

import pytest

from groups import SINCE_2_15, run_torch, torch_world


def test_ranks_of_one_host_need_no_token_and_ranks_of_several_get_one(tmp_path):
    script = """
import json
world = dist.group.WORLD.backend.communicator
assert not world.authenticated() and "KIRSH_TOKEN" not in os.environ
from kirsh.torch import _store
_store._host = lambda: f"host {rank}"
apart = dist.new_group(list(range(size)))
assert apart.backend.communicator.authenticated()
again = dist.new_group([size - 1, 0])
if rank in (0, size - 1):
    x = torch.ones(1)
    dist.all_reduce(x, group=again)
    assert x.item() == 2 and again.backend.communicator.authenticated()
tokens = [None] * size
dist.all_gather_object(tokens, os.environ["KIRSH_TOKEN"])
assert len(set(tokens)) == 1 and len(tokens[0]) == 64
dist.destroy_process_group()
"""
    run_torch(tmp_path, script, 3)


def test_calls_go_to_the_backend_of_their_tensors_device(tmp_path):
    script = """
import torch
import torch.distributed as dist
from datetime import timedelta
from torch._C._distributed_c10d import Backend, Work
import kirsh.torch

# torch's stand-in for a device: tensors without memory, under the dispatch key of other vendors.
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
_setup_privateuseone_for_python_backend("standin")

class Over(Work):
    def wait(self, timeout=None):
        return True

class Recorder(Backend):
    supports_splitting = True
    def __init__(self, rank, size, opts=None, options=None):
        super().__init__(rank, size)
        self.made_with, self.options_given, self.calls = opts, options, []
    def getBackendName(self):
        return "recorder"
    def name(self):
        return "recorder"
    def allreduce(self, tensors, opts):
        self.calls.append("allreduce")
        return Over()
    def eager_connect_single_device(self, device):
        self.calls.append(f"connect {device}")
    def perform_nocolor_split(self, device):
        self.calls.append(f"not in the split of {device}")
    def abort(self):
        self.calls.append("abort")
    def shutdown(self):
        self.calls.append("shutdown")
    def set_timeout(self, timeout):
        self.calls.append(f"timeout {timeout.total_seconds()}")

made = []
def create(opts, options):
    made.append(Recorder(opts.group_rank, opts.group_size, opts, options))
    return made[-1]
def create_plain(store, rank, size, timeout):
    made.append(Recorder(rank, size))
    return made[-1]

dist.Backend.register_backend("recorder", create, extended_api=True, devices=["standin"])
dist.Backend.register_backend("plain", create_plain, devices=["standin"])
for order in ("cpu:kirsh,standin:recorder", "standin:recorder,cpu:kirsh", "cpu:kirsh,standin:plain"):
    begin(order)
    rank, world = dist.get_rank(), dist.group.WORLD
    for group in (world, dist.new_group([0, 1])):
        recorder = group._get_backend(torch.device("standin"))
        here, there = torch.ones(2), torch._C._acc.create_empty_tensor((2,), torch.float32)
        dist.all_reduce(here, group=group)
        assert here.tolist() == [2, 2]
        assert recorder.calls == [], recorder.calls
        before = group.backend._sequence
        dist.all_reduce(there, group=group)
        assert recorder.calls == ["allreduce"], recorder.calls
        # As they are, they need no Kirsh; it has made no operation.
        group.allreduce_encoded(there, torch._C._distributed_c10d.AllreduceOptions(), "none")
        assert recorder.calls == ["allreduce"] * 2 and group.backend._sequence == before
        group.set_timeout(timedelta(seconds=70))
        assert recorder.calls.pop() == "timeout 70.0"
    dist.destroy_process_group()
    assert all(one.calls == ["allreduce"] * 2 + ["shutdown"] for one in made), [one.calls for one in made]
    made.clear()

# What torch would give the other backend it gets, though it is made later.
options, device = Backend.Options("mine"), torch.device("standin", 0)
begin("cpu:kirsh,standin:recorder", device_id=device, pg_options=options)
world = dist.group.WORLD
assert world.bound_device_id == device and made == []
dist.all_reduce(torch._C._acc.create_empty_tensor((2,), torch.float32))
(of_world,) = made
assert of_world.calls == [f"connect {device}", "allreduce"] and of_world.options_given is options
assert of_world.made_with.split_from is None and not getattr(of_world.made_with, "enable_reconfigure", False)
# Ranks that are not of a group take part in its split when it is made, and so do those that are.
alone = dist.new_group([1], pg_options=options)
if rank == 0:
    assert made == [of_world] and of_world.calls.pop() == f"not in the split of {device}"
else:
    assert len(made) == 2 and made[1].made_with.split_from is of_world and made[1].options_given is options
    assert alone._get_backend(device) is made[1]
world.abort()
assert of_world.calls[-1] == "abort"
print("all is well")
os._exit(0)
"""
    for rank in run_torch(tmp_path, script, 2, join=False):
        assert "all is well" in rank.output


@SINCE_2_15
def test_a_group_is_split_into_groups_of_its_own_again_and_again(tmp_path):
    script = """
from kirsh.torch import KirshProcessGroup
parts = [[2, 0], [1, 3]]
for turn in range(3):
    part = dist.split_group(split_ranks=parts, group_desc="half")
    assert isinstance(part, KirshProcessGroup) and part.group_desc == "half"
    mine = parts[rank % 2]
    assert part.rank() == mine.index(rank) and dist.get_process_group_ranks(part) == mine
    x = torch.tensor([float(rank)])
    dist.all_reduce(x, group=part)
    assert x.item() == sum(mine)
    numbers = [torch.empty(1) for _ in mine]
    dist.all_gather(numbers, torch.tensor([float(rank)]), group=part)
    assert [int(one) for one in numbers] == mine
    if turn < 2:
        dist.destroy_process_group(part)
one = dist.split_group(split_ranks=[[0, 1]])
if rank < 2:
    x = torch.ones(1)
    dist.all_reduce(x, group=one)
    assert x.item() == 2
else:
    assert one is dist.GroupMember.NON_GROUP_MEMBER
dist.barrier()
"""
    run_torch(tmp_path, script, 4)


@SINCE_2_15
@pytest.mark.parametrize("name", [None, "part"])
def test_groups_that_are_split_off_meet_in_no_others_keys_whatever_their_names(tmp_path, name):
    script = f"name = {name!r}" + """
world, mine = dist.group.WORLD, [rank % 2, rank % 2 + 2]
made = [world.split_group(mine, group_name=name) for _ in range(3)]
# All at once: a split of a split as well.
made.append(made[0].split_group([0, 1], group_name=name))
for number, group in enumerate(made):
    # Of each group one rank writes, and nobody in another reads that.
    store = group.get_group_store()
    assert store.check(["kirsh/host/0", "kirsh/host/1"]) and not store.check(["told"]), (number, rank)
    group.barrier().wait()
    if group.rank() == 0:
        store.set("told", f"{number} {mine}")
    assert store.get("told").decode() == f"{number} {mine}"
    dist.barrier()
for group in reversed(made):
    x = torch.tensor([float(rank)])
    group.allreduce([x]).wait()
    assert x.item() == sum(mine)
dist.barrier()
"""
    run_torch(tmp_path, script, 4)


@SINCE_2_15
def test_groups_of_a_group_that_is_bound_to_the_cpu(tmp_path):
    script = """
import torch
import torch.distributed as dist
import kirsh.torch
dist.init_process_group("kirsh", device_id=torch.device("cpu", 0))
rank = dist.get_rank()
for ranks in ([0, 1], [1, 2]):
    group = dist.new_group(ranks)
    if rank in ranks:
        x = torch.ones(1)
        dist.all_reduce(x, group=group)
        assert x.item() == 2
"""
    run_torch(tmp_path, script, 3, join=False)


def test_a_call_that_one_rank_makes_wrongly_fails_on_all_with_its_reason(tmp_path):
    script = """
x = torch.ones(4, dtype=torch.float32 if rank else torch.complex32)
try:
    dist.group.WORLD.allreduce([x]).wait()
except RuntimeError as error:
    print(type(error).__name__, error)
    assert "complex32" in str(error) and "rank 0" in str(error), error
else:
    raise AssertionError("no error")
"""
    names = [rank.output.split()[0] for rank in run_torch(tmp_path, script, 2)]
    assert names == ["UnsupportedError", "RefusedError"]


def test_ranks_that_call_different_things_are_told_who_called_what(tmp_path):
    script = """
try:
    if rank:
        dist.broadcast(torch.ones(4), 0)
    else:
        dist.all_reduce(torch.ones(4))
except RuntimeError as error:
    assert "allreduce" in str(error) and "broadcast" in str(error), error
    assert type(error).__name__ == "MismatchError", type(error)
else:
    raise AssertionError("no error")
"""
    run_torch(tmp_path, script, 2)


def test_the_monitored_barrier_names_the_missing_ranks_and_the_group_goes_on(tmp_path):
    script = """
from datetime import timedelta
dist.monitored_barrier()
if rank == 1:
    await_meeting("failed on 0")
    await_meeting("failed on 2")
    # Too late for the others, who are not to take it for this rank's part in the next.
    try:
        dist.monitored_barrier(timeout=timedelta(seconds=0.1))
    except RuntimeError as error:
        assert "Rank 1 successfully reached" in str(error), error
    else:
        raise AssertionError("no error")
    meet("late")
else:
    try:
        dist.monitored_barrier(timeout=timedelta(seconds=1), wait_all_ranks=True)
    except RuntimeError as error:
        told = {0: "Rank 1 failed to pass monitoredBarrier in 1000 ms", 2: "Rank 2 successfully reached"}
        assert told[rank] in str(error), error
    else:
        raise AssertionError("no error")
    meet(f"failed on {rank}")
    await_meeting("late")
if rank == 0:
    began = dist.group.WORLD.backend.communicator.stats().operations_recv
dist.monitored_barrier()
if rank == 0:
    # One of rank 2, and of rank 1 the late one and this one.
    assert dist.group.WORLD.backend.communicator.stats().operations_recv - began == 3
x = torch.ones(1)
dist.all_reduce(x)
assert x.item() == 3
"""
    run_torch(tmp_path, script, 3)


def test_the_monitored_barrier_names_all_that_are_missing_or_the_first(tmp_path):
    script = """
from datetime import timedelta
dist.barrier()
if rank in (1, 2):
    await_meeting("over on 0")
    await_meeting("over on 3")
else:
    for everyone, who in ((True, "Ranks 1, 2"), (False, "Rank 1")):
        wanted = f"[Rank 0]: {who} failed to pass monitoredBarrier in 1000 ms"
        try:
            named = {"wait_all_ranks": True} if everyone else {}
            dist.monitored_barrier(timeout=timedelta(seconds=1), **named)
        except RuntimeError as error:
            told = str(error)
            assert told == wanted if rank == 0 else "Rank 3 successfully reached" in told, told
        else:
            raise AssertionError("no error")
    meet(f"over on {rank}")
"""
    run_torch(tmp_path, script, 4)


def test_abort_ends_a_call_that_waits_on_another_rank(tmp_path):
    script = """
if rank == 0:
    await_meeting("started")
    dist.group.WORLD.abort()
else:
    work = dist.all_reduce(torch.ones(4), async_op=True)
    assert not work.is_completed()
    meet("started")
    try:
        work.wait()
    except kirsh.AbortedError as error:
        assert "rank 0" in str(error), error
        assert work.is_completed() and not work.is_success()
        assert isinstance(work.exception(), kirsh.AbortedError)
        try:
            work.get_future().wait()
        except RuntimeError as of_future:
            assert "rank 0" in str(of_future), of_future
        else:
            raise AssertionError("the future did not fail")
    else:
        raise AssertionError("no error")
"""
    run_torch(tmp_path, script, 2)


def test_a_timeout_given_to_the_group_ends_a_call(tmp_path):
    script = """
from datetime import timedelta
dist.group.WORLD.set_timeout(timedelta(seconds=0.3))
if rank:
    try:
        dist.all_reduce(torch.ones(4))
    except kirsh.KirshTimeoutError as error:
        assert "0.3" in str(error) or "300" in str(error), error
    else:
        raise AssertionError("no error")
    meet("over")
else:
    await_meeting("over")
"""
    run_torch(tmp_path, script, 2)


def test_messages_come_from_whom_they_say_and_are_as_long_as_their_tensor(tmp_path):
    script = """
if rank:
    dist.send(torch.full((3,), float(rank)), 0)
    dist.send(torch.full((2,), float(rank)), 0, tag=5)
else:
    seen = set()
    for _ in range(2):
        x = torch.empty(3)
        source = dist.recv(x)
        assert x.tolist() == [float(source)] * 3
        seen.add(source)
    assert seen == {1, 2}
    work = dist.irecv(torch.empty(4), 1, tag=5)
    for _ in range(2):
        try:
            work.wait()
        except kirsh.MismatchError as error:
            assert "2 elements from rank 1" in str(error), error
        else:
            raise AssertionError("no error")
    assert work.is_completed() and not work.is_success()
    x = torch.zeros(4).view(2, 2).t()[:, :1]
    dist.recv(x, 2, tag=5)
    assert x.flatten().tolist() == [2.0, 2.0]
dist.barrier()
works = dist.batch_isend_irecv([
    dist.P2POp(dist.isend, torch.full((2,), float(rank)), (rank + 1) % size),
    dist.P2POp(dist.irecv, x := torch.empty(2), (rank - 1) % size),
])
for work in works:
    work.wait()
    assert work.is_completed()
assert x.tolist() == [float((rank - 1) % size)] * 2
"""
    run_torch(tmp_path, script, 3)
