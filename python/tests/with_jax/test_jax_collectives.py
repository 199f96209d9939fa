"""Collectives on JAX arrays, in two real processes: at once, and in compiled functions."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import kirsh
import kirsh.jax
from launch import World, run_ranks

JOIN = """
import jax, jax.numpy as jnp, kirsh.jax
def ways(call):
    return call, jax.jit(call)
"""


def two_ranks(directory, script):
    return run_ranks(directory, JOIN + textwrap.dedent(script), 2)


@pytest.fixture
def world_of_one():
    kirsh.init(rank=0, world_size=1)
    yield
    kirsh.finalize()


def test_arrays_that_a_function_closes_over_are_combined_when_it_runs_and_as_often(tmp_path):
    two_ranks(
        tmp_path,
        """
        known = jnp.full(3, rank + 1.0)
        calls = lambda: kirsh.stats().operations

        def taken(flag):
            return jax.lax.cond(flag, lambda: kirsh.jax.allreduce(known), lambda: known)

        before = calls()
        assert np.array_equal(taken(False), known)
        jax.effects_barrier()
        assert calls() == before, "a branch that is not taken"
        assert np.array_equal(taken(True), jnp.full(3, 3.0))
        compiled = jax.jit(lambda: kirsh.jax.allreduce(known))
        before = calls()
        for _ in range(3):
            assert np.array_equal(compiled(), jnp.full(3, 3.0))
        jax.effects_barrier()
        assert calls() == before + 3
        """,
    )


def test_every_call_gives_new_arrays_at_once_and_under_jit(tmp_path):
    two_ranks(
        tmp_path,
        """
        for dtype in (jnp.float32, jnp.bfloat16, jnp.int32, jnp.bool_, jnp.complex64):
            x = (jnp.arange(12).reshape(4, 3) % 2 + rank).astype(dtype)
            parts = [(jnp.arange(12).reshape(4, 3) % 2 + r).astype(dtype) for r in range(size)]
            before = np.asarray(x).tobytes()
            op = kirsh.LOR if dtype == jnp.bool_ else kirsh.SUM
            total = sum(parts[1:], parts[0]) if dtype != jnp.bool_ else parts[0] | parts[1]
            for each, wanted in (
                (lambda v: kirsh.jax.allreduce(v, op=op), total),
                (lambda v: kirsh.jax.reduce_scatter(v, op=op), total[2 * rank : 2 * rank + 2]),
                (lambda v: kirsh.jax.broadcast(v, root=1), parts[1]),
                (kirsh.jax.allgather, jnp.concatenate(parts)),
                (kirsh.jax.alltoall, jnp.concatenate([p[2 * rank : 2 * rank + 2] for p in parts])),
            ):
                for way in ways(each):
                    got = way(x)
                    assert isinstance(got, jax.Array) and got.dtype == dtype
                    assert got is not x and np.array_equal(got, wanted), (dtype, got, wanted)
            assert np.asarray(x).tobytes() == before
        for way in ways(kirsh.jax.allgather):
            assert way(jnp.float32(rank)).tolist() == [0.0, 1.0]
            moved = way(jnp.full(2, rank + 0.5, jnp.float8_e4m3fn))
            assert moved.dtype == jnp.float8_e4m3fn
            assert moved.astype(float).tolist() == [0.5, 0.5, 1.5, 1.5]
        """,
    )


def test_a_tree_of_one_dtype_is_one_operation(tmp_path):
    two_ranks(
        tmp_path,
        """
        tree = {"w": jnp.full((5, 3), rank + 1.0), "b": [jnp.ones(3), None], "c": jnp.zeros((0, 2))}
        for way in ways(lambda t: kirsh.jax.allreduce(t, op=kirsh.AVG)):
            before = comm.stats().operations
            mean = way(tree)
            jax.effects_barrier()
            assert comm.stats().operations == before + 1
            assert mean["w"].tolist() == [[1.5] * 3] * 5 and mean["b"][0].tolist() == [1.0] * 3
            assert mean["b"][1] is None and mean["c"].shape == (0, 2)
        mixed = kirsh.jax.allreduce((jnp.ones(2), jnp.ones(3, jnp.int32), 1.5, jnp.ones(1)))
        assert [x.dtype for x in mixed] == [jnp.float32, jnp.int32, jnp.float32, jnp.float32]
        assert mixed[2] == 3.0 and mixed[1].tolist() == [2, 2, 2]
        """,
    )


def test_compiled_calls_keep_their_order_also_without_dependence(tmp_path):
    two_ranks(
        tmp_path,
        """
        @jax.jit
        def step(x, y):
            # Different shapes: in another order on one rank they would not fit.
            for _ in range(3):
                a, b = kirsh.jax.allreduce(x), kirsh.jax.allgather(y)
            return a, b
        big = jnp.ones((1 << 20) + 7)
        for _ in range(5):
            a, b = step(big, jnp.arange(3))
            # At once, while what was compiled may still run.
            total = kirsh.jax.allreduce(jnp.ones(11))
        assert a[-1] == 2 and b.tolist() == [0, 1, 2, 0, 1, 2] and total[0] == 2
        def scanned(carry, _):
            return kirsh.jax.allreduce(carry, op="avg") + 1, None
        assert jax.lax.scan(scanned, jnp.float32(rank), length=10)[0] == 10.5

        before = comm.stats().operations
        for _ in range(2):
            jax.jit(lambda: kirsh.jax.barrier())()
        kirsh.jax.barrier()
        assert comm.stats().operations == before + 3
        """,
    )


def test_the_peers_loss_is_named_at_once_and_under_jit(tmp_path):
    script = """
        step = jax.jit(kirsh.jax.allreduce)
        step(jnp.ones(3)).block_until_ready()
        if rank == 1:
            os._exit(7)
        try:
            with kirsh.jax.own_errors():
                step(jnp.ones(3))
        except kirsh.PeerLostError as error:
            assert error.peer == 1 and isinstance(error.__cause__, jax.errors.JaxRuntimeError)
        try:
            jax.block_until_ready(step(jnp.ones(3)))
        except jax.errors.JaxRuntimeError as error:
            assert "PeerLostError" in str(error) and "rank 1" in str(error)
        try:
            kirsh.jax.allreduce(jnp.ones(3))
        except kirsh.PeerLostError as error:
            print("lost", error.peer)
        # What JAX still holds of the failed call it would raise at the end.
        sys.stdout.flush()
        os._exit(0)
    """
    with World(tmp_path, JOIN + textwrap.dedent(script), 2) as world:
        ranks = world.finish({1: 7})
    assert "lost 1" in ranks[0].output


def test_own_errors_lets_those_of_others_pass(world_of_one):
    def broken(x):
        raise RuntimeError("of someone else")

    with pytest.raises(jax.errors.JaxRuntimeError, match="someone else"):
        with kirsh.jax.own_errors():
            jax.experimental.io_callback(broken, jax.ShapeDtypeStruct((), "float32"), 1.0)


def test_nothing_is_copied_where_one_array_comes_and_goes(world_of_one, monkeypatch):
    seen = {}
    method = kirsh.Communicator.allreduce

    def watched(self, x, *, out, **options):
        seen.update(x=x.ctypes.data, out=out.ctypes.data)
        return method(self, x, out=out, **options)

    monkeypatch.setattr(kirsh.Communicator, "allreduce", watched)
    x = jnp.arange(4096.0)
    result = kirsh.jax.allreduce(x)
    assert seen == {"x": x.unsafe_buffer_pointer(), "out": result.unsafe_buffer_pointer()}


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: kirsh.jax.allreduce("text"), kirsh.InvalidArgumentError, "not str"),
        (lambda: kirsh.jax.broadcast(jax.random.key(1)), kirsh.UnsupportedError, "key_data"),
        (
            lambda: jax.grad(lambda v: kirsh.jax.allreduce(v).sum())(jnp.ones(3)),
            kirsh.UnsupportedError,
            "no derivative",
        ),
        (
            lambda: jax.grad(lambda v: jax.jit(kirsh.jax.allreduce)(v).sum())(jnp.ones(3)),
            kirsh.UnsupportedError,
            "no derivative",
        ),
        (
            lambda: jax.jit(kirsh.jax.reduce_scatter)(jnp.float32(1)),
            kirsh.InvalidArgumentError,
            "cannot be divided",
        ),
        (
            lambda: kirsh.jax.allreduce(jnp.ones(2, jnp.float8_e5m2)),
            kirsh.UnsupportedError,
            "does not reduce",
        ),
    ],
)
def test_misuse_is_explained(world_of_one, call, kind, words):
    with pytest.raises(kind, match=words):
        call()


def test_without_init_the_call_is_named():
    for way in (kirsh.jax.alltoall, jax.jit(kirsh.jax.alltoall)):
        with pytest.raises(kirsh.KirshError, match=r"kirsh\.jax\.alltoall\(\) was called"):
            way(np.ones(2))


def test_another_world_needs_another_compilation(world_of_one, monkeypatch):
    step = jax.jit(kirsh.jax.allgather)
    assert step(jnp.ones(2)).shape == (2,)
    monkeypatch.setattr(kirsh.Communicator, "size", lambda self: 3)
    with pytest.raises(kirsh.InvalidArgumentError, match="compiled for 1 ranks, and there are 3"):
        with kirsh.jax.own_errors():
            step(jnp.ones(2))
