"""What a collective would take on a network that need not exist."""

from __future__ import annotations

import os
from dataclasses import dataclass

from . import _kirsh
from ._ops import ReduceOp


@dataclass(frozen=True, slots=True)
class Simulated:
    """What one algorithm would do: a line of ``kirsh simulate``."""

    #: Its name.
    algorithm: str
    #: Bytes of the larger of a rank's two arrays, rounded to whole elements, as many for each rank.
    size: int
    #: Bytes of the slices that the array is cut into, which suit this algorithm there.
    slice: int
    #: Until the last rank is through.
    seconds: float
    #: Size by time, in GB/s.
    algbw: float
    #: What compares with a link's rate, whatever the number of ranks, in GB/s.
    busbw: float
    #: Bytes of payload sent by the rank that sends most.
    bytes_sent: int
    #: Steps of the plan of the rank that has most.
    steps: int
    #: Whether this is what Kirsh would choose there, not knowing of switches and stragglers.
    chosen: bool


def simulate(
    collective: str,
    *,
    ranks: int,
    size: int | float | str = "1M",
    bandwidth: float | str | None = None,
    latency: float | str | None = None,
    ranks_per_host: int = 1,
    cores: int | None = None,
    hosts_per_switch: int | None = None,
    oversubscription: int | None = None,
    straggler: float | str | None = None,
    straggler_rank: int | None = None,
    algorithm: str | None = None,
    op: ReduceOp | str = ReduceOp.SUM,
    dtype: str = "float32",
    wire: str | None = None,
    table: str | os.PathLike[str] | None = None,
) -> list[Simulated]:
    """Predict what each algorithm for a collective would take on a network, fastest first.

    The answers are those of the command ``kirsh simulate``: docs/MODEL.md says how they come about
    and what is left out. Nothing is sent, and no communicator is needed. Takes up to some seconds,
    without the GIL; Ctrl-C is heard when it is over.

    :param collective: its name, such as "allreduce"; not one with a count for each rank.
    :param ranks: how many, up to 65,536.
    :param size: bytes of the larger of a rank's two arrays, or a text with a power of 1024: "100M".
    :param bandwidth: the rate of a host's link in bits per second, or a text: "10Gbit".
    :param latency: seconds until a first byte is seen by another host, or a text: "50us". What is
        not given here or below is that of ``table``, or built in for the nearest class of links.
    :param ranks_per_host: they share the host's link and its cores.
    :param cores: of each host; without a table one for each of its ranks.
    :param hosts_per_switch: without it every host reaches every other at full rate.
    :param oversubscription: how many times their switch's uplink the hosts could send (4).
    :param straggler: how many times as long one rank takes over everything, 1 to 1000.
    :param straggler_rank: which one that is (0).
    :param algorithm: only this one; all that there are with None or "all".
    :param op: how two elements become one, where the collective reduces.
    :param dtype: the name of the element type.
    :param wire: how the elements travel, as for :func:`kirsh.allreduce`; as they are by default.
    :param table: the path of a table that ``kirsh tune`` wrote.
    :raises InvalidArgumentError: a network or a world that there cannot be; says what can.
    :raises UnsupportedError: an algorithm that does not carry the collective out, or a collective
        that cannot be simulated.
    """
    rows = _kirsh.simulate(
        collective,
        ranks=ranks,
        size=size,
        bandwidth=bandwidth,
        latency=latency,
        ranks_per_host=ranks_per_host,
        cores=cores,
        hosts_per_switch=hosts_per_switch,
        oversubscription=oversubscription,
        straggler=straggler,
        straggler_rank=straggler_rank,
        algorithm=algorithm,
        op=op,
        dtype=dtype,
        wire=wire,
        table=table,
    )
    return [Simulated(*row) for row in rows]


# Where users find them.
Simulated.__module__ = "kirsh"
simulate.__module__ = "kirsh"
