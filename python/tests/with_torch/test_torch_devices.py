"""Tensors on a device for which there is no backend: the calls mean what they mean on host memory.

Futures are left out: torch completes those of a device on its streams, and a device written in Python has none.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from groups import run_torch
from kirsh.torch import _base, _staging, _work

STANDIN = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import standin
from kirsh.torch import _staging

def garbage(*given, make=_staging.slab):
    # What is in new memory is nobody's business.
    made = make(*given)
    made.view(torch.uint8).fill_(0x77)
    return made
_staging.slab = garbage

def away(tensor):
    return standin.of(tensor.clone())

def here(tensor):
    return tensor.clone()
"""

CALLS = """
OP, world, everyone = dist.ReduceOp, dist.group.WORLD, range(size)

def value(count=50, dtype=torch.float32, of=rank):
    return (torch.arange(count) % 5 + 3 * of).to(dtype)

def one(name, *given, dtype=torch.float32, **named):
    def call(place, started):
        x = place(value(dtype=dtype))
        done(getattr(dist, name)(x, *given, async_op=started, **named), started, x)
        return [x]
    return call

def done(work, started, *results):
    if started:
        work.wait()
        assert work.is_completed() and work.is_success() and work.exception() is None
        assert all(got is result for got, result in zip(work.result(), results)), work.result()

def all_gather(place, started):
    outs = [place(torch.zeros(50)) for _ in everyone]
    done(dist.all_gather(outs, place(value()), async_op=started), started, *outs)
    return outs

def all_gather_single(place, started):
    out = place(torch.zeros(50 * size))
    done(dist.all_gather_into_tensor(out, place(value()), async_op=started), started, out)
    return [out]

def gather(place, started):
    outs = [place(torch.zeros(50)) for _ in everyone] if rank == 1 else None
    done(dist.gather(place(value()), outs, dst=1, async_op=started), started, *outs or [])
    return outs or []

def scatter(place, started):
    out, given = place(torch.zeros(50)), [place(value(of=rank + other)) for other in everyone]
    done(dist.scatter(out, given if rank == 1 else None, src=1, async_op=started), started, out)
    return [out]

def reduce_scatter(place, started):
    out, given = place(torch.zeros(50)), [place(value(of=rank + other)) for other in everyone]
    done(dist.reduce_scatter(out, given, async_op=started), started, out)
    return [out]

def reduce_scatter_single(place, started):
    out = place(torch.zeros(50))
    done(dist.reduce_scatter_tensor(out, place(value(50 * size)), async_op=started), started, out)
    return [out]

def all_to_all(place, started):
    outs, given = [place(torch.zeros(50)) for _ in everyone], [place(value(of=rank + other)) for other in everyone]
    done(dist.all_to_all(outs, given, async_op=started), started, *outs)
    return outs

def all_to_all_single(place, started):
    out = place(torch.zeros(50 * size))
    done(dist.all_to_all_single(out, place(value(50 * size)), async_op=started), started, out)
    return [out]

def uneven(place, started):
    rows = [other + 1 for other in everyone]
    out, given = place(torch.zeros(sum(rows), 7)), place(value(size * (rank + 1) * 7).view(-1, 7))
    done(dist.all_to_all_single(out, given, rows, [rank + 1] * size, async_op=started), started, out)
    return [out]

def coalesced(place, started):
    pair = [place(value()), place(value(3, torch.int64))]
    with dist._coalescing_manager(async_ops=True) as manager:
        for x in pair:
            dist.all_reduce(x)
    manager.wait()
    return pair

def gathered_single(place, started):
    # Also what is no root's result is looked at: nobody may touch it.
    out = place(torch.full((50 * size,), -1.0))
    opts = torch._C._distributed_c10d.GatherOptions()
    opts.rootRank, opts.asyncOp = 1, started
    work = world.gather_single(out, place(value()), opts)
    assert work.wait() and (rank == 1 or standin_or_host(out).tolist() == [-1.0] * 50 * size)
    return [out]

def lists(place, started):
    outs = [[place(torch.zeros(50)), place(torch.zeros(2))] for _ in everyone]
    world.allgather_coalesced(outs, [place(value()), place(value(2))]).wait()
    return [x for place in outs for x in place]

def strided(place, started):
    x = place(value(100).view(10, 10).t())
    done(dist.all_reduce(x, async_op=started), started, x)
    y = place(torch.zeros(10, 10).t())
    if rank == 1:
        y = place(value(100).view(10, 10).t())
    done(dist.broadcast(y, 1, async_op=started), started, y)
    return [x, y]

def messages(place, started):
    x, y = place(value()), place(torch.zeros(50))
    after, before = (rank + 1) % size, (rank - 1) % size
    for work in (dist.isend(x, after), dist.irecv(y, before)):
        work.wait()
    z = place(torch.zeros(50))
    if rank:
        dist.send(x, 0)
        return [y]
    for _ in everyone[1:]:
        source = dist.recv(z)
        assert standin_or_host(z).tolist() == value(of=source).tolist()
    return [y]

def encoded(place, started):
    x = place(torch.linspace(-1, 1, 700))
    opts = torch._C._distributed_c10d.AllreduceOptions()
    world.allreduce_encoded(x, opts, "bf16").wait()
    return [x]

def standin_or_host(x):
    return x.raw if isinstance(x, standin.Standin) else x

calls = [one("all_reduce"), one("all_reduce", OP.AVG), one("all_reduce", OP.MAX, dtype=torch.int32),
         one("all_reduce", dtype=torch.bfloat16), one("broadcast", 1), one("reduce", 1), all_gather,
         all_gather_single, gather, scatter, reduce_scatter, reduce_scatter_single, all_to_all,
         all_to_all_single, uneven, coalesced, gathered_single, lists, strided, messages, encoded]
for length in (4 << 20, 64):
    _staging.SLICE_BYTES = length
    for started in (False, True):
        for call in calls:
            wanted = call(here, started)
            standin.log.clear()
            found = call(away, started)
            assert standin.log
            for x, y in zip(found, wanted, strict=True):
                assert isinstance(x, standin.Standin)
                assert torch.equal(x.raw, y), (call, length, started, x.raw, y)
"""


