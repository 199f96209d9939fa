"""Groups that merge, and groups that are made anew while they run: what comes out is what Gloo gives."""

import pytest

from groups import SINCE_2_15, run_torch, torch_world

BOTH = pytest.mark.parametrize("backend", ["gloo", "kirsh"])

#: A group that has not met yet, and the store through which its ranks tell each other their handles.
BEGIN_UNMADE = """
import torch
import torch.distributed as dist
from datetime import timedelta
import kirsh, kirsh.torch
from torch.distributed.distributed_c10d import _get_reconfigure_handle, _reconfigure
torch.set_num_threads(1)
number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), is_master=number == 0, wait_for_workers=False)

def begin_unmade(backend, rank=number, size=count):
    dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size,
                            enable_reconfigure=True, timeout=timedelta(seconds=60))

def told(turn, *everyone):
    '''The handles of these processes, each told under the number that it was started with.'''
    store.set(f"{turn}/{number}", _get_reconfigure_handle())
    return [store.get(f"{turn}/{one}").decode() for one in everyone]

def ranks():
    group = dist.group.WORLD
    backend = group._get_backend(torch.device("cpu"))
    seen = {(group.rank(), group.size()), (backend.rank(), backend.size()),
            (dist.get_rank(), dist.get_world_size())}
    assert len(seen) == 1, seen
    return seen.pop()

def gathered():
    numbers = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size())]
    dist.all_gather(numbers, torch.tensor([number]))
    return [one.item() for one in numbers]

def refused(call, *words):
    try:
        call()
    except RuntimeError as error:
        assert all(word in str(error) for word in words), (words, str(error))
        return error
    raise AssertionError("no error")
"""

#: The end: rank 0 has the store, and leaves when the others have been told all.
LEAVE = """
store.set(f"left/{number}", "")
if number == 0:
    store.wait([f"left/{one}" for one in range(LEAVING)])
"""


def run_anew(directory, script, size, *, codes=None):
    """Runs a script on processes that begin without a communicator to its end, with 0 or these codes."""
    leave = LEAVE.replace("LEAVING", str(size))
    with torch_world(directory, BEGIN_UNMADE + script + leave, size, join=False) as world:
        return world.finish(codes)


@BOTH
def test_two_groups_merge_into_one_with_ranks_in_the_order_of_coming(tmp_path, backend):
    script = f"backend = {backend!r}" + """
import torch
import torch.distributed as dist
from datetime import timedelta
import kirsh, kirsh.torch
number = int(os.environ["RANK"])
store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), is_master=number == 0, wait_for_workers=False)
# Ranks 0 and 1 are one job, rank 2 is another.
half, rank, size = ("one", number, 2) if number < 2 else ("other", 0, 1)
dist.init_process_group(backend, store=dist.PrefixStore(half, store), rank=rank, world_size=size)
world, shared = dist.group.WORLD, dist.PrefixStore("merged", store)
while shared.add("mergeGroupRank", 0) < 2 - number:
    time.sleep(0.005)
merged = world.merge_remote_group(shared, 3, timedelta(seconds=60))
assert (merged.rank(), merged.size()) == (2 - number, 3)
inner = merged._get_backend(torch.device("cpu"))
assert (inner.rank(), inner.size()) == (2 - number, 3)
assert inner.options._timeout == timedelta(seconds=60)
assert type(merged) is type(world)
assert merged.group_name == world.group_name + ":merge", merged.group_name
assert merged.group_desc == world.group_desc + ":merge", merged.group_desc
got = [torch.zeros(1) for _ in range(3)]
merged.allgather([got], [torch.tensor([float(number)])]).wait()
assert [one.item() for one in got] == [2, 1, 0]
x = torch.ones(1)
dist.all_reduce(x, group=merged)
assert x.item() == dist.get_world_size(merged) == 3
dist.all_reduce(x)
assert x.item() == 3 * size and dist.get_world_size() == size

# A group that was merged merges as well, and the group that it came from may go.
dist.destroy_process_group()
again = merged.merge_remote_group(dist.PrefixStore("again", store), size=3, group_name="mine", group_desc="all")
assert (again.group_name, again.group_desc, again.size()) == ("mine", "all", 3)
again.broadcast(x, 0).wait()
merged.allreduce([x]).wait()

# Whoever comes when all are there already is refused.
try:
    again.merge_remote_group(shared, 3)
except RuntimeError as error:
    if backend == "kirsh":
        assert isinstance(error, kirsh.InvalidArgumentError) and "is to have 3" in str(error), error
else:
    raise AssertionError("no error")
""" + LEAVE.replace("LEAVING", "3")
    run_torch(tmp_path, script, 3, join=False)


