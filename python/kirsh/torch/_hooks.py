"""A communication hook for DistributedDataParallel: gradients that travel in fewer bytes.

    state = kirsh.torch.HookState(wire="bf16")
    model.register_comm_hook(state, kirsh.torch.allreduce_hook)

Rounding loses digits in every step, and what is lost always in one direction adds up. So each rank keeps
what the rounding took from its own gradients, and adds it to those of the next step (error feedback; Seide
et al., "1-bit stochastic gradient descent", 2014; Karimireddy et al., "Error feedback fixes SignSGD", 2019).
What partial sums lose on their way is not fed back.
"""

# No `from __future__ import annotations` here: DDP looks at those of the hook.

import math

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import AllreduceOptions, GradBucket
from torch.futures import Future

from .. import _kirsh
from ._group import KirshProcessGroup
from ._meter import Meter

#: The formats, those with fewer digits behind.
WIRES = ("none", "bf16", "f16", "int8")

#: Elements that share a scale in "int8" (docs/WIRE.md).
_BLOCK = 256


#: A bucket's parameters, by identity.
Key = tuple[int, ...]


class HookState:
    """What :func:`allreduce_hook` knows from one step to the next. One for each model.

    :param wire: how gradients travel: "none", "bf16", "f16", "int8"; or "auto", which begins with "none",
        changes to a format where that makes steps shorter, and back where it no longer does. All ranks
        give the same.
    :param group: the group of the model's ranks; the default one where it is left out.
    :param feedback: whether what rounding loses is added to the next step's gradients. It takes as much
        memory as the gradients.
    """

    def __init__(
        self, wire: str = "auto", group: dist.ProcessGroup | None = None, feedback: bool = True
    ) -> None:
        if wire not in ("auto", *WIRES):
            raise ValueError(f"wire={wire!r} is none of auto, {', '.join(WIRES)}")
        self.wire = wire
        self.feedback = feedback
        self._group = group
        #: What rounding has taken, by the parameters of a bucket: DDP numbers and fills buckets anew after the
        #: first step.
        self._lost: dict[Key, Tensor] = {}
        self._meter = Meter(feedback=feedback) if wire == "auto" else None

    @property
    def group(self) -> KirshProcessGroup:
        """The group, which must be one of Kirsh's."""
        group = self._group or dist.group.WORLD
        if not isinstance(group, KirshProcessGroup):
            raise RuntimeError(
                "kirsh.torch.allreduce_hook works on a group with the backend kirsh, and this is "
                f"{dist.get_backend(group)}"
            )
        return group

    @property
    def chosen(self) -> str:
        """The format that gradients travel in now: ``wire``, or what "auto" has come to."""
        return self.wire if self._meter is None else self._meter.choice.wire

    @property
    def measured(self) -> dict[str, float]:
        """What a step usually takes in each format that "auto" has tried so far, in seconds."""
        return {} if self._meter is None else self._meter.choice.usual()


def allreduce_hook(state: HookState, bucket: GradBucket) -> Future[Tensor]:
    """Average a bucket of gradients over all ranks. Called by DDP; starts, and returns a future.

    Gradients of other types than float32 travel as they are.
    """
    group = state.group
    tensor = bucket.buffer()
    meter, key = state._meter, tuple(map(id, bucket.parameters()))
    wire, encodes = "none", tensor.dtype is torch.float32 and tensor.layout is torch.strided
    if group.size() > 1:
        wire = state.wire
        if meter is not None:
            # Told of all buckets, since any may be the first of a step.
            wire = meter.format_of(key, tensor, group.backend, encodes)
    if not encodes:
        wire = "none"
    if state.feedback:
        _feed_back(state, key, tensor, wire)
    opts = AllreduceOptions()
    opts.reduceOp = dist.ReduceOp.AVG
    future = group.allreduce_encoded(tensor, opts, wire).get_future()
    return future.then(_first if meter is None else meter.ending(_first))


def _first(future: Future[list[Tensor]]) -> Tensor:
    return future.value()[0]


def _feed_back(state: HookState, key: Key, tensor: Tensor, wire: str) -> None:
    """Add what was lost, and keep what this time's rounding will lose."""
    if wire == "none":
        # Not later: gradients of other steps would get it.
        late = state._lost.pop(key, None)
        if late is not None:
            tensor.add_(late)
        return
    lost = state._lost.get(key)
    if lost is None:
        # Other buckets with these parameters are no more.
        for other in [one for one in state._lost if not set(key).isdisjoint(one)]:
            del state._lost[other]
        lost = state._lost[key] = torch.zeros_like(tensor)
    if tensor.is_cpu and tensor.is_contiguous():
        _kirsh.feed_back_at(wire, tensor.numel(), tensor.data_ptr(), lost.data_ptr())
        return
    # On a device, by what torch has there.
    tensor.add_(lost)
    sent = rounded(tensor, wire)
    torch.sub(tensor, sent, out=lost)
    if not math.isfinite(lost.sum().item()):
        # Infinities and NaN say that a step is lost; they are not to spoil the next ones.
        lost.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
    tensor.copy_(sent)


def rounded(tensor: Tensor, wire: str) -> Tensor:
    """Return float32 elements as they are after travelling in a format, or a digit beside; see docs/WIRE.md."""
    if wire == "bf16":
        return tensor.bfloat16().float()
    if wire == "f16":
        return tensor.half().float()
    flat = tensor.flatten()
    blocks = torch.nn.functional.pad(flat, (0, -flat.numel() % _BLOCK)).view(-1, _BLOCK)
    least, most = torch.aminmax(blocks, dim=1, keepdim=True)
    scale = torch.maximum(most, -least) / 127
    scale.masked_fill_(scale == 0, 1.0)
    steps = (blocks / scale).round_()
    return steps.mul_(scale).flatten()[: flat.numel()].view_as(tensor)
