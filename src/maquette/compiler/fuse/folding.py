"""Folds and scans of arrays that have a place for every axis of a stage's domain.

An array is of length 1 along an axis on which it does not depend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maquette.ir.monoids import ADD, Monoid, Part, Streamed
from maquette.ir.scalar import Arg, Scalar
from maquette.ir.semantics import FOLDS, Array, Numbers, scalar


@dataclass(frozen=True)
class Ranged:
    """An array with a name for each of its axes."""

    array: Array
    axes: tuple[str, ...]

    def over(self, axes: Sequence[str], extents: Mapping[str, int]) -> Array:
        """The same with its axes in another order."""
        found = self.at({}, axes)
        return np.broadcast_to(found, [extents[a] for a in axes])

    def at(self, places: Mapping[str, Array], domain: Sequence[str]) -> Array:
        """Read over a domain, some axes at computed places; zero outside."""
        if not places:
            order = [self.axes.index(n) for n in domain if n in self.axes]
            held = iter([self.array.shape[i] for i in order])
            shape = tuple(next(held) if n in self.axes else 1 for n in domain)
            return np.transpose(self.array, order).reshape(shape)
        if 0 in self.array.shape:
            return np.zeros((1,) * len(domain), self.array.dtype)
        picked: list[Array] = []
        inside: Any = np.True_
        for axis, extent in zip(self.axes, self.array.shape, strict=True):
            if axis in places:
                place = places[axis]
                inside = inside & (place >= 0) & (place < extent)
                picked.append(np.clip(place, 0, extent - 1))
            else:
                spread = [-1 if n == axis else 1 for n in domain]
                picked.append(np.arange(extent).reshape(spread))
        found = self.array[tuple(picked)]
        return np.where(inside, found, np.zeros((), found.dtype))


def folded(
    monoid: Monoid,
    leaves: Sequence[Array],
    over: tuple[int, ...],
    shape: tuple[int, ...],
    numbers: Numbers,
) -> list[Array]:
    """Every component combined over the axes `over`, which keep length 1."""
    if isinstance(monoid, Streamed):
        return _streamed(monoid, leaves, over, shape, numbers)
    for known, ufunc in FOLDS:
        if monoid == known:
            return [_reduced(ufunc, monoid, leaves[0], over, shape)]
    columns = [_flat(x, over, shape) for x in leaves]
    count = columns[0].shape[-1]
    while count > 1:  # neighbours first, so that order is kept; an odd one out waits
        pairs = count // 2 * 2
        joined = combined(
            monoid,
            [c[..., 0:pairs:2] for c in columns],
            [c[..., 1:pairs:2] for c in columns],
            numbers,
        )
        rest = [c[..., pairs:] for c in columns]
        columns = [
            np.concatenate([j, np.broadcast_to(r, (*j.shape[:-1], r.shape[-1]))], -1)
            for j, r in zip(joined, rest, strict=True)
        ]
        count = columns[0].shape[-1]
    if not count:
        columns = [
            np.full((*c.shape[:-1], 1), identity(monoid, i, c.dtype), c.dtype)
            for i, c in enumerate(columns)
        ]
    return [_unflat(c, over, shape) for c in columns]


def scanned(
    monoid: Monoid, leaves: Sequence[Array], axis: int, extent: int, numbers: Numbers
) -> list[Array]:
    """Inclusive prefixes along an axis, by doubling strides."""
    columns = []
    for leaf in leaves:
        moved = np.moveaxis(leaf, axis, -1)
        columns.append(np.broadcast_to(moved, (*moved.shape[:-1], extent)))
    stride = 1
    while stride < extent:
        left = [c[..., :-stride] for c in columns]
        joined = combined(monoid, left, [c[..., stride:] for c in columns], numbers)
        columns = [
            np.concatenate([np.broadcast_to(c[..., :stride], (*j.shape[:-1], stride)), j], -1)
            for c, j in zip(columns, joined, strict=True)
        ]
        stride *= 2
    return [np.moveaxis(c, -1, axis) for c in columns]


def combined(
    monoid: Monoid, left: Sequence[Array], right: Sequence[Array], numbers: Numbers
) -> list[Array]:
    """Tuples combined with tuples, element by element."""
    both = (*left, *right)
    return [
        np.asarray(scalar(c, numbers, lambda a: both[a.number], None), dtype=x.dtype)
        for c, x in zip(monoid.combine, left, strict=True)
    ]


def identity(monoid: Monoid, component: int, kind: Any) -> Any:
    """What changes nothing, as a number of some format."""
    limit: Any = monoid.identity[component].value
    if np.issubdtype(kind, np.integer) and limit in (float("inf"), float("-inf")):
        info = np.iinfo(kind)
        return info.max if limit > 0 else info.min
    return limit


def summed(sides: Sequence[Array], over: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The sum over axes of a product of arrays, as one batched matrix product."""
    sides = [s for s in sides if s.ndim]
    left, *others = sorted(sides, key=lambda s: -s.size)
    right = next((o for o in others if _crosses(left, o)), others[0])
    for other in others:
        if other is right:
            continue
        if all(n == 1 or m > 1 for n, m in zip(other.shape, right.shape, strict=True)):
            right = right * other
        else:
            left = left * other
    return _product(left, right, over, shape)


