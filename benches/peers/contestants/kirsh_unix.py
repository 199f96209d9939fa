"""Kirsh with its driver `uring` over Unix sockets, as ranks of one host are linked unless told otherwise. It
is beside the question that the others answer, and its figures count for no goal."""

from . import kirsh_

NAME = "kirsh-unix"
LOOPBACK_ONLY = True

connect = kirsh_.Side


def starts(world, place, folder):
    return kirsh_.starts("uring", world, place, local="unix")
