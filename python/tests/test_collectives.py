"""Every collective, dtype and operator on random shapes, counts and roots, in real processes,
against what NumPy says; blocking and started, in place and not, on both drivers."""

import pytest

from launch import run_ranks

#: Draws the same cases on every rank from one seed, and what each rank gives in them.
CASES = """
import ml_dtypes
SEED, CASES = int(os.environ["TEST_SEED"]), int(os.environ["TEST_CASES"])
FLOATS = ["float16", "float32", "float64", ml_dtypes.bfloat16]
COMPLEX = ["complex64", "complex128"]
INTS = ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
REDUCE = {
    "sum": np.add, "prod": np.multiply, "min": np.minimum, "max": np.maximum,
    "band": np.bitwise_and, "bor": np.bitwise_or, "bxor": np.bitwise_xor,
    "land": np.logical_and, "lor": np.logical_or, "lxor": np.logical_xor,
}
BITS = ["band", "bor", "bxor", "land", "lor", "lxor"]

def operators(dtype):
    if dtype == "bool":
        return ["min", "max", *BITS]
    if dtype in COMPLEX:
        return ["sum", "prod", "avg", "premul_sum"]
    return ["sum", "prod", "min", "max", *(["avg", "premul_sum"] if dtype in FLOATS else BITS)]

def contribution(case, of_rank, shape):
    # Small whole numbers, so that every order of folding gives the same.
    draw = np.random.default_rng([SEED, case, of_rank]).integers(0, 100, shape)
    if dtype == "bool":
        return np.asarray(draw % 2).astype(bool)
    if op == "prod":
        return np.asarray(1 + draw % 2).astype(dtype)
    if dtype in COMPLEX:
        return np.asarray(draw % 9 * (1 + 2j)).astype(dtype)
    return np.asarray(draw % 9).astype(dtype)

def reduced(inputs):
    wide = "c16" if dtype in COMPLEX else "f8"
    total = inputs[0].astype(wide) if op in ("avg", "premul_sum") else inputs[0].copy()
    for r, other in enumerate(inputs[1:], 1):
        if op in ("avg", "premul_sum"):
            total = total + other.astype(wide) * (r + 1 if op == "premul_sum" else 1)
        else:
            total = np.asarray(REDUCE[op](total, other)).astype(dtype)
    if op == "avg" and dtype in COMPLEX:
        # NumPy divides complex numbers by way of a reciprocal.
        total = total.real / len(inputs) + 1j * (total.imag / len(inputs))
    elif op == "avg":
        total = total / len(inputs)
    return np.asarray(total).astype(dtype)

def same(got, want):
    assert type(got) is np.ndarray, type(got)
    assert got.dtype == want.dtype and got.shape == want.shape, (told, got, want)
    assert got.tobytes() == want.tobytes(), (told, got, want)

def make(call, *arguments, **options):
    # Blocking, started or planned, as the case has it on this rank: the others need not agree.
    if started:
        return call(*arguments, async_op=True, **options).wait()
    return call(*arguments, **options)

def rows(array, counts, r):
    begin = sum(counts[:r])
    return array[begin : begin + counts[r]]

NAMES = ["allreduce", "allreduce_many", "reduce", "scan", "exscan", "broadcast", "allgather",
         "reduce_scatter", "gather", "scatter", "alltoall", "allgatherv", "reduce_scatterv",
         "gatherv", "scatterv", "alltoallv"]
seen = set()
for case in range(CASES):
    draw = np.random.default_rng([SEED, case])
    mine = np.random.default_rng([SEED, case, rank, 1])
    name = NAMES[case % len(NAMES)]
    dtype = ["bool", *INTS, *FLOATS, *COMPLEX][draw.integers(15)]
    op = str(draw.choice([o for o in operators(dtype) if "scan" not in name or o != "avg"]))
    root = int(draw.integers(size))
    rest = tuple(int(n) for n in draw.integers(1, 4, draw.integers(0, 3)))
    k = int(draw.choice([0, 1, 2, 7, 100]) if draw.random() < 0.9 else 5000)
    counts = [int(n) for n in draw.integers(0, 6, size)]
    pairs = draw.integers(0, 4, (size, size))
    with_out, started = bool(draw.random() < 0.4), bool(mine.random() < 0.4)
    told_counts = bool(draw.random() < 0.5)
    told = (case, name, str(dtype), op, root, rest, k, with_out, started, counts)
    seen.add((name, str(np.dtype(dtype)), op))
    call = getattr(comm if draw.random() < 0.5 else kirsh, name)
    reducing = {"op": op}
    if op == "premul_sum":
        reducing["scale"] = rank + 1.0
    def every(shape):
        return [contribution(case, r, shape) for r in range(size)]
    def target(shape):
        return {"out": np.full(shape, 1, dtype)} if with_out else {}
    def given(result, options):
        assert "out" not in options or result is options["out"], told

    if name in ("allreduce", "reduce", "scan", "exscan"):
        if not k:
            rest = ()
        x = (inputs := every((k, *rest)))[rank]
        upto = {"scan": rank + 1, "exscan": rank}.get(name, size)
        want = reduced(inputs[:upto]) if upto else None
        if name == "reduce":
            reducing["root"] = root
            if rank != root:
                before = x.copy()
                assert make(call, x, **reducing) is None
                same(x, before)
                continue
        options = target(x.shape)
        before = x.copy()
        got = make(call, x, **reducing, **options)
        given(got, options)
        assert with_out or got is x
        if with_out:
            same(x, before)
        same(got, want if want is not None else options.get("out", before))
    elif name == "allreduce_many":
        lengths = [int(n) for n in draw.integers(0, 50, draw.integers(1, 40))]
        inputs = every((sum(lengths),))
        want = reduced(inputs)
        arrays = [part.copy() for part in np.split(inputs[rank], np.cumsum(lengths)[:-1])]
        assert make(call, arrays, **reducing) is arrays
        same(np.concatenate(arrays), want)
    elif name == "broadcast":
        x = every((k, *rest))
        got = make(call, x[rank], root=root)
        assert got is x[rank]
        same(got, contribution(case, root, (k, *rest)))
    elif name in ("allgather", "gather"):
        options = {"root": root} if name == "gather" else {}
        gets = name == "allgather" or rank == root
        inputs = every((k, *rest) if draw.random() < 0.9 else ())
        want = np.stack(inputs).reshape(-1, *inputs[0].shape[1:])
        x = inputs[rank]
        if gets:
            options.update(target(want.shape))
            if with_out and x.ndim and draw.random() < 0.5:
                # In place: this rank's part of the result.
                part = options["out"][rank * len(x) : (rank + 1) * len(x)]
                part[...] = x
                x = part
        got = make(call, x, **options)
        if gets:
            given(got, options)
            same(got, want)
        else:
            assert got is None
    elif name == "reduce_scatter":
        inputs = every((k * size, *rest))
        want = reduced(inputs)
        options = target((k, *rest))
        if with_out and draw.random() < 0.5:
            options["out"] = inputs[rank][rank * k : (rank + 1) * k]
        got = make(call, inputs[rank], **reducing, **options)
        given(got, options)
        same(got, want[rank * k : (rank + 1) * k])
    elif name == "scatter":
        x = contribution(case, root, (k * size, *rest))
        want = x[rank * k : (rank + 1) * k].copy()
        if rank == root:
            options = target(want.shape)
            got = make(call, x, root=root, **options)
        else:
            options = {"out": np.full(want.shape, 1, dtype)}
            got = make(call, root=root, **options)
        given(got, options)
        same(got, want)
    elif name == "alltoall":
        inputs = every((k * size, *rest))
        want = np.concatenate([i[rank * k : (rank + 1) * k] for i in inputs])
        options = target(want.shape)
        if with_out and mine.random() < 0.5:
            options["out"] = inputs[rank]
        got = make(call, inputs[rank], **options)
        given(got, options)
        same(got, want)
    elif name in ("allgatherv", "gatherv"):
        options = {"root": root} if name == "gatherv" else {}
        inputs = [contribution(case, r, (counts[r], *rest)) for r in range(size)]
        want = np.concatenate(inputs)
        gets = name == "allgatherv" or rank == root
        if gets:
            options.update(target(want.shape))
        if told_counts:
            options["counts"] = counts
        got = make(call, inputs[rank], **options)
        if gets:
            given(got, options)
            same(got, want)
        else:
            assert got is None
    elif name == "reduce_scatterv":
        inputs = every((sum(counts), *rest))
        want = reduced(inputs)
        options = target((counts[rank], *rest))
        got = make(call, inputs[rank], counts, **reducing, **options)
        given(got, options)
        same(got, rows(want, counts, rank))
    elif name == "scatterv":
        x = contribution(case, root, (sum(counts), *rest))
        want = rows(x, counts, rank)
        if rank == root:
            options = target(want.shape)
            got = make(call, x, counts, root=root, **options)
        else:
            options = {"out": np.full(want.shape, 1, dtype)}
            got = make(call, None, counts if told_counts else None, root=root, **options)
        given(got, options)
        same(got, want)
    elif name == "alltoallv":
        inputs = [contribution(case, r, (int(pairs[r].sum()), *rest)) for r in range(size)]
        want = np.concatenate([rows(inputs[r], pairs[r].tolist(), rank) for r in range(size)])
        recv = pairs[:, rank].tolist() if told_counts else None
        options = target(want.shape)
        got = make(call, inputs[rank], pairs[rank].tolist(), recv, **options)
        given(got, options)
        same(got, want)
print(comm.driver(), len(seen))
"""


@pytest.mark.parametrize(
    ("size", "driver", "cases"),
    [
        (1, "uring", 1600), (2, "poll", 3200), (3, "uring", 1600), (4, "poll", 1200),
        (5, "uring", 800), (6, "poll", 480), (7, "uring", 480), (8, "poll", 320),
        (9, "uring", 320), (2, "uring", 1600), (9, "poll", 320),
    ],
)  # fmt: skip
def test_every_collective_gives_what_numpy_gives(tmp_path, size, driver, cases):
    environment = {"KIRSH_DRIVER": driver, "TEST_SEED": str(size), "TEST_CASES": str(cases)}
    for rank in run_ranks(tmp_path, CASES, size, environment=environment):
        found, different = rank.lines[-1].split()
        assert found == driver
        # Random draws do not hit everything, but they do not circle about one spot either.
        assert int(different) > cases / 5
