"""Arrays that were there before, as expressions of coordinates where they are one.

A mask or a range made ahead of time says the same as one made inside the function; read back as a
comparison of coordinates it stays visible to whoever wants to skip what it hides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from maquette.capture.expressions import op
from maquette.capture.positional import Dim, Dims, Positional, fresh, place
from maquette.ir.dtypes import DType
from maquette.ir.scalar import Lit, Scalar


def recognised(array: Any, to: DType) -> Positional | None:
    """A constant, an arithmetic progression, or a band along the diagonal, as an expression."""
    if array.dtype.kind not in "biuf" or not array.size:
        return None
    dims = tuple(() if n == 1 else (fresh("n", n),) for n in array.shape)
    flat = array.reshape([n for n in array.shape if n != 1])
    first = flat.flat[0]
    if np.all(flat == first):
        return Positional(dims, _literal(first, to), to)
    inner: Dims = tuple(d for d in dims if d)
    body = _progression(flat, inner[0], to) if flat.ndim == 1 else diagonal(flat, inner, to)
    return None if body is None else Positional(dims, body, to)


def band(array: Any, to: DType) -> Positional | None:
    """A mask along the diagonal of the last two dimensions, those before of one, if it is that."""
    if array.ndim < 2 or any(n != 1 for n in array.shape[:-2]) or min(array.shape[-2:]) < 2:
        return None
    found = recognised(array, to)
    if found is None or isinstance(found.source, Lit):
        return None
    return found


def _progression(values: Any, dim: Dim, to: DType) -> Scalar | None:
    """``start + step·i``, if that is exactly what the values are."""
    if values.dtype.kind == "b":
        return None
    step, start = (values[1] - values[0]).item(), values[0].item()
    steps = np.arange(len(values)).astype(values.dtype)
    if not np.isfinite(step) or not np.array_equal(steps * values.dtype.type(step) + start, values):
        return None
    if to.kind == "float" and not (float(step).is_integer() and float(start).is_integer()):
        return None
    body = op("add", op("mul", place(dim), Lit(int(step))), Lit(int(start)))
    return body if to.kind == "int" else op("mul", body, Lit(1.0))


def diagonal(values: Any, dims: Dims, to: DType) -> Scalar | None:
    """An expression of column minus row, where the values are one with at most three pieces."""
    if values.ndim != 2:
        return None
    rows, columns = values.shape
    along = np.concatenate([values[::-1, 0], values[0, 1:]])  # by column minus row, from 1 - rows
    offset = np.arange(columns)[None, :] - np.arange(rows)[:, None]
    with np.errstate(invalid="ignore"):
        if not np.array_equal(along[offset + rows - 1], values):
            return None
        borders = np.flatnonzero(along[1:] != along[:-1]) + 1
    if len(borders) > 2:
        return None
    row, column = place(dims[0]), place(dims[1])
    pieces = [_literal(along[k], to) for k in (0, *borders)]
    tests = [_at_most(column, row, int(k) - rows) for k in borders]
    body: Scalar = pieces[-1]
    if len(pieces) == 3 and pieces[0] == pieces[2]:
        inside = op("and", op("not", tests[0]), tests[1])
        return _choice(inside, pieces[1], pieces[0])
    for test, piece in zip(reversed(tests), reversed(pieces[:-1]), strict=True):
        body = _choice(test, piece, body)
    return body


def _at_most(column: Scalar, row: Scalar, distance: int) -> Scalar:
    """``column - row <= distance``, as short as it goes."""
    if distance == -1:
        return op("lt", column, row)
    return op("le", column, op("add", row, Lit(distance)))


def _choice(test: Scalar, yes: Scalar, no: Scalar) -> Scalar:
    if isinstance(yes, Lit) and isinstance(yes.value, bool):
        return test if yes.value else op("not", test)
    return op("where", test, yes, no)


def _literal(value: Any, to: DType) -> Lit:
    convert: Any = {"float": float, "int": int, "bool": bool}[to.kind]
    return Lit(convert(value))
