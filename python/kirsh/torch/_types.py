"""What torch's element types and reduction operators are to Kirsh."""

from __future__ import annotations

from typing import Any

import torch
from torch._C._distributed_c10d import ReduceOp

#: Types that can be reduced, and moved.
NAMES: dict[torch.dtype, str] = {
    torch.bool: "bool",
    torch.uint8: "uint8",
    torch.int8: "int8",
    torch.int16: "int16",
    torch.int32: "int32",
    torch.int64: "int64",
    torch.uint16: "uint16",
    torch.uint32: "uint32",
    torch.uint64: "uint64",
    torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.float64: "float64",
    torch.complex64: "complex64",
    torch.complex128: "complex128",
    torch.float8_e4m3fn: "float8_e4m3fn",
    torch.float8_e5m2: "float8_e5m2",
}

#: How elements travel that Kirsh has no type for, and those of several types in one call.
BYTE = "byte"

_OPS: dict[Any, str] = {
    ReduceOp.SUM: "sum",
    ReduceOp.AVG: "avg",
    ReduceOp.PRODUCT: "prod",
    ReduceOp.MIN: "min",
    ReduceOp.MAX: "max",
    ReduceOp.BAND: "band",
    ReduceOp.BOR: "bor",
    ReduceOp.BXOR: "bxor",
    ReduceOp.PREMUL_SUM: "premul_sum",
}

#: The sum of truth values is whether any is true, their product whether all are: as torch adds and
#: multiplies them. Kirsh has no arithmetic on bool.
_OPS_OF_BOOL = {"sum": "lor", "prod": "land", "max": "lor", "min": "land"}


def operator(op: Any, dtype: torch.dtype) -> tuple[str, float | None]:
    """Return Kirsh's operator for torch's, and the factor of a PREMUL_SUM.

    :raises KeyError: an operator that Kirsh has not.
    """
    name = _OPS[op.op]
    if dtype is torch.bool:
        return _OPS_OF_BOOL.get(name, name), None
    return name, float(op.factor) if name == "premul_sum" else None
