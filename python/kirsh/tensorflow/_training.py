"""Training with Keras: the mean of the gradients, and variables that begin alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from keras import backend, optimizers

from .._communicator import Communicator
from .._errors import InvalidArgumentError, UnsupportedError
from .._ops import ReduceOp
from ._collectives import allreduce, broadcast, unconverted


def DistributedOptimizer(  # noqa: N802
    optimizer: Any,
    *,
    op: ReduceOp | str = ReduceOp.AVG,
    wire: str | None = None,
    algorithm: str | None = None,
    comm: Communicator | None = None,
) -> Any:
    """Return an optimizer like this one, which first takes the mean of the gradients of all ranks.

    Each step is collective, and one operation for all gradients of a dtype: all ranks make the same
    number of steps on models of the same shape. The new one has the class and the configuration of
    the optimizer, and starts without its state. What Keras saves of it is the plain optimizer.

    Not with ``jit_compile=True`` in ``model.compile``: XLA does not compile calls to the host.

    :param optimizer: a Keras optimizer. A ``LossScaleOptimizer`` is wrapped as a whole: the ranks
        would otherwise not agree which steps to leave out.
    :param op: ``kirsh.SUM`` where the loss is not a mean over the rank's rows.
    :param wire: how float32 gradients travel, such as "bf16"; see :func:`kirsh.allreduce`, and so is
        ``algorithm``.
    :param comm: where it happens, if not on the default communicator.
    """
    if not isinstance(optimizer, optimizers.Optimizer):
        raise InvalidArgumentError(
            f"DistributedOptimizer() takes an optimizer of Keras 3, and not "
            f"{type(optimizer).__name__}",
            kind="invalid argument",
        )
    if backend.backend() != "tensorflow":
        raise UnsupportedError(
            f"DistributedOptimizer() works where Keras runs on TensorFlow, and here it runs on "
            f"{backend.backend()}: set KERAS_BACKEND=tensorflow",
            kind="unsupported",
        )
    distributed: Any = type(optimizer).from_config(optimizer.get_config())
    plain_apply = distributed.apply

    @unconverted
    def apply(grads: Any, trainable_variables: Any = None) -> Any:
        means = _combined(list(grads), op=op, wire=wire, algorithm=algorithm, comm=comm)
        return plain_apply(means, trainable_variables)

    # On the object and not in a subclass, so that Keras saves it by the name that everyone has.
    distributed.apply = apply
    return distributed


def _combined(gradients: list[Any], **options: Any) -> list[Any]:
    """The gradients with those that there are combined over all ranks; None stays None."""
    present = [index for index, gradient in enumerate(gradients) if gradient is not None]
    combined = allreduce([gradients[index] for index in present], **options)
    results: list[Any] = [None] * len(gradients)
    for index, gradient in zip(present, combined, strict=True):
        results[index] = gradient
    return results


@unconverted
def broadcast_variables(
    variables: Iterable[Any], *, root: int = 0, comm: Communicator | None = None
) -> None:
    """Set these variables to the values that they have on the root, on every rank.

    Collective: all ranks pass variables of the same shapes and dtypes in the same order. Blocks until
    they are set; in a ``tf.function`` the graph does. For a model that is built, all of
    ``model.variables``, and for an optimizer's state ``optimizer.variables``.

    :param variables: of TensorFlow or of Keras.
    :param comm: where it happens, if not on the default communicator.
    """
    listed = list(variables)
    values = broadcast(listed, root=root, comm=comm)
    for variable, value in zip(listed, values, strict=True):
        variable.assign(value)
