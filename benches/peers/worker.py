"""One rank of one contestant, which does what the controller says: `python -m peers.worker NAME`.

    prepare COLLECTIVE BYTES    makes arrays, does one operation and checks its result
    turn COUNT                  a barrier, then so many operations; answers their seconds
    end

Between two orders a rank sleeps in a read: whatever spins in a library spins in its calls only.
"""

import gc
import importlib
import os
import socket
import sys
import time

import numpy

#: Elements that are filled and checked at once.
CHUNK = 1 << 20


def main():
    module = importlib.import_module(f"peers.contestants.{sys.argv[1]}")
    side = module.connect()
    control = socket.socket(socket.AF_UNIX)
    control.connect(os.environ["KIRSH_BENCH_CONTROL"])
    orders = control.makefile("r")
    answer(control, f"{side.rank} {os.getpid()} {side.version}")
    gc.disable()
    job = None
    for line in orders:
        words = line.split()
        try:
            if words[0] == "prepare":
                job = None
                gc.collect()
                job = prepare(side, words[1], int(words[2]))
                answer(control, "ready")
            elif words[0] == "turn":
                answer(control, f"{turn(side, job.run, int(words[1])):.9f}")
            else:
                side.close()
                return
        except Exception as cause:
            answer(control, f"error {type(cause).__name__}: {cause}".replace("\n", " ")[:500])
    # The controller is gone, perhaps with other ranks: leaving in good order could take for ever.
    os._exit(1)


def answer(control, text):
    control.sendall(f"{text}\n".encode())


def turn(side, run, count):
    side.barrier()
    start = time.perf_counter()
    for _ in range(count):
        run()
    seconds = time.perf_counter() - start
    # Whoever is ready early sleeps here or in the next read, as its library does it, and is not
    # counted; the controller takes the slowest.
    side.barrier()
    return seconds


def prepare(side, collective, size):
    elements = size // 4
    job = side.prepare(collective, elements)
    fill(job.source, side, collective)
    side.barrier()
    job.run()
    check(job.target, side, collective, elements)
    side.barrier()
    # Sums of zeros stay what they are, however often they are taken.
    job.source.fill(0)
    job.target.fill(0)
    return job


def pattern(first, count):
    """What rank 0 has at elements `first` and on: small whole numbers, whose sums are exact."""
    return ((numpy.arange(first, first + count) % 7) + 1).astype(numpy.float32)


def fill(source, side, collective):
    scale = side.rank + 1
    if collective == "broadcast" and side.rank != 0:
        source.fill(0)
        return
    base = side.rank * len(source) if collective == "allgather" else 0
    for first in range(0, len(source), CHUNK):
        part = source[first:first + CHUNK]
        part[:] = pattern(base + first, len(part)) * scale


def check(target, side, collective, elements):
    """That the target holds what the collective promises."""
    part_len = elements // side.size
    together = side.size * (side.size + 1) // 2
    pieces = {
        # Element of the target, element of the pattern, how many, times what.
        "allreduce": [(0, 0, elements, together)],
        "broadcast": [(0, 0, elements, 1)],
        "reduce_scatter": [(0, side.rank * part_len, part_len, together)],
        "allgather": [(r * part_len, r * part_len, part_len, r + 1) for r in range(side.size)],
        "alltoall": [(r * part_len, side.rank * part_len, part_len, r + 1) for r in range(side.size)],
    }[collective]
    for at, first, count, scale in pieces:
        for offset in range(0, count, CHUNK):
            here = target[at + offset:at + min(offset + CHUNK, count)]
            if not numpy.array_equal(here, pattern(first + offset, len(here)) * scale):
                raise ValueError(f"{collective} of {elements} elements: a wrong result")


if __name__ == "__main__":
    main()
