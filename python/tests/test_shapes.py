"""Which shapes the collectives take: what is refused, how it says so, and that others go on."""

import numpy as np
import pytest

import kirsh
from launch import run_ranks


class Tensor:
    """Reached by DLPack only, as a torch tensor is."""

    def __init__(self, base):
        self.base = base

    def __dlpack_device__(self):
        return self.base.__dlpack_device__()

    def __dlpack__(self, **arguments):
        return self.base.__dlpack__(**arguments)


ROWS = {
    "allgather": lambda c, x, **o: c.allgather(x, **o),
    "gather": lambda c, x, **o: c.gather(x, **o),
    "scatter": lambda c, x, **o: c.scatter(x, **o),
    "alltoall": lambda c, x, **o: c.alltoall(x, **o),
    "reduce_scatter": lambda c, x, **o: c.reduce_scatter(x, op="max", **o),
    "allgatherv": lambda c, x, **o: c.allgatherv(x, **o),
    "gatherv": lambda c, x, **o: c.gatherv(x, **o),
    "scatterv": lambda c, x, **o: c.scatterv(x, [len(x)], **o),
    "alltoallv": lambda c, x, **o: c.alltoallv(x, [len(x)], **o),
    "reduce_scatterv": lambda c, x, **o: c.reduce_scatterv(x, [len(x)], op="max", **o),
}


@pytest.mark.parametrize("name", ROWS)
def test_without_out_the_result_is_a_new_numpy_array_of_the_dtype(alone, name):
    import ml_dtypes

    for dtype in ("float32", "bool", ml_dtypes.bfloat16):
        x = np.arange(6).reshape(3, 2).astype(dtype)
        x.flags.writeable = False
        got = ROWS[name](alone, x)
        assert type(got) is np.ndarray and got is not x
        assert got.dtype == x.dtype and got.tobytes() == x.tobytes()
    x = np.arange(4.0)
    given = [memoryview(x.tobytes()).cast("d"), *([] if name.endswith("v") else [Tensor(x)])]
    for x_again in given:
        got = ROWS[name](alone, x_again)
        assert type(got) is np.ndarray and got.tolist() == x.tolist()


@pytest.mark.parametrize("name", ROWS)
def test_out_takes_the_result_whatever_holds_its_memory(alone, name):
    x = np.arange(6.0).reshape(3, 2)
    base = np.zeros((3, 2))
    for out in (base, Tensor(base)):
        base[...] = 0
        assert ROWS[name](alone, x, out=out) is out
        assert base.tolist() == x.tolist()


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.zeros((2, 3)), r"out has shape \(2, 3\), and the result has \(3, 2\)"),
        (np.zeros((3, 2), "f4"), "out has dtype float32"),
        (np.zeros((3, 2), order="F"), "out has .* row by row"),
        (np.zeros((3, 4))[:, ::2], "strides"),
        (np.broadcast_to(np.zeros((3, 2)), (3, 2)), "out is read-only"),
        (2.5, "out must be an array"),
    ],
)
def test_an_out_that_does_not_fit_is_refused(alone, name, out, said):
    with pytest.raises(kirsh.InvalidArgumentError, match=said) as caught:
        ROWS[name](alone, np.zeros((3, 2)), out=out)
    assert caught.value.operation == name and caught.value.scope == "call"
    assert alone.allreduce(1) == 1


@pytest.mark.parametrize("name", ROWS)
def test_parts_must_lie_one_behind_the_other(alone, name):
    for x in (np.zeros((3, 2), order="F"), np.zeros((2, 3)).T):
        with pytest.raises(kirsh.InvalidArgumentError, match="row by row.*ascontiguousarray"):
            ROWS[name](alone, x)
    with pytest.raises(kirsh.InvalidArgumentError, match="no hidden copies"):
        ROWS[name](alone, np.zeros((4, 4))[:, ::2])


