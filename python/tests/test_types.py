"""The annotations: complete, true to the compiled module, and right about results."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import kirsh

pytest.importorskip("mypy", reason="mypy is not installed")

USE = """
import kirsh
from typing import Any, assert_type
from numpy.typing import NDArray

x = bytearray(8)
c = kirsh.init(rank=0, world_size=1, timeout=5)
assert_type(kirsh.allreduce(x), bytearray)
assert_type(kirsh.allreduce(1, op=kirsh.MAX), int)
assert_type(kirsh.allreduce(b"abc", out=x), bytearray)
assert_type(kirsh.allreduce(x, async_op=True), kirsh.Work[bytearray])
assert_type(c.allreduce(1.5, async_op=True).wait(), float)
assert_type(c.broadcast(x, root=0), bytearray)
assert_type(kirsh.barrier(), None)
assert_type(kirsh.barrier(async_op=True).wait(1.0), None)
assert_type(kirsh.stats().bytes_copied, int)
assert_type(c.stats_by_peer()[0].direct, kirsh.LaneStats)
assert_type(kirsh.allgather(x, out=x), bytearray)
assert_type(kirsh.allgather(x), NDArray[Any])
assert_type(c.reduce_scatter(x, async_op=True), kirsh.Work[NDArray[Any]])
assert_type(c.gather(x, root=0), NDArray[Any] | None)
assert_type(kirsh.scatter(out=x), bytearray)
assert_type(kirsh.allreduce_many([x]), list[bytearray])
assert_type(kirsh.reduce(x), bytearray | None)
assert_type(kirsh.alltoallv(x, [1], out=x, async_op=True).wait(), bytearray)
assert_type(kirsh.plan_allreduce(x), kirsh.Plan[bytearray])
assert_type(c.plan_allgather(x).run(), NDArray[Any])
assert_type(c.plan_barrier().start(), kirsh.Work[None])
assert_type(kirsh.send(x, 0, tag=3), None)
assert_type(kirsh.send(x, 0, async_op=True), kirsh.Work[None])
assert_type(kirsh.recv(x), kirsh.Received)
assert_type(c.recv(x, kirsh.ANY_SOURCE, tag=kirsh.ANY_TAG, async_op=True).wait().source, int)
assert_type(c.sendrecv(x, 0, x, 0).nbytes, int)
assert_type(kirsh.simulate("allreduce", ranks=4, size="1M")[0].seconds, float)
assert_type(kirsh.barrier(async_op=True).received, kirsh.Received | None)
"""


#: These are not installed here: `make test-torch`, `make test-frameworks` and `make test-launchers` check what needs them.
ABSENT = r"(jax|ray|tensorflow|torch)"
WITHOUT_FRAMEWORKS = """
[mypy]
strict = True
[mypy-kirsh.jax.*,kirsh.tensorflow.*,kirsh.torch.*]
ignore_errors = True
[mypy-jax.*,tensorflow.*,keras.*,torch.*]
ignore_missing_imports = True
"""


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def test_the_package_is_strictly_typed_and_its_results_are_known(tmp_path):
    (tmp_path / "use.py").write_text(USE)
    (tmp_path / "mypy.ini").write_text(WITHOUT_FRAMEWORKS)
    for checked in (["use.py"], ["-p", "kirsh"]):
        done = run("mypy", "--config-file", "mypy.ini", *checked, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_stubs_agree_with_the_compiled_module(tmp_path):
    (tmp_path / "mypy.ini").write_text(WITHOUT_FRAMEWORKS)
    (tmp_path / "allowed").write_text(rf"kirsh\.{ABSENT}(\..*)?" + "\n")
    options = ("--mypy-config-file", "mypy.ini", "--allowlist", "allowed")
    done = run("mypy.stubtest", "kirsh", *options, "--ignore-unused-allowlist", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_public_names_are_documented():
    for name in kirsh.__all__:
        value = getattr(kirsh, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert value.__doc__, name
    assert "in place unless ``out`` is given" in kirsh.allreduce.__doc__.splitlines()[0]
    assert "in place" in kirsh.broadcast.__doc__.splitlines()[0]


def test_every_call_is_a_method_and_a_function_that_says_where_the_result_goes():
    methods = {
        name
        for group in kirsh.Communicator.__mro__
        for name in vars(group)
        # What makes communicators is asked of one; the default one has no functions for it.
        if group.__module__.startswith("kirsh._")
        if group.__module__ not in ("kirsh._kirsh", "kirsh._groups")
        if not name.startswith("_")
    }
    assert len(methods) > 25 and methods <= set(kirsh.__all__)
    for name in methods:
        method, function = getattr(kirsh.Communicator, name), getattr(kirsh, name)
        assert inspect.isfunction(function) and method.__doc__ == function.__doc__
        of_method = [p for p in inspect.signature(method).parameters if p != "self"]
        assert of_method == list(inspect.signature(function).parameters)
        said = " ".join(method.__doc__.split("\n\n")[0].split())
        if name not in ("barrier", "check_equal", "send") and not name.startswith("plan_"):
            places = ("in place", "new array", "new one", "list", "into ``out``")
            assert any(words in said for words in places), said


def test_the_package_says_that_it_is_typed():
    assert (Path(kirsh.__file__).parent / "py.typed").exists()
