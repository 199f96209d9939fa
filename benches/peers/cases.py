"""What is measured: where ranks run, which collectives, how many bytes."""

import dataclasses

KIB, MIB = 1 << 10, 1 << 20

COLLECTIVES = ("allreduce", "broadcast", "allgather", "reduce_scatter", "alltoall")

#: Every fourth power of two from one float32 to 256 MiB.
SIZES = tuple(4 ** power for power in range(1, 15))

#: What is left of them where all has to be done in ten minutes.
QUICK_ALLREDUCE = (4, KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB)
QUICK_OTHERS = (64 * KIB, MIB, 16 * MIB)


@dataclasses.dataclass(frozen=True)
class World:
    """Some ranks and what is between them: loopback, or cables of this rate."""

    name: str
    ranks: int
    rate: str | None = None
    note: str = ""

    @property
    def line_bytes_per_s(self):
        """What one cable carries each way of TCP's payload, or None for loopback.

        Of 1,514 bytes of a full Ethernet frame 1,448 are payload: 20 bytes are IP's, 32 TCP's with
        its timestamps, 14 Ethernet's, whose preamble and checksum tc does not count.
        """
        if self.rate is None:
            return None
        bits = float(self.rate.removesuffix("gbit")) * 1e9
        return bits / 8 * 1448 / 1514


@dataclasses.dataclass(frozen=True)
class Case:
    world: World
    collective: str
    bytes: int


WORLDS = (
    World("loopback-2", 2),
    World("loopback-4", 4),
    World("hosts-1gbit", 4, "1gbit"),
    World("hosts-10gbit", 4, "10gbit", "four hosts of this speed share the cores of one machine, "
          "which bind before the cables do"),
)


def sizes(world, collective, quick):
    """Bytes of the whole array: what each rank holds at the end, or, before a scatter, at the start.

    Where every rank has a part of it, 4 bytes for four ranks are too few and left out.
    """
    if not quick:
        chosen = SIZES
    elif world.rate == "10gbit":
        chosen = (64 * KIB, 4 * MIB) if collective == "allreduce" else ()
    elif world.rate:
        chosen = (KIB, 64 * KIB, MIB, 16 * MIB) if collective == "allreduce" else (64 * KIB, MIB)
    else:
        chosen = QUICK_ALLREDUCE if collective == "allreduce" else QUICK_OTHERS
    least = 4 if collective in ("allreduce", "broadcast") else 4 * world.ranks
    return [size for size in chosen if size >= least]


def cases(world, quick, collectives=COLLECTIVES):
    return [Case(world, collective, size)
            for collective in collectives for size in sizes(world, collective, quick)]


def bus_bytes(case):
    """Bytes that each rank has to send (and receive) at least, as nccl-tests counts them."""
    share = (case.world.ranks - 1) / case.world.ranks
    factor = {"allreduce": 2 * share, "broadcast": 1.0}.get(case.collective, share)
    return factor * case.bytes


def memory(case, contestants):
    """Bytes that all ranks of all contestants hold at once: arrays, and as much again for scratch."""
    arrays = 2 if case.collective == "alltoall" else 1
    return 2 * arrays * case.bytes * case.world.ranks * contestants


def human(size):
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size} {unit}"
        size //= 1024
    return f"{size} GiB"
