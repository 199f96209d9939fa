"""Trains a small network on handwritten digits with JAX, on as many ranks as there are.

    pip install 'kirsh[jax]' scikit-learn
    kirsh run -n 2 -- python examples/jax_digits.py

The whole step is one compiled function: gradients, their mean over all ranks, new parameters.
"""

import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

import kirsh
import kirsh.jax

TRAIN_ROWS = 1437
STEPS = 400
BATCH = 64
LEARNING_RATE = 0.2
SEED = 20
ACCURACY_MIN = 0.93


def scores(parameters, pixels):
    hidden = jax.nn.relu(pixels @ parameters["w1"] + parameters["b1"])
    return hidden @ parameters["w2"] + parameters["b2"]


def loss(parameters, pixels, labels):
    chances = jax.nn.log_softmax(scores(parameters, pixels))
    return -chances[jnp.arange(len(labels)), labels].mean()


@jax.jit
def step(parameters, pixels, labels):
    gradients = jax.grad(loss)(parameters, pixels, labels)
    gradients = kirsh.jax.allreduce(gradients, op=kirsh.AVG)
    return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)


def main() -> None:
    kirsh.init()
    rank, size = kirsh.rank(), kirsh.size()
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    pixels, labels = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    own = slice(rank, TRAIN_ROWS, size)

    # Every rank draws parameters of its own; the broadcast makes them one network.
    key1, key2 = jax.random.split(jax.random.key(rank))
    parameters = {
        "w1": jax.random.normal(key1, (64, 64)) / 8,
        "b1": jnp.zeros(64),
        "w2": jax.random.normal(key2, (64, 10)) / 8,
        "b2": jnp.zeros(10),
    }
    parameters = kirsh.jax.broadcast(parameters)

    generator = np.random.default_rng([SEED, rank])
    for _ in range(STEPS):
        batch = generator.integers(len(labels[own]), size=BATCH)
        parameters = step(parameters, pixels[own][batch], labels[own][batch])

    guesses = scores(parameters, pixels[TRAIN_ROWS:]).argmax(axis=1)
    accuracy = float((guesses == labels[TRAIN_ROWS:]).mean())
    leaves = jax.tree.leaves(parameters)
    digest = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest()
    print(f"rank {rank}: accuracy {accuracy:.4f}, weights {digest}", flush=True)
    kirsh.finalize()
    if accuracy < ACCURACY_MIN:
        sys.exit(f"rank {rank}: the accuracy {accuracy:.4f} is below {ACCURACY_MIN}")


if __name__ == "__main__":
    main()
