"""Host memory for tensors of other devices, and how to know that a device has done its copies.

All of it by what torch asks of every device's module. A device without streams is one whose copies are over
when they return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor


def slab(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return host memory for copies from and to a device: pinned where torch can.

    torch keeps pinned memory that has been given back, and hands it out again.
    """
    return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=_pins(device.type))


def copy(source: Tensor, target: Tensor) -> None:
    """Copy between a device and a slab: ask for it only, where :func:`mark` can tell when it is done."""
    device = target.device if source.is_cpu else source.device
    with torch.no_grad():
        target.copy_(source, non_blocking=_waiting(device) is not None)


def mark(device: torch.device) -> Callable[[], None]:
    """Return what blocks until the device has done all that this thread has asked of it so far."""
    waiting = _waiting(device)
    return _nothing if waiting is None else waiting(device)


def _waiting(device: torch.device) -> Callable[[torch.device], Callable[[], None]] | None:
    """How to make a mark, where the device's module has anything to wait for."""
    module: Any = torch.get_device_module(device)
    if hasattr(module, "current_stream"):
        return _event
    return _whole_device if hasattr(module, "synchronize") else None


def _event(device: torch.device) -> Callable[[], None]:
    module: Any = torch.get_device_module(device)
    block: Callable[[], None] = module.current_stream(device).record_event().synchronize
    return block


def _whole_device(device: torch.device) -> Callable[[], None]:
    module: Any = torch.get_device_module(device)
    block: Callable[[], None] = module.synchronize
    return block


def _nothing() -> None:
    pass


@cache
def _pins(kind: str) -> bool:
    """Whether torch pins memory for this kind of device: it does for one kind in a process."""
    accelerator = torch.accelerator.current_accelerator()
    if accelerator is None or accelerator.type != kind:
        return False
    try:
        torch.empty(1, device="cpu", pin_memory=True)
    except RuntimeError:
        return False
    return True
