"""Whether the backend has all that torch and its users ask for."""

import os
import subprocess
import sys

import pytest
import torch.distributed as dist
from torch._C._distributed_c10d import Backend, ProcessGroup, ProcessGroupGloo

from groups import SINCE_2_15, run_torch
from kirsh.torch import KirshBackend, KirshProcessGroup, register
from kirsh.torch import _register

#: What Gloo has and a program cannot ask of another backend: its own devices and options.
OF_GLOO_ALONE = {"Device", "Options", "_Options", "create_device", "create_default_device"}


#: What Gloo's class has and Kirsh's inherits from torch's base, by the reason why that will do.
INHERITED = {
    "torch's own notes of names and devices": {
        "bound_device_id", "_get_backend_name", "_set_group_uid", "_pybind11_conduit_v1_",
    },
    "only asked of a backend whose `supports_coalescing` is true": {"_start_coalescing", "_end_coalescing"},
    "only with `_supports_time_estimate`": {"_start_time_estimate", "_end_time_estimate"},
    "only with `supports_tensor_alloc`": {"allocate_tensor", "mem_allocator"},
    "only with `supports_window`": {"new_window"},
    "only with `supports_shrinking`": {"shrink"},
    "only with `supports_abort_hooks`": {"register_abort_hook", "unregister_abort_hook"},
    "called for groups of torch's own class alone; Kirsh's is KirshProcessGroup, which splits itself": {
        "split", "_wait_for_pending_works", "_register_on_completion_hook",
    },
    "of NCCL: neither Gloo nor Kirsh does more than torch's base": {
        "_enable_collectives_timing", "get_error", "memory_stats", "resume", "suspend",
        "setUsePgForSymmMemRendezvous",
    },
}  # fmt: skip


@SINCE_2_15
def test_the_backend_has_whatever_gloo_has_and_inherits_only_what_does_nothing():
    names = {name for name in dir(ProcessGroupGloo) if not name.startswith("__")} - OF_GLOO_ALONE
    own = [vars(one) for one in KirshBackend.__mro__ if one.__module__.startswith("kirsh.")]
    inherited = {name for name in names if not any(name in one for one in own)}
    assert inherited - set().union(*INHERITED.values()) == set()
    # Every `supports_...` in these reasons is an answer of Kirsh's own.
    asked = {word.strip("`,") for why in INHERITED for word in why.split() if "supports_" in word}
    assert len(asked) == 6
    for name in asked - {"supports_tensor_alloc"}:
        assert getattr(KirshBackend, name) is False, name


def test_what_moves_or_reduces_is_written_here_and_not_inherited():
    collectives = [
        "allreduce allreduce_sparse allreduce_coalesced broadcast reduce allgather all_gather_single",
        "_allgather_base all_gather_single_coalesced allgather_coalesced gather gather_single",
        "gather_into_tensor scatter reduce_scatter reduce_scatter_single _reduce_scatter_base",
        "reduce_scatter_single_coalesced alltoall all_to_all_single alltoall_base barrier",
        "monitored_barrier send recv recv_anysource abort shutdown set_timeout",
        "_set_default_timeout _get_sequence_number_for_group",
    ]
    for name in " ".join(collectives).split():
        assert getattr(KirshBackend, name) is not getattr(Backend, name, None), name
        if hasattr(ProcessGroup, name):
            assert getattr(KirshProcessGroup, name) is not getattr(ProcessGroup, name), name


def test_registering_twice_is_no_error():
    register()
    assert dist.Backend.KIRSH == "kirsh"


def test_an_untested_torch_is_warned_about_once_and_by_name(monkeypatch):
    monkeypatch.setattr(_register, "_warned", False)
    monkeypatch.setattr(_register.torch, "__version__", "1.99.0+cpu")
    with pytest.warns(RuntimeWarning, match=r"torch 1\.99\.0\+cpu"):
        _register._check_version()
    _register._check_version()


def test_whoever_makes_a_group_gets_that_warning(tmp_path):
    script = """
import warnings
import torch
import kirsh.torch
torch.__version__ = "1.99.0+cpu"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    begin("kirsh")
assert any("torch 1.99.0+cpu" in str(one.message) for one in caught), caught
"""
    run_torch(tmp_path, script, 1, join=False)


def python(script, **environment):
    """Runs a script by itself to its good end."""
    kept = {key: value for key, value in os.environ.items() if key != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**kept, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_importing_torch_registers_the_backend_and_imports_nothing_of_kirsh():
    python("""
import sys, torch
assert torch.distributed.Backend.KIRSH == "kirsh"
assert not [name for name in sys.modules if name.partition(".")[0] == "kirsh"]
""")


def test_importing_torch_goes_well_where_kirsh_cannot_be_imported(tmp_path):
    (tmp_path / "kirsh").mkdir()
    (tmp_path / "kirsh" / "__init__.py").write_text("raise ImportError('no such libc')")
    script = """
import torch
import torch.distributed as dist
try:
    dist.init_process_group("kirsh", store=dist.HashStore(), rank=0, world_size=1)
except ImportError as error:
    assert "no such libc" in str(error), error
else:
    raise AssertionError("no error")
"""
    python(script, PYTHONPATH=str(tmp_path))


def test_the_entry_point_raises_nothing():
    python(
        """
import torch.distributed as dist
import _kirsh_torch_entry as entry
assert not hasattr(dist.Backend, "KIRSH")
entry.autoload()
entry.autoload()
assert dist.Backend.KIRSH == "kirsh"
dist.Backend = None  # as good as a torch that has become another
entry.autoload()
""",
        TORCH_DEVICE_BACKEND_AUTOLOAD="0",
    )
