"""Products of few rows: weights stream past once, as they are stored, and are widened in registers.

Vectors lie along the innermost summed axis, in which the columns' factor is contiguous.  Short
summed axes that do not move its memory (the halves of a packed byte) are written out inside, and
what varies along the outer ones only (the scale of a group) multiplies a whole group's sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product as combinations
from math import ceil

from maquette.compiler.kernel import Kernel
from maquette.compiler.processor import Processor
from maquette.compiler.tile import bodies
from maquette.compiler.tile.product import compulsory, group
from maquette.compiler.tile.product_form import Contraction, Product, Unfit, recognise
from maquette.compiler.tile.tables import low_bits, table
from maquette.compiler.tiling import Candidate, Counts, Loop, Tiling
from maquette.ir.scalar import Apply, Index, Lit, Scalar
from maquette.ir.scalar import reads as reads_of

STRATEGY = "thin"
ROWS = 8  # the most: above, packing pays
SHORT = 4  # points of a summed axis that is written out


@dataclass(frozen=True)
class Thin:
    """One contraction: its summed axes by what becomes of them, and the columns' factor in two."""

    contraction: Contraction
    outer: tuple[str, ...]
    short: tuple[str, ...]
    inner: str
    each: Scalar  # at every point
    group: Scalar | None  # once per point of the outer axes


def candidates(kernel: Kernel, processor: Processor) -> list[Candidate]:
    """The way to run `kernel` with its columns streamed once; none where it has many rows."""
    try:
        product = upright(recognise(kernel))
        parts = [thin(product, c) for c in product.contractions]
    except Unfit:
        return []
    batch, m, n = (product.extent(a) for a in (product.batch, product.rows, product.columns))
    at_once = columns_at_once(m, processor)
    loops = (
        *(Loop(a, 1, "serial") for a in product.batch),
        Loop(group(product.columns), at_once, "parallel"),
        Loop(group(product.contractions[0].over), processor.lanes, "stream"),
    )
    sums = sum(product.extent(c.over) for c in product.contractions)
    widen = sum(n * _points(product, p) * widening(product, p, processor) for p in parts)
    counts = Counts(
        fma=2.0 * batch * m * n * sums,
        vector=batch * (widen + m * n * sum(1 + steps(b) for _, b in product.outputs)),
        traffic={
            "registers": 4.0 * batch * sums * m * ceil(n / at_once),
            **dict.fromkeys(("l1", "l2", "l3"), compulsory(kernel)),  # all of it once, past all
        },
        iterations=batch * ceil(n / at_once) * len(parts),
    )
    registers = {c.name: (1, at_once * m) for c in product.contractions}
    return [Candidate(Tiling(STRATEGY, parts[0].inner, loops, registers), counts)]


def _points(product: Product, part: Thin) -> int:
    """Summed points at which what the columns read is read once."""
    return product.extent(part.outer) * product.kernel.extents[part.inner]


def widening(product: Product, part: Thin, processor: Processor) -> int:
    """Operations that make the columns' factor at all points of the short axes: what they share
    once, and one shuffle for what a table holds."""
    made: set[Scalar] = set()
    looked_up = 0
    for body in written_out(product, part):
        found = table(body, processor.lanes)
        looked_up += found is not None
        made |= set(bodies.parts(body if found is None else found.index))
    return 1 + looked_up + sum(isinstance(s, Apply) for s in made)


def written_out(product: Product, part: Thin) -> list[Scalar]:
    """The columns' factor at each point of the short axes."""
    extents = product.kernel.extents
    found = []
    for point in combinations(*(range(extents[a]) for a in part.short)):
        fixed: dict[Scalar, Scalar] = {
            Index(a): Lit(v) for a, v in zip(part.short, point, strict=True)
        }
        found.append(low_bits(bodies.simplify(bodies.replace(part.each, fixed))))
    return found


def steps(body: Scalar) -> int:
    """Operations of a body, each one: what widens weights is cheap ones."""
    return sum(isinstance(part, Apply) for part in bodies.parts(body))


def columns_at_once(rows: int, processor: Processor) -> int:
    """Columns whose sums stay in registers together, with a few left for what they multiply."""
    return max(1, min(8, processor.registers * 3 // 4 // rows))


def upright(product: Product) -> Product:
    """`product` with the few rows as its rows.  Raises Unfit where both sides are long."""
    m, n = product.extent(product.rows), product.extent(product.columns)
    if m > n:
        swapped = tuple(replace(c, rows=c.columns, columns=c.rows) for c in product.contractions)
        product = replace(product, rows=product.columns, columns=product.rows, contractions=swapped)
        m, n = n, m
    if m > ROWS or n < 2:
        raise Unfit(f"it has {m} rows")
    return product


def thin(product: Product, contraction: Contraction) -> Thin:
    """A contraction of few rows.  Raises Unfit where its columns do not stream."""
    held = [product.access(a) for a in dict.fromkeys(reads_of(contraction.columns))]
    held = [a for a in held if a.varies(product.columns)]
    inner = next(_streamed(product, contraction, held), None)
    if inner is None:
        raise Unfit(f"the columns of {contraction.name} are not contiguous along the sum")
    extents = product.kernel.extents
    short = tuple(
        a
        for a in contraction.over
        if a != inner and extents[a] <= SHORT and not any(h.along(a) for h in held)
    )
    outer = tuple(a for a in contraction.over if a != inner and a not in short)
    moving = {inner, *short}
    over, under = bodies.factors(contraction.columns)
    parts: list[tuple[list[Scalar], list[Scalar]]] = [([], []), ([], [])]
    for place, factors in enumerate((over, under)):
        for f in factors:
            parts[not bodies.varies(f, product.axes) & moving][place].append(f)
    each = bodies.product(*parts[0])
    whole = bodies.product(*parts[1]) if any(parts[1]) else None
    for arg in reads_of(contraction.rows):
        product.access(arg)
    return Thin(contraction, outer, short, inner, each, whole)


def _streamed(product: Product, contraction: Contraction, held: list) -> Iterator[str]:  # type: ignore[type-arg]
    """Summed axes, long enough for vectors, along which what the columns read is contiguous."""
    for axis in contraction.over:
        steps = {a.along(axis) for a in held}
        if 1 in steps and steps <= {0, 1} and product.kernel.extents[axis] > 1:
            yield axis