def _crosses(left: Array, right: Array) -> bool:
    pairs = list(zip(left.shape, right.shape, strict=True))
    return any(m == 1 and n > 1 for m, n in pairs)


def _product(left: Array, right: Array, over: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    alone: list[tuple[int, ...]] = []
    for mine, other in ((left, right), (right, left)):
        alone.append(tuple(i for i in over if other.shape[i] == 1 != mine.shape[i]))
    left = left.sum(axis=alone[0], keepdims=True) if alone[0] else left
    right = right.sum(axis=alone[1], keepdims=True) if alone[1] else right
    times = 1
    for i in over:
        if left.shape[i] == 1 and right.shape[i] == 1 and i not in (*alone[0], *alone[1]):
            times *= shape[i]
    rank = range(left.ndim)
    inner = [i for i in over if left.shape[i] == right.shape[i] != 1]
    batch = [i for i in rank if i not in over and left.shape[i] == right.shape[i]]
    rows = [i for i in rank if i not in over and i not in batch and right.shape[i] == 1]
    columns = [i for i in rank if i not in over and i not in batch and i not in rows]

    def flat(side: Array, *groups: list[int]) -> Array:
        order = [i for g in groups for i in g]
        rest = [i for i in rank if i not in order]
        sizes = [int(np.prod([side.shape[i] for i in g], dtype=np.int64)) for g in groups]
        return np.transpose(side, [*order, *rest]).reshape(sizes)

    product = np.matmul(flat(left, batch, rows, inner), flat(right, batch, inner, columns))
    order = [*batch, *rows, *columns]
    wide = [max(left.shape[i], right.shape[i]) if 0 not in (left.shape[i], right.shape[i]) else 0
            for i in order]  # fmt: skip
    rest = [i for i in rank if i not in order]
    full = product.reshape([*wide, *(1 for _ in rest)])
    found = np.transpose(full, np.argsort([*order, *rest]))
    return found * times if times != 1 else found


def _streamed(
    monoid: Streamed,
    leaves: Sequence[Array],
    over: tuple[int, ...],
    shape: tuple[int, ...],
    numbers: Numbers,
) -> list[Array]:
    """Part by part: each leaf repaired from its own earlier components to the final ones."""
    totals: list[Array] = []
    for i, (part, leaf) in enumerate(zip(monoid.parts, leaves, strict=True)):
        held = _Held(leaves, totals, i, monoid.width, numbers)
        totals.append(_part(part, leaf, held, over, shape))
    return totals


@dataclass(frozen=True)
class _Held:
    """The components that a repair reads: those of each leaf before it, the totals after."""

    leaves: Sequence[Array]
    totals: Sequence[Array]
    before: int
    width: int
    numbers: Numbers

    def body(self, body: Scalar) -> Array:
        found = np.asarray(scalar(body, self.numbers, self._read, None))
        return found.reshape((1,) * (self.leaves[0].ndim - found.ndim) + found.shape)

    def _read(self, arg: Arg) -> Array:
        early = arg.number < self.before
        return self.leaves[arg.number] if early else self.totals[arg.number - self.width]


def _part(
    part: Part, leaf: Array, held: _Held, over: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    kind = leaf.dtype
    terms = [leaf]
    if part.factor is not None:
        by = held.body(part.factor)
        if part.op == ADD and part.action == "mul":
            terms = [summed([leaf, by], over, shape).astype(kind)]
        else:
            terms = [(by * leaf if part.action == "mul" else by + leaf).astype(kind)]
    done = part.op == ADD and part.factor is not None and part.action == "mul"
    if part.shift is not None and part.op != ADD:
        terms = [(terms[0] + held.body(part.shift)).astype(kind)]
    total = terms[0] if done else folded(part.op, terms, over, shape, held.numbers)[0]
    if part.shift is not None and part.op == ADD:
        shift = held.body(part.shift).astype(kind)
        total = total + folded(ADD, [shift], over, shape, held.numbers)[0]
    return total


def _reduced(
    ufunc: Any, monoid: Monoid, leaf: Array, over: tuple[int, ...], shape: tuple[int, ...]
) -> Array:
    wide = [shape[i] if i in over else n for i, n in enumerate(leaf.shape)]
    full = np.broadcast_to(leaf, wide)
    if any(shape[i] == 0 for i in over):
        kept = [1 if i in over else n for i, n in enumerate(leaf.shape)]
        return np.full(kept, identity(monoid, 0, leaf.dtype), leaf.dtype)
    found: Array = ufunc.reduce(full, axis=over, keepdims=True, dtype=leaf.dtype)
    return found


def _flat(leaf: Array, over: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """The axes `over` merged into one at the end."""
    wide = [shape[i] if i in over else n for i, n in enumerate(leaf.shape)]
    outer = [i for i in range(leaf.ndim) if i not in over]
    turned = np.transpose(np.broadcast_to(leaf, wide), [*outer, *over])
    count = int(np.prod([shape[i] for i in over], dtype=np.int64))
    return turned.reshape([*(wide[i] for i in outer), count])


def _unflat(column: Array, over: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    outer = iter(column.shape[:-1])
    return column.reshape([1 if i in over else next(outer) for i in range(len(shape))])
