"""The source distribution: whole, so that pip can build it where no wheel fits."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", PROJECT.parent / "target"))
UNPACKED = TARGET / "tmp" / "sdist"

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")


def run(*command, cwd, **environment):
    environment = {**os.environ, **environment}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    out = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "maturin", "sdist", "--out", str(out), cwd=PROJECT)
    (made,) = out.glob("kirsh-*.tar.gz")
    # At one place for every run, or cargo would keep what it builds there for each of them.
    shutil.rmtree(UNPACKED, ignore_errors=True)
    with tarfile.open(made) as archive:
        archive.extractall(UNPACKED, filter="data")
    # By the times inside, which are the same for all, cargo would take what changed for what it has built.
    for path in UNPACKED.rglob("*"):
        path.touch()
    (directory,) = (path for path in UNPACKED.iterdir() if path.is_dir())
    return directory


def test_it_holds_the_package_its_licences_and_nothing_compiled(unpacked):
    package = {path.relative_to(PROJECT) for path in PROJECT.glob("kirsh/**/*.py")}
    assert len(package) > 15
    beside = ("_kirsh_torch_entry.py", "kirsh/py.typed", "kirsh/_kirsh.pyi", "pyproject.toml", "Cargo.lock")
    for path in (*package, *beside):
        assert (unpacked / path).is_file(), path
    for name in ("LICENSE-MIT", "LICENSE-APACHE"):
        found = next(unpacked.rglob(name), None)
        assert found and found.read_text() == (PROJECT.parent / name).read_text()
    assert not [path for path in unpacked.rglob("*") if path.suffix in (".so", ".pyc")]


def test_its_workspace_is_whole(unpacked):
    """Every crate that it needs and that no registry has lies inside, with all that it includes."""
    told = run("cargo", "metadata", "--format-version=1", "--offline", cwd=unpacked)
    packages = json.loads(told)["packages"]
    local = [package for package in packages if package["source"] is None]
    assert {package["name"] for package in local} >= {"kirsh-core"}
    for package in local:
        root = Path(package["manifest_path"])
        assert root.is_relative_to(unpacked)
        sources = {p.relative_to(unpacked) for p in root.parent.glob("src/**/*.rs")}
        assert sources, root
        here = PROJECT.parent / root.parent.relative_to(unpacked) / "src"
        assert len(sources) == len(list(here.glob("**/*.rs")))


def test_pip_builds_it_into_an_empty_environment(unpacked, tmp_path):
    """Without the network: maturin is this environment's, and cargo has what it fetched for the wheel."""
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    # Nothing but maturin is lent to the build.
    lent = tmp_path / "lent"
    lent.mkdir()
    maturin = Path(importlib.util.find_spec("maturin").origin).parent
    (lent / "maturin").symlink_to(maturin)
    run(
        str(python),
        *("-m", "pip", "install", "--no-index", "--no-deps", "--no-build-isolation", str(unpacked)),
        cwd=tmp_path,
        PYTHONPATH=str(lent),
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        # What other tests have compiled is taken, and what takes long to compile is not asked for.
        CARGO_TARGET_DIR=str(TARGET),
        CARGO_NET_OFFLINE="true",
        MATURIN_PEP517_ARGS=f"--profile dev --out {tmp_path}",
    )
    script = "import kirsh; kirsh.init(rank=0, world_size=1); print(kirsh.__file__, kirsh.allreduce(2))"
    place, result = run(str(python), "-I", "-c", script, cwd=tmp_path).split()
    assert Path(place).is_relative_to(tmp_path / "venv") and result == "2"
    run(str(tmp_path / "venv" / "bin" / "kirsh"), "--version", cwd=tmp_path)
