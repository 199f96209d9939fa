"""Trains a small network on handwritten digits, on as many ranks as there are.

    kirsh run -n 4 -- python examples/digits.py [--check]

Each rank holds a share of its own of the 1437 training rows. The ranks begin with the parameters
of rank 0 (a broadcast), and before each step they add up their gradients (an allreduce), so that
they stay equal to the last bit without ever sending parameters again. `--check` proves both.
"""

import argparse
import hashlib
import os
import sys
import time

# One rank is one core's worth of work here; BLAS threads of four ranks would only fight.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from sklearn.datasets import load_digits

import kirsh

TRAIN_ROWS = 1437
HIDDEN = 64
CLASSES = 10
EPOCHS = 30
STEPS_PER_EPOCH = 22
LEARNING_RATE = 0.1
MOMENTUM = 0.9
SEED = 20
ACCURACY_MIN = 0.95


class Network:
    """64 inputs, a hidden layer of ReLUs, ten outputs. All parameters are one flat array."""

    SHAPES = ((64, HIDDEN), (HIDDEN,), (HIDDEN, CLASSES), (CLASSES,))

    def __init__(self, generator: np.random.Generator) -> None:
        sizes = [int(np.prod(shape)) for shape in self.SHAPES]
        self.flat = np.zeros(sum(sizes), np.float32)
        for weights in self.views(self.flat)[::2]:
            weights[:] = generator.normal(0, np.sqrt(2 / weights.shape[0]), weights.shape)

    def views(self, flat: np.ndarray) -> list[np.ndarray]:
        """The parameters, or their gradients, in their shapes: views into the flat array."""
        ends = np.cumsum([np.prod(shape) for shape in self.SHAPES])
        return [part.reshape(s) for part, s in zip(np.split(flat, ends[:-1]), self.SHAPES)]

    def scores(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w1, b1, w2, b2 = self.views(self.flat)
        hidden = np.maximum(pixels @ w1 + b1, 0)
        return hidden, hidden @ w2 + b2

    def accuracy(self, pixels: np.ndarray, labels: np.ndarray) -> float:
        return float((self.scores(pixels)[1].argmax(axis=1) == labels).mean())

    def summed_gradient(self, pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The gradient and the loss, added up over the rows, and the number of rows.

        Sums, not means, because sums of ranks with different numbers of rows can be added.
        """
        _, _, w2, _ = self.views(self.flat)
        total = np.zeros(len(self.flat) + 2, np.float32)
        d_w1, d_b1, d_w2, d_b2 = self.views(total[:-2])
        hidden, scores = self.scores(pixels)
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        total[-2] = -np.log(chances[rows, labels]).sum()
        total[-1] = len(labels)
        chances[rows, labels] -= 1
        d_hidden = (chances @ w2.T) * (hidden > 0)
        d_w1[:], d_b1[:] = pixels.T @ d_hidden, d_hidden.sum(axis=0)
        d_w2[:], d_b2[:] = hidden.T @ chances, chances.sum(axis=0)
        return total


def load() -> tuple[np.ndarray, np.ndarray]:
    """All rows, in an order that is the same everywhere: first those to train on."""
    digits = load_digits()
    order = np.random.default_rng(SEED).permutation(len(digits.target))
    return (digits.data[order] / 16).astype(np.float32), digits.target[order]


def check_gradient(network: Network, shard: tuple, whole: tuple) -> None:
    """The gradients of all shards add up to what one process computes from all rows."""
    together = kirsh.allreduce(network.summed_gradient(*shard))
    alone = network.summed_gradient(*whole)
    if not np.allclose(together, alone, rtol=1e-4, atol=1e-2):
        worst = np.abs(together - alone).max()
        sys.exit(f"rank {kirsh.rank()}: the summed gradients differ by {worst} from one process's")


def check_equal(network: Network) -> None:
    """Every rank ended with rank 0's parameters, bit for bit."""
    of_rank_0 = kirsh.broadcast(network.flat.copy())
    if of_rank_0.tobytes() != network.flat.tobytes():
        sys.exit(f"rank {kirsh.rank()}: the weights differ from those of rank 0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="prove that the ranks agree")
    check = parser.parse_args().check

    kirsh.init()
    rank, size = kirsh.rank(), kirsh.size()
    pixels, labels = load()
    whole = pixels[:TRAIN_ROWS], labels[:TRAIN_ROWS]
    test = pixels[TRAIN_ROWS:], labels[TRAIN_ROWS:]
    shard = whole[0][rank::size], whole[1][rank::size]

    # Every rank draws numbers of its own; the broadcast makes them one network.
    generator = np.random.default_rng([SEED, rank])
    network = Network(generator)
    kirsh.broadcast(network.flat)
    if check:
        check_gradient(network, shard, whole)

    began = time.perf_counter()
    velocity = np.zeros_like(network.flat)
    for epoch in range(EPOCHS):
        loss = rows = 0.0
        # As many steps on every rank, also where one has a row more than another.
        for batch in np.array_split(generator.permutation(len(shard[1])), STEPS_PER_EPOCH):
            total = network.summed_gradient(shard[0][batch], shard[1][batch])
            kirsh.allreduce(total)
            velocity = MOMENTUM * velocity - LEARNING_RATE * total[:-2] / total[-1]
            network.flat += velocity
            loss, rows = loss + total[-2], rows + total[-1]
        if rank == 0 and (epoch + 1) % 5 == 0:
            print(f"epoch {epoch + 1:2}: loss {loss / rows:.4f}", flush=True)
    seconds = time.perf_counter() - began

    accuracy = network.accuracy(*test)
    digest = hashlib.sha256(network.flat.tobytes()).hexdigest()
    print(f"rank {rank}: accuracy {accuracy:.4f}, weights {digest}, {seconds:.1f} s", flush=True)
    if check:
        check_equal(network)
        if accuracy < ACCURACY_MIN:
            sys.exit(f"rank {rank}: the accuracy {accuracy:.4f} is below {ACCURACY_MIN}")
    kirsh.finalize()


if __name__ == "__main__":
    main()
