"""The wheel, as a user installs it: in a bare environment, for every Python from 3.11."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launch import run_alone

PROJECT = Path(__file__).parent.parent


def run(*command, **options):
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=900, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel in KIRSH_TEST_WHEEL, or one made now (unoptimised, so that it does not take long)."""
    given = os.environ.get("KIRSH_TEST_WHEEL")
    if given:
        return Path(given)
    if not PROJECT.joinpath("pyproject.toml").exists():
        pytest.skip("no source tree to build a wheel from")
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "maturin", "build", "--quiet", "--out", str(out), cwd=PROJECT)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory, wheel):
    """The Python of an environment that holds nothing but the wheel."""
    directory = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", str(directory))
    python = directory / "bin" / "python"
    run(str(python), "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", str(wheel))
    return python


def test_the_wheel_is_for_the_stable_abi_and_complete(wheel):
    assert "-cp311-abi3-" in wheel.name
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("__init__.py", "py.typed", "_kirsh.pyi", "_kirsh.abi3.so"):
        assert f"kirsh/{name}" in names
    assert not any("test" in name for name in names)


def test_it_works_in_a_bare_environment(bare):
    output = run_alone(
        """
        import sys, array, kirsh
        assert "numpy" not in sys.modules
        kirsh.init(rank=0, world_size=1)
        x = array.array("f", [1, 2])
        assert kirsh.allreduce(x) is x and kirsh.allreduce(2.5) == 2.5
        try:
            import numpy
        except ImportError:
            print(kirsh.__version__)
        """,
        python=str(bare),
    )
    assert output.strip()


def test_the_command_comes_with_it(bare):
    version = run(str(bare.parent / "kirsh"), "--version")
    assert version.startswith("kirsh ")
    assert run(str(bare), "-m", "kirsh", "--version") == version


def test_the_command_starts_ranks(bare, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import kirsh\nkirsh.init()\nprint('sum', kirsh.allreduce(kirsh.rank() + 1))\n"
    )
    output = run(str(bare.parent / "kirsh"), "run", "-n", "2", "--", str(bare), str(script))
    assert output.count("sum 3") == 2
