"""The wheel, as a user installs it: in a bare environment, for every Python from 3.11."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import glibc
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
    # What `import torch` runs must not need the package.
    assert "_kirsh_torch_entry.py" in names
    assert not any("test" in name for name in names)


def test_it_asks_for_no_more_of_a_linux_than_its_name_says(wheel):
    with zipfile.ZipFile(wheel) as archive:
        library = archive.read("kirsh/_kirsh.abi3.so")
        (tag,) = (
            archive.read(name).decode() for name in archive.namelist() if name.endswith("/WHEEL")
        )
    platform = wheel.stem.split("-")[-1]
    assert f"Tag: cp311-abi3-{platform}" in tag.splitlines()
    assert all(glibc.ALLOWED.fullmatch(name) for name in glibc.needed(library))
    # Rust's own library asks for this much; a reader that finds nothing would find less.
    assert (2, 17) <= glibc.newest(library) <= glibc.promised(wheel.name)
    wanted = os.environ.get("KIRSH_TEST_PLATFORM")
    assert wanted is None or platform.startswith(f"{wanted}_")


def test_what_a_library_asks_of_glibc_is_read_rightly(tmp_path):
    source, library = tmp_path / "newer.c", tmp_path / "newer.so"
    source.write_text("int gettid(void); int call(void) { return gettid(); }\n")
    run("cc", "-shared", "-fPIC", str(source), "-o", str(library))
    elf = library.read_bytes()
    assert glibc.newest(elf) == (2, 30), "gettid came with 2.30"
    assert glibc.newest(elf) > glibc.promised("kirsh-0.1.0-cp311-abi3-manylinux_2_28_x86_64.whl")
    assert glibc.needed(elf) == ["libc.so.6"]
    assert not glibc.ALLOWED.fullmatch("libssl.so.3")


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
