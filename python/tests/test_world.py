"""Collectives between real processes, against what NumPy says."""

import pytest

from launch import run_ranks

#: Every element type and operator, with values whose results are exact in all of them.
EVERYTHING = """
import ml_dtypes
REDUCE = {
    "sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum,
    "band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor,
    "land": np.logical_and, "lor": np.logical_or, "lxor": np.logical_xor,
}
FLOATS = ["float16", "float32", "float64", ml_dtypes.bfloat16]
COMPLEX = ["complex64", "complex128"]
INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
BITS = {"band", "bor", "bxor", "land", "lor", "lxor"}

def supported(op, dtype):
    if dtype == "bool":
        return op in BITS | {"min", "max"}
    if dtype in COMPLEX:
        return op in {"sum", "prod", "avg", "premul_sum"}
    return op not in (BITS if dtype in FLOATS else {"avg", "premul_sum"})

def contribution(op, dtype, count, of_rank):
    draw = np.random.default_rng([count, of_rank]).integers(0, 100, count)
    if dtype == "bool":
        return (draw % 2).astype(bool)
    if dtype in COMPLEX:
        # Products of these have no part that is zero before the last, whose sign might differ.
        return ((2 + draw % 2 + 1j) if op == "prod" else (draw % 32 - 8) * (1 - 2j)).astype(dtype)
    if op == "prod":
        return (1 + draw % 3).astype(dtype)
    return ((draw % 32) - (8 if dtype in FLOATS else 0)).astype(dtype)

def expected(op, dtype, count):
    inputs = [contribution(op, dtype, count, r) for r in range(size)]
    if op in ("avg", "premul_sum"):
        wide = np.stack(inputs).astype("c16" if dtype in COMPLEX else "f8")
        if op == "premul_sum":
            return (wide * np.arange(1, size + 1)[:, None]).sum(0).astype(dtype)
        return (wide.sum(0) / size).astype(dtype)
    total = inputs[0]
    for other in inputs[1:]:
        total = REDUCE[op](total, other).astype(dtype)
    return total

def check(op, dtype, count):
    scale = float(rank + 1) if op == "premul_sum" else None
    mine = contribution(op, dtype, count, rank)
    want = expected(op, dtype, count).tobytes()
    x = mine.copy()
    assert kirsh.allreduce(x, op=op, scale=scale) is x
    assert x.tobytes() == want, (op, dtype, count, x, want)
    x, out = mine.copy(), np.zeros_like(mine)
    x.flags.writeable = False
    assert kirsh.allreduce(x, op=kirsh.ReduceOp(op), scale=scale, out=out) is out
    assert out.tobytes() == want and x.tobytes() == mine.tobytes()
    x = mine.copy()
    work = kirsh.allreduce(x, op=op, scale=scale, async_op=True)
    assert work.wait() is x and x.tobytes() == want
    assert work.done and work.test() and work.wait(0) is x

done = 0
for dtype in ["bool", *INTS, *FLOATS, *COMPLEX]:
    for op in kirsh.ReduceOp:
        if supported(op, dtype):
            for count in (0, 1, 7, 1000):
                check(op.value, dtype, count)
                done += 1
        else:
            try:
                kirsh.allreduce(np.zeros(3, dtype), op=op)
            except kirsh.UnsupportedError:
                pass
            else:
                raise AssertionError(f"{op} of {dtype} was carried out")
print("checked", done)
"""


def test_four_ranks_agree_with_numpy_on_every_dtype_and_operator(tmp_path):
    # 8 operators on bool, 10 on each of 8 integer types, 6 on each of 4 float types, 4 on complex
    # ones; 4 sizes.
    for rank in run_ranks(tmp_path, EVERYTHING, 4):
        assert rank.lines == [f"checked {4 * (8 + 10 * 8 + 6 * 4 + 4 * 2)}"]


def test_random_floats_give_the_same_bits_on_every_rank(tmp_path):
    script = """
    import hashlib
    digest = hashlib.sha256()
    for count in (1, 100, 10_007, 300_000):
        x = np.random.default_rng([rank, count]).normal(size=count).astype("f4")
        every = [np.random.default_rng([r, count]).normal(size=count).astype("f4")
                 for r in range(size)]
        kirsh.allreduce(x)
        np.testing.assert_allclose(x, np.sum(every, axis=0, dtype="f8"), rtol=1e-4, atol=1e-4)
        digest.update(x.tobytes())
    print(digest.hexdigest())
    """
    ranks = run_ranks(tmp_path, script, 3)
    assert len({rank.output for rank in ranks}) == 1


