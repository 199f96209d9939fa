"""Several operations at once: waiting for all or for any, of mixed kinds, and prepared ones."""

import numpy as np
import pytest

import kirsh
from launch import run_ranks


def test_started_collectives_of_mixed_kinds_end_in_any_order_of_waiting(tmp_path):
    script = """
    def start(round):
        x = np.arange(4 * size) + rank + round
        total = sum(np.arange(4 * size) + r + round for r in range(size))
        root = round % size
        yield kirsh.allreduce(x.copy(), async_op=True), total
        yield kirsh.allgather(x, async_op=True), np.concatenate(
            [np.arange(4 * size) + r + round for r in range(size)])
        yield kirsh.reduce_scatter(x, async_op=True), total[4 * rank : 4 * rank + 4]
        yield kirsh.barrier(async_op=True), None
        yield kirsh.gather(rank + round, root=root, async_op=True), (
            np.arange(size) + round if rank == root else None)
        yield kirsh.broadcast(rank + round, root=root, async_op=True), root + round
        yield kirsh.alltoall(x, async_op=True), np.concatenate(
            [np.arange(4 * rank, 4 * rank + 4) + r + round for r in range(size)])
        yield kirsh.scan(rank + round, async_op=True), sum(range(rank + 1)) + round * (rank + 1)
        yield kirsh.allgatherv(x[: rank + 1], async_op=True), np.concatenate(
            [np.arange(r + 1) + r + round for r in range(size)])
    started = [pair for round in range(12) for pair in start(round)]
    # Each rank waits in an order of its own; the operations go in the order of calls.
    works = [work for work, _ in started]
    for i in np.random.default_rng(rank).permutation(len(started))[:50]:
        np.testing.assert_array_equal(works[i].wait(), started[i][1])
    for result, (_, want) in zip(kirsh.wait_all(works), started, strict=True):
        np.testing.assert_array_equal(result, want)
    print("waited for", len(works))
    """
    for driver in ("uring", "poll"):
        for rank in run_ranks(tmp_path, script, 3, environment={"KIRSH_DRIVER": driver}):
            assert rank.lines == ["waited for 108"]


def test_wait_any_gives_the_one_that_is_over(tmp_path):
    script = """
    kirsh.barrier()
    other = kirsh.Communicator()
    mine, held = np.full(3, rank), np.full(3, 7.0)
    if rank == 0:
        works = [other.allreduce(held, async_op=True), comm.allreduce(mine, async_op=True)]
        assert kirsh.wait_any(works) == 1
        assert kirsh.wait_any(works, 0) == 1 and works[1].wait() is mine
        assert kirsh.wait_any(works[::-1]) == 0
        for wait in (kirsh.wait_all, kirsh.wait_any):
            try:
                wait([works[0]], timeout=0.05)
            except kirsh.KirshTimeoutError as error:
                assert error.scope == "call" and "wait again" in str(error)
            else:
                raise AssertionError("it cannot be over")
        meet("waited")
        assert kirsh.wait_all(works, 60)[0] is held and (held == 14).all()
        assert kirsh.wait_all(works) == kirsh.wait_all(works, 0)
    else:
        comm.allreduce(mine)
        await_meeting("waited")
        other.allreduce(held)
    other.close()
    """
    run_ranks(tmp_path, script, 2)


def test_a_failed_operation_ends_the_wait_for_all_and_is_one_of_any(tmp_path):
    script = """
    works = [kirsh.allreduce(np.zeros(3), async_op=True),
             kirsh.allreduce(np.zeros(3 + rank), async_op=True)]
    works[0].wait()
    assert kirsh.wait_any(works[1:]) == 0
    for _ in range(2):
        try:
            kirsh.wait_all(works)
        except kirsh.MismatchError as error:
            assert error.sequence == 1, vars(error)
        else:
            raise AssertionError("no error")
        try:
            works[1].wait()
        except kirsh.MismatchError:
            pass
    """
    run_ranks(tmp_path, script, 2)


