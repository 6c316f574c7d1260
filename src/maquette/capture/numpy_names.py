"""How NumPy's functions, methods and ufuncs map to the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from maquette.capture.lowerings import LOWERINGS, shapes
from maquette.capture.lowerings.table import lifted
from maquette.capture.pointwise import converted
from maquette.capture.positional import Positional
from maquette.errors import Fault, NotYet
from maquette.ir.dtypes import DType, dtype

Lowering = Callable[..., Any]
_T = LOWERINGS

_FORMATS = {"float32": "f32", "float16": "f16", "int64": "i64", "int32": "i32", "bool": "bool",
            "int8": "int8", "int16": "i32", "uint8": "i32"}  # fmt: skip
_NUMPY = {"f32": "float32", "f16": "float16", "i64": "int64", "i32": "int32", "bool": "bool",
          "int8": "int8", "bf16": "float32"}  # fmt: skip


def format_of(kind: Any, where: str) -> DType:
    """The format of a NumPy dtype."""
    name = np.dtype(kind).name
    if name not in _FORMATS:
        hint = "convert with .astype(np.float32)" if name == "float64" else ""
        raise NotYet(Fault(where, f"format {name}", "float32, float16, an integer or bool", hint))
    return dtype(_FORMATS[name])


def numpy_format(kind: DType) -> Any:
    """The NumPy dtype of a format."""
    return np.dtype(_NUMPY[kind.name])


_SAME = """add subtract multiply divide true_divide floor_divide remainder power float_power
    maximum minimum exp exp2 log log2 log10 log1p expm1 sqrt square reciprocal sin cos tanh
    negative absolute sign floor ceil isnan isinf isfinite logical_and logical_or logical_not
    bitwise_and bitwise_or bitwise_xor invert matmul erf"""


def _positive(x: Any) -> Any:
    return x


def _tan(x: Any) -> Any:
    return _T["div"](_T["sin"](x), _T["cos"](x))


def _logaddexp(x: Any, y: Any) -> Any:
    top = _T["maximum"](x, y)
    parts = (_T["exp"](_T["sub"](v, top)) for v in (x, y))
    return _T["add"](top, _T["log"](_T["add"](*parts)))


UFUNCS: Mapping[str, Lowering] = {n: _T[n] for n in _SAME.split()} | {
    "greater": _T["gt"], "greater_equal": _T["ge"], "less": _T["lt"], "less_equal": _T["le"],
    "equal": _T["eq"], "not_equal": _T["ne"], "fmax": _T["maximum"], "fmin": _T["minimum"],
    "mod": _T["remainder"], "abs": _T["abs"], "fabs": _T["abs"], "conjugate": _positive,
    "positive": _positive, "expit": _T["sigmoid"], "tan": _tan, "logaddexp": _logaddexp,
}  # fmt: skip


def _reducing(name: str) -> Lowering:
    """A reduction with NumPy's argument names."""
    lower = _T[name]

    def reduce(
        x: Positional, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: bool = False
    ) -> Any:
        x = x if dtype is None else converted(x, format_of(dtype, ""))
        return lower(x, axis, keepdims)

    return reduce


