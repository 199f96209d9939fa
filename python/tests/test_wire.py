"""Elements that travel in fewer bytes, in real processes: within the stated errors of what NumPy
says, the same bits on every rank, in place or not, called, started and planned, on both drivers."""

import pytest

from launch import run_ranks

#: Holds results against NumPy and against the other ranks', by the bounds of docs/WIRE.md.
HELP = """
SEED = int(os.environ.get("TEST_SEED", 7))
SHARE = {"bf16": 2.0 ** -8, "f16": 2.0 ** -11, "int8": 1 / 253}
LEAST = {"bf16": 2.0 ** -134, "f16": 2.0 ** -25, "int8": 2.0 ** -126}

def contribution(case, of_rank, count, width):
    draw = np.random.default_rng([SEED, case, of_rank])
    # Some large, most small, as gradients are.
    return (draw.standard_normal(count) * 10.0 ** draw.uniform(-width, width, count)).astype("f4")

def hop_error(wire, largest, magnitudes):
    # What one encoding may be off: of each element by itself, or of the largest in its block.
    return np.maximum(SHARE[wire] * (largest if wire == "int8" else magnitudes), LEAST[wire])

def within(got, exact, error, told):
    assert got.dtype == np.float32 and got.shape == exact.shape, told
    # Folding in float32 rounds too.
    slack = error * 1.01 + np.abs(exact) * 1e-5 + 1e-30
    off = np.abs(got.astype("f8") - exact)
    assert np.all(off <= slack), (told, float(np.max(off - slack)))

def same_everywhere(array, told):
    everyone = comm.allgather(np.frombuffer(array.tobytes(), "u1").copy()).reshape(size, -1)
    for r in range(size):
        assert everyone[r].tobytes() == array.tobytes(), (told, "differs from rank", r)
"""

PROPERTIES = (
    HELP
    + """
CASES = int(os.environ["TEST_CASES"])
seen = set()
for case in range(CASES):
    draw = np.random.default_rng([SEED, case])
    mine = np.random.default_rng([SEED, case, rank, 1])
    name = ["allreduce", "allreduce", "allgather", "reduce_scatter", "allgatherv", "reduce_scatterv"][case % 6]
    wire = str(draw.choice(list(SHARE)))
    op = str(draw.choice(["sum", "avg", "premul_sum", "min", "max"]))
    algorithms = {"allreduce": ["ring", "halving_doubling"],
                  "allgather": ["ring", "recursive_doubling", "bruck"],
                  "reduce_scatter": ["ring", "recursive_halving", "pairwise"]}[name.removesuffix("v")]
    algorithm = [None, *algorithms][draw.integers(1 + len(algorithms))]
    k = int(draw.choice([0, 1, 2, 255, 256, 257, 1000])) if draw.random() < 0.7 else int(draw.integers(40_000))
    counts = [int(n) for n in draw.integers(0, 700, size)]
    width = float(draw.choice([0, 1, 3]))
    way = ["blocking", "started", "planned"][mine.integers(3)]
    in_place = bool(mine.random() < 0.5)
    told = (case, name, wire, op, algorithm, k, counts, way, in_place)
    seen.add((name, wire))
    options = {"wire": wire, "algorithm": algorithm}
    if name.startswith(("allreduce", "reduce")):
        options["op"] = op
        if op == "premul_sum":
            options["scale"] = rank + 1.0

    def make(function, *arguments, **more):
        if way == "started":
            return getattr(comm, function)(*arguments, async_op=True, **options, **more).wait()
        if way == "planned" and hasattr(comm, "plan_" + function):
            plan = getattr(comm, "plan_" + function)(*arguments, **options, **more)
            return plan.run()
        return getattr(comm, function)(*arguments, **options, **more)

    if name.startswith("allreduce") or name.startswith("reduce"):
        rows = k if name == "allreduce" else k * size if name == "reduce_scatter" else sum(counts)
        inputs = [contribution(case, r, rows, width) for r in range(size)]
        wide = [x.astype("f8") * (r + 1 if op == "premul_sum" else 1) for r, x in enumerate(inputs)]
        folded = np.stack(wide)
        exact = {"min": folded.min(0), "max": folded.max(0)}.get(op, folded.sum(0))
        # No partial result is larger than this, and each of a world's hops encodes one.
        magnitudes = np.abs(folded).sum(0)
        error = size * hop_error(wire, magnitudes.max(initial=0), magnitudes)
        # What errors add to the partial results that are encoded next.
        error = error * (1 + SHARE[wire]) ** size
        if op == "avg":
            exact = exact / size
        error = np.broadcast_to(error * (size > 1), exact.shape)
        x = inputs[rank].copy()
        if name == "allreduce":
            out = None if in_place else np.full_like(x, 9)
            got = make("allreduce", x) if in_place else make("allreduce", x, out=out)
            if not in_place:
                assert got is out and x.tobytes() == inputs[rank].tobytes(), told
            within(got, exact, error, told)
            same_everywhere(got, told)
        elif name == "reduce_scatter":
            got = make("reduce_scatter", x.reshape(size, k))
            within(got.ravel(), exact[rank * k:][:k], error[rank * k:][:k], told)
        else:
            begin = sum(counts[:rank])
            got = make("reduce_scatterv", x, counts=counts)
            part = slice(begin, begin + counts[rank])
            within(got, exact[part], error[part], told)
    else:
        lengths = [k] * size if name == "allgather" else counts
        inputs = [contribution(case, r, n, width) for r, n in enumerate(lengths)]
        x = inputs[rank].copy()
        got = make("allgather", x) if name == "allgather" else make("allgatherv", x)
        flat = np.ascontiguousarray(got).ravel()
        exact = np.concatenate(inputs).astype("f8")
        largest = np.repeat([np.abs(x).max(initial=0) for x in inputs], lengths)
        error = hop_error(wire, largest, np.abs(exact)) * (size > 1)
        within(flat, exact, error, told)
        same_everywhere(flat, told)
print("seen", len(seen))
"""
)


