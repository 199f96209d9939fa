"""The calls on addresses, on which `kirsh.torch` is built."""

import numpy as np
import pytest

import kirsh
from kirsh import _kirsh
from launch import run_ranks


def test_calls_on_addresses_work_on_memory_of_one_run_and_of_several(tmp_path):
    script = """
from kirsh import _kirsh
def run(array): return array.ctypes.data, array.size
x, halves = np.full(4, rank + 1.0, "f4"), [np.full(2, rank, "f4"), np.full(3, rank, "f4")]
keep = object()
assert _kirsh.call_at(comm, "allreduce", "float32", 4, x.ctypes.data, x.ctypes.data, keep) is keep
assert x.tolist() == [3.0] * 4
many = [run(half) for half in halves]
work = _kirsh.call_at(comm, "allreduce", "float32", 5, many, many, keep, True, 5.0, "max")
assert work.wait() is keep and halves[1].tolist() == [1.0] * 3
given, got = np.full(3, rank, "i8"), np.zeros(3, "i8")
counts = [1, 2] if rank == 0 else [2, 1]
_kirsh.call_at(comm, "alltoallv", "int64", 0, given.ctypes.data, got.ctypes.data, keep, False, None, None, 0,
               None, counts, counts)
assert got.tolist() == ([0, 1, 1] if rank == 0 else [0, 0, 1]), got
if rank == 0:
    _kirsh.send_at(comm, "int64", 3, given.ctypes.data, keep, 1, 9).wait()
else:
    received = _kirsh.recv_at(comm, "int64", 3, got.ctypes.data, keep, kirsh.ANY_SOURCE, 9).wait()
    assert (received.source, received.count, received.nbytes) == (0, 3, 24), received
    assert got.tolist() == [0, 0, 0]
"""
    run_ranks(tmp_path, script, 2)


def test_memory_is_held_until_a_started_call_is_over(tmp_path):
    script = """
import weakref
from kirsh import _kirsh
class Keep: pass
keep, x = Keep(), np.ones(4, "f4")
gone = weakref.ref(keep)
if rank == 0:
    _kirsh.call_at(comm, "allreduce", "float32", 4, x.ctypes.data, x.ctypes.data, keep, True)
    del keep
    assert gone() is not None
    meet("started")
else:
    await_meeting("started")
    _kirsh.call_at(comm, "allreduce", "float32", 4, x.ctypes.data, x.ctypes.data, keep)
comm.barrier()
comm.barrier()
if rank == 0:
    assert gone() is None and x.tolist() == [2.0] * 4
"""
    run_ranks(tmp_path, script, 2)


def test_a_refusal_reaches_the_peers_with_its_reason(tmp_path):
    script = """
from kirsh import _kirsh
x = np.ones(4, "f4")
try:
    if rank == 0:
        _kirsh.refuse_call(comm, "allreduce", "my tensor is on the moon", True)
    else:
        comm.allreduce(x)
except kirsh.KirshError as error:
    assert "on the moon" in str(error), error
    assert isinstance(error, kirsh.RefusedError if rank else kirsh.UnsupportedError), error
else:
    raise AssertionError("no error")
"""
    run_ranks(tmp_path, script, 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda comm, at: _kirsh.call_at(comm, "dance", "float32", 1, at, at, None),
        lambda comm, at: _kirsh.call_at(comm, "allreduce", "float33", 1, at, at, None),
        lambda comm, at: _kirsh.call_at(
            comm, "allreduce", "float32", 1, at, at, None, False, None, "plus"
        ),
        lambda comm, at: _kirsh.recv_at(comm, "float32", 1, at, None, -7, 0),
    ],
)
def test_names_that_the_package_has_wrong_are_its_own_mistake(alone, call):
    x = np.ones(1, "f4")
    with pytest.raises(kirsh.KirshError) as raised:
        call(alone, x.ctypes.data)
    assert raised.value.kind == "internal"
