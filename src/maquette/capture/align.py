"""Bringing dimensions of several tensors to the same axes: broadcasting, and common refinements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from maquette.capture.positional import (
    Dim,
    Dims,
    Positional,
    extent,
    fresh,
    hint_of,
    length,
    named,
    rewritten,
    whole,
)
from maquette.errors import Fault, InputError
from maquette.ir.axes import Axis

Changes: TypeAlias = dict[str, Dim]


def broadcast(ps: Sequence[Positional]) -> tuple[Dims, tuple[Positional, ...]]:
    """All of `ps` over the axes of one list of dimensions, aligned from the last."""
    first = max(ps, key=lambda p: p.rank)
    if all(p.dims == first.dims[first.rank - p.rank :] for p in ps):
        return first.dims, tuple(ps)
    rank = first.rank
    held = list(ps)
    dims: list[Dim] = [()] * rank
    for i, p in enumerate(held):
        _join(held, dims, i, p)
    return tuple(dims), tuple(held)


def _join(held: list[Positional], dims: list[Dim], i: int, p: Positional) -> None:
    """Align tensor `i` with the dimensions so far, which its own extend."""
    offset = len(dims) - p.rank
    changes: Changes = {}
    taken = {a.name for dim in dims for a in dim}
    for k, dim in enumerate(p.dims):
        here = dims[offset + k]
        mine, there = length(dim), length(here)
        if mine == there and here and dim:
            before, after = refine(here, dim)
            if before is None or after is None:
                flat = p if len(dim) == 1 else whole(p, k)
                held[i] = flat
                _again(held, dims, i, offset + k)
                return
            _apply(held, dims, i, before)
            changes |= after
        elif there == 1 and dim and (mine != 1 or not here):
            dims[offset + k] = tuple(
                fresh(hint_of(a), extent(a)) if a.name in taken else a for a in dim
            )
            changes |= {a.name: (b,) for a, b in zip(dim, dims[offset + k], strict=True) if a != b}
        elif mine != there and mine != 1:
            what = f"sizes {mine} and {there} of dimension {offset + k - len(dims)} do not match"
            raise InputError(Fault("", what, "equal sizes, or one of them 1"))
        taken.update(a.name for a in dims[offset + k])
    held[i] = rewritten(p, changes)


def _again(held: list[Positional], dims: list[Dim], i: int, k: int) -> None:
    """No common refinement: make the dimension one axis everywhere, and join again."""
    if len(dims[k]) > 1:
        old = dims[k]
        one = (fresh(hint_of(old[-1]), length(old)),)
        for j in range(i):
            at = k - (len(dims) - held[j].rank)
            if at >= 0 and held[j].dims[at] == old:
                flat = whole(held[j], at)
                held[j] = rewritten(flat, {flat.dims[at][0].name: one})
        dims[k] = one
    _join(held, dims, i, held[i])


def _apply(held: list[Positional], dims: list[Dim], i: int, changes: Changes) -> None:
    if changes:
        held[:i] = [rewritten(p, changes) for p in held[:i]]
        dims[:] = [tuple(b for a in dim for b in changes.get(a.name, (a,))) for dim in dims]


def refine(left: Dim, right: Dim) -> tuple[Changes, Changes] | tuple[None, None]:
    """How axes of both sides must change so that both are the same axes; None if none do.

    The axes of `left` are kept where they can be.
    """
    a, b = [(x, x.name) for x in left], [(y, y.name) for y in right]
    mine: dict[str, list[Axis]] = {}
    yours: dict[str, list[Axis]] = {}
    while a and b:
        (x, x_of), (y, y_of) = a.pop(), b.pop()
        p, q = extent(x), extent(y)
        if p != q and 1 in (p, q):  # an axis of one position lines up with nothing
            if p == 1:
                mine.setdefault(x_of, []).insert(0, x)
                b.append((y, y_of))
            else:
                yours.setdefault(y_of, []).insert(0, y)
                a.append((x, x_of))
            continue
        if p != q and (not p or not q or max(p, q) % min(p, q)):
            return None, None
        part = x if p <= q else fresh(hint_of(y), q)
        mine.setdefault(x_of, []).insert(0, part)
        yours.setdefault(y_of, []).insert(0, part)
        if p > q:
            a.append((fresh(hint_of(x), p // q), x_of))
        elif q > p:
            b.append((fresh(hint_of(y), q // p), y_of))
    for x, x_of in a:
        mine.setdefault(x_of, []).insert(0, x)
    for y, y_of in b:
        yours.setdefault(y_of, []).insert(0, y)
    return (
        {n: tuple(d) for n, d in mine.items() if [x.name for x in d] != [n]},
        {n: tuple(d) for n, d in yours.items() if [x.name for x in d] != [n]},
    )


def apart(p: Positional, *others: Positional) -> Positional:
    """`p` with axes of its own wherever its dimensions share one with `others`."""
    taken = {a.name for o in others for a in named(o)}
    return rewritten(
        p, {a.name: (fresh(hint_of(a), extent(a)),) for a in named(p) if a.name in taken}
    )
