"""What a kernel of the compiler does, before anybody has tiled it: flops and bytes.

A subexpression is computed once for every point of the axes along which it varies; a sum of
products of two factors, each reused along an axis of the other, is work for a matrix unit.  What
stays between the stages of a kernel moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

from maquette.compiler.kernel import Kernel, Result, Stage, Tensor
from maquette.compiler.tile.bodies import factors, parts, replace, varies
from maquette.ir.monoids import ADD, Part, Streamed
from maquette.ir.scalar import OPS, Apply, Arg, Lit, Scalar
from maquette.ir.scalar import flops as scalar_flops

Axes = frozenset[str]


@dataclass(frozen=True)
class Work:
    """Flops that a matrix unit can take and all others, and bytes across the kernel's border."""

    matrix: float
    vector: float
    reads: Mapping[str, float]  # by tensor
    writes: Mapping[str, float]
    contractions: int
    reuse: float  # how often the larger operand of the largest contraction is used


def work(kernel: Kernel) -> Work:
    """What one run of a kernel does.

    >>> from maquette.compiler.fuse import parse_kernel
    >>> text = '''kernel product
    ...   extent m=4, n=8, k=16
    ...   in a f32[m, k] strides 16, 1
    ...   in b f32[k, n] strides 8, 1
    ...   out c f32[m, n] strides 8, 1
    ...   f32 c[m, n] = add over k: %a * %b
    ... '''
    >>> found = work(parse_kernel(text))
    >>> found.matrix, found.vector, found.reads["a"], found.reuse
    (1024.0, 0.0, 256.0, 4.0)
    """
    axes_of = {t.name: t.axes for t in kernel.inputs}
    vector = 0.0
    contractions: list[tuple[float, float]] = []  # flops, and reuse of the larger operand
    for stage in kernel.stages:
        reads = [axes_of[name] for name in stage.reads]
        computed: set[Apply] = set()
        for result, leaf, combine in _components(stage):
            points = _points(frozenset(result.axes) | frozenset(stage.over), kernel)
            sides = _sides(leaf, reads, stage, frozenset(result.axes), combine)
            for body in sides or (leaf,):
                computed |= {p for p in parts(body) if isinstance(p, Apply)}
            if sides is None:
                vector += scalar_flops(combine) * points if combine is not None else 0.0
                continue
            larger = max(_points(varies(s, reads), kernel) for s in sides)
            contractions.append((2.0 * points, points / larger))
        vector += sum(OPS[p.op][1] * _points(varies(p, reads), kernel) for p in computed)
        axes_of |= {r.name: r.axes for r in stage.results}
    matrix = sum(flops for flops, _ in contractions)
    reuse = max(contractions, default=(0.0, 1.0))[1]
    reads_, writes = _bytes(kernel.inputs), _bytes(kernel.outputs)
    return Work(matrix, vector, reads_, writes, len(contractions), reuse)


def _components(stage: Stage) -> Iterator[tuple[Result, Scalar, Scalar | None]]:
    """Result, what is combined at every point, and how, of every component."""
    monoid = stage.monoid
    if isinstance(monoid, Streamed):
        for result, leaf, part in zip(stage.results, stage.leaves, monoid.parts, strict=True):
            yield result, _repaired(leaf, part, stage), part.op.combine[0]
        return
    combines = (None,) * len(stage.results) if monoid is None else monoid.combine
    yield from zip(stage.results, stage.leaves, combines, strict=True)


def _repaired(leaf: Scalar, part: Part, stage: Stage) -> Scalar:
    """A leaf times its factor between the earlier components there and those of the whole.

    The whole varies along fewer axes than a leaf: a constant stands for it.
    """
    if part.factor is None:
        return leaf
    n = len(stage.leaves)
    by: dict[Scalar, Scalar] = {Arg(i): held for i, held in enumerate(stage.leaves)}
    by |= {Arg(n + i): Lit(0.0) for i in range(n)}
    factor = replace(part.factor, by)
    return factor if leaf == Lit(1.0) else Apply(part.action, (factor, leaf))


def _sides(
    leaf: Scalar, reads: list[tuple[str, ...]], stage: Stage, kept: Axes, combine: Scalar | None
) -> tuple[Scalar, Scalar] | None:
    """The factors of a contraction, if that is what a component is."""
    if stage.kind != "reduce" or combine != ADD.combine[0]:
        return None
    over, under = factors(leaf)
    over = [f for f in over if varies(f, reads)]
    if under or len(over) < 2:
        return None
    right = over[-1]
    left = over[0]
    for f in over[1:-1]:
        left = Apply("mul", (left, f))
    a, b = varies(left, reads), varies(right, reads)
    shared = frozenset(stage.over) & a & b
    if not shared or not (a - b) & kept or not (b - a) & kept:
        return None
    return left, right


def _points(axes: Iterable[str], kernel: Kernel) -> float:
    return float(prod(kernel.extents[a] for a in axes))


def _bytes(tensors: Iterable[Tensor]) -> dict[str, float]:
    """Of the distinct elements of each tensor: axes without a stride hold one."""
    return {
        t.name: prod(n for n, s in zip(t.shape, t.strides, strict=True) if s) * t.dtype.bytes
        for t in tensors
    }
