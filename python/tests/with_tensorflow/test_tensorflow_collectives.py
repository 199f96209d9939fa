"""Collectives on TensorFlow's tensors, in two real processes: eagerly, and in graphs."""

import textwrap

import numpy as np
import pytest
import tensorflow as tf

import kirsh
import kirsh.tensorflow
from launch import World, run_ranks

JOIN = """
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import tensorflow as tf, kirsh.tensorflow
def ways(call):
    return call, tf.function(call)
"""


def two_ranks(directory, script):
    return run_ranks(directory, JOIN + textwrap.dedent(script), 2)


@pytest.fixture
def world_of_one():
    kirsh.init(rank=0, world_size=1)
    yield
    kirsh.finalize()


def test_every_call_gives_new_tensors_eagerly_and_in_graphs(tmp_path):
    two_ranks(
        tmp_path,
        """
        for dtype in (tf.float32, tf.bfloat16, tf.int32, tf.bool, tf.complex64):
            both = [np.arange(12).reshape(4, 3) % 2 + r for r in range(size)]
            parts = [tf.cast(part, dtype).numpy() for part in both]
            x = tf.constant(parts[rank])
            op = kirsh.LOR if dtype == tf.bool else kirsh.SUM
            total = parts[0] | parts[1] if dtype == tf.bool else parts[0] + parts[1]
            for each, wanted in (
                (lambda v: kirsh.tensorflow.allreduce(v, op=op), total),
                (lambda v: kirsh.tensorflow.reduce_scatter(v, op=op), total[2 * rank : 2 * rank + 2]),
                (lambda v: kirsh.tensorflow.broadcast(v, root=1), parts[1]),
                (kirsh.tensorflow.allgather, np.concatenate(parts)),
                (kirsh.tensorflow.alltoall, np.concatenate([p[2 * rank : 2 * rank + 2] for p in parts])),
            ):
                for way in ways(each):
                    got = way(x)
                    assert got.dtype == dtype and np.array_equal(got.numpy(), wanted), (dtype, got)
            assert np.array_equal(x.numpy(), parts[rank])
        for way in ways(kirsh.tensorflow.allgather):
            assert way(tf.constant(float(rank))).numpy().tolist() == [0.0, 1.0]
        """,
    )


def test_a_list_of_one_dtype_is_one_operation_and_calls_keep_their_order(tmp_path):
    two_ranks(
        tmp_path,
        """
        tensors = [tf.fill((5, 3), rank + 1.0), tf.ones(3), tf.zeros((0, 2))]
        for way in ways(lambda t: kirsh.tensorflow.allreduce(t, op=kirsh.AVG)):
            before = comm.stats().operations
            mean = way(tensors)
            assert comm.stats().operations == before + 1
            assert mean[0].numpy().tolist() == [[1.5] * 3] * 5 and mean[2].shape == (0, 2)
        rows = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([rank]), tf.constant([3, 2]))
        for way in ways(lambda: kirsh.tensorflow.allreduce([rows, tf.ones(1, tf.int32)])):
            dense, whole = way()
            assert dense.numpy().tolist() == [[1, 1], [1, 1], [0, 0]] and whole.numpy() == [2]

        @tf.function
        def unrelated(x, y):
            # Different shapes: in another order on one rank they would not fit.
            for _ in range(5):
                kirsh.tensorflow.allgather(x)
                z = kirsh.tensorflow.allreduce(y)
            return z
        for _ in range(10):
            assert unrelated(tf.ones(70000), tf.ones(5)).numpy().tolist() == [2.0] * 5

        @tf.function(input_signature=[tf.TensorSpec([None, 2])])
        def of_any_length(x):
            return kirsh.tensorflow.allreduce(x), kirsh.tensorflow.allgather(x)
        assert of_any_length(tf.ones((3, 2)))[0].shape == (3, 2)
        assert of_any_length(tf.ones((4, 2)))[1].shape == (8, 2)
        """,
    )


def test_the_peers_loss_is_named_eagerly_and_in_graphs(tmp_path):
    script = """
        step = tf.function(kirsh.tensorflow.allreduce)
        step(tf.ones(3))
        if rank == 1:
            os._exit(7)
        try:
            step(tf.ones(3))
        except tf.errors.UnknownError as error:
            assert "PeerLostError" in str(error) and "rank 1" in str(error)
        try:
            kirsh.tensorflow.allreduce(tf.ones(3))
        except kirsh.PeerLostError as error:
            print("lost", error.peer)
    """
    with World(tmp_path, JOIN + textwrap.dedent(script), 2) as world:
        ranks = world.finish({1: 7})
    assert "lost 1" in ranks[0].output


def test_nothing_is_copied_where_one_tensor_comes_and_goes(world_of_one, monkeypatch):
    seen = {}
    method = kirsh.Communicator.allreduce

    def watched(self, x, *, out, **options):
        seen.update(x=x.ctypes.data, out=out.ctypes.data)
        return method(self, x, out=out, **options)

    monkeypatch.setattr(kirsh.Communicator, "allreduce", watched)
    x = tf.range(4096.0)
    for way in (kirsh.tensorflow.allreduce, tf.function(kirsh.tensorflow.allreduce)):
        result = way(x)
        places = [np.asarray(memoryview(tensor)).ctypes.data for tensor in (x, result)]
        assert list(seen.values()) == places


def test_misuse_is_explained(world_of_one):
    for call, kind, words in (
        (lambda: kirsh.tensorflow.allreduce("text"), kirsh.InvalidArgumentError, "not of string"),
        (lambda: kirsh.tensorflow.allreduce(object()), kirsh.InvalidArgumentError, "not object"),
        (
            lambda: tf.function(kirsh.tensorflow.alltoall)(tf.constant(1.0)),
            kirsh.InvalidArgumentError,
            "cannot be divided",
        ),
        (
            lambda: tf.function(kirsh.tensorflow.allreduce, jit_compile=True)(tf.ones(3)),
            tf.errors.InvalidArgumentError,
            "kirsh_allreduce_needs_jit_compile_False",
        ),
    ):
        with pytest.raises(kind, match=words):
            call()


def test_without_init_the_call_is_named():
    for way in (kirsh.tensorflow.alltoall, tf.function(kirsh.tensorflow.alltoall)):
        with pytest.raises(kirsh.KirshError, match=r"kirsh\.tensorflow\.alltoall\(\) was called"):
            way(tf.ones(2))