@pytest.mark.parametrize("driver", ["uring", "poll"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_results_are_within_the_stated_errors_and_the_same_on_every_rank(tmp_path, size, driver):
    environment = {"KIRSH_DRIVER": driver, "TEST_CASES": "60", "TEST_SEED": str(size), "KIRSH_SLICE": "4K"}
    for rank in run_ranks(tmp_path, PROPERTIES, size, environment=environment):
        assert int(rank.output.split()[-1]) >= 10, rank.output


def test_what_is_not_finite_stays_where_it_is_and_harms_nobody_else(tmp_path):
    run_ranks(
        tmp_path,
        HELP
        + """
for wire in SHARE:
    x = np.linspace(-1, 1, 2000, dtype="f4") * (rank + 1)
    if rank == 1:
        x[5], x[700], x[701] = np.nan, np.inf, -np.inf
    if rank == 2:
        x[700] = np.inf
        x[701] = np.inf
    kirsh.allreduce(x, wire=wire, algorithm="ring")
    same_everywhere(x, wire)
    assert np.isnan(x[5]) and x[700] == np.inf and np.isnan(x[701]), (wire, x[[5, 700, 701]])
    odd = np.isin(np.arange(2000), [5, 700, 701])
    exact = np.linspace(-1, 1, 2000) * 6
    assert np.all(np.abs(x[~odd] - exact[~odd]) <= 3 * 6 / 250), wire
    y = np.full(300, np.nan if rank == 0 else rank, "f4")
    everyone = kirsh.allgather(y, wire=wire).reshape(size, -1)
    assert np.isnan(everyone[0]).all() and (everyone[2] == 2).all(), wire
    # As bits: any NaN becomes the one quiet NaN.
    assert (everyone[0].view("u4") == 0x7FC00000).all(), wire
""",
        3,
    )


def test_what_cannot_be_encoded_is_refused_with_the_reason_and_nothing_is_lost(tmp_path):
    run_ranks(
        tmp_path,
        """
def refused(text, name, *arguments, **options):
    try:
        getattr(kirsh, name)(*arguments, **options)
    except kirsh.KirshError as error:
        assert text in str(error), error
        return type(error)
    raise AssertionError(f"{name} {options} was not refused")

x = np.ones(4, "f4")
unsupported = kirsh.UnsupportedError
assert refused("wire=int8 of float64", "allreduce", x.astype("f8"), wire="int8") is unsupported
assert refused("wire=bf16 of int32", "allgather", x.astype("i4"), wire="bf16") is unsupported
assert refused("float32 alone", "allreduce", 1.5, wire="f16") is unsupported
assert refused("wire=f16 with prod", "allreduce", x, op="prod", wire="f16") is unsupported
assert refused("wire=int8 with tree", "allreduce", x, wire="int8", algorithm="tree") is unsupported
assert refused("ring, halving_doubling", "allreduce", x, wire="int8", algorithm="double_tree") is unsupported
invalid = kirsh.InvalidArgumentError
assert refused("wire='int4' is none of none, bf16, f16, int8", "allreduce", x, wire="int4") is invalid
assert refused("wire=8 is none of", "reduce_scatter", np.ones((size, 2), "f4"), wire=8) is invalid
assert (kirsh.allreduce(x) == size).all(), "all refused alike, so all go on"
""",
        3,
    )


def test_ranks_that_want_different_formats_hear_which(tmp_path):
    run_ranks(
        tmp_path,
        """
try:
    kirsh.allreduce(np.ones(100, "f4"), wire=["bf16", "none"][rank])
except kirsh.MismatchError as error:
    assert "different wire formats" in str(error) and "bf16" in str(error) and "none" in str(error), error
else:
    raise AssertionError("no mismatch")
""",
        2,
    )


ROUNDED = """
x = np.full(1000, 1 + 2.0 ** -10, "f4")
def result(**options):
    return float(kirsh.allreduce(x.copy(), op="max", **options)[0])
fine = 1 + 2.0 ** -10
"""


def test_init_and_the_environment_set_the_format_of_calls_that_say_nothing(tmp_path):
    told = """
import warnings
import numpy as np, kirsh
comm = kirsh.init(wire="bf16")
rank, size = comm.rank(), comm.size()
""" + ROUNDED + """
assert result() == 1.0 and result(wire="none") == fine and result(wire="f16") == fine
# What cannot be encoded goes as it is.
assert kirsh.allreduce(fine, op="max") == fine
assert kirsh.allreduce(x.copy(), op="prod")[0] > 1.0
assert result(algorithm="tree") == fine
assert kirsh.allreduce(np.arange(5), op="max")[4] == 4
kirsh.barrier()
# A communicator made of this one has its format.
halves = comm.split(rank % 2)
assert halves.size() == 1 or float(halves.allreduce(x.copy(), op="max")[0]) == 1.0
"""
    run_ranks(tmp_path, told, 4, join=False)
    by_environment = ROUNDED + """
assert result() == 1.0 and result(wire="none") == fine
"""
    run_ranks(tmp_path, by_environment, 2, environment={"KIRSH_WIRE": "bf16"})


def test_rank_0_says_which_format_holds(tmp_path):
    told = """
import numpy as np, kirsh
comm = kirsh.init(wire="int8" if os.environ["RANK"] == "1" else None)
rank, size = comm.rank(), comm.size()
""" + ROUNDED + """
assert result() == fine
"""
    run_ranks(tmp_path, told, 2, join=False)


def test_fewer_bytes_are_sent(tmp_path):
    run_ranks(
        tmp_path,
        """
def sent(**options):
    before = kirsh.stats().bytes_sent
    kirsh.allreduce(np.ones(1 << 20, "f4"), algorithm="ring", **options)
    return kirsh.stats().bytes_sent - before
plain = sent()
assert sent(wire="none") == plain
assert sent(wire="bf16") == sent(wire="f16") == plain // 2
assert plain / 4 < sent(wire="int8") < plain / 3.9
""",
        4,
    )


def test_many_arrays_travel_as_one_whose_blocks_cross_their_ends(tmp_path):
    run_ranks(
        tmp_path,
        HELP
        + """
for wire in SHARE:
    lengths = [3, 700, 1, 0, 5000, 255]
    arrays = [contribution(1, rank, n, 0) for n in lengths]
    exact = sum(np.concatenate([contribution(1, r, n, 0) for n in lengths]).astype("f8") for r in range(size))
    magnitude = sum(np.abs(np.concatenate([contribution(1, r, n, 0) for n in lengths])) for r in range(size))
    copied = kirsh.stats().bytes_copied
    got = kirsh.allreduce_many(arrays, wire=wire)
    # Blocks that lie in two arrays are copied together first, and no more than those.
    assert kirsh.stats().bytes_copied - copied <= (20 << 10 if wire == "int8" else 0), wire
    flat = np.concatenate(got)
    within(flat, exact, size * hop_error(wire, magnitude.max(), magnitude), wire)
    same_everywhere(flat, wire)
""",
        3,
    )


def test_a_weighted_mean_may_travel_encoded(tmp_path):
    run_ranks(
        tmp_path,
        HELP
        + """
for wire in SHARE:
    x = np.linspace(0, 1, 3000, dtype="f4") + rank
    kirsh.allreduce(x, op="avg", weight=rank + 1, wire=wire)
    exact = sum((r + 1) * (np.linspace(0, 1, 3000) + r) for r in range(size)) / 6
    within(x, exact, size * hop_error(wire, 3.0, np.full(3000, 3.0)), wire)
    same_everywhere(x, wire)
""",
        3,
    )
