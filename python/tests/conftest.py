"""What the tests share."""

import signal

import pytest

import kirsh

# A shell that starts the tests in the background lets them ignore SIGINT, and ranks would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def alone():
    """A world of one rank, which this process makes up by itself."""
    with kirsh.Communicator(rank=0, world_size=1) as communicator:
        yield communicator
