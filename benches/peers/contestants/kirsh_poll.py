"""Kirsh with its driver `poll`."""

from . import kirsh_

NAME = "kirsh-poll"

connect = kirsh_.Side


def starts(world, place, folder):
    return kirsh_.starts("poll", world, place)