@pytest.mark.parametrize("driver", ["uring", "poll"])
def test_broadcast_from_every_root(tmp_path, driver):
    script = """
    for root in range(size):
        for count in (0, 1, 5, 70_000):
            want = np.random.default_rng([root, count]).integers(0, 2**31, count)
            x = want.copy() if rank == root else np.full(count, -1)
            assert kirsh.broadcast(x, root=root) is x
            assert (x == want).all()
            x = want.copy() if rank == root else np.full(count, -1)
            assert kirsh.broadcast(x, root=root, async_op=True).wait() is x
            assert (x == want).all()
        assert kirsh.broadcast(rank * 10, root=root) == root * 10
        assert kirsh.broadcast(rank / 2, root=root) == root / 2
    print(comm.driver())
    """
    for rank in run_ranks(tmp_path, script, 3, environment={"KIRSH_DRIVER": driver}):
        assert rank.lines == [driver]


def test_numbers_are_reduced_as_numbers(tmp_path):
    script = """
    results = [
        kirsh.allreduce(rank + 1),
        kirsh.allreduce(2**62 if rank == 0 else 1),
        kirsh.allreduce(rank + 0.5),
        kirsh.allreduce(rank + 0.5, op=kirsh.AVG),
        kirsh.allreduce(rank == 1, op=kirsh.LOR),
        kirsh.allreduce(rank == 1, op=kirsh.LAND),
        kirsh.allreduce(np.int16(rank), op="max"),
        kirsh.allreduce(rank, async_op=True).wait(),
    ]
    assert results == [6, 2**62 + 2, 4.5, 1.5, True, False, 2, 3], results
    types = [int, int, float, float, bool, bool, np.int16, int]
    assert [type(result) for result in results] == types
    """
    run_ranks(tmp_path, script, 3)


def test_dense_layouts_that_are_equal_on_all_ranks(tmp_path):
    script = """
    import array
    base = np.arange(24.0).reshape(2, 3, 4)
    for x in (np.asfortranarray(base), base.transpose(2, 0, 1).copy(order="K"),
              base.copy()[1:], base.copy()):
        want = x * size
        assert kirsh.allreduce(x) is x
        assert (x == want).all()
        out = np.empty_like(x)
        assert kirsh.allreduce(x, out=out) is out
        assert (out == want * size).all()
    for x in (array.array("d", [1, 2]), memoryview(bytearray(b"\\1\\2"))):
        kirsh.allreduce(x)
        assert list(x) == [size, 2 * size]

    class Tensor:
        def __init__(self, base): self.base = base
        def __dlpack_device__(self): return self.base.__dlpack_device__()
        def __dlpack__(self, **arguments): return self.base.__dlpack__(**arguments)
    x = np.arange(6, dtype="i4").reshape(2, 3)
    kirsh.allreduce(Tensor(x.T))
    assert (x == size * np.arange(6).reshape(2, 3)).all()
    """
    run_ranks(tmp_path, script, 2)


@pytest.mark.parametrize("algorithm", ["ring", "recursive_doubling", "tree"])
def test_the_algorithm_can_be_chosen(tmp_path, algorithm):
    script = f"""
    for count in (1, 1000, 100_001):
        x = np.arange(count) + rank
        kirsh.allreduce(x, algorithm="{algorithm}")
        assert (x == size * np.arange(count) + sum(range(size))).all()
    """
    run_ranks(tmp_path, script, 3)


def test_many_works_in_flight_end_in_any_order_of_waiting(tmp_path):
    script = """
    arrays = [np.full(1 + 1000 * i, rank + i) for i in range(40)]
    works = [kirsh.allreduce(x, async_op=True) for x in arrays]
    works.append(kirsh.barrier(async_op=True))
    assert [work.sequence for work in works] == list(range(41))
    for i in reversed(range(40)):
        assert works[i].wait() is arrays[i]
        assert (arrays[i] == size * i + sum(range(size))).all()
    assert works[40].wait() is None
    """
    run_ranks(tmp_path, script, 3)


def test_threads_may_use_communicators_of_their_own(tmp_path):
    script = """
    others = []
    for _ in range(3):
        # Rank 0 serves one meeting after the other.
        kirsh.barrier()
        others.append(kirsh.Communicator())
    failures = []
    def work(other, seed):
        try:
            for i in range(50):
                x = np.full(100 + i, rank + seed)
                other.allreduce(x)
                assert (x == size * seed + sum(range(size))).all()
        except BaseException as error:
            failures.append(error)
            raise
    threads = [threading.Thread(target=work, args=(o, i)) for i, o in enumerate(others)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not failures
    for other in others: other.close()
    """
    run_ranks(tmp_path, script, 2)


