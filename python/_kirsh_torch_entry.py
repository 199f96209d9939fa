"""What ``import torch`` runs where Kirsh is installed: the entry point of the group ``torch.backends``.

It only registers, so that ``init_process_group("kirsh")`` works without another import. Whatever goes wrong
here would break ``import torch`` for programs that never heard of Kirsh. So nothing is raised, and this is a
module beside the package: the package, and its extension, are loaded when a group is made.
"""

from __future__ import annotations

from typing import Any


def autoload() -> None:
    """Register the backend "kirsh" if that can be done. Raises nothing, imports nothing of Kirsh."""
    try:
        import torch.distributed as dist

        if dist.is_available() and not hasattr(dist.Backend, "KIRSH"):
            dist.Backend.register_backend("kirsh", _create, extended_api=True, devices=["cpu"])
    except Exception:
        return


def _create(opts: Any, backend_options: Any = None) -> Any:
    from kirsh.torch._register import create

    return create(opts, backend_options)
