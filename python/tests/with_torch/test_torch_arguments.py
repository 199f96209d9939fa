"""Arguments that are unusual, or wrong: what shares memory, what differs in type, what cannot be divided."""

import json
import threading
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist

import kirsh.torch
from groups import run_torch
from kirsh.torch import _store
from kirsh.torch._finisher import Finisher
from kirsh.torch._memory import apart

#: Has a call refused on this rank, or on every rank where it tells that another has refused.
REFUSED = """
def refused(call, part):
    try:
        call()
    except RuntimeError as error:
        assert part in str(error), error
    else:
        raise AssertionError(f"not refused: {part}")
"""


def test_what_is_only_read_is_copied_where_it_shares_memory_and_left_where_it_is_in_place():
    whole = torch.arange(12.0)
    shards = list(whole.split(4))
    for target in (whole, whole[2:6], shards[1]):
        (found,) = apart([shards[1]], [target])
        assert found.data_ptr() != shards[1].data_ptr()
        assert torch.equal(found, shards[1])
    (found,) = apart([shards[1]], [shards[0], shards[2]])
    assert found.data_ptr() == shards[1].data_ptr(), "side by side is apart"
    twice = apart([shards[0], shards[0], whole[3:5]])
    assert [one.data_ptr() for one in twice].count(shards[0].data_ptr()) == 1
    (found,) = apart([shards[1]], shards, shards[1])
    assert found.data_ptr() == shards[1].data_ptr(), "in place"
    found = apart([shards[1], whole[5:7]], [shards[1]], shards[1])
    assert found[0].data_ptr() == shards[1].data_ptr()
    assert found[1].data_ptr() != whole[5:7].data_ptr()
    (found,) = apart([whole[4:4]], [whole])
    assert found.numel() == 0


def test_shards_of_their_own_buffers_in_several_buckets(tmp_path):
    script = """
buffers = [torch.arange(4.0) + 10 * bucket + rank for bucket in range(2)]
shards = [buffer.view(size, -1)[rank] for buffer in buffers]
with dist._coalescing_manager():
    for shard, buffer in zip(shards, buffers):
        dist.reduce_scatter_tensor(shard, buffer)
for bucket, shard in enumerate(shards):
    wanted = sum(torch.arange(4.0) + 10 * bucket + other for other in range(size)).view(size, -1)[rank]
    assert torch.equal(shard, wanted), (bucket, shard, wanted)
with dist._coalescing_manager():
    for shard, buffer in zip(shards, buffers):
        dist.all_gather_into_tensor(buffer, shard)
for bucket, buffer in enumerate(buffers):
    wanted = sum(torch.arange(4.0) + 10 * bucket + other for other in range(size))
    assert torch.equal(buffer, wanted), (bucket, buffer, wanted)
"""
    run_torch(tmp_path, script, 2)


def test_results_of_another_type_than_what_they_are_made_of_are_refused(tmp_path):
    script = REFUSED + """
n = 1 << 16
places = [[torch.empty(n, dtype=torch.float16)] for _ in range(size)]
refused(lambda: dist.all_gather_coalesced(places, [torch.zeros(n)]), "types")
dist.destroy_process_group()
"""
    run_torch(tmp_path, script, 2)


def test_an_alltoall_of_lists_counts_what_differs_in_type_in_bytes_on_both_sides(tmp_path):
    script = REFUSED + """
group = dist.group.WORLD
kind = lambda a, b: torch.float32 if a == b else torch.float16
inputs = [torch.full((3,), 10 * rank + other, dtype=kind(rank, other)) for other in range(size)]
outputs = [torch.empty(3, dtype=kind(rank, other)) for other in range(size)]
group.alltoall(outputs, inputs).wait()
for other, output in enumerate(outputs):
    assert (output == 10 * other + rank).all(), (other, output)
narrow = [torch.empty(1 << 16, dtype=torch.float16) for _ in range(size)]
refused(lambda: group.alltoall(narrow, [torch.zeros(1 << 16) for _ in range(size)]).wait(), "gives itself")
dist.destroy_process_group()
"""
    run_torch(tmp_path, script, 2)


