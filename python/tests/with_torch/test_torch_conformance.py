"""A selection of torch's own tests of a backend; `make conformance` runs all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent.parent / "conformance" / "run.py"
TABLE = RUN.with_name("table.py")

#: One or two of each kind: collectives, messages, groups, barriers, DDP, joining.
SELECTION = [
    "test_DistributedDataParallelCPU",
    "test_accumulate_gradients_no_sync_allreduce_with_then_hook",
    "test_all_gather_coalesced_with_empty",
    "test_all_gather_complex",
    "test_all_gather_object_subgroup",
    "test_all_reduce_coalesced_full_group_sum",
    "test_all_reduce_complex_unsupported_ops",
    "test_all_reduce_full_group_max",
    "test_all_reduce_sum_async",
    "test_barrier_timeout_full_group",
    "test_batch_isend_irecv_gloo_tags",
    "test_broadcast_full_group",
    "test_ddp_logging_data_cpu",
    "test_destroy_group",
    "test_gather_checks",
    "test_get_future",
    "test_irecv",
    "test_isend_torch_profiler",
    "test_monitored_barrier_gloo_rank_0_timeout",
    "test_monitored_barrier_gloo_subgroup",
    "test_reduce_sum_twice",
    "test_scatter_object_list",
    "test_send_recv_any_source",
    "test_send_recv_with_tag_autograd_profiler",
    "test_sparse_all_reduce_sum",
    "test_static_graph_api_cpu",
]


def test_a_selection_of_torchs_own_tests_passes(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, str(RUN), "--world", "2", "--results", str(results), *SELECTION]
    done = subprocess.run(
        command, env={**os.environ, "WORLD_SIZE": "2"}, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(results.read_text())["kirsh/gloo/2"]
    wrong = {name: how for name, how in found.items() if how["outcome"] != "passed"}
    assert not wrong, "\n".join(f"{name}: {how['why']}" for name, how in wrong.items())
    assert set(found) == set(SELECTION)


def test_the_table_shows_what_no_run_has_made_and_why(tmp_path):
    """As torch's own words for each of the kinds."""
    results = tmp_path / "results.json"
    names = ["test_batch_isend_irecv_nccl", "test_all_reduce_sum_cuda", "test_all_to_all"]
    for named in ("gloo", "mpi"):
        command = [sys.executable, str(RUN), "--world", "2", "--named", named]
        command += ["--results", str(results), *names]
        subprocess.run(command, env={**os.environ, "WORLD_SIZE": "2"}, check=True, timeout=200)
    command = [sys.executable, str(TABLE), "--results", str(results)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert told.returncode == 0, told.stdout + told.stderr
    rows, _, below = told.stdout.partition("not run, ")
    assert "test_all_to_all " in rows and "test_all_to_all" not in below
    for name in ("test_batch_isend_irecv_nccl", "test_all_reduce_sum_cuda"):
        assert name not in rows and f"    {name}\n" in below, told.stdout
    by_nccl = below.split("which is for CUDA devices:")[1].split("not run")[0]
    assert "test_batch_isend_irecv_nccl" in by_nccl