def _extreme(name: str) -> Lowering:
    lower = _T[name]

    def reduce(x: Positional, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return lower(x, axis, keepdims)

    return reduce


def _spread(name: str) -> Lowering:
    lower = _T[name]

    def reduce(
        x: Positional, axis: Any = None, dtype: Any = None, out: Any = None, ddof: int = 0,
        keepdims: bool = False,
    ) -> Any:  # fmt: skip
        return lower(x, axis, keepdims, ddof)

    return reduce


def _scan(name: str) -> Lowering:
    lower = _T[name]

    def scan(x: Positional, axis: int | None = None, dtype: Any = None, out: Any = None) -> Any:
        if axis is None:
            x, axis = shapes.flatten(x), 0
        return lower(x, axis)

    return scan


def _transpose(x: Positional, *axes: Any) -> Any:
    if not axes or axes == (None,):
        return shapes.reverse(x)
    return shapes.permute(x, *axes)


def _reshape(x: Positional, *shape: Any, order: str = "C") -> Any:
    if order != "C":
        raise NotYet(Fault("", f"reshape in order {order!r}", "order 'C'"))
    return shapes.reshape(x, *shape)


def _expand_dims(x: Positional, axis: Any) -> Any:
    for at in sorted((axis,) if isinstance(axis, int) else axis):
        x = shapes.unsqueeze(x, at)
    return x


def _concatenate(parts: Sequence[Any], axis: int | None = 0, **_: Any) -> Any:
    held = [lifted(p) for p in parts]
    if axis is None:
        return _T["cat"]([shapes.flatten(p) for p in held], 0)
    return _T["cat"](held, axis)


def _hstack(parts: Sequence[Positional]) -> Any:
    return _concatenate(parts, 0 if parts[0].rank == 1 else 1)


def _vstack(parts: Sequence[Positional]) -> Any:
    return _concatenate([shapes.unsqueeze(p, 0) if p.rank == 1 else p for p in parts], 0)


def _stack(parts: Sequence[Any], axis: int = 0, **_: Any) -> Any:
    return _T["stack"]([lifted(p) for p in parts], axis)


def _split(x: Positional, sections: Any, axis: int = 0) -> list[Positional]:
    n = x.shape[axis]
    if isinstance(sections, int):
        sections = [n // sections * i for i in range(1, sections)]
    borders = [0, *sections, n]
    sizes = [b - a for a, b in pairwise(borders)]
    return list(_T["split"](x, sizes, axis))


def _repeat(x: Positional, repeats: Any, axis: int | None = None) -> Any:
    return _T["repeat_interleave"](x, repeats, axis)


def _tile(x: Positional, reps: Any) -> Any:
    counts = (reps,) if isinstance(reps, int) else tuple(reps)
    return shapes.repeat(x, (1,) * (x.rank - len(counts)) + counts)


def _zeros_like(x: Positional, dtype: Any = None, **_: Any) -> Any:
    return _full_like(x, 0, dtype)


def _ones_like(x: Positional, dtype: Any = None, **_: Any) -> Any:
    return _full_like(x, 1, dtype)


def _full_like(x: Positional, value: Any, dtype: Any = None, **_: Any) -> Any:
    to = x.dtype if dtype is None else format_of(dtype, "")
    return replace(_T["full"]((), value, to), dims=x.dims)


def _roll(x: Positional, shift: Any, axis: Any = None) -> Any:
    return _T["roll"](x, shift, axis)


def _diagonal(x: Positional, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return _T["diagonal"](x, offset, axis1, axis2)


def _dot(x: Positional, y: Positional, *_: Any) -> Any:
    x, y = lifted(x), lifted(y)
    if not x.rank or not y.rank:
        return _T["mul"](x, y)
    if y.rank > 2:
        letters = "abcdefghijklm"
        a, b = letters[: x.rank - 1] + "z", "nopqrstuvwxy"[: y.rank - 2] + "z" + "Y"
        return _T["einsum"](f"{a},{b}->{a[:-1]}{b[:-2]}Y", x, y)
    return _T["matmul"](x, y)


def _einsum(equation: str, *operands: Any, **_: Any) -> Any:
    return _T["einsum"](equation, *(lifted(p) for p in operands))


def _where(test: Any, *branches: Any) -> Any:
    if not branches:
        raise NotYet(Fault("", "the shape of where(test) depends on the data", "where(test, x, y)"))
    return _T["where"](test, *branches)


def _clip(x: Any, a_min: Any = None, a_max: Any = None, **_: Any) -> Any:
    return _T["clamp"](x, a_min, a_max)


def _pad(x: Positional, widths: Any, mode: str = "constant", constant_values: float = 0) -> Any:
    pairs = np.broadcast_to(np.asarray(widths), (x.rank, 2)).tolist()
    flat = [n for pair in reversed(pairs) for n in pair]
    modes = {"edge": "replicate", "wrap": "circular"}
    return _T["pad"](x, flat, modes.get(mode, mode), constant_values)


def _take(x: Positional, indices: Any, axis: int | None = None) -> Any:
    if axis is None:
        x, axis = shapes.flatten(x), 0
    at = axis % x.rank
    return _T["getitem"](x, (*[slice(None)] * at, indices))


def _take_along(x: Positional, indices: Positional, axis: int) -> Any:
    return _T["gather"](x, axis, indices)


def _sort(x: Positional, axis: int = -1, **_: Any) -> Any:
    return _T["sort"](x, axis)[0]


def _argsort(x: Positional, axis: int = -1, **_: Any) -> Any:
    return _T["argsort"](x, axis)


def _arg(name: str) -> Lowering:
    lower = _T[name]
    return lambda x, axis=None, out=None, *, keepdims=False: lower(x, axis, keepdims)


def _flip(x: Positional, axis: Any = None) -> Any:
    axes = range(x.rank) if axis is None else (axis,) if isinstance(axis, int) else axis
    return _T["flip"](x, tuple(axes))


def _norm(x: Positional, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    return _T["norm"](x, 2 if ord is None else ord, axis, keepdims)


def _astype(x: Positional, kind: Any, **_: Any) -> Any:
    name = "float32" if np.dtype(kind) == np.float64 else kind
    return converted(x, format_of(name, ""))


def _squeeze(x: Positional, axis: Any = None) -> Any:
    return shapes.squeeze(x, axis)


def _copy(x: Positional, *_: Any, **__: Any) -> Any:
    return x


def _ravel(x: Positional, *_: Any, **__: Any) -> Any:
    return shapes.flatten(x)


def _triangle(name: str) -> Lowering:
    return lambda x, k=0: _T[name](x, k)


def _outer(x: Positional, y: Positional, *_: Any) -> Any:
    return _T["outer"](shapes.flatten(x), shapes.flatten(y))


FUNCTIONS: Mapping[str, Lowering] = {
    "sum": _reducing("sum"), "mean": _reducing("mean"), "prod": _reducing("prod"),
    "max": _extreme("amax"), "amax": _extreme("amax"), "min": _extreme("amin"),
    "amin": _extreme("amin"), "any": _extreme("any"), "all": _extreme("all"),
    "var": _spread("var"), "std": _spread("std"), "cumsum": _scan("cumsum"),
    "cumprod": _scan("cumprod"), "transpose": _transpose, "permute_dims": _transpose,
    "reshape": _reshape, "expand_dims": _expand_dims, "squeeze": _squeeze,
    "swapaxes": shapes.transpose, "moveaxis": shapes.movedim, "broadcast_to": shapes.expand,
    "matrix_transpose": shapes.matrix_transpose, "concatenate": _concatenate,
    "concat": _concatenate, "hstack": _hstack, "vstack": _vstack, "stack": _stack,
    "split": _split, "repeat": _repeat, "tile": _tile, "zeros_like": _zeros_like,
    "empty_like": _zeros_like, "ones_like": _ones_like, "full_like": _full_like, "dot": _dot,
    "inner": lambda x, y: _T["matmul"](x, shapes.matrix_transpose(y) if lifted(y).rank > 1 else y),
    "outer": _outer, "einsum": _einsum, "where": _where, "clip": _clip, "pad": _pad, "take": _take,
    "take_along_axis": _take_along, "sort": _sort, "argsort": _argsort, "argmax": _arg("argmax"),
    "argmin": _arg("argmin"), "flip": _flip, "roll": _roll,
    "norm": _norm, "astype": _astype, "copy": _copy, "ravel": _ravel, "tril": _triangle("tril"),
    "triu": _triangle("triu"), "diagonal": _diagonal,
}  # fmt: skip

_AS_METHODS = """sum mean prod max min any all var std cumsum cumprod transpose reshape squeeze
    swapaxes dot clip take argmax argmin argsort astype copy ravel repeat diagonal"""
METHODS: Mapping[str, Lowering] = {n: FUNCTIONS[n] for n in _AS_METHODS.split()} | {
    "flatten": _ravel
}