@pytest.mark.parametrize(
    ("call", "part"),
    [
        ("dist.all_to_all_single(torch.zeros(()), torch.ones(()))", "cannot be divided"),
        (
            "dist.all_to_all_single(torch.zeros(4), torch.ones(4), [2, 2], [5, -1] if rank else [2, 2])",
            "split sizes",
        ),
        (
            "dist.gather(torch.ones(2).to_sparse() if rank else torch.ones(2), "
            "[torch.zeros(2) for _ in range(size)] if rank == 0 else None)",
            "sparse",
        ),
    ],
)
def test_what_one_rank_cannot_do_fails_on_all_with_its_reason(tmp_path, call, part):
    run_torch(tmp_path, REFUSED + f"refused(lambda: {call}, {part!r})\ndist.destroy_process_group()\n", 2)


def test_gradients_that_are_sparse_are_averaged_under_the_hook(tmp_path):
    script = """
def train(hook):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Embedding(8, 4, sparse=True), torch.nn.Linear(4, 1))
    model = torch.nn.parallel.DistributedDataParallel(model)
    if hook:
        model.register_comm_hook(kirsh.torch.HookState(wire="bf16"), kirsh.torch.allreduce_hook)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        model(torch.tensor([rank, step, 7 - rank])).sum().backward()
        optimizer.step()
    return model.module[0].weight.detach().clone()
with_hook, without = train(True), train(False)
assert not torch.equal(with_hook, torch.zeros_like(with_hook))
assert torch.allclose(with_hook, without, atol=0.02), (with_hook, without)
"""
    run_torch(tmp_path, script, 2)


def test_a_compiled_function_waits_for_what_an_eager_call_has_started(tmp_path):
    script = """
from torch.distributed._functional_collectives import allow_inflight_collective_as_graph_input_ctx
wait_tensor = torch.ops._c10d_functional.wait_tensor
for _ in range(20):
    y = torch.full((1 << 20,), 1.0)
    gathered = [torch.empty(1 << 18) for _ in range(size)]
    with allow_inflight_collective_as_graph_input_ctx():
        dist.all_reduce(y, async_op=True)
        dist.all_gather(gathered, torch.full((1 << 18,), float(rank)), async_op=True)
    assert torch._C._distributed_c10d._get_work_registry_size() > 0
    y, gathered = wait_tensor(y), [wait_tensor(one) for one in gathered]
    assert (y == size).all()
    assert all((one == other).all() for other, one in enumerate(gathered))
    assert torch._C._distributed_c10d._get_work_registry_size() == 0
"""
    run_torch(tmp_path, script, 2)


def test_hooks_that_torch_fires_elsewhere_are_warned_of(tmp_path):
    script = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    if hasattr(dist.ProcessGroup, "register_pre_hook"):
        dist.group.WORLD.register_pre_hook(7, lambda args: None)
        dist.group.WORLD.register_post_hook(7, lambda args: None)
        assert len(caught) == 2 and "is not heeded by the backend kirsh" in str(caught[0].message), caught
    os.environ["TORCH_DIST_NAN_CHECK"] = "1"
    dist.new_group()
    assert "TORCH_DIST_NAN_CHECK=1 is not heeded" in str(caught[-1].message), caught
"""
    run_torch(tmp_path, "import os\n" + script, 2)


@pytest.mark.parametrize("known", [None, "drawn-before"])
def test_a_token_that_was_drawn_before_is_handed_on_also_within_one_host(monkeypatch, known):
    monkeypatch.setattr(_store, "_drawn", None)
    for name in ("KIRSH_TOKEN", "KIRSH_TOKEN_FILE"):
        # So that it is there no more afterwards, either.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    store = dist.HashStore()
    other = {"host": _store._host(), "own": False, "drawn": known}
    store.set("kirsh/host/1", json.dumps(other))
    _store.agree_on_token(store, 0, 2, timedelta(seconds=20))
    assert store.get("kirsh/token").decode() == (known or "-")
    assert _store._drawn == known
    # And where groups merge that have each drawn one, all take the one that rank 0 names.
    if known:
        store.set("kirsh/token", "of-another")
        _store.agree_on_token(store, 1, 2, timedelta(seconds=20))
        assert _store._drawn == "of-another"


class Ended:
    """Something that is over already."""

    def __init__(self, completed):
        self._completed = completed

    def await_end(self):
        pass

    def complete(self):
        self._completed.set()


def test_futures_are_completed_again_once_the_system_has_threads_again(monkeypatch):
    finisher, start = Finisher("test"), threading.Thread.start

    def fail(_):
        raise RuntimeError("can't start new thread")

    first, second = threading.Event(), threading.Event()
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError):
        finisher.submit(Ended(first))
    monkeypatch.setattr(threading.Thread, "start", start)
    finisher.submit(Ended(second))
    assert first.wait(20)
    assert second.wait(20)