@pytest.mark.parametrize("size", [2, 3])
def test_every_call_gives_what_it_gives_on_host_memory(tmp_path, size):
    run_torch(tmp_path, STANDIN + CALLS, size)


def test_the_next_slice_leaves_the_device_while_one_is_under_way_and_results_go_back_in_turn(tmp_path):
    script = STANDIN + """
from kirsh.torch import _base
run = _base.Base._run
def logged(self, *given):
    standin.log.append("start")
    return run(self, *given)
_base.Base._run = logged
_staging.SLICE_BYTES = 400
for started in (False, True):
    x = away(torch.ones(250))
    standin.log.clear()
    work = dist.all_reduce(x, async_op=started)
    if started:
        assert x.raw.tolist() == [1.0] * 250
        work.wait()
    assert x.raw.tolist() == [size] * 250
    assert standin.log == ["out", "start"] * 3 + ["in"] * 3, standin.log
"""
    run_torch(tmp_path, script, 2)


def test_what_fails_before_a_call_has_begun_is_told_to_the_others(tmp_path):
    script = STANDIN + """
for length, name in ((4 << 20, "all_reduce"), (64, "all_reduce"), (4 << 20, "reduce_scatter_tensor")):
    _staging.SLICE_BYTES = length
    group = dist.new_group([0, 1])
    def call():
        if name == "all_reduce":
            dist.all_reduce(away(torch.ones(50)), group=group)
        else:
            dist.reduce_scatter_tensor(away(torch.ones(25)), away(torch.ones(50)), group=group)
    if rank == 0:
        def full(*given):
            raise MemoryError("no room for a slab")
        _staging.slab = full
        try:
            call()
        except MemoryError:
            _staging.slab = garbage
        else:
            raise AssertionError("no error")
    else:
        try:
            call()
        except kirsh.RefusedError as error:
            assert "no room for a slab" in str(error) and "rank 0" in str(error), error
        else:
            raise AssertionError("no error")
"""
    run_torch(tmp_path, script, 2)


def test_what_is_refused_of_host_memory_is_refused_of_a_device_and_not_cut(tmp_path):
    script = STANDIN + """
_staging.SLICE_BYTES = 64
try:
    # Divisible by the ranks, and its rows are not.
    dist.all_to_all_single(away(torch.ones(3, 50)), away(torch.ones(3, 50)))
except RuntimeError as error:
    assert "cannot be divided" in str(error), error
else:
    raise AssertionError("no error")
"""
    run_torch(tmp_path, script, 2)


class World:
    """As much of a backend as making ready for a call asks for."""

    def rank(self):
        return 0

    def size(self):
        return 2


def test_sparse_tensors_are_staged_as_a_whole(monkeypatch):
    sparse = torch.sparse_coo_tensor(size=(5,), device="meta", check_invariants=False)
    monkeypatch.setattr(_staging.Staging, "_whole", lambda self, name, given, slabs: lambda: name)
    assert _staging.Staging(World()).call("allreduce", [sparse], None) == "allreduce"


def test_errors_of_a_slice_are_those_of_the_call(tmp_path):
    script = STANDIN + """
_staging.SLICE_BYTES = 64
x = away(torch.ones(50))
if rank == 0:
    work = dist.all_reduce(x, async_op=True)
    try:
        work.wait()
    except kirsh.PeerLostError as error:
        assert "rank 1" in str(error), error
    else:
        raise AssertionError("no error")
    assert work.is_completed() and not work.is_success() and x.raw.tolist() == [1.0] * 50
os._exit(0)
"""
    run_torch(tmp_path, script, 2)