def test_numbers_have_no_first_axis(alone):
    for call in (alone.scatter, alone.alltoall, alone.reduce_scatter, alone.allgatherv):
        for x in (3, np.float32(1), np.array(2.0)):
            with pytest.raises(kirsh.InvalidArgumentError, match="first axis"):
                call(x)
    assert alone.allgather(3).tolist() == [3] and alone.allgather(3).dtype == np.int64
    assert alone.allgather(np.float32(2)).dtype == np.float32
    assert alone.gather(True).tolist() == [True]
    assert alone.reduce(2.5) == 2.5 and alone.scan(7) == 7 and alone.exscan(7) == 7


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ([], "without arrays"),
        ([np.zeros(2), np.zeros(2, "f4")], r"arrays\[1\] has float32: make one call for each"),
        ([np.zeros(2), 3.0], r"arrays\[1\] is a number"),
        ([np.zeros(2), memoryview(bytes(16)).cast("d")], r"arrays\[1\] is read-only"),
        ([np.zeros(8)[::2]], "strides"),
        (3, "list of arrays"),
    ],
)
def test_lists_of_arrays_that_cannot_be_one_are_refused(alone, arrays, said):
    with pytest.raises(kirsh.InvalidArgumentError, match=said):
        alone.allreduce_many(arrays)


def test_arrays_of_a_list_that_overlap_are_refused(alone):
    x = np.zeros(6)
    with pytest.raises(kirsh.InvalidArgumentError, match="overlap"):
        alone.allreduce_many([x[:4], x[2:]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.allgatherv(np.zeros(3), [2]), r"shape \(3,\), and counts says 2 rows"),
        (lambda c: c.allgatherv(np.zeros(3), [1, 2]), "2 numbers, and there are 1 ranks"),
        (lambda c: c.allgatherv(np.zeros(3), [-3]), "not a list of numbers of rows"),
        (lambda c: c.gatherv(np.zeros(3), "abc"), "not a list of numbers of rows"),
        (lambda c: c.reduce_scatterv(np.zeros(3), [2]), r"counts sums up to 2 rows.*\(3,\)"),
        (lambda c: c.scatterv(np.zeros(3), [4]), "sums up to 4 rows"),
        (lambda c: c.scatterv(np.zeros(3)), "counts is missing"),
        (lambda c: c.alltoallv(np.zeros(3), [2]), "send_counts sums up to 2 rows"),
        (lambda c: c.alltoallv(np.zeros(3), [3], [2]), "gives itself 3 elements and takes 2"),
    ],
)
def test_counts_that_do_not_fit_are_refused(alone, call, said):
    with pytest.raises(kirsh.InvalidArgumentError, match=said):
        call(alone)
    assert alone.allreduce(1) == 1


def test_calls_refused_on_all_ranks_leave_the_communicator_usable(tmp_path):
    script = """
    frozen = np.zeros(size * 2)
    frozen.flags.writeable = False
    good = np.zeros((size * 2, 2))
    bad = {
        "cannot be divided among": lambda: kirsh.reduce_scatter(np.zeros(2 * size + 1)),
        "cannot be divided": lambda: kirsh.alltoall(np.zeros((size - 1, size)), async_op=True),
        "divided among": lambda: kirsh.reduce_scatter(np.zeros(2 * size + 1), out=np.zeros(2)),
        "out has shape": lambda: kirsh.allgather(good, out=good),
        "out is read-only": lambda: kirsh.allgather(np.zeros(2), out=frozen),
        "x is read-only": lambda: kirsh.scan(frozen),
        "out is read": lambda: kirsh.alltoall(np.zeros(size * 2), out=frozen),
        "give one for each": lambda: kirsh.allgatherv(good, [1]),
        "overlap": lambda: kirsh.alltoall(good[:size], out=good[1 : size + 1]),
        "not a rank of": lambda: kirsh.reduce(np.zeros(2), root=size),
        "root": lambda: kirsh.gather(np.zeros(2), root=-1),
        "avg": lambda: kirsh.scan(np.zeros(2), op="avg"),
        "not defined": lambda: kirsh.reduce(np.zeros(2, "i4"), op=kirsh.AVG),
        "weight": lambda: kirsh.allreduce(np.zeros(2), weight=2.0),
        "not negative": lambda: kirsh.allreduce(np.zeros(2), op="avg", weight=-1),
        "sum up to 0": lambda: kirsh.reduce_scatter(np.zeros(size), op="avg", weight=0),
        "a number has none": lambda: kirsh.plan_allreduce(3.0),
        "bruck": lambda: kirsh.allgather(good, algorithm="tree"),
    }
    for said, call in bad.items():
        try:
            call()
        except kirsh.KirshError as error:
            assert said in str(error) and error.scope == "call", (said, error)
        else:
            raise AssertionError(said)
    assert kirsh.allreduce(1) == size
    """
    run_ranks(tmp_path, script, 3)