def test_a_dropped_work_goes_on_and_its_array_lives_until_it_is_over(tmp_path):
    script = """
    import gc, weakref
    if rank == 0:
        x = np.ones(1000)
        alive = weakref.ref(x)
        work = kirsh.allreduce(x, async_op=True)
        del x, work
        gc.collect()
        assert alive() is not None, "the array went while it was lent"
        meet("dropped")
    else:
        await_meeting("dropped")
        x = np.full(1000, 2.0)
        kirsh.allreduce(x)
        assert (x == 3).all()
    kirsh.barrier()
    kirsh.barrier()
    if rank == 0:
        assert alive() is None, "the array was not given back"
    """
    run_ranks(tmp_path, script, 2)


def test_a_lent_buffer_cannot_be_resized(tmp_path):
    script = """
    x = bytearray(8)
    if rank == 0:
        work = kirsh.allreduce(x, async_op=True)
        try:
            x.extend(b"more")
        except BufferError:
            print("lent")
        meet("lent")
        work.wait()
        x.extend(b"more")
    else:
        await_meeting("lent")
        kirsh.allreduce(x)
    """
    ranks = run_ranks(tmp_path, script, 2)
    assert ranks[0].lines == ["lent"]


def test_finalize_and_init_again(tmp_path):
    script = """
    for round in range(3):
        if round:
            kirsh.init()
        assert kirsh.allreduce(1) == size
        kirsh.finalize()
    """
    run_ranks(tmp_path, script, 2)


def test_stats_count_what_moved(tmp_path):
    script = """
    x = np.zeros(100_000, "f4")
    before = kirsh.stats()
    kirsh.broadcast(x)
    after = kirsh.stats()
    moved = after.bytes_sent - before.bytes_sent + after.bytes_received - before.bytes_received
    assert moved == x.nbytes, moved
    assert after.operations == before.operations + 1
    assert after.bytes_copied == before.bytes_copied
    if rank == 1:
        assert after.bytes_received_direct - before.bytes_received_direct == x.nbytes
    """
    run_ranks(tmp_path, script, 2)


def test_stats_by_peer_add_up_to_those_of_the_communicator(tmp_path):
    script = """
    for _ in range(3):
        kirsh.allreduce(np.ones(1000, "f4"))
    kirsh.sendrecv(np.ones(7, "u1"), (rank + 1) % size, np.empty(7, "u1"), (rank - 1) % size)
    stats, peers = kirsh.stats(), kirsh.stats_by_peer()
    assert [(peer.rank, peer.world_rank) for peer in peers] == [(r, r) for r in range(size)]
    for figure in ("bytes_sent", "bytes_received", "frames_sent", "frames_received"):
        lanes = [lane for peer in peers for lane in (peer.collective, peer.direct)]
        assert sum(getattr(lane, figure) for lane in lanes) == getattr(stats, figure), figure
    assert stats.operations_allreduce == 3
    assert (stats.operations_send, stats.operations_recv) == (1, 1)
    assert peers[(rank + 1) % size].direct.bytes_sent == 7
    assert peers[rank].direct.frames_sent == peers[rank].control.frames_sent == 0
    waited = sum(peer.collective.waited_ns + peer.direct.waited_ns for peer in peers)
    assert 0 < waited <= stats.waited_ns
    assert "world_rank=0, collective=LaneStats(bytes_sent=" in repr(peers[0])
    """
    run_ranks(tmp_path, script, 3)


def test_a_trace_is_a_list_of_json_that_has_each_call(tmp_path):
    script = """
    import json
    kirsh.allreduce(np.ones(10, "f4"))
    kirsh.barrier()
    kirsh.finalize()
    with open(f"{TEST_DIR}/trace.{rank}") as file:
        events = json.load(file)
    calls = [event for event in events if event.get("cat") == "collective"]
    assert [call["name"] for call in calls] == ["allreduce", "barrier"]
    assert calls[0]["args"]["call"] == "allreduce(10 x float32, sum)"
    assert all(call["args"]["outcome"] == "ok" and call["pid"] == rank for call in calls)
    """
    script = script.replace("{TEST_DIR}", str(tmp_path))
    run_ranks(tmp_path, script, 2, environment={"KIRSH_TRACE": f"{tmp_path}/trace"})
