"""What the tests share."""

import pytest

import kirsh


@pytest.fixture
def alone():
    """A world of one rank, which this process makes up by itself."""
    with kirsh.Communicator(rank=0, world_size=1) as communicator:
        yield communicator