def test_what_only_the_root_gives_or_gets_is_refused_elsewhere(tmp_path):
    script = """
    x = np.zeros(2 * size)
    bad = [
        lambda: kirsh.gather(x, out=np.zeros(2 * size * size)),
        lambda: kirsh.reduce(x, out=np.zeros(2 * size)),
        lambda: kirsh.gatherv(x, out=np.zeros(2 * size * size)),
        lambda: kirsh.scatter(x, out=np.zeros(2)),
        lambda: kirsh.scatter(),
        lambda: kirsh.scatterv(x, [2] * size, out=np.zeros(2)),
        lambda: kirsh.scatterv(None, [1] * size, out=np.zeros(2)),
    ]
    said = ["out is for the root", "out is for the root", "out is for the root",
            "rank 1 passes None", "out is missing", "rank 1 passes None", "counts says 1 rows"]
    number = int(os.environ["TEST_CASE"])
    kirsh.barrier()
    try:
        if rank == 1:
            bad[number]()
        else:
            kirsh.allreduce(x)
    except kirsh.InvalidArgumentError as error:
        assert rank == 1 and said[number] in str(error), error
    except kirsh.RefusedError as error:
        assert rank == 0 and error.peer == 1 and said[number] in str(error), error
    else:
        raise AssertionError("no error")
    """
    for case in range(7):
        run_ranks(tmp_path, script, 2, environment={"TEST_CASE": str(case)})


def test_counts_that_differ_between_ranks_are_a_mismatch(tmp_path):
    script = """
    counts = [2, 3] if rank == 0 else [1, 3]
    try:
        kirsh.allgatherv(np.zeros(2 + rank), counts)
    except kirsh.MismatchError as error:
        print("mismatch")
    """
    for rank in run_ranks(tmp_path, script, 2):
        assert rank.lines == ["mismatch"]


def test_weights_make_a_weighted_mean(tmp_path):
    script = """
    x = np.arange(4.0 * size).reshape(2 * size, 2)
    weights = np.arange(1.0, size + 1)
    mean = sum(w * (x + r) for r, w in enumerate(weights)) / weights.sum()
    mine = {"op": kirsh.AVG, "weight": rank + 1}
    close = lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-14)
    close(kirsh.allreduce(x + rank, **mine), mean)
    close(kirsh.allreduce(x + rank, async_op=True, **mine).wait(), mean)
    close(kirsh.reduce_scatter(x + rank, **mine), mean[2 * rank : 2 * rank + 2])
    close(kirsh.reduce_scatterv(x + rank, [2] * size, **mine), mean[2 * rank : 2 * rank + 2])
    summed = kirsh.reduce(x + rank, root=1, **mine)
    assert summed is None if rank != 1 else close(summed, mean) is None
    a, b = kirsh.allreduce_many([x + rank, x[:1] + rank], **mine)
    close(a, mean), close(b, mean[:1])
    plan = kirsh.plan_allreduce(y := np.zeros_like(x), **mine)
    for _ in range(3):
        y[...] = x + rank
        close(plan.run(), mean)
    assert kirsh.allreduce(float(rank), op="avg", weight=float(rank == 2)) == 2.0
    """
    run_ranks(tmp_path, script, 3)
