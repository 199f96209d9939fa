"""What the tests share."""

import importlib.util
import os
import signal

import pytest

import kirsh

# What needs more than this environment has: `make test-launchers` installs the MPIs and Ray, `make
# test-torch` torch.
collect_ignore = [] if "KIRSH_TEST_MPIS" in os.environ else ["launchers"]
for package in ["torch", "ray"]:
    if importlib.util.find_spec(package) is None:
        collect_ignore.append(f"with_{package}")

# A shell that starts the tests in the background lets them ignore SIGINT, and ranks would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def alone():
    """A world of one rank, which this process makes up by itself."""
    with kirsh.Communicator(rank=0, world_size=1) as communicator:
        yield communicator