def test_slices_that_went_well_are_on_the_device_when_one_has_failed(tmp_path):
    script = STANDIN + """
_staging.SLICE_BYTES = 64
if rank:
    # This rank's part in the first slice of three.
    dist.all_reduce(torch.ones(16))
    os._exit(0)
x = away(torch.ones(48))
work = dist.all_reduce(x, async_op=True)
standin.log.clear()
try:
    work.wait()
except kirsh.PeerLostError as error:
    assert "rank 1" in str(error), error
else:
    raise AssertionError("no error")
assert standin.log == ["in"] and x.raw.tolist() == [2.0] * 16 + [1.0] * 32, (standin.log, x.raw)
os._exit(0)
"""
    run_torch(tmp_path, script, 2)


def test_a_copy_back_that_fails_is_the_error_of_the_call_and_the_others_are_done(tmp_path):
    script = STANDIN + """
_staging.SLICE_BYTES = 64
copy, back = _staging.copy, []
def second_fails(source, target):
    if source.is_cpu:
        back.append(target)
        if len(back) % 3 == 2:
            raise MemoryError("the device is full")
    copy(source, target)
_staging.copy = second_fails
for waits in (True, False):
    back.clear()
    x = away(torch.ones(48))
    work = dist.all_reduce(x, async_op=True)
    if waits:
        try:
            work.wait()
        except MemoryError as error:
            assert "the device is full" in str(error), error
        else:
            raise AssertionError("no error")
    while not work.is_completed():
        time.sleep(0.001)
    assert isinstance(work.exception(), MemoryError) and not work.is_success()
    done = x.raw.tolist()
    assert done[:16] == [2.0] * 16 and done[16:32] == [1.0] * 16, done
"""
    run_torch(tmp_path, script, 2)


def test_slabs_are_given_back_when_a_call_is_over_though_its_work_is_kept(tmp_path):
    script = STANDIN + """
import weakref
slabs, make = [], _staging.slab
def noted(*given):
    made = make(*given)
    slabs.append(weakref.ref(made.untyped_storage()))
    return made
_staging.slab = noted
for length in (4 << 20, 64):
    _staging.SLICE_BYTES = length
    x = away(torch.ones(48))
    work = dist.all_reduce(x, async_op=True)
    assert slabs
    work.wait()
    assert not any(one() is not None for one in slabs), length
    assert work.is_completed() and work.is_success() and work.wait() and work.result()[0] is x
    slabs.clear()
sent, x = dist.isend(away(torch.ones(4)), 1 - rank), away(torch.zeros(4))
work = dist.irecv(x, 1 - rank)
work.wait()
assert work._source_rank() == 1 - rank and x.raw.tolist() == [1.0] * 4
sent.wait()
assert slabs and not any(one() is not None for one in slabs)
"""
    run_torch(tmp_path, script, 2)


def test_conjugates_and_negatives_leave_the_device_as_what_they_are(monkeypatch):
    copied = []
    monkeypatch.setattr(_staging, "copy", lambda source, target: copied.append(source))
    numbers = torch.zeros(40, dtype=torch.complex64, device="meta")
    conjugate, negative = numbers.conj(), torch._neg_view(torch.zeros(40, device="meta"))
    assert conjugate.is_conj() and negative.is_neg()
    for tensor in (conjugate, negative):
        slabs = _staging._Slabs((tensor,))
        slabs.hosted(tensor, "r")
        copied.append(slabs.flat(tensor, "r"))
    assert len(copied) == 4
    assert not any(one.is_conj() or one.is_neg() for one in copied)


def test_a_call_that_cannot_be_cut_after_all_begins_anew(monkeypatch):
    monkeypatch.setattr(_staging, "SLICE_BYTES", 64)
    monkeypatch.setattr(_staging.Staging, "_whole", lambda self, name, given, slabs: lambda: slabs)
    # Places that are no runs, and of two lengths: what was laid out in their stead has no elements yet.
    places = [torch.zeros(50, count, device="meta").t() for count in (2, 3)]
    given = [places], [torch.zeros(100, device="meta")], None
    slabs = _staging.Staging(World()).call("allgather", *given)
    assert slabs._moves == [] and slabs.devices == [torch.device("meta")]


def test_what_fails_in_a_part_of_a_work_is_the_error_of_the_whole():
    class Over:
        done = True

        def wait(self, seconds=None):
            pass

    def fails():
        raise MemoryError("no room for a result")

    parts = [_work.Started([Over()], [], after=after, submit=None) for after in (None, fails)]
    group = SimpleNamespace(_sequence=1, _finisher=SimpleNamespace(submit=None))
    joined = _base.Base._joined(group, parts, [])
    assert joined.is_completed() and not joined.is_success()
    assert "no room" in str(joined.exception())
    with pytest.raises(MemoryError):
        joined.wait()
