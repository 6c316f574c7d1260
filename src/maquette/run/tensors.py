"""Tensors of the caller, NumPy's and torch's, as the runtime sees them: a pointer and a layout.

Nothing is copied.  Formats NumPy lacks are seen as the integers that hold their bits.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from math import prod
from typing import Any

import numpy as np

from maquette.compiler.kernel import Tensor
from maquette.errors import Fault, InputError
from maquette.ir.dtypes import DTYPES, DType, dtype
from maquette.run.blocks import LARGE, RESULTS

# What holds an element of a format in memory.
STORED: dict[str, str] = {
    "f32": "float32", "bf16": "uint16", "f16": "float16", "int8": "int8", "i32": "int32",
    "i64": "int64", "bool": "bool",
}  # fmt: skip
_NUMPY = {
    "uint8": "int8", "int8": "int8", "int32": "i32", "int64": "i64",
    "float32": "f32", "float16": "f16", "bool": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """Everything about a tensor that code is specialised for.  Strides are in elements."""

    format: str  # of `ir.dtypes`, or the name of one that it lacks; bytes are int8, sign or not
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    torch: bool

    @property
    def dtype(self) -> DType:
        """The format as kernels know it."""
        return dtype(self.format)


def is_tensor(x: Any) -> bool:
    """Whether `x` is a NumPy array or a torch tensor."""
    return _library(type(x)) != ""  # type: ignore[arg-type]


def is_torch(x: Any) -> bool:
    """Whether `x` is a torch tensor."""
    return _library(type(x)) == "torch"  # type: ignore[arg-type]


@lru_cache(256)
def _library(kind: type) -> str:
    """Whose tensors are of this type.  Before torch is there, no type is one of its."""
    if issubclass(kind, np.ndarray):
        return "numpy"
    torch = sys.modules.get("torch")
    return "torch" if torch is not None and issubclass(kind, torch.Tensor) else ""


def pointer(x: Any) -> int:
    """The address of the first element."""
    if isinstance(x, np.ndarray):
        return int(x.__array_interface__["data"][0])
    return int(x.data_ptr())


def key(x: Any) -> tuple[Any, ...]:
    """What a layout follows from, quickly: tensors with equal keys have equal layouts."""
    if isinstance(x, np.ndarray):
        return x.shape, x.strides, x.dtype
    gradient = x.requires_grad and differentiated(x)
    return x.shape, x.stride(), x.dtype, x.device, gradient, x.is_neg()


def kept(x: Any) -> Any:
    """The same elements, which stay where they are even if `x` is given others.

    >>> kept(np.ones(3)).base is not None
    True
    """
    return x.detach() if is_torch(x) else x.view()


def differentiated(x: Any) -> bool:
    """Whether a call would have to keep what a gradient of `x` needs."""
    if not getattr(x, "requires_grad", False):
        return False
    return bool(sys.modules["torch"].is_grad_enabled())


def layout(x: Any, where: str) -> Layout:
    """The layout of a tensor.  Raises InputError for one that kernels cannot read in place."""
    if isinstance(x, np.ndarray):
        return _layout_of_array(x, where)
    import torch

    if x.device.type != "cpu":
        raise InputError(Fault(where, f"is on {x.device}", "a tensor on cpu", "x.cpu()"))
    if x.layout is not torch.strided:
        raise InputError(Fault(where, f"has layout {x.layout}", "a strided tensor", "x.to_dense()"))
    if x.is_neg():
        hint = "x.resolve_neg()"
        raise InputError(Fault(where, "is a view of the negative", "its own elements", hint))
    name = torch_formats().get(x.dtype, str(x.dtype))
    return Layout(name, tuple(x.shape), tuple(x.stride()), True)


def _layout_of_array(x: Any, where: str) -> Layout:
    if isinstance(x, np.matrix | np.ma.MaskedArray):
        what = f"is a {type(x).__name__}, whose operators are its own"
        raise InputError(Fault(where, what, "an array", "np.asarray(x)"))
    if not x.dtype.isnative or any(s % x.itemsize for s in x.strides):
        what = f"{x.dtype} with strides {x.strides} bytes"
        raise InputError(Fault(where, what, "aligned native elements", "np.ascontiguousarray(x)"))
    strides = tuple(s // x.itemsize for s in x.strides)
    return Layout(_NUMPY.get(x.dtype.name, x.dtype.name), x.shape, strides, False)


@cache
def torch_formats() -> dict[Any, str]:
    """The name of each format of torch that kernels know."""
    import torch

    return {
        torch.uint8: "int8", torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16",
        torch.int8: "int8", torch.int32: "i32", torch.int64: "i64", torch.bool: "bool",
    }  # fmt: skip


def maker(shape: tuple[int, ...], format_: DType, *, torch: bool) -> Callable[[], Any]:
    """A function that makes new contiguous tensors, not initialised; large ones in used memory.

    >>> new = maker((2, 3), dtype("f32"), torch=False)
    >>> new().shape, new().dtype.name
    ((2, 3), 'float32')
    """
    kind = np.dtype(STORED[format_.name])
    size = prod(shape) * kind.itemsize
    small: Callable[[], Any] = partial(np.empty, shape, kind)
    if torch:
        import torch as framework

        wanted = {name: dtype for dtype, name in torch_formats().items()}[format_.name]
        small = partial(framework.empty, shape, dtype=wanted)

    def large() -> Any:
        try:
            array = np.ndarray(shape, kind, RESULTS.take(size))
        except OSError:  # the allocator will say so
            return small()
        if not torch:
            return array
        found = framework.from_numpy(array)
        return found if format_.name != "bf16" else found.view(wanted)

    return small if size < LARGE else large


def window(tensor: Tensor, address: int) -> Any:
    """The elements of `tensor` in a buffer at `address`, as an array of what holds them."""
    kind = np.dtype(STORED[tensor.dtype.name])
    low, high = reach(tensor.shape, tensor.strides)
    if not high - low:
        return np.empty(tensor.shape, kind)
    start = address + (tensor.offset + low) * kind.itemsize
    memory = (ctypes.c_char * ((high - low) * kind.itemsize)).from_address(start)
    strides = tuple(s * kind.itemsize for s in tensor.strides)
    held: Any = memory
    return np.ndarray(tensor.shape, kind, held, -low * kind.itemsize, strides)


def reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """The range of elements that a strided window covers, around its first.

    >>> reach((3, 4), (-4, 1))
    (-8, 4)
    """
    if 0 in shape:
        return 0, 0
    ends = [(n - 1) * s for n, s in zip(shape, strides, strict=True)]
    return sum(e for e in ends if e < 0), sum(e for e in ends if e > 0) + 1


def widened(array: Any, format_: DType) -> Any:
    """Numbers to compute with, of elements as they are stored."""
    if format_.name == "bf16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def stored_as(array: Any, format_: DType) -> Any:
    """Elements as they are stored, rounded to nearest even where the format is narrower."""
    if format_.name != "bf16":
        return np.asarray(array).astype(STORED[format_.name])
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16)


def supported(format_: str) -> bool:
    """Whether kernels store the format."""
    return format_ in STORED and format_ in DTYPES
