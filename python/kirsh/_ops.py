"""The reduction operators."""

from __future__ import annotations

import enum


class ReduceOp(enum.StrEnum):
    """How two elements become one. Members are also module constants: ``kirsh.SUM``."""

    SUM = "sum"
    PROD = "prod"
    #: The smaller; -0.0 is smaller than 0.0, and NaN wins.
    MIN = "min"
    #: The larger; 0.0 is larger than -0.0, and NaN wins.
    MAX = "max"
    #: The sum divided once by the number of ranks. Floats only.
    AVG = "avg"
    #: Each rank's array times that rank's own ``scale``, summed. Floats only.
    PREMUL_SUM = "premul_sum"
    #: Bitwise, on integers and bool.
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"
    #: Logical, on integers and bool: the result is 0 or 1.
    LAND = "land"
    LOR = "lor"
    LXOR = "lxor"
