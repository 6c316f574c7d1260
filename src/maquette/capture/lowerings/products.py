"""Lowerings of contractions: a product at every point, summed over axes of both sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from maquette.capture.align import apart, broadcast
from maquette.capture.expressions import op
from maquette.capture.lowerings.elementwise import add, logical_not, masked_fill, where
from maquette.capture.lowerings.reductions import amax, softmax, total
from maquette.capture.lowerings.shapes import expand_dim, transpose
from maquette.capture.lowerings.table import (
    BOOL,
    FLOAT,
    INT,
    apply,
    axis_of,
    lowers,
    promoted,
    refuse,
)
from maquette.capture.pointwise import converted
from maquette.capture.positional import Dim, Positional, place, tensor_of
from maquette.errors import Fault, InputError
from maquette.ir.axes import union
from maquette.ir.monoids import ADD
from maquette.ir.patterns import Map, Reduce, draft
from maquette.ir.scalar import Apply, Arg


def contract(left: Positional, right: Positional, over: Dim, dims: Sequence[Dim]) -> Positional:
    """The product of two tensors that share axes, summed over some of them."""
    to = promoted([left, right])
    sums = FLOAT if to.kind == "float" else INT
    names = {a.name for a in over}
    a, b = tensor_of(left, over), tensor_of(right, over)
    if a is b:
        args, body = (a,), Apply("mul", (Arg(0), Arg(0)))
    else:
        args, body = (a, b), Apply("mul", (Arg(0), Arg(1)))  # type: ignore[assignment]
    domain = union(a.axes, b.axes)
    order = [x for dim in (*dims, over) for x in dim if x in domain]
    domain = (*(x for x in domain if x not in order), *order)
    value = draft(Map, axes=domain, dtype=sums, args=args, body=body)
    axes = tuple(x for x in domain if x.name not in names)
    if over:
        held = tuple(x.name for x in over)
        value = draft(Reduce, axes=axes, dtype=sums, monoid=ADD, over=held, args=(value,))  # type: ignore[assignment]
    return converted(Positional(tuple(dims), value, sums), to)


def _matched(
    left: Positional, at: int, right: Positional, to: int
) -> tuple[Positional, Positional]:
    """Both sides with one dimension of each naming the same axes, and no others shared."""
    right = apart(right, left)
    if left.shape[at] != right.shape[to]:
        what = f"sizes {left.shape[at]} and {right.shape[to]} are multiplied and summed"
        raise InputError(Fault("", what, "equal sizes"))
    column = replace(left, dims=(left.dims[at],))
    row = replace(right, dims=(right.dims[to],))
    _, (column, row) = broadcast([column, row])
    left_dims = _follow(left, at, column)
    right_dims = _follow(right, to, row)
    return left_dims, right_dims


def _follow(whole: Positional, at: int, part: Positional) -> Positional:
    dims = (*whole.dims[:at], part.dims[0], *whole.dims[at + 1 :])
    return replace(part, dims=dims)


@lowers("matmul", "bmm", "mm", "mv", "dot")
def matmul(left: Positional, right: Positional) -> Positional:
    """Rows times columns, batches aligned by broadcasting."""
    if not left.rank or not right.rank:
        raise refuse("a matrix product of a scalar", "at least one dimension")
    a, b = left.rank - 1, max(right.rank - 2, 0)
    left, right = _matched(left, a, right, b)
    rows = left.dims[-2:-1]
    columns = right.dims[-1:] if right.rank > 1 else ()
    batch, left, right = _batched(left, right)
    over = left.dims[-1]
    rows = left.dims[-2:-1]
    columns = right.dims[-1:] if right.rank > 1 else ()
    return contract(left, right, over, (*batch, *rows, *columns))


def _batched(left: Positional, right: Positional) -> tuple[tuple[Dim, ...], Positional, Positional]:
    """Leading dimensions aligned by broadcasting."""
    lead, follow = left.dims[:-2], right.dims[:-2]
    if not lead or not follow:
        return (lead or follow), left, right
    dims, (a, b) = broadcast([replace(left, dims=lead), replace(right, dims=follow)])
    return (
        dims,
        replace(a, dims=(*a.dims, *left.dims[-2:])),
        replace(b, dims=(*b.dims, *right.dims[-2:])),
    )


@lowers("linear")
def linear(x: Positional, weight: Positional, bias: Positional | None = None) -> Positional:
    """The last dimension times rows of a weight, and a bias."""
    x, weight = _matched(x, x.rank - 1, weight, weight.rank - 1)
    found = contract(x, weight, x.dims[-1], (*x.dims[:-1], *weight.dims[:-1]))
    return found if bias is None else add(found, bias)


@lowers("addmm", "baddbmm", "addmv")
def addmm(x: Any, a: Positional, b: Positional, *, beta: float = 1, alpha: float = 1) -> Positional:
    """A matrix product added to something, both scaled."""
    product = matmul(a, b)
    if alpha != 1:
        product = apply("mul", product, alpha)
    if beta == 0:
        return product
    return add(product, x if beta == 1 else apply("mul", x, beta))


@lowers("outer", "ger")
def outer(a: Positional, b: Positional) -> Positional:
    return apply("mul", replace(a, dims=(*a.dims, ())), b)


@lowers("einsum")
def einsum(equation: str, *operands: Any) -> Positional:
    """Letters are dimensions; operands are multiplied from the left, each letter summed when its
    last operand has been multiplied in."""
    tensors = (
        list(operands[0])
        if len(operands) == 1 and isinstance(operands[0], list | tuple)
        else list(operands)
    )
    spelled, out = _letters(equation, tensors)
    found: Positional = tensors[0]
    held = spelled[0]
    _distinct(held)
    later = [set("".join(spelled[i + 1 :])) | set(out) for i in range(len(tensors))]
    for i, (p, name) in enumerate(zip(tensors[1:], spelled[1:], strict=True), 1):
        _distinct(name)
        found, held = _einsum_pair(found, held, p, name, later[i])
    gone = tuple(k for k, c in enumerate(held) if c not in out)
    if gone:
        found, held = total(found, gone), "".join(c for c in held if c in out)
    return replace(found, dims=tuple(found.dims[held.index(c)] for c in out))


def _distinct(name: str) -> None:
    if len(set(name)) < len(name):
        raise refuse(f"einsum of a diagonal {name!r}", "every letter once in an operand")


def _letters(equation: str, tensors: Sequence[Any]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, ``...`` spelled out in capitals."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(tensors):
        what = f"einsum {equation!r} of {len(tensors)} tensors"
        raise InputError(Fault("", what, f"{len(parts)} tensors"))
    extra = [p.rank - len(s.replace("...", "")) for p, s in zip(tensors, parts, strict=True)]
    unused = [c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in equation]
    most = max((e for e, s in zip(extra, parts, strict=True) if "..." in s), default=0)
    dots = "".join(unused[:most])
    spelled = [s.replace("...", dots[len(dots) - e :]) for s, e in zip(parts, extra, strict=True)]
    if not arrow:
        every = "".join(spelled)
        out = dots + "".join(sorted(c for c in set(every) - set(dots) if every.count(c) == 1))
    return spelled, out.replace("...", dots)


def _einsum_pair(
    a: Positional, held: str, b: Positional, name: str, later: set[str]
) -> tuple[Positional, str]:
    b = apart(b, a)
    shared = [c for c in held if c in name]
    dims, (x, y) = broadcast(
        [
            replace(a, dims=tuple(a.dims[held.index(c)] for c in shared)),
            replace(b, dims=tuple(b.dims[name.index(c)] for c in shared)),
        ]
    )
    at = dict(zip(shared, dims, strict=True))
    mine = [at[c] if c in at else a.dims[held.index(c)] for c in held]
    theirs = [at[c] if c in at else b.dims[name.index(c)] for c in name]
    every = dict(zip(held, mine, strict=True)) | dict(zip(name, theirs, strict=True))
    for c, dim in at.items():
        every[c] = dim
    kept = [c for c in every if c in later]
    over = tuple(ax for c in every if c not in later for ax in every[c])
    left, right = replace(x, dims=tuple(mine)), replace(y, dims=tuple(theirs))
    return contract(left, right, over, [every[c] for c in kept]), "".join(kept)


@lowers("scaled_dot_product_attention", "_scaled_dot_product_flash_attention_for_cpu")
def scaled_dot_product_attention(
    query: Positional,
    key: Positional,
    value: Positional,
    attn_mask: Positional | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Positional:
    """Scores, a mask, a softmax, a sum of values: with no trick at all.

    A query to which a mask leaves no key gets zeros, as the framework gives.
    """
    if dropout_p:
        raise refuse("dropout of attention weights", "dropout_p=0.0", "call module.eval() first")
    if enable_gqa:
        groups = query.shape[-3]
        key, value = (expand_dim(p, p.rank - 3, groups // p.shape[-3]) for p in (key, value))
    scores = matmul(converted(query, FLOAT), transpose(converted(key, FLOAT), -1, -2))
    if scale is None:  # of rows of no numbers every score is 0
        scale = 1 / math.sqrt(max(query.shape[-1], 1))
    scores = apply("mul", scores, float(scale))
    if is_causal:
        scores = masked_fill(scores, logical_not(_causal(scores)), float("-inf"))
    elif attn_mask is not None and attn_mask.dtype.kind == "bool":
        scores = masked_fill(scores, logical_not(attn_mask), float("-inf"))
    elif attn_mask is not None:
        scores = add(scores, attn_mask)
    found = matmul(softmax(scores, -1), converted(value, FLOAT))
    if attn_mask is not None:
        none = apply("eq", amax(scores, -1, True), float("-inf"), to=BOOL)
        found = where(none, 0.0, found)
    return converted(found, query.dtype)


def _causal(scores: Positional) -> Positional:
    rows, columns = scores.dims[-2:]
    return Positional((rows, columns), op("le", place(columns), place(rows)), BOOL)


@lowers("tensordot")
def tensordot(a: Positional, b: Positional, dims: Any = 2) -> Positional:
    """Summed over pairs of dimensions, the others of both side by side."""
    if isinstance(dims, int):
        dims = (range(a.rank - dims, a.rank), range(dims))
    mine, theirs = ([axis_of(d, p.rank) for d in ds] for p, ds in zip((a, b), dims, strict=True))
    letters = "abcdefghijklmnopqrstuvwxyz"
    left = list(letters[: a.rank])
    right = list(letters[a.rank : a.rank + b.rank])
    for i, j in zip(mine, theirs, strict=True):
        right[j] = left[i]
    out = [c for c in left if c not in right] + [c for c in right if c not in left]
    return einsum(f"{''.join(left)},{''.join(right)}->{''.join(out)}", a, b)
