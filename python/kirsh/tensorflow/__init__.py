"""Collectives on TensorFlow's tensors, and training with Keras on all ranks.

    import kirsh, kirsh.tensorflow

    kirsh.init()
    kirsh.tensorflow.broadcast_variables(model.trainable_variables)
    optimizer = kirsh.tensorflow.DistributedOptimizer(keras.optimizers.SGD(0.1))
    model.compile(optimizer, loss)

They work eagerly and inside ``tf.function``, on host memory, and not in what XLA compiles. See
``docs/FRAMEWORKS.md``.
"""

from __future__ import annotations

try:
    import tensorflow as _tensorflow  # noqa: F401
except ImportError as error:
    raise ImportError(
        "kirsh.tensorflow needs TensorFlow: pip install 'kirsh[tensorflow]'"
    ) from error

from ._collectives import allgather, allreduce, alltoall, broadcast, reduce_scatter
from ._training import DistributedOptimizer, broadcast_variables

__all__ = [
    "DistributedOptimizer",
    "allgather",
    "allreduce",
    "alltoall",
    "broadcast",
    "broadcast_variables",
    "reduce_scatter",
]
