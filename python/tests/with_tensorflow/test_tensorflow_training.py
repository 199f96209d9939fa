"""The optimizer and the broadcast of variables: two ranks train as one process with all rows does."""

import keras
import numpy as np
import pytest

import kirsh
import kirsh.tensorflow
from launch import run_ranks

#: A step with a layer that has no gradient, on this rank's half of the rows, by hand or by Keras.
TRAIN = """
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
import keras, tensorflow as tf, kirsh.tensorflow

x = np.random.default_rng(3).normal(size=(16, 6)).astype("f4")
y = np.random.default_rng(4).normal(size=(16, 1)).astype("f4")

def make(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((6,)), *layers])

def by_hand(model, optimizer, x, y, graph):
    unused = tf.Variable(1.0)
    variables = [*(v.value for v in model.trainable_variables), unused]
    optimizer.build(variables)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
    step = tf.function(step) if graph else step
    for _ in range(5):
        step()

def by_keras(model, optimizer, x, y, eager):
    model.compile(optimizer, "mse", run_eagerly=eager)
    model.fit(x, y, batch_size=len(x), epochs=5, shuffle=False, verbose=0)

for train, way in ((by_hand, False), (by_hand, True), (by_keras, True), (by_keras, False)):
    alone = make(0)
    train(alone, keras.optimizers.Adam(0.05), x, y, way)

    shared = make(rank)
    kirsh.tensorflow.broadcast_variables(shared.variables)
    optimizer = kirsh.tensorflow.DistributedOptimizer(keras.optimizers.Adam(0.05))
    train(shared, optimizer, x[rank::2], y[rank::2], way)
    kirsh.check_equal([w for w in shared.get_weights()])
    for mine, whole in zip(shared.get_weights(), alone.get_weights()):
        assert np.allclose(mine, whole, atol=1e-4), (train, way, mine - whole)

for graph in (False, True):
    variables = [tf.Variable([1.0 + rank]), tf.Variable(rank), keras.Variable([rank] * 3)]
    send = lambda: kirsh.tensorflow.broadcast_variables(variables, root=1)
    (tf.function(send) if graph else send)()
    assert [v.numpy().tolist() for v in variables] == [[2.0], 1, [1.0] * 3]
"""


def test_two_ranks_train_as_one_process_with_all_rows(tmp_path):
    run_ranks(tmp_path, TRAIN, 2)


def test_a_saved_model_needs_no_kirsh(tmp_path):
    kirsh.init(rank=0, world_size=1)
    try:
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        optimizer = keras.optimizers.SGD(0.25, momentum=0.5)
        model.compile(kirsh.tensorflow.DistributedOptimizer(optimizer), "mse")
        model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
        plain, wrapped = map(keras.optimizers.serialize, (optimizer, model.optimizer))
        assert plain == wrapped
        model.save(tmp_path / "model.keras")
    finally:
        kirsh.finalize()
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert float(loaded.optimizer.learning_rate) == 0.25
    loaded.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)


def test_only_optimizers_are_wrapped():
    with pytest.raises(kirsh.InvalidArgumentError, match="not str"):
        kirsh.tensorflow.DistributedOptimizer("sgd")
