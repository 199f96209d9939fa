"""Communicators made from communicators."""

import pytest

import kirsh
from launch import run_ranks


@pytest.mark.parametrize("driver", ["uring", "poll"])
def test_groups_have_the_ranks_that_were_asked_for_and_outlive_their_parent(tmp_path, driver):
    script = """
    half = comm.split(rank % 2 if rank < 3 else None, -rank)
    if rank == 3:
        assert half is None
    else:
        assert type(half) is kirsh.Communicator
        assert (half.rank(), half.size()) == {0: (1, 2), 1: (0, 1), 2: (0, 2)}[rank]
        assert half.allreduce(rank) == {0: 2, 1: 1, 2: 2}[rank]
    some = comm.subgroup([3, 1])
    assert (some is None) == (rank in (0, 2))
    twin = comm.dup(priority=2)
    # Started in opposite orders.
    works = [
        each.allreduce(np.ones(1 << 18, "f4"), async_op=True)
        for each in ([comm, twin] if rank % 2 else [twin, comm])
    ]
    assert all((work.wait() == size).all() for work in works)
    comm.close()
    assert twin.allreduce(1) == 4
    if some is not None:
        assert list(some.allgather(np.array([rank]))) == [3, 1]
        with some.dup() as again:
            assert again.allreduce(1) == 2
    try:
        comm.dup()
    except kirsh.KirshError as error:
        assert error.kind == "closed"
    else:
        raise AssertionError("no error")
    """
    run_ranks(tmp_path, script, 4, environment={"KIRSH_DRIVER": driver})


def test_what_does_not_fit_fails_on_every_rank(tmp_path):
    script = """
    def fails(kind, text, call):
        try:
            call()
        except kind as error:
            assert text in str(error), error
        else:
            raise AssertionError("no error")

    fails(kirsh.MismatchError, "rank 1 named [1]", lambda: comm.subgroup([rank]))
    fails(kirsh.MismatchError, "called dup", lambda: comm.dup() if rank else comm.split(0))
    # What every rank refuses leaves all as it was.
    for call in (
        lambda: comm.split(-1),
        lambda: comm.split(0, "x"),
        lambda: comm.dup(priority=1 << 40),
        lambda: comm.subgroup(["a"]),
        lambda: comm.subgroup([0, 0]),
        lambda: comm.subgroup([]),
    ):
        fails(kirsh.InvalidArgumentError, "", call)
    assert comm.allreduce(1) == size
    # And what one refuses, all hear of.
    kind = kirsh.InvalidArgumentError if rank == 0 else kirsh.RefusedError
    fails(kind, "color='red'", lambda: comm.split("red" if rank == 0 else 0))
    """
    run_ranks(tmp_path, script, 2)


def test_a_world_of_one_can_be_split(alone):
    assert alone.split(None) is None
    with alone.dup() as twin, alone.split(5) as half:
        assert (twin.size(), half.rank()) == (1, 0)
        assert half.allreduce(3) == 3
    with pytest.raises(kirsh.KirshError, match="closed"):
        half.dup()