@SINCE_2_15
@BOTH
def test_a_group_has_no_communicator_until_reconfigure_has_made_one(tmp_path, backend):
    script = f"""
begin_unmade({backend!r})
kirshs = {backend!r} == "kirsh"
group = dist.group.WORLD
assert group.supports_reconfigure and group._get_backend(torch.device("cpu")).supports_reconfigure
assert ranks() == (number, 2)
x, why = torch.ones(2), "enable_reconfigure=True"
for name, call in {{
    "allreduce": lambda: dist.all_reduce(x),
    "broadcast": lambda: dist.broadcast(x, 0, async_op=True),
    "barrier": dist.barrier,
    "send": lambda: dist.send(x, 1 - number),
    "recv": lambda: dist.recv(x, 1 - number),
    "monitored_barrier": dist.monitored_barrier,
}}.items():
    error = refused(call, why, "reconfigure()", *(["on rank " + str(number), name] if kirshs else []))
    assert not kirshs or (error.operation, error.rank) == (name, number)
assert group._get_sequence_number_for_group() == 0
handles = told("first", 0, 1)
assert len(set(handles)) == 2 and handles[number] == group.get_reconfigure_handle()
work = _reconfigure(7, set(handles))
assert work.is_completed() and work.wait() and work.get_future().wait() == []
assert ranks() == (number, 2) and gathered() == [0, 1]
dist.all_reduce(x)
assert x.tolist() == [2, 2] and group._get_sequence_number_for_group() == 2
assert told("second", 0, 1) != handles
"""
    run_anew(tmp_path, script, 2)


@SINCE_2_15
@BOTH
def test_a_list_orders_the_ranks_and_a_set_keeps_their_order(tmp_path, backend):
    script = f"""
begin_unmade({backend!r})
_reconfigure(1, told("first", 2, 0, 1))
assert ranks() == ({{2: 0, 0: 1, 1: 2}}[number], 3) and gathered() == [2, 0, 1]
x = torch.full((3,), float(number))
dist.broadcast(x, 0)
assert x.tolist() == [2.0] * 3
_reconfigure(2, set(told("second", 0, 1, 2)), timeout=timedelta(seconds=50), hints={{"a": "b"}})
assert gathered() == [2, 0, 1] and dist.group.WORLD._get_sequence_number_for_group() == 1
# Work that is lent to C++ goes by the new ranks too.
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
model(torch.tensor([[float(number)]])).sum().backward()
assert next(model.parameters()).grad.item() == 1.0
if dist.get_rank() == 0:
    dist.send(x, 2)
elif dist.get_rank() == 2:
    assert dist.recv(x, 0) == 0
dist.monitored_barrier()
"""
    run_anew(tmp_path, script, 3)


