"""What kind of work a piece is: a product, a fold, a product with weights."""

from __future__ import annotations

from collections.abc import Iterator

from maquette.compiler.fuse.index import axes_of
from maquette.compiler.fuse.pieces import Piece
from maquette.ir.monoids import ADD, Streamed
from maquette.ir.patterns import Reduce
from maquette.ir.scalar import Apply, Scalar
from maquette.ir.scalar import reads as reads_of


def factors(leaf: Scalar) -> Iterator[Scalar]:
    """What is multiplied in a leaf, through casts."""
    match leaf:
        case Apply("mul", (left, right)):
            yield from factors(left)
            yield from factors(right)
        case Apply("to_f32" | "to_bf16" | "to_f16", (inner,)):
            yield from factors(inner)
        case _:
            yield leaf


def is_product(piece: Piece) -> bool:
    """Whether some component is a sum of products, each side reused along axes of the other."""
    if not isinstance(piece.value, Reduce):
        return False
    monoid = piece.value.monoid
    added = [monoid == ADD]
    if isinstance(monoid, Streamed):
        added = [p.op == ADD and p.factor is None for p in monoid.parts]
    return any(add and _reused(piece, leaf) for add, leaf in zip(added, piece.leaves, strict=False))


def _reused(piece: Piece, leaf: Scalar) -> bool:
    sides = [varies(piece, f) - set(piece.over) for f in factors(leaf) if any(reads_of(f))]
    return len(sides) > 1 and any(
        one - two and two - one for i, one in enumerate(sides) for two in sides[i + 1 :]
    )


def varies(piece: Piece, body: Scalar) -> set[str]:
    """The loops along which a part of a leaf varies."""
    found = set(axes_of(body))
    waiting = [a.number for a in reads_of(body)]
    while waiting:
        for _, coordinate in piece.reads[waiting.pop()].at:
            found |= set(axes_of(coordinate))
            waiting += [a.number for a in reads_of(coordinate)]
    return found


def is_weighted(piece: Piece) -> bool:
    """Whether a side of a product is made of weights alone."""
    return any(
        all(a.number in piece.weights for a in held)
        for leaf in piece.leaves
        for f in factors(leaf)
        if (held := list(reads_of(f))) and len(varies(piece, f)) > 1
    )


def is_fold(piece: Piece) -> bool:
    """Whether a piece combines without being a product."""
    return isinstance(piece.value, Reduce) and not is_product(piece)
