"""Kirsh with its driver `uring`."""

from . import kirsh_

NAME = "kirsh-uring"

connect = kirsh_.Side


def starts(world, place, folder):
    return kirsh_.starts("uring", world, place)
