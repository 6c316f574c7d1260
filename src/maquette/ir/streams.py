"""What a reduction with a streamed monoid means: a fold of blocks, each component on its own axes.

A block is folded as a backend folds it: first the components that others depend on, then the
repaired leaves of the others, a product of repair and leaf as one contraction.  Blocks are joined
by the monoid's repair.  By the monoid's laws every block size gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from maquette.ir.monoids import ADD, Monoid, Part, Streamed
from maquette.ir.patterns import Reduce
from maquette.ir.scalar import Apply, Arg, Scalar
from maquette.ir.semantics import FOLDS, Array, Arrays, Numbers, align, scalar

_POINTS = 1 << 22  # of the largest array that a block may make, about


def fold(value: Reduce, operands: Sequence[Array], numbers: Numbers, block: int = 0) -> Arrays:
    """Every component, over its own axes; `block` is how many points are folded at a time."""
    monoid = value.monoid
    assert isinstance(monoid, Streamed)
    sizes = {a.name: numbers.extent(a) for a in value.domain}
    shape = [sizes[n] for n in value.over]
    count = int(np.prod(shape, dtype=np.int64))
    outer = [a.name for a in value.axes]
    leaves = [
        _flat(align(x, [a.name for a in v.axes], [*outer, *value.over]), shape)
        for v, x in zip(value.args, operands, strict=True)
    ]
    block = block or _points_at_a_time(value, sizes)
    found: list[Array] | None = None
    for start in range(0, count, block):
        held = [x[..., start : start + block] if x.shape[-1] > 1 else x for x in leaves]
        new = _block(monoid, held, min(block, count - start), numbers)
        found = new if found is None else _join(monoid, found, new, numbers)
    if found is None:
        found = [np.asarray(i.value) for i in monoid.identity]
    return tuple(_shaped(value, i, x, leaves[i].dtype, sizes) for i, x in enumerate(found))


def _points_at_a_time(value: Reduce, sizes: Mapping[str, int]) -> int:
    widths = (value.component(i) for i in range(value.monoid.width))
    largest = max(int(np.prod([sizes[a.name] for a in axes])) for axes in widths)
    return max(16, _POINTS // max(largest, 1))


def _shaped(value: Reduce, number: int, total: Array, kind: Any, sizes: Mapping[str, int]) -> Array:
    """A component over its own axes, which may be as long as no array that it was made of."""
    kept = {a.name for a in value.component(number)}
    shape = [sizes[a.name] if a.name in kept else 1 for a in value.axes]
    whole = np.broadcast_to(np.asarray(total, dtype=kind), shape)
    return whole.reshape([sizes[a.name] for a in value.axes if a.name in kept])


def _flat(array: Array, over: Sequence[int]) -> Array:
    """The folded axes as one, of length 1 where the array varies along none of them."""
    rank = array.ndim - len(over)
    if all(n == 1 for n in array.shape[rank:]):
        return array.reshape((*array.shape[:rank], 1))
    whole = np.broadcast_to(array, (*array.shape[:rank], *over))
    return whole.reshape((*array.shape[:rank], -1))


def _block(monoid: Streamed, leaves: Sequence[Array], count: int, numbers: Numbers) -> list[Array]:
    total: list[Array] = []
    for part, leaf in zip(monoid.parts, leaves, strict=True):
        after = [t[..., None] for t in total]
        read = _reader(monoid.width, leaves, after)
        total.append(_repaired(part, leaf, read, count, numbers))
    return total


def _repaired(
    part: Part, leaf: Array, read: Callable[[Arg], Any], count: int, numbers: Numbers
) -> Array:
    """All the leaves of one component, repaired and combined."""
    if part.op == ADD:
        action = part.action if part.factor is not None else ""
        factor = part.factor
        terms = [leaf]
        if factor is not None and action == "mul":
            terms = [_dot(scalar(factor, numbers, read, None), leaf, count)]
        else:
            terms = [_dot(leaf, np.ones((), leaf.dtype), count)]
            if factor is not None:
                terms.append(_sum(factor, read, count, numbers))
        if part.shift is not None:
            terms.append(_sum(part.shift, read, count, numbers))
        return np.asarray(sum(terms[1:], terms[0]))
    moved: Any = leaf
    if part.factor is not None:
        by = scalar(part.factor, numbers, read, None)
        moved = by * moved if part.action == "mul" else by + moved
    if part.shift is not None:
        moved = moved + scalar(part.shift, numbers, read, None)
    return _fold(part.op, np.asarray(moved), count, numbers)


def _sum(body: Scalar, read: Callable[[Arg], Any], count: int, numbers: Numbers) -> Array:
    """The sum of a body over a block, a product as one contraction."""
    if isinstance(body, Apply) and body.op == "mul":
        left, right = (np.asarray(scalar(a, numbers, read, None)) for a in body.args)
        return _dot(left, right, count)
    return _dot(np.asarray(scalar(body, numbers, read, None)), np.ones(()), count)


def _dot(left: Any, right: Any, count: int) -> Array:
    """The sum of products along the last axis."""
    a, b = np.asarray(left), np.asarray(right)
    rank = max(a.ndim, b.ndim, 1)
    a, b = (x.reshape((1,) * (rank - x.ndim) + x.shape) for x in (a, b))
    if 1 in (a.shape[-1], b.shape[-1]) or a.ndim > 24:
        product = np.asarray((a * b).sum(axis=-1))
        return product * count if max(a.shape[-1], b.shape[-1]) < count else product
    letters = "abcdefghijklmnopqrstuvwxyz"[:rank]
    sides, arrays = [], []
    for x in (a, b):  # an axis of length 1 is left out, so that it becomes one matrix product
        kept = [i for i in range(rank) if x.shape[i] > 1 or i == rank - 1]
        sides.append("".join(letters[i] for i in kept))
        arrays.append(x.reshape([x.shape[i] for i in kept]))
    shape = np.broadcast_shapes(a.shape, b.shape)[:-1]
    out = "".join(n for n in letters[:-1] if n in sides[0] or n in sides[1])
    found = np.einsum(f"{sides[0]},{sides[1]}->{out}", *arrays, optimize=True)
    return np.asarray(found).reshape(shape)


def _fold(op: Monoid, array: Array, count: int, numbers: Numbers) -> Array:
    if array.shape[-1] < count:
        array = np.broadcast_to(array, (*array.shape[:-1], count))
    for known, ufunc in FOLDS:
        if op == known:
            return np.asarray(ufunc.reduce(array, axis=-1))
    total = array[..., 0]
    for i in range(1, count):
        read = _reader(1, [total], [array[..., i]])
        total = np.asarray(scalar(op.combine[0], numbers, read, None))
    return total


def _join(monoid: Streamed, old: Sequence[Array], new: Sequence[Array], n: Numbers) -> list[Array]:
    read = _reader(monoid.width, old, new)
    return [np.asarray(scalar(c, n, read, None), dtype=o.dtype)
            for c, o in zip(monoid.combine, old, strict=True)]  # fmt: skip


def _reader(width: int, before: Sequence[Array], after: Sequence[Array]) -> Callable[[Arg], Any]:
    return lambda arg: before[arg.number] if arg.number < width else after[arg.number - width]