@SINCE_2_15
@BOTH
def test_survivors_go_on_without_a_rank_that_died_and_then_with_another(tmp_path, backend):
    script = f"""
if number < 3:
    begin_unmade({backend!r}, size=3)
    _reconfigure(1, told("first", 0, 1, 2)).wait()
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1, bias=False))
    assert gathered() == [0, 1, 2]
    if number == 1:
        os._exit(3)
    if {backend!r} == "kirsh":
        # Gloo's ranks may wait for theirs to time out.
        refused(lambda: dist.all_reduce(torch.ones(1)), "rank 1")
    _reconfigure(2, told("second", 2, 0)).wait()
    assert ranks() == ({{2: 0, 0: 1}}[number], 2) and gathered() == [2, 0]
    # C++ counts two ranks now: the mean is over these.
    model = torch.nn.parallel.DistributedDataParallel(model.module)
    model.zero_grad()
    model(torch.tensor([[float(number)]])).sum().backward()
    assert next(model.parameters()).grad.item() == 1.0
else:
    # One that takes the place of the dead rank, and its number at first.
    store.wait(["third/0", "third/2"])
    begin_unmade({backend!r}, rank=1, size=3)
everyone = told("third", 0, 3, 2)
assert len(set(everyone)) == 3
_reconfigure(3, everyone).wait()
assert ranks() == ({{0: 0, 3: 1, 2: 2}}[number], 3) and gathered() == [0, 3, 2]
part = dist.group.WORLD.split_group([2, 1]) if {backend!r} == "kirsh" else None
if part is not None:
    x = torch.tensor([float(number)])
    part.allreduce([x]).wait()
    assert x.item() == 5 and part.rank() == {{3: 1, 2: 0}}[number]
dist.barrier()
if number == 3:
    # For the dead one.
    store.set("left/1", "")
"""
    run_anew(tmp_path, script, 4, codes={1: 3})


@SINCE_2_15
@BOTH
def test_reconfigure_refuses_what_cannot_be_and_leaves_the_group_as_it_is(tmp_path, backend):
    script = f"""
begin_unmade({backend!r})
kirshs = {backend!r} == "kirsh"
first = told("first", 0, 1)
_reconfigure(1, first).wait()
own = _get_reconfigure_handle()
for handles, words, of_gloo in [
    ([], "at least one handle", "at least one handle"),
    ([own, own], "must be unique", "must be unique"),
    (first, "is none of the 2", "not part of the new communicator"),
    ([own, "nonsense"], "no handle of kirsh's", "Invalid Gloo reconfigure handle"),
]:
    error = refused(lambda: _reconfigure(2, handles), *([words, f"rank {{number}} of 2"] if kirshs else [of_gloo]))
    assert not kirshs or isinstance(error, kirsh.InvalidArgumentError) and error.operation == "reconfigure"
    assert gathered() == [0, 1]
second = told("second", 0, 1)
if number == 0 or kirshs:
    # Gloo lets only the first rank know.
    refused(lambda: _reconfigure(1, second), "1", "before" if kirshs else "already used")
if kirshs:
    assert gathered() == [0, 1]
"""
    run_anew(tmp_path, script, 2)


@SINCE_2_15
def test_a_reconfigure_that_fails_leaves_no_communicator_and_another_makes_one(tmp_path):
    script = """
begin_unmade("kirsh")
_reconfigure(1, told("first", 0, 1)).wait()
old = dist.group.WORLD.backend.communicator
work = dist.all_reduce(torch.ones(1), async_op=True) if number == 0 else None
handles = told("second", 0, 1)
if number == 0:
    # The other does not come, and what the old group still did is ended.
    refused(lambda: _reconfigure(2, handles, timeout=timedelta(seconds=1)), "rank 1")
    refused(work.wait)
    refused(lambda: old.barrier(), "closed")
    refused(dist.barrier, "a reconfigure() that failed", "barrier on rank 0 of 2")
    assert _get_reconfigure_handle() == handles[0] and ranks() == (0, 2)
    store.set("over", "")
else:
    store.get("over")
_reconfigure(3, told("third", 0, 1)).wait()
assert gathered() == [0, 1]
# Later operations have the time of the group.
assert dist.group.WORLD.backend.options._timeout == timedelta(seconds=60)
"""
    run_anew(tmp_path, script, 2)


@SINCE_2_15
def test_groups_with_several_backends_are_not_reconfigured(tmp_path):
    script = """
from torch.testing._internal.distributed import fake_pg
begin_unmade("cpu:kirsh,cuda:fake")
why = "ProcessGroup reconfigure APIs do not support process groups with multiple backends"
group = dist.group.WORLD
refused(lambda: group.supports_reconfigure, why)
refused(lambda: group.get_reconfigure_handle(), why, "cpu, cuda")
refused(lambda: _reconfigure(1, ["x"]), why, "rank 0")
"""
    run_anew(tmp_path, script, 1)
