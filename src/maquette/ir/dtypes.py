"""Number formats and what an element of each costs to store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from maquette.errors import UnknownName

Kind = Literal["float", "int", "bool"]


@dataclass(frozen=True)
class DType:
    """A number format.  `bits` is what one element costs in memory, block scales included."""

    name: str
    kind: Kind
    bits: float
    storage_only: bool = False  # dequantised before arithmetic

    @property
    def bytes(self) -> float:
        return self.bits / 8

    def __str__(self) -> str:
        return self.name


DTYPES: dict[str, DType] = {
    d.name: d
    for d in (
        DType("f32", "float", 32),
        DType("bf16", "float", 16),
        DType("f16", "float", 16),
        DType("fp8", "float", 8),
        DType("int8", "int", 8),
        # 4-bit weights in groups of 128 with an fp16 scale and an fp16 zero: 4 + 32/128.
        DType("int4", "int", 4.25, storage_only=True),
        # OCP microscaling: one 8-bit scale per 32 elements.
        DType("mxfp4", "float", 4.25),
        # NVFP4: one fp8 scale per 16 elements.
        DType("nvfp4", "float", 4.5),
        # Block formats of integers, as OCP microscaling: one 8-bit scale per 32 elements.
        DType("mxint8", "int", 8.25),
        DType("mxint4", "int", 4.25),
        DType("i32", "int", 32),
        DType("i64", "int", 64),
        DType("bool", "bool", 8),
    )
}


def dtype(name: str | DType) -> DType:
    """The format called `name`.

    >>> dtype("mxfp4").bytes
    0.53125
    """
    if isinstance(name, DType):
        return name
    if name not in DTYPES:
        raise UnknownName("number format", name, DTYPES)
    return DTYPES[name]
