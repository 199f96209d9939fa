"""Trains a small network on handwritten digits with Keras on TensorFlow, on as many ranks as there are.

    pip install 'kirsh[tensorflow]' scikit-learn
    kirsh run -n 2 -- python examples/tensorflow_digits.py

Two lines are Kirsh's: the broadcast of the variables, and the optimizer that takes the mean of the
gradients of all ranks.
"""

import hashlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from sklearn.datasets import load_digits

import kirsh
import kirsh.tensorflow

TRAIN_ROWS = 1437
EPOCHS = 30
BATCH = 32
SEED = 20
ACCURACY_MIN = 0.93


def main() -> None:
    kirsh.init()
    rank, size = kirsh.rank(), kirsh.size()
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    pixels, labels = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    # As many rows on every rank, and so as many steps.
    own = slice(rank, TRAIN_ROWS // size * size, size)

    keras.utils.set_random_seed(SEED + rank)
    layers = [keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)]
    model = keras.Sequential([keras.Input((64,)), *layers])
    kirsh.tensorflow.broadcast_variables(model.trainable_variables)
    model.compile(
        kirsh.tensorflow.DistributedOptimizer(keras.optimizers.SGD(0.1, momentum=0.9)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(pixels[own], labels[own], batch_size=BATCH, epochs=EPOCHS, verbose=0)

    guesses = model.predict(pixels[TRAIN_ROWS:], verbose=0).argmax(axis=1)
    accuracy = float((guesses == labels[TRAIN_ROWS:]).mean())
    digest = hashlib.sha256(b"".join(x.tobytes() for x in model.get_weights())).hexdigest()
    print(f"rank {rank}: accuracy {accuracy:.4f}, weights {digest}", flush=True)
    kirsh.finalize()
    if accuracy < ACCURACY_MIN:
        sys.exit(f"rank {rank}: the accuracy {accuracy:.4f} is below {ACCURACY_MIN}")


if __name__ == "__main__":
    main()
