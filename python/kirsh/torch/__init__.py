"""The backend ``kirsh`` of ``torch.distributed``: importing this registers it.

    import torch.distributed as dist
    import kirsh.torch

    dist.init_process_group("kirsh")        # or "cpu:kirsh,cuda:nccl"

Everything behind that is torch's own interface. Where the package is installed, its entry point
registers the backend at ``import torch``, and even the import above can be left out.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("kirsh.torch needs torch: pip install 'kirsh[torch]'") from error

from ._backend import KirshBackend
from ._group import KirshProcessGroup
from ._hooks import HookState, allreduce_hook
from ._register import register

__all__ = ["HookState", "KirshBackend", "KirshProcessGroup", "allreduce_hook", "register"]

register()