def test_wait_any_needs_works(alone):
    with pytest.raises(kirsh.InvalidArgumentError, match="no works"):
        kirsh.wait_any([])
    assert kirsh.wait_all([]) == []
    with pytest.raises(TypeError):
        kirsh.wait_all([3])


def test_plans_run_many_times_on_what_their_arrays_hold(tmp_path):
    script = """
    x, g = np.zeros(1000), np.zeros(5, "i4")
    parts = [np.zeros(3), np.zeros((2, 2)), np.zeros(0)]
    total, every = kirsh.plan_allreduce(x), comm.plan_allgather(g)
    many, sync = kirsh.plan_allreduce_many(parts, op="max"), kirsh.plan_barrier()
    share = kirsh.plan_reduce_scatter(np.ones((2 * size, 3)), op=kirsh.SUM)
    first = None
    for round in range(20):
        x[:], g[:] = rank + round, rank * round
        for part in parts:
            part[...] = rank + round
        assert total.run() is x and (x == sum(range(size)) + size * round).all()
        # A planned call and a plain one are the same to the others.
        gathered = every.run() if (rank + round) % 2 else kirsh.allgather(g)
        assert (gathered.reshape(size, 5) == np.arange(size)[:, None] * round).all()
        works = [many.start(), sync.start(), share.start()]
        results = kirsh.wait_all(works)
        assert results[0] is parts and all((part == size - 1 + round).all() for part in parts)
        assert results[1] is None and (results[2] == np.full((2, 3), size)).all()
        assert first is None or results[2] is first
        first = results[2]
    for root in range(size):
        x[:] = rank
        assert kirsh.plan_broadcast(x, root=root).run() is x and (x == root).all()
        x[:] = rank + 1
        summed = kirsh.plan_reduce(x, root=root).run()
        assert (summed == sum(range(1, size + 1))).all() if rank == root else summed is None
        gathered = kirsh.plan_gather(g, root=root).run()
        assert gathered.shape == (5 * size,) if rank == root else gathered is None
        out = np.zeros(2)
        plan = kirsh.plan_scatter(
            np.arange(2.0 * size) if rank == root else None, root=root, out=out)
        assert plan.run() is out and out.tolist() == [2 * rank, 2 * rank + 1]
    x[:] = 1
    assert (kirsh.plan_scan(x).run() == rank + 1).all()
    x[:] = 1
    assert (kirsh.plan_exscan(x).run() == (rank or 1)).all()
    """
    run_ranks(tmp_path, script, 3)


def test_a_plan_holds_its_arrays_and_its_communicator(tmp_path):
    script = """
    import gc, weakref
    kirsh.finalize()
    other = kirsh.Communicator()
    x = np.ones(10)
    alive = weakref.ref(x)
    plan = other.plan_allreduce(x)
    del x, other
    gc.collect()
    work = plan.start()
    assert (plan.run() == size**2).all() and work.wait() is alive()
    del plan, work
    gc.collect()
    assert alive() is None
    """
    run_ranks(tmp_path, script, 2)


def test_a_plan_is_refused_where_its_call_would_be(alone):
    for bad in (lambda: alone.plan_allreduce(3), lambda: alone.plan_allgather(1.5)):
        with pytest.raises(kirsh.InvalidArgumentError, match="number"):
            bad()
    with pytest.raises(kirsh.InvalidArgumentError, match="read-only"):
        alone.plan_allreduce(b"abc")
    with pytest.raises(kirsh.InvalidArgumentError, match="strides"):
        alone.plan_broadcast(np.zeros(8)[::2])
    with pytest.raises(TypeError, match="pickled"):
        alone.plan_allreduce(np.zeros(3)).__reduce_ex__(2)
    closed = kirsh.Communicator(rank=0, world_size=1)
    plan = closed.plan_allreduce(np.zeros(3))
    closed.close()
    for use in (plan.run, plan.start):
        with pytest.raises(kirsh.KirshError) as caught:
            use()
        assert caught.value.kind == "closed"
